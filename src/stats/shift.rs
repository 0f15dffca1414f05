//! By how much one sample lies above another: the Hodges-Lehmann estimate with rank-based bounds, for pairs (signed-rank test of
//! Wilcoxon) and for two independent samples (rank-sum test of Mann and Whitney).
//!
//! Both work alike. From the values come contrasts: the means of two differences, or the differences of one value of each
//! sample. Their median is the estimate; a bound at error probability α is the contrast whose rank the null distribution of
//! the test's statistic gives. An outlier moves neither.

use std::cmp::Ordering;

use statrs::distribution::{ContinuousCDF, Normal};

/// Up to this many pairs the null distribution is exact; beyond it the normal approximation is as good.
const EXACT_PAIRS: usize = 25;
/// Likewise for the product of two sample sizes.
const EXACT_PRODUCT: usize = 400;

/// Bounds of a shift; `None` when the sample is too small to exclude anything at the level asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The shift lies below it with at most the probability asked for.
    pub lower: Option<f64>,
    /// The shift lies above it with at most the probability asked for.
    pub upper: Option<f64>,
}

/// A shift, ready for questions.
#[derive(Clone, Debug)]
pub struct Shift {
    /// Ascending.
    contrasts: Vec<f64>,
    null: Null,
}

impl Shift {
    /// The centre of the differences of pairs; `None` without any. Values that are no numbers must be left out before.
    pub fn paired(differences: &[f64]) -> Option<Self> {
        let n = differences.len();
        let averages = |(i, a): (usize, &f64)| differences[i..].iter().map(|b| (a + b) / 2.0).collect::<Vec<_>>();
        let contrasts = differences.iter().enumerate().flat_map(averages).collect();
        Self::new(contrasts, || if n <= EXACT_PAIRS { Null::signed_rank(n) } else { Null::signed_rank_approximately(n) })
    }

    /// What has to be added to values like `baseline` to get values like `candidate`; `None` when one sample is empty.
    pub fn between(baseline: &[f64], candidate: &[f64]) -> Option<Self> {
        let (m, n) = (baseline.len(), candidate.len());
        let contrasts = candidate.iter().flat_map(|c| baseline.iter().map(move |b| c - b)).collect();
        Self::new(contrasts, || if m * n <= EXACT_PRODUCT { Null::rank_sum(m, n) } else { Null::rank_sum_approximately(m, n) })
    }

    fn new(mut contrasts: Vec<f64>, null: impl FnOnce() -> Null) -> Option<Self> {
        contrasts.sort_unstable_by(f64::total_cmp);
        (!contrasts.is_empty()).then(|| Self { contrasts, null: null() })
    }

    /// The Hodges-Lehmann estimate.
    pub fn estimate(&self) -> f64 {
        let m = self.contrasts.len();
        (self.contrasts[(m - 1) / 2] + self.contrasts[m / 2]) / 2.0
    }

    /// Bounds of the shift that are wrong with probability `alpha` (0..0.5) each.
    pub fn bounds(&self, alpha: f64) -> Bounds {
        let k = self.null.quantile(alpha);
        let last = self.contrasts.len() - 1;
        Bounds { lower: k.map(|k| self.contrasts[k]), upper: k.map(|k| self.contrasts[last - k]) }
    }

    /// Probability of values this high if the shift were at most `margin`.
    pub fn p_above(&self, margin: f64) -> f64 {
        // A contrast equal to the margin does not speak for more.
        self.null.up_to(self.contrasts.partition_point(|c| c.total_cmp(&margin) != Ordering::Greater))
    }

    /// Probability of values this low if the shift were at least `margin`.
    pub fn p_below(&self, margin: f64) -> f64 {
        self.null.up_to(self.contrasts.len() - self.contrasts.partition_point(|c| c.total_cmp(&margin) == Ordering::Less))
    }
}

/// Distribution of the test's statistic W where there is no shift.
#[derive(Clone, Debug)]
enum Null {
    /// P(W ≤ k) by k.
    Exact(Vec<f64>),
    Normal(Normal),
}

