//! Score voting: a kept segment becomes the weighted mean of all candidates that overlap it.

use crate::data::Segment;
use crate::eval::Detection;

/// Who votes and with what weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voting {
    /// Overlap from which a candidate votes. Not above 1, so that a segment always votes for itself.
    pub tiou: f32,
    /// Its weight.
    pub vote: Vote,
}

/// The weight of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Score × overlap (ActionFormer).
    ScoreTimesOverlap,
    /// Score (TriDet, OpenTAD).
    Score,
}

/// Moves the segments of `kept` to the weighted mean of `candidates`, in single precision.
///
/// A segment that nobody votes for stays as it is.
pub fn refine(kept: &mut [Detection], candidates: &[Detection], voting: Voting) {
    for detection in kept {
        let (mut weights, mut start, mut end) = (0.0_f32, 0.0_f32, 0.0_f32);
        for candidate in candidates {
            let overlap = overlap(detection.segment, candidate.segment);
            if overlap >= voting.tiou {
                let score = candidate.score as f32;
                let weight = match voting.vote {
                    Vote::ScoreTimesOverlap => score * overlap,
                    Vote::Score => score,
                };
                weights += weight;
                start += weight * candidate.segment.start as f32;
                end += weight * candidate.segment.end as f32;
            }
        }
        if weights > 0.0 {
            detection.segment = Segment { start: (start / weights).into(), end: (end / weights).into() };
        }
    }
}

/// tIoU in single precision, without the offset that suppression adds to lengths.
fn overlap(a: Segment, b: Segment) -> f32 {
    let [(a_start, a_end), (b_start, b_end)] = [a, b].map(|segment| (segment.start as f32, segment.end as f32));
    let common = (a_end.min(b_end) - a_start.max(b_start)).max(0.0);
    common / ((a_end - a_start) + (b_end - b_start) - common)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::nms::testing::Fixture;

    #[test]
    fn both_votes_give_the_published_means() {
        let fixture = Fixture::open("common/nms.safetensors");
        let detection = |row: &Vec<f64>, score| Detection { segment: Segment { start: row[0], end: row[1] }, label: 0, score };
        let scores = fixture.rows("voting/all_scores");
        let candidates: Vec<Detection> =
            fixture.rows("voting/all_segs").iter().zip(scores).map(|(row, score)| detection(row, score[0])).collect();
        let before: Vec<Detection> = fixture.rows("voting/nms_segs").iter().map(|row| detection(row, 1.0)).collect();
        for (vote, name) in [(Vote::ScoreTimesOverlap, "voting/out"), (Vote::Score, "voting_tridet/out")] {
            let mut kept = before.clone();
            refine(&mut kept, &candidates, Voting { tiou: 0.75, vote });
            for (kept, expected) in kept.iter().zip(fixture.rows(name)) {
                let deviation = (kept.segment.start - expected[0]).abs().max((kept.segment.end - expected[1]).abs());
                assert!(deviation < 1e-6 * expected[1].abs(), "{name}: {:?} for {expected:?}", kept.segment);
            }
        }
    }
}
