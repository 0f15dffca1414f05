//! Training targets (authors' `dataset.py`): the matched instance of every proposal.

use super::proposals::Anchor;

/// Index of the instance with the largest tIoU with each proposal, the first on ties, as `argmax` has it. The tIoU itself
/// is recomputed for every stage. An input without instances yields `None`.
pub fn match_instances(anchors: &[Anchor], truth: &[(f64, f64)]) -> Option<Vec<usize>> {
    if truth.is_empty() {
        return None;
    }
    let best = |&(start, end): &Anchor| {
        let length = f64::from(end - start);
        let (start, end) = (f64::from(start), f64::from(end));
        let mut best = (0, f64::NEG_INFINITY);
        for (index, &(gs, ge)) in truth.iter().enumerate() {
            let inter = (end.min(ge) - start.max(gs)).max(0.0);
            // The order of operations decides ties as the release decides them.
            let overlap = inter / (length - inter + (ge - gs) + 1e-6);
            if overlap > best.1 {
                best = (index, overlap);
            }
        }
        best.0
    };
    Some(anchors.iter().map(best).collect())
}