impl Null {
    /// Each of n ranks adds itself or nothing, with even odds.
    fn signed_rank(n: usize) -> Self {
        let mut density = vec![0.0; n * (n + 1) / 2 + 1];
        density[0] = 1.0;
        for rank in 1..=n {
            for w in (0..density.len()).rev() {
                let with_rank = w.checked_sub(rank).map_or(0.0, |before| density[before]);
                density[w] = (density[w] + with_rank) / 2.0;
            }
        }
        Self::exact(density)
    }

    fn signed_rank_approximately(n: usize) -> Self {
        let n = n as f64;
        Self::normal(n * (n + 1.0) / 4.0, n * (n + 1.0) * (2.0 * n + 1.0) / 24.0)
    }

    /// How many pairs of one value of each sample are in order: the largest value of all belongs to the second sample with
    /// probability n / (m + n), and is then in order with all m of the first.
    fn rank_sum(m: usize, n: usize) -> Self {
        // `rows[j]` is the density for i values of the first sample and j of the second.
        let mut rows: Vec<Vec<f64>> = (0..=n).map(|_| vec![1.0]).collect();
        for i in 1..=m {
            rows[0] = vec![1.0];
            for j in 1..=n {
                let of_first = i as f64 / (i + j) as f64;
                let mut density = vec![0.0; i * j + 1];
                // `rows[j]` still holds i − 1 values of the first sample, `rows[j − 1]` already i.
                rows[j].iter().enumerate().for_each(|(w, p)| density[w] += of_first * p);
                rows[j - 1].iter().enumerate().for_each(|(w, p)| density[w + i] += (1.0 - of_first) * p);
                rows[j] = density;
            }
        }
        Self::exact(rows.pop().expect("there is a row for every size"))
    }

    fn rank_sum_approximately(m: usize, n: usize) -> Self {
        let (m, n) = (m as f64, n as f64);
        Self::normal(m * n / 2.0, m * n * (m + n + 1.0) / 12.0)
    }

    fn exact(density: Vec<f64>) -> Self {
        let cumulate = |sum: &mut f64, p: f64| {
            *sum += p;
            Some(*sum)
        };
        Self::Exact(density.into_iter().scan(0.0, cumulate).collect())
    }

    fn normal(mean: f64, variance: f64) -> Self {
        Self::Normal(Normal::new(mean, variance.sqrt()).expect("samples this large have a variance"))
    }

    /// The largest k with P(W ≤ k) ≤ alpha; `None` when even 0 is likelier.
    fn quantile(&self, alpha: f64) -> Option<usize> {
        match self {
            Self::Exact(cumulative) => cumulative.partition_point(|p| *p <= alpha).checked_sub(1),
            Self::Normal(normal) => Some((normal.inverse_cdf(alpha) - 0.5).floor()).filter(|k| *k >= 0.0).map(|k| k as usize),
        }
    }

