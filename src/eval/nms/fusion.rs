//! TadTR's fusion of windows: suppression where neighbouring windows overlap, and only there.

use super::{per_class, sort_by_score};
use crate::data::Segment;
use crate::eval::Detection;

/// Fuses the detections of a video's windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fusion {
    /// Within a common stretch and a class, candidates that overlap a surer one by more than this go.
    pub tiou: f64,
}

impl Fusion {
    /// What is left of `found`, the detections of all windows of a video, in descending order of score; `common` are the
    /// stretches that neighbouring windows have in common.
    ///
    /// As published, a detection that touches two stretches is judged in either, and comes out twice when it survives both.
    pub fn apply(self, found: &[Detection], common: &[Segment]) -> Vec<Detection> {
        let touches = |d: &Detection, s: &Segment| d.segment.start < s.end && s.start < d.segment.end;
        let mut kept: Vec<Detection> = found.iter().filter(|d| !common.iter().any(|s| touches(d, s))).copied().collect();
        for stretch in common {
            let inside: Vec<Detection> = found.iter().filter(|d| touches(d, stretch)).copied().collect();
            kept.extend(per_class(&inside, |class| hard_nms(class, self.tiou)));
        }
        sort_by_score(&mut kept);
        kept
    }
}

/// Takes the surest, drops what overlaps it by more than `tiou`, and so on; in double precision. Labels are not looked at.
pub fn hard_nms(candidates: &[Detection], tiou: f64) -> Vec<Detection> {
    let mut left = candidates.to_vec();
    sort_by_score(&mut left);
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in left {
        if kept.iter().all(|surer| overlap(surer.segment, candidate.segment) <= tiou) {
            kept.push(candidate);
        }
    }
    kept
}

fn overlap(a: Segment, b: Segment) -> f64 {
    let common = (a.end.min(b.end) - a.start.max(b.start)).max(0.0);
    common / (a.length() + b.length() - common)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(start: f64, end: f64, label: usize, score: f64) -> Detection {
        Detection { segment: Segment { start, end }, label, score }
    }

    #[test]
    fn only_common_stretches_are_suppressed_and_a_survivor_of_two_comes_out_twice() {
        let found = [
            detection(0.0, 2.0, 0, 0.9),
            detection(0.0, 2.0, 0, 0.8),  // outside of both stretches: stays
            detection(5.0, 15.0, 0, 0.7), // in both
            detection(5.0, 7.0, 0, 0.6),  // in the first, overlaps little
            detection(5.5, 6.8, 0, 0.5),  // goes
            detection(5.5, 6.8, 1, 0.4),  // of another class
        ];
        let common = [Segment { start: 4.0, end: 8.0 }, Segment { start: 12.0, end: 16.0 }];
        let scores: Vec<f64> = Fusion { tiou: 0.4 }.apply(&found, &common).iter().map(|d| d.score).collect();
        assert_eq!(scores, [0.9, 0.8, 0.7, 0.7, 0.6, 0.4]);
    }
}
