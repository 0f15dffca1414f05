//! ETAD's Gaussian soft-NMS (BMN's, with its ending).

use crate::data::Segment;
use crate::eval::Detection;

/// Repeatedly takes the surest candidate and multiplies the score of those that overlap it by exp(−tIoU² / `sigma`).
///
/// Stops with `keep` taken **or when a single candidate is left: that one is never returned** (5 candidates give 4, two
/// give one), as in the official code, which also returns fewer than two candidates untouched. Labels are not looked at.
/// The first of equally sure candidates is taken. Source: ETAD, post-processing of a video.
pub fn soft_nms(candidates: &[Detection], sigma: f64, keep: usize) -> Vec<Detection> {
    if candidates.len() <= 1 {
        return candidates.to_vec();
    }
    let mut left = candidates.to_vec();
    let mut kept = Vec::with_capacity(keep.min(left.len()));
    while left.len() > 1 && kept.len() < keep {
        let best = surest(&left);
        // Removal keeps the order, which decides between equal scores later on.
        let taken = left.remove(best);
        for other in &mut left {
            let overlap = signed_tiou(taken.segment, other.segment);
            if overlap > 0.0 {
                other.score *= (-overlap * overlap / sigma).exp();
            }
        }
        kept.push(taken);
    }
    kept
}

/// Position of the first largest score.
fn surest(candidates: &[Detection]) -> usize {
    let mut best = 0;
    for (at, candidate) in candidates.iter().enumerate() {
        if candidate.score > candidates[best].score {
            best = at;
        }
    }
    best
}

/// tIoU without a floor on the intersection, as published: disjoint segments are negative. It differs from the clamped one
/// only for inverted segments, which an unlucky regression yields.
fn signed_tiou(a: Segment, b: Segment) -> f64 {
    let intersection = a.end.min(b.end) - a.start.max(b.start);
    intersection / (a.length() + b.length() - intersection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::nms::testing::Fixture;

    #[test]
    fn results_equal_the_official_code_and_its_last_candidate_is_lost() {
        let fixture = Fixture::open("etad/postprocess.safetensors");
        for set in ["n2", "n5", "n150", "n300"] {
            let input = fixture.rows(&format!("nms.{set}.in"));
            let candidates: Vec<Detection> =
                input.iter().map(|row| Detection { segment: Segment { start: row[0], end: row[1] }, label: 0, score: row[2] }).collect();
            for sigma in [0.3, 0.35] {
                let expected = fixture.rows(&format!("nms.{set}.out_sigma{sigma}"));
                let kept = soft_nms(&candidates, sigma, 100);
                assert_eq!(kept.len(), expected.len(), "{set}");
                for (kept, expected) in kept.iter().zip(expected) {
                    let row = [kept.segment.start, kept.segment.end, kept.score];
                    let deviation = row.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(deviation < 1e-12, "{set} sigma {sigma}: {row:?} for {expected:?}");
                }
            }
        }
    }

    #[test]
    fn a_lone_candidate_is_returned_untouched() {
        let lone = Detection { segment: Segment { start: 0.0, end: 1.0 }, label: 3, score: 0.5 };
        assert_eq!(soft_nms(&[lone], 0.35, 100), [lone]);
        assert_eq!(soft_nms(&[], 0.35, 100), []);
    }
}
