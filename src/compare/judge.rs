//! The verdict on repeated measurements: the growth from baseline to candidate with bounds, held against an ignore band and a
//! tolerated harm.

use statrs::distribution::{ContinuousCDF, Normal};

use super::document::{Change, Verdict};
use super::settings::Margins;
use crate::base::seed::Stream;
use crate::stats::{self, Shift, bootstrap, multiple};

/// Share of comparisons in which a growth of the detectable size is found.
const POWER: f64 = 0.8;
/// Efficiency of the signed-rank and rank-sum tests against that of the mean, under normal noise.
const EFFICIENCY: f64 = 0.955;
/// Medians of this many consecutive stretches stand for a long series: its neighbours are alike, so they count less than they are.
const STRETCHES: usize = 10;
/// The bootstrap interval is information only.
const RESAMPLES: usize = 1000;

/// Repeated measurements of one quantity on both sides, on the scale of logarithms.
pub(super) struct Sample {
    shift: Shift,
    samples: usize,
    /// Standard error of the estimate; `None` for a single value.
    error: Option<f64>,
    /// Differences of pairs; empty for unpaired samples.
    differences: Vec<f64>,
}

impl Sample {
    /// From the values of pairs; `None` without pairs or when a value is not positive.
    pub fn paired(baseline: &[f64], candidate: &[f64]) -> Option<Self> {
        let differences: Vec<f64> = baseline.iter().zip(candidate).map(|(b, c)| (c / b).ln()).collect();
        let shift = Shift::paired(&differences).filter(|_| differences.iter().all(|d| d.is_finite()))?;
        let error = stats::standard_deviation(&differences).map(|sd| sd / (EFFICIENCY * differences.len() as f64).sqrt());
        Some(Self { shift, samples: differences.len(), error, differences })
    }

    /// From two independent series; `None` when either is empty or a value is not positive.
    pub fn between(baseline: &[f64], candidate: &[f64]) -> Option<Self> {
        let [a, b] = [baseline, candidate].map(|values| stretches(values).into_iter().map(f64::ln).collect::<Vec<_>>());
        let shift = Shift::between(&a, &b).filter(|_| a.iter().chain(&b).all(|v| v.is_finite()))?;
        let share = |values: &[f64]| stats::standard_deviation(values).map(|sd| sd.powi(2) / values.len() as f64);
        let error = share(&a).zip(share(&b)).map(|(x, y)| ((x + y) / EFFICIENCY).sqrt());
        Some(Self { shift, samples: a.len().min(b.len()), error, differences: Vec::new() })
    }

    /// Probability of such data if the growth stayed within the ignore band.
    pub fn p(&self, margins: &Margins) -> f64 {
        self.shift.p_above(margins.ignore().ln_1p())
    }

    /// Says what the data allow. `alpha` is the level of a look, `own` this measure's share of it.
    pub fn judge(&self, margins: &Margins, alpha: f64, own: f64) -> (Verdict, Change) {
        let (ignore, harm) = (margins.ignore().ln_1p(), margins.harm().ln_1p());
        let (lower, upper) = (self.shift.bounds(own).lower, self.shift.bounds(alpha).upper);
        let verdict = if lower.is_some_and(|l| l > ignore) {
            Verdict::Regressed
        } else if upper.is_some_and(|u| u < -ignore) {
            Verdict::Improved
        } else if upper.is_some_and(|u| u < harm) {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        };
        let detectable = self.error.map(|error| (ignore + reach(alpha) * error).exp_m1());
        let mut stream = Stream::new(0, "compare/bootstrap");
        let bootstrap = bootstrap::median_interval(&self.differences, 0.95, RESAMPLES, &mut stream);
        let change = Change {
            samples: self.samples,
            estimate: self.shift.estimate().exp_m1(),
            lower: lower.map(f64::exp_m1),
            upper: upper.map(f64::exp_m1),
            p: self.p(margins),
            alpha: own,
            deviation: stats::standard_deviation(&self.differences),
            detectable,
            bootstrap: bootstrap.map(|i| stats::Interval { lower: i.lower.exp_m1(), upper: i.upper.exp_m1(), ..i }),
        };
        (verdict, change)
    }
}

