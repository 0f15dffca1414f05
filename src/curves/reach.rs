//! The videos that a score needs.

use serde::Serialize;

use super::Curve;
use crate::stats::quantile;

/// The training videos that a score needs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reach {
    /// The score asked for.
    pub score: f64,
    /// Median of the videos needed; `None` when it is more likely than not that no amount within the horizon suffices.
    pub n_median: Option<f64>,
    /// Lower end; `None` as above.
    pub n_lower: Option<f64>,
    /// Upper end; `None` when it is unbounded, which is common.
    pub n_upper: Option<f64>,
    /// Probability of the interval.
    pub level: f64,
    /// Probability that at most `horizon` videos suffice.
    pub probability_reachable: f64,
    /// The largest number of videos considered.
    pub horizon: f64,
    /// Whether the mean score at an observed size is that good already.
    pub reached: bool,
}

impl Reach {
    /// The median in words: a number of videos, "already reached" or "not reachable".
    pub fn needed(&self) -> String {
        match self.n_median {
            _ if self.reached => "already reached".to_owned(),
            Some(n) => videos(n),
            None => "not reachable".to_owned(),
        }
    }

    /// The interval in words, its upper end "open" where no amount within the horizon is sure enough; `None` when there is
    /// not even a lower end, or the score is already reached.
    pub fn range(&self) -> Option<String> {
        let lower = self.n_lower.filter(|_| !self.reached)?;
        Some(format!("{} – {}", videos(lower), self.n_upper.map_or_else(|| "open".to_owned(), videos)))
    }
}

fn videos(n: f64) -> String {
    if n >= 10.0 { format!("{n:.0}") } else { format!("{n:.1}") }
}

/// When equally probable curves first reach a score.
pub struct Requirement {
    /// Videos needed, ascending; infinite for curves that do not get there within the horizon.
    needed: Vec<f64>,
}

/// Searched up to this multiple of the largest size.
pub const HORIZON: f64 = 100.0;
/// Points of the search per unit of ln n.
const DENSITY: f64 = 8.0;
const PATHS: usize = 1000;

impl Curve {
    /// The videos from which on the expected score is `score` or better, answered by the fitted curve also where the score was
    /// measured already.
    pub fn reach(&self, score: f64) -> Reach {
        let requirement = self.requirement(score);
        let tail = (1.0 - self.level) / 2.0;
        let better = |mean: f64| self.observed.scale.inward(mean) >= self.observed.scale.inward(score);
        Reach {
            score,
            n_median: requirement.quantile(0.5),
            n_lower: requirement.quantile(tail),
            n_upper: requirement.quantile(1.0 - tail),
            level: self.level,
            probability_reachable: requirement.probability(f64::MAX),
            horizon: self.largest() * HORIZON,
            reached: self.sizes().iter().any(|s| better(s.mean)),
        }
    }

    /// The distribution of the videos that `score` needs.
    pub fn requirement(&self, score: f64) -> Requirement {
        // The largest size is one of them.
        let below = ((self.largest() / self.observed.sizes[0].n).ln() * DENSITY).ceil() as i32;
        let beyond = (HORIZON.ln() * DENSITY).ceil() as i32;
        let at: Vec<f64> = (-below..=beyond).map(|i| self.largest() * (f64::from(i) / DENSITY).exp()).collect();
        let target = self.observed.scale.inward(score);
        let inward = |path: Vec<f64>| path.into_iter().map(|s| self.observed.scale.inward(s)).collect::<Vec<f64>>();
        let of = |path| crossing(&at, &inward(path), self.largest(), target);
        let mut needed: Vec<f64> = self.paths(PATHS, &at).into_iter().map(of).collect();
        needed.sort_by(f64::total_cmp);
        Requirement { needed }
    }
}

impl Requirement {
    /// Probability that `n` videos suffice.
    pub fn probability(&self, n: f64) -> f64 {
        self.needed.partition_point(|&needed| needed <= n) as f64 / self.needed.len() as f64
    }

    /// The videos that suffice with probability `q`; `None` where no amount within the horizon does.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.needed, q).filter(|n| n.is_finite())
    }
}

/// Where `scores` at the sizes `at` reach `target`, on a line in ln n: of the size `largest`, the first size beyond where they
/// do, or, where it has reached the target already, the size since when it has. What lies further back is past: a curve that
/// was there once and fell has not reached it. Infinite where they do not.
fn crossing(at: &[f64], scores: &[f64], largest: f64, target: f64) -> f64 {
    let now = at.partition_point(|&n| n <= largest * (1.0 + 1e-9)).max(1) - 1;
    let first = if scores[now] >= target {
        scores[..now].iter().rposition(|&s| s < target).map_or(0, |below| below + 1)
    } else {
        match scores[now..].iter().position(|&s| s >= target) {
            Some(beyond) => now + beyond,
            None => return f64::INFINITY,
        }
    };
    let Some(before) = first.checked_sub(1) else { return at[0] };
    let (low, high) = (scores[before], scores[first]);
    at[before] * ((at[first] / at[before]).ln() * (target - low) / (high - low)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_words_where_there_is_no_number() {
        let reach = Reach {
            score: 0.6,
            n_median: Some(120.0),
            n_lower: Some(8.04),
            n_upper: None,
            level: 0.9,
            probability_reachable: 0.8,
            horizon: 4000.0,
            reached: false,
        };
        assert_eq!((reach.needed(), reach.range().unwrap()), ("120".to_owned(), "8.0 – open".to_owned()));
        let never = Reach { n_median: None, n_lower: None, ..reach };
        assert_eq!((never.needed(), never.range()), ("not reachable".to_owned(), None));
        let done = Reach { reached: true, ..reach };
        assert_eq!((done.needed(), done.range()), ("already reached".to_owned(), None));
    }

    #[test]
    fn a_crossing_lies_on_the_line_between_two_sizes() {
        let at = [10.0, 20.0, 40.0];
        assert!((crossing(&at, &[0.1, 0.2, 0.4], 10.0, 0.3) - 800f64.sqrt()).abs() < 1e-9);
        assert!((crossing(&at, &[0.1, 0.2, 0.4], 40.0, 0.3) - 800f64.sqrt()).abs() < 1e-9);
        assert_eq!(crossing(&at, &[0.5, 0.6, 0.7], 40.0, 0.3), 10.0);
        assert_eq!(crossing(&at, &[0.1, 0.2, 0.25], 20.0, 0.3), f64::INFINITY);
    }

    #[test]
    fn what_was_reached_once_and_lost_is_not_reached() {
        assert_eq!(crossing(&[10.0, 20.0, 40.0], &[0.5, 0.2, 0.2], 20.0, 0.3), f64::INFINITY);
        assert!(crossing(&[10.0, 20.0, 40.0], &[0.5, 0.2, 0.4], 20.0, 0.3) > 20.0);
    }
}
