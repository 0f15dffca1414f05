//! Suppression of overlapping candidates, in the two variants that published detectors use.
//!
//! [`soft_nms`] is ETAD's, in double precision. [`Suppression`] is the one that ActionFormer, TriDet and OpenTAD share, in
//! single precision, since its cut by `min_score` depends on the last bit; with [`Voting`] for class-agnostic detectors.
//! [`Fusion`] is TadTR's, between neighbouring windows only.
//! Candidates are [`Detection`]s, so labels ride along.

mod fusion;
mod soft;
mod suppression;
#[cfg(test)]
mod testing;
mod voting;

use std::collections::BTreeMap;

use super::Detection;

pub use fusion::{Fusion, hard_nms};
pub use soft::soft_nms;
pub use suppression::{Method, Suppression};
pub use voting::{Vote, Voting, refine};

/// Applies a suppression to each class on its own; the result is in descending order of score.
pub fn per_class(candidates: &[Detection], suppress: impl Fn(&[Detection]) -> Vec<Detection>) -> Vec<Detection> {
    let mut classes: BTreeMap<usize, Vec<Detection>> = BTreeMap::new();
    for candidate in candidates {
        classes.entry(candidate.label).or_default().push(*candidate);
    }
    let mut kept: Vec<Detection> = classes.values().flat_map(|class| suppress(class)).collect();
    sort_by_score(&mut kept);
    kept
}

/// Descending; equal scores stay in their order.
fn sort_by_score(detections: &mut [Detection]) {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
}