/// Judges several measures together: the gated ones share the error probability.
pub(super) fn judge_all(samples: &[(Margins, &Sample)], alpha: f64) -> Vec<(Verdict, Change)> {
    let gated: Vec<f64> = samples.iter().filter(|(margins, _)| margins.gate).map(|(margins, sample)| sample.p(margins)).collect();
    let mut levels = multiple::holm(&gated, alpha).into_iter();
    let own = |margins: &Margins, levels: &mut std::vec::IntoIter<f64>| if margins.gate { levels.next().unwrap_or(alpha) } else { alpha };
    samples.iter().map(|(margins, sample)| sample.judge(margins, alpha, own(margins, &mut levels))).collect()
}

/// Pairs needed to find a growth of the tolerated harm with the power above, given the standard deviation of the differences.
pub(super) fn pairs_needed(deviation: f64, margins: &Margins, alpha: f64) -> f64 {
    let distance = margins.harm().ln_1p() - margins.ignore().ln_1p();
    ((reach(alpha) * deviation / distance).powi(2) / EFFICIENCY).ceil()
}

/// Standard errors between what is asked about and what is found with the power above.
fn reach(alpha: f64) -> f64 {
    let normal = Normal::new(0.0, 1.0).expect("0 and 1 are parameters of a normal distribution");
    normal.inverse_cdf(1.0 - alpha) + normal.inverse_cdf(POWER)
}

