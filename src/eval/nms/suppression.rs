//! The suppression that ActionFormer, TriDet and OpenTAD share, to the last bit of its single-precision arithmetic.

use super::voting::{self, Voting};
use super::{per_class, sort_by_score};
use crate::data::Segment;
use crate::eval::Detection;

/// Added to every length, so that two empty segments have a union.
const EPSILON: f32 = 1e-6;

/// What happens to a candidate that overlaps a surer one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// It goes when the overlap reaches `tiou`; scores at or below `min_score` never enter.
    Hard {
        /// Threshold.
        tiou: f32,
    },
    /// Its score is multiplied by 1 − overlap when that reaches `tiou`, and it goes below `min_score`.
    Linear {
        /// Threshold.
        tiou: f32,
    },
    /// Its score is multiplied by exp(−overlap² / `sigma`), and it goes below `min_score`.
    Gaussian {
        /// Width.
        sigma: f32,
    },
}

/// A suppression and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Suppression {
    /// What happens to overlapping candidates.
    pub method: Method,
    /// Each class on its own, or all candidates together.
    pub class_wise: bool,
    /// Candidates below it are dropped.
    pub min_score: f32,
    /// Most detections returned (also per class, before the classes are merged).
    pub keep: usize,
    /// Refinement of boundaries by the suppressed; only without `class_wise`.
    pub voting: Option<Voting>,
}

impl Suppression {
    /// Suppresses the candidates of one video; the result is in descending order of score.
    ///
    /// Boundaries and scores are rounded to single precision.
    pub fn apply(&self, candidates: &[Detection]) -> Vec<Detection> {
        let mut kept = if self.class_wise {
            per_class(candidates, |class| self.suppress(class))
        } else {
            let mut kept = self.suppress(candidates);
            if let Some(voting) = self.voting {
                voting::refine(&mut kept, candidates, voting);
            }
            sort_by_score(&mut kept);
            kept
        };
        kept.truncate(self.keep);
        kept
    }

    fn suppress(&self, candidates: &[Detection]) -> Vec<Detection> {
        let spans: Vec<Span> = candidates.iter().enumerate().map(|(at, detection)| Span::of(at, detection)).collect();
        let survivors = match self.method {
            Method::Hard { tiou } => hard(spans, tiou, self.min_score),
            Method::Linear { tiou } => soft(spans, self.min_score, |overlap| if overlap >= tiou { 1.0 - overlap } else { 1.0 }),
            Method::Gaussian { sigma } => soft(spans, self.min_score, |overlap| (-(overlap * overlap) / sigma).exp()),
        };
        survivors.iter().take(self.keep).map(|span| span.detection(candidates[span.at].label)).collect()
    }
}

/// A candidate in single precision.
#[derive(Clone, Copy)]
struct Span {
    /// Position among the candidates.
    at: usize,
    start: f32,
    end: f32,
    score: f32,
}

impl Span {
    fn of(at: usize, detection: &Detection) -> Self {
        Self { at, start: detection.segment.start as f32, end: detection.segment.end as f32, score: detection.score as f32 }
    }

    fn detection(&self, label: usize) -> Detection {
        Detection { segment: Segment { start: self.start.into(), end: self.end.into() }, label, score: self.score.into() }
    }

    fn length(&self) -> f32 {
        self.end - self.start + EPSILON
    }

    fn overlap(&self, other: &Self) -> f32 {
        let common = (self.end.min(other.end) - self.start.max(other.start)).max(0.0);
        common / (self.length() + other.length() - common)
    }
}

/// Takes the surest, drops what overlaps it by at least `tiou`, and so on.
fn hard(mut spans: Vec<Span>, tiou: f32, min_score: f32) -> Vec<Span> {
    if min_score > 0.0 {
        spans.retain(|span| span.score > min_score);
    }
    spans.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Span> = Vec::new();
    for span in spans {
        if kept.iter().all(|surer| surer.overlap(&span) < tiou) {
            kept.push(span);
        }
    }
    kept
}