    /// P(W ≤ k).
    fn up_to(&self, k: usize) -> f64 {
        match self {
            Self::Exact(cumulative) => cumulative.get(k).map_or(1.0, |p| p.min(1.0)),
            Self::Normal(normal) => normal.cdf(k as f64 + 0.5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::seed::Stream;

    #[test]
    fn signed_rank_quantiles_are_those_of_the_published_tables() {
        let five_percent = [(5, 0.05, Some(0)), (6, 0.05, Some(2)), (8, 0.05, Some(5)), (10, 0.05, Some(10)), (15, 0.05, Some(30))];
        let finer = [(6, 0.025, Some(0)), (10, 0.025, Some(8)), (20, 0.025, Some(52)), (20, 0.005, Some(37)), (25, 0.025, Some(89))];
        for (n, alpha, k) in five_percent.into_iter().chain(finer) {
            assert_eq!(Null::signed_rank(n).quantile(alpha), k, "n = {n}, alpha = {alpha}");
        }
        // Five pairs cannot speak at the level of three looks, six can.
        assert_eq!((Null::signed_rank(5).quantile(0.0221), Null::signed_rank(6).quantile(0.0221)), (None, Some(0)));
    }

    #[test]
    fn rank_sum_quantiles_are_those_of_the_published_tables() {
        // Critical values of U, one-sided.
        for (m, n, alpha, k) in
            [(5, 5, 0.05, 4), (5, 5, 0.025, 2), (8, 8, 0.025, 13), (10, 10, 0.025, 23), (7, 10, 0.025, 14), (20, 20, 0.025, 127)]
        {
            assert_eq!(Null::rank_sum(m, n).quantile(alpha), Some(k), "m = {m}, n = {n}, alpha = {alpha}");
        }
    }

    #[test]
    fn the_normal_approximations_continue_the_exact_distributions() {
        let pairs =
            [(Null::signed_rank(25), Null::signed_rank_approximately(25)), (Null::rank_sum(20, 20), Null::rank_sum_approximately(20, 20))];
        for (exact, normal) in pairs {
            for k in [60, 90, 120, 150, 190] {
                assert!((exact.up_to(k) - normal.up_to(k)).abs() < 0.005, "{k}: {} against {}", exact.up_to(k), normal.up_to(k));
            }
        }
        // Tabulated for n = 40: 264.
        assert!(Null::signed_rank_approximately(40).quantile(0.025).unwrap().abs_diff(264) <= 1);
    }

    #[test]
    fn estimates_and_bounds_of_small_samples_are_those_computed_by_hand() {
        // Means of two of 1, 2, 6: 1, 1.5, 2, 3.5, 4, 6.
        let pairs = Shift::paired(&[6.0, 1.0, 2.0]).unwrap();
        assert_eq!(pairs.contrasts, [1.0, 1.5, 2.0, 3.5, 4.0, 6.0]);
        assert_eq!(pairs.estimate(), 2.75);
        // P(W ≤ 0) = 1/8, P(W ≤ 1) = 2/8.
        assert_eq!(pairs.bounds(0.25), Bounds { lower: Some(1.5), upper: Some(4.0) });
        assert_eq!(pairs.bounds(0.05), Bounds { lower: None, upper: None });
        assert_eq!((pairs.p_above(0.0), pairs.p_above(1.0), pairs.p_below(7.0), pairs.p_above(10.0)), (0.125, 0.25, 0.125, 1.0));

        let samples = Shift::between(&[1.0, 2.0], &[4.0, 7.0]).unwrap();
        assert_eq!((samples.contrasts.as_slice(), samples.estimate()), ([2.0, 3.0, 5.0, 6.0].as_slice(), 4.0));
        // Two and two values have six orders.
        assert!((samples.p_above(0.0) - 1.0 / 6.0).abs() < 1e-12);
        assert!(Shift::paired(&[]).is_none() && Shift::between(&[], &[1.0]).is_none());
    }

    #[test]
    fn a_bound_beyond_a_margin_and_a_probability_below_the_level_are_one_statement() {
        let mut stream = Stream::new(7, "shift");
        for n in [6, 10, 20, 25, 26, 40] {
            for _ in 0..100 {
                let mut draw = |centre: f64| (0..n).map(|_| centre + 0.05 * stream.normal()).collect::<Vec<f64>>();
                for shift in [Shift::paired(&draw(0.03)).unwrap(), Shift::between(&draw(0.0), &draw(0.03)).unwrap()] {
                    let Bounds { lower, upper } = shift.bounds(0.0221);
                    assert_eq!(lower.unwrap() > 0.02, shift.p_above(0.02) <= 0.0221);
                    assert_eq!(upper.unwrap() < 0.04, shift.p_below(0.04) <= 0.0221);
                }
            }
        }
    }

    #[test]
    fn bounds_are_wrong_as_often_as_they_may_be() {
        let mut stream = Stream::new(8, "shift");
        let mut wrong = |n: usize| {
            let misses = (0..4000).filter(|_| {
                let differences: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
                Shift::paired(&differences).unwrap().bounds(0.05).lower.unwrap() > 0.0
            });
            misses.count() as f64 / 4000.0
        };
        for n in [10, 20, 40] {
            let share = wrong(n);
            assert!((0.03..=0.06).contains(&share), "{n}: {share}");
        }
    }

    #[test]
    fn an_outlier_moves_neither_the_estimate_nor_the_bounds_beyond_the_rest() {
        let mut values: Vec<f64> = (0..20).map(|i| 0.001 * f64::from(i)).collect();
        values[19] = 50.0;
        let shift = Shift::paired(&values).unwrap();
        assert!(shift.estimate() < 0.012 && shift.bounds(0.0221).upper.unwrap() < 0.019);
    }
}
