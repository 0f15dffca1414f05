//! Recall at kx, as ActionFormer defines it: for a video with m instances of a class, its k × m surest detections of that
//! class may answer, and an instance counts as found when any of them overlaps it enough (several may share one).

use super::class::Class;
use super::iou::tiou;
use super::ties;

/// Recall of one class at each threshold.
pub(super) fn recall_at(class: &Class, k: u32, thresholds: &[f64]) -> Vec<f64> {
    let mut by_group = vec![Vec::new(); class.groups.len()];
    for candidate in &class.candidates {
        let group = candidate.video.and_then(|video| class.groups.binary_search_by_key(&video, |(id, _)| *id).ok());
        if let Some(group) = group {
            by_group[group].push(candidate);
        }
    }
    let mut found = vec![0_usize; thresholds.len()];
    for ((_, range), candidates) in class.groups.iter().zip(by_group) {
        let scores: Vec<f64> = candidates.iter().map(|candidate| candidate.score).collect();
        let mut order = ties::descending(&scores);
        order.truncate(range.len().saturating_mul(k as usize));
        for &instance in &class.instances[range.clone()] {
            let best = order.iter().map(|&at| tiou(candidates[at].segment, instance)).fold(0.0, f64::max);
            for (count, &threshold) in found.iter_mut().zip(thresholds) {
                *count += usize::from(best >= threshold);
            }
        }
    }
    found.into_iter().map(|count| count as f64 / class.instances.len() as f64).collect()
}
