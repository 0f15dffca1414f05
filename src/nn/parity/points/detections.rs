//! Candidates and detections compared as sets: near-ties may come in another order.

use std::collections::BTreeMap;

use crate::eval::Detection;
use crate::nn::parity::fixture::{Error, Fixture};

/// What two detections may differ in.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The score at which detections are cut off; one that close to it may be missing on either side.
    pub(super) border: f64,
    /// Largest difference of a boundary.
    pub(super) tolerance: f64,
}

/// Scores agree to this share of a score of 1.
const SCORE: f64 = 2e-5;

/// One in so many may be without a partner: the last of a level that is cut to its surest.
const UNMATCHED: usize = 2000;

/// Compares with `key.segments`, `key.scores` and `key.labels`, class by class.
pub(super) fn compare_sets(f: &mut Fixture, key: &str, found: &[Detection], limits: Found) -> Result<(), Error> {
    let [segments_key, scores_key, labels_key] = ["segments", "scores", "labels"].map(|what| format!("{key}.{what}"));
    let (segments, scores) = (f.doubles(&segments_key)?, f.doubles(&scores_key)?);
    let labels = f.doubles(&labels_key)?;
    let mut ours: BTreeMap<usize, Vec<Detection>> = BTreeMap::new();
    for detection in found {
        ours.entry(detection.label).or_default().push(*detection);
    }
    let (mut apart, mut unsure, mut alone) = (0.0f64, 0.0f64, 0);
    let at_border = |score: f64| score < limits.border + SCORE;
    for ((segment, &score), &label) in segments.chunks_exact(2).zip(&scores).zip(&labels) {
        let class = ours.entry(label as usize).or_default();
        let distance = |d: &Detection| (d.segment.start - segment[0]).abs().max((d.segment.end - segment[1]).abs());
        let near = |d: &Detection| distance(d) <= limits.tolerance && (d.score - score).abs() <= SCORE;
        let nearest = (0..class.len()).filter(|&at| near(&class[at])).min_by(|&a, &b| distance(&class[a]).total_cmp(&distance(&class[b])));
        match nearest {
            Some(at) => {
                let partner = class.swap_remove(at);
                apart = apart.max(distance(&partner));
                unsure = unsure.max((partner.score - score).abs());
            }
            None if !at_border(score) => alone += 1,
            None => {}
        }
    }
    alone += ours.values().flatten().filter(|d| !at_border(d.score)).count();
    f.note(&segments_key, apart, limits.tolerance, false);
    f.note(&scores_key, unsure, SCORE, false);
    // Labels decide who can be a partner: this counts detections that have none, on either side.
    f.note(&labels_key, alone as f64, (scores.len() / UNMATCHED) as f64, false);
    Ok(())
}