/// Takes the surest, weighs the score of every other one by its overlap, drops what falls below `min_score`, and so on.
///
/// The order of equal scores follows from sorting in place: the surest changes places with the first, and a dropped
/// candidate's place goes to the last one.
fn soft(mut spans: Vec<Span>, min_score: f32, weight: impl Fn(f32) -> f32) -> Vec<Span> {
    let mut taken = 0;
    while taken < spans.len() {
        let mut surest = taken;
        for at in taken + 1..spans.len() {
            if spans[at].score > spans[surest].score {
                surest = at;
            }
        }
        spans.swap(taken, surest);
        let best = spans[taken];
        taken += 1;
        let mut at = taken;
        while at < spans.len() {
            spans[at].score *= weight(best.overlap(&spans[at]));
            if spans[at].score < min_score {
                spans.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::nms::Vote;
    use crate::eval::nms::testing::Fixture;

    fn spans(fixture: &Fixture, case: &str) -> Vec<Span> {
        fixture.detections(case).iter().enumerate().map(|(at, detection)| Span::of(at, detection)).collect()
    }

    fn positions(spans: &[Span]) -> Vec<usize> {
        spans.iter().map(|span| span.at).collect()
    }

    #[test]
    fn soft_suppression_keeps_the_published_candidates_in_their_order() {
        let fixture = Fixture::open("common/nms.safetensors");
        type Weight = fn(f32) -> f32;
        let cases: [(&str, f32, Weight); 6] = [
            ("softnms.0", 0.001, |overlap| (-(overlap * overlap) / 0.5).exp()),
            ("softnms.1", 0.001, |overlap| (-(overlap * overlap) / 0.75).exp()),
            ("softnms.2", 0.05, |overlap| (-(overlap * overlap) / 0.5).exp()),
            ("softnms.3", 0.001, |overlap| if overlap >= 0.3 { 1.0 - overlap } else { 1.0 }),
            ("softnms.4", 0.001, |overlap| if overlap >= 0.3 { 0.0 } else { 1.0 }),
            ("softnms.5", 0.001, |overlap| (-(overlap * overlap) / 0.5).exp()),
        ];
        for (case, min_score, weight) in cases {
            let kept = soft(spans(&fixture, case), min_score, weight);
            assert_eq!(positions(&kept), fixture.indices(&format!("{case}/out_inds")), "{case}");
            for (span, expected) in kept.iter().zip(fixture.rows(&format!("{case}/out_dets"))) {
                let row = [span.start, span.end, span.score].map(f64::from);
                assert!(row.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs()), "{case}: {row:?} for {expected:?}");
            }
        }
    }

    #[test]
    fn hard_suppression_keeps_the_published_candidates() {
        let fixture = Fixture::open("common/nms.safetensors");
        for (case, tiou) in [("nms.0", 0.1), ("nms.1", 0.5), ("nms.2", 0.9)] {
            let kept = hard(spans(&fixture, case), tiou, 0.0);
            assert_eq!(positions(&kept), fixture.indices(&format!("{case}/out_inds")), "{case}");
        }
    }

    #[test]
    fn whole_videos_come_out_as_published() {
        let fixture = Fixture::open("common/nms.safetensors");
        let gaussian = |sigma, class_wise, keep, voting: Option<f32>| Suppression {
            method: Method::Gaussian { sigma },
            class_wise,
            min_score: 0.001,
            keep,
            voting: voting.map(|tiou| Voting { tiou, vote: Vote::ScoreTimesOverlap }),
        };
        let cases = [
            ("batched.0", gaussian(0.5, true, 200, None)),
            ("batched.1", gaussian(0.5, true, 2000, None)),
            ("batched.2", gaussian(0.75, false, 100, Some(0.9))),
            ("batched.3", Suppression { method: Method::Hard { tiou: 0.5 }, class_wise: true, min_score: 0.001, keep: 100, voting: None }),
            ("batched.4", gaussian(0.5, false, 50, Some(0.75))),
        ];
        for (case, suppression) in cases {
            let kept = suppression.apply(&fixture.detections(case));
            assert_eq!(kept.iter().map(|d| d.label).collect::<Vec<_>>(), fixture.indices(&format!("{case}/out_labels")), "{case}");
            let segments = fixture.rows(&format!("{case}/out_segs"));
            let scores = fixture.rows(&format!("{case}/out_scores"));
            for ((kept, segment), score) in kept.iter().zip(segments).zip(scores) {
                let row = [kept.segment.start, kept.segment.end, kept.score];
                let expected = [segment[0], segment[1], score[0]];
                let close = row.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0));
                assert!(close, "{case}: {row:?} for {expected:?}");
            }
        }
    }
}