/// Medians of consecutive stretches of about equal length; a short series as it is.
fn stretches(values: &[f64]) -> Vec<f64> {
    let ends = |i: usize| i * values.len() / STRETCHES;
    if values.len() <= STRETCHES {
        return values.to_vec();
    }
    (0..STRETCHES).filter_map(|i| stats::median(&values[ends(i)..ends(i + 1)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGINS: Margins = Margins { gate: true, ignore_percent: 2.0, harm_percent: 5.0 };
    const ALPHA: f64 = 0.0221;

    fn verdict_of(ratios: &[f64]) -> Verdict {
        Sample::paired(&vec![1.0; ratios.len()], ratios).unwrap().judge(&MARGINS, ALPHA, ALPHA).0
    }

    #[test]
    fn both_margins_decide_the_verdict() {
        assert_eq!(verdict_of(&[1.08; 10]), Verdict::Regressed);
        assert_eq!(verdict_of(&[0.9; 10]), Verdict::Improved);
        assert_eq!(verdict_of(&[1.0; 10]), Verdict::Pass);
        // Inside the ignore band, and between the margins, nobody is blamed.
        assert_eq!(verdict_of(&[1.019; 10]), Verdict::Pass);
        assert_eq!(verdict_of(&[0.8, 1.25, 0.9, 1.3, 0.95, 1.2, 0.85, 1.1, 1.0, 1.15]), Verdict::Inconclusive);
        // Too few for the level: never a verdict.
        assert_eq!(verdict_of(&[1.5; 5]), Verdict::Inconclusive);
    }

    #[test]
    fn what_cannot_be_compared_as_a_ratio_is_no_sample() {
        assert!(Sample::paired(&[0.0, 1.0], &[1.0, 1.0]).is_none());
        assert!(Sample::paired(&[1.0], &[0.0]).is_none());
        assert!(Sample::between(&[], &[1.0]).is_none() && Sample::between(&[1.0], &[f64::NAN]).is_none());
    }

    #[test]
    fn the_detectable_growth_is_that_of_the_planning_formula() {
        // 20 pairs whose logarithms have a standard deviation of 0.016, as CPU time had: 2.9 % at 5 % error and one look.
        let mut ratios: Vec<f64> = (0..20).map(|i| if i % 2 == 0 { 0.016_f64 } else { -0.016 }).collect();
        let sd = stats::standard_deviation(&ratios).unwrap();
        ratios.iter_mut().for_each(|r| *r = (*r * 0.016 / sd).exp());
        let (_, change) = Sample::paired(&[1.0; 20], &ratios).unwrap().judge(&MARGINS, 0.05, 0.05);
        assert!((change.detectable.unwrap() - 0.029).abs() < 5e-4, "{change:?}");
        // Asked the other way round, that many pairs suffice for that growth.
        let margins = Margins { harm_percent: 100.0 * change.detectable.unwrap(), ..MARGINS };
        assert!((pairs_needed(0.016, &margins, 0.05) - 20.0).abs() <= 1.0);
    }

    #[test]
    fn a_drifting_series_counts_as_ten_values_at_most() {
        let series: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(stretches(&series)[..2], [50.5, 150.5]);
        assert_eq!(Sample::between(&series, &series).unwrap().samples, 10);
        assert_eq!(stretches(&[1.0, 2.0]), [1.0, 2.0]);
    }

    /// Pairs with the noise of a machine that others use: neighbours alike (lag-1 autocorrelation 0.8), now and then a spike.
    fn noisy_pairs(n: usize, growth: f64, deviation: f64, stream: &mut Stream) -> (Vec<f64>, Vec<f64>) {
        let mut level = deviation * stream.normal();
        let mut launch = |factor: f64| {
            level = 0.8 * level + 0.6 * deviation * stream.normal();
            let spike = if stream.uniform() < 0.03 { 1.5 } else { 1.0 };
            (level.exp() * spike * factor, stream.uniform() < 0.5)
        };
        let pair = |_| {
            let (first, swap) = launch(1.0);
            let second = launch(1.0).0;
            if swap { (second, first * (1.0 + growth)) } else { (first, second * (1.0 + growth)) }
        };
        (0..n).map(pair).unzip()
    }

    /// Share of each verdict of the whole sequential procedure over simulated comparisons.
    fn shares(growth: f64, deviation: f64) -> [f64; 3] {
        const RUNS: usize = 400;
        let mut stream = Stream::new(11, "compare/simulation");
        let mut counts = [0usize; 3];
        for _ in 0..RUNS {
            let (baseline, candidate) = noisy_pairs(40, growth, deviation, &mut stream);
            let verdicts = [10, 20, 40].map(|n| {
                let sample = Sample::paired(&baseline[..n], &candidate[..n]).unwrap();
                sample.judge(&MARGINS, ALPHA, ALPHA).0
            });
            match verdicts.into_iter().find(|v| *v != Verdict::Inconclusive) {
                Some(Verdict::Regressed) => counts[0] += 1,
                Some(_) => counts[1] += 1,
                None => counts[2] += 1,
            }
        }
        counts.map(|c| c as f64 / RUNS as f64)
    }

    #[test]
    fn three_looks_at_equal_programs_hardly_ever_blame_one() {
        for deviation in [0.02, 0.06, 0.15] {
            let [regressed, ..] = shares(0.0, deviation);
            assert!(regressed <= 0.02, "noise {deviation}: {regressed}");
        }
        // Even a growth that fills the ignore band is blamed within the error probability only.
        let [regressed, ..] = shares(0.02, 0.02);
        assert!(regressed <= 0.05, "{regressed}");
    }

    #[test]
    fn a_growth_of_a_tenth_is_found_and_one_of_the_tolerated_harm_hardly_ever_passes() {
        assert!(shares(0.10, 0.02)[0] >= 0.99);
        assert!(shares(0.10, 0.06)[0] >= 0.95);
        for deviation in [0.02, 0.06, 0.15] {
            let [_, passed, _] = shares(0.05, deviation);
            // 0.05 by design, and two standard errors of 400 runs.
            assert!(passed <= 0.07, "noise {deviation}: {passed}");
        }
    }

    #[test]
    fn gated_measures_share_the_error_probability() {
        let weak = Sample::paired(&[1.0; 10], &[1.021, 1.03, 1.04, 1.05, 1.06, 1.03, 1.04, 1.01, 1.012, 1.05]).unwrap();
        let p = weak.p(&MARGINS);
        assert!(p > ALPHA / 4.0 && p < ALPHA, "{p}");
        let calm = Sample::paired(&[1.0; 10], &[1.0; 10]).unwrap();
        let alone = judge_all(&[(MARGINS, &weak)], ALPHA);
        let among = judge_all(&[(MARGINS, &calm), (MARGINS, &weak), (MARGINS, &calm), (MARGINS, &calm)], ALPHA);
        let information = Margins { gate: false, ..MARGINS };
        let beside = judge_all(&[(information, &calm), (MARGINS, &weak), (information, &calm)], ALPHA);
        assert_eq!((alone[0].0, beside[1].0), (Verdict::Regressed, Verdict::Regressed));
        assert_ne!(among[1].0, Verdict::Regressed);
        assert_eq!(among[1].1.alpha, ALPHA / 4.0);
    }
}
