//! What more data is worth, against what was measured today.
//!
//! Money is decided on an improvement, so it must add up with the two numbers it stands beside: measured score + improvement =
//! forecast. The curve passes the measured score only within noise, and where the gap is larger, part of the difference is
//! misfit rather than data. Therefore no verdict rests on one of the two alone: the curve's own rise from the largest size has to
//! agree.

use serde::Serialize;

use super::observation::Observed;
use super::{Curve, Warning};
use crate::stats::Interval;

/// What more data is worth. Improvements are positive whichever way is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gain {
    /// Multiple of the largest observed size.
    pub times: f64,
    /// Training videos.
    pub n: f64,
    /// Mean score measured at the largest observed size.
    pub today: f64,
    /// Standard error of that mean.
    pub today_error: f64,
    /// Median of the forecast less what was measured today.
    pub median: f64,
    /// Interval of the forecast less what was measured today.
    #[serde(flatten)]
    pub interval: Interval,
    /// An improvement that matters.
    pub worthwhile: f64,
    /// Probability that the expected score is better than the measured one by at least that.
    pub probability: f64,
    /// Probability that the curve itself rises by at least that from the largest observed size on.
    pub probability_of_rise: f64,
}

/// Whether more data still helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Saturation {
    /// Doubling the data almost surely brings a worthwhile improvement.
    Rising,
    /// The curve does not decide.
    Undecided,
    /// Doubling the data almost surely brings none.
    Saturated,
    /// No size scores better than next to nothing: the model does not learn.
    Floor,
}

/// Sureness from which a verdict is given.
const SURE: f64 = 0.9;
/// A gap between fit and measurement of so many standard errors is told.
const WIDE: f64 = 2.0;

impl Gain {
    /// Whether so much data still brings a worthwhile improvement, both over the measurement and along the curve.
    pub fn saturation(&self) -> Saturation {
        let both = [self.probability, self.probability_of_rise];
        if both.iter().all(|p| *p >= SURE) {
            Saturation::Rising
        } else if both.iter().all(|p| *p <= 1.0 - SURE) {
            Saturation::Saturated
        } else {
            Saturation::Undecided
        }
    }
}

impl Curve {
    /// What `times` the largest observed size is worth.
    pub fn gain(&self, times: f64) -> Gain {
        let (n, scale) = (times * self.largest(), &self.observed.scale);
        let (today, error) = today(&self.observed);
        let forecast = self.forecast(n);
        let rising = scale.outward(1.0) > scale.outward(0.0);
        let over = |score: f64| if rising { score - scale.outward(today) } else { scale.outward(today) - score };
        let ends = [over(forecast.interval.lower), over(forecast.interval.upper)];
        let worthwhile = self.worthwhile / scale.length(1.0);
        Gain {
            times,
            n,
            today: scale.outward(today),
            today_error: scale.length(error),
            median: over(forecast.median),
            interval: Interval { level: self.level, lower: ends[0].min(ends[1]), upper: ends[0].max(ends[1]) },
            worthwhile: self.worthwhile,
            probability: self.errors(n).cdf(1.0 - today - worthwhile),
            probability_of_rise: 1.0 - self.posterior.gain(times.ln()).cdf(worthwhile),
        }
    }

    /// Whether more data still helps, given what it is worth.
    pub fn saturation(&self, gain: &Gain) -> Saturation {
        if self.observed.floor().is_some() { Saturation::Floor } else { gain.saturation() }
    }

    /// A fit that does not pass what was measured last.
    pub(super) fn gap(&self) -> Option<Warning> {
        let (today, error) = today(&self.observed);
        let scale = &self.observed.scale;
        let fitted = self.expected(self.largest()).median;
        let gap = (scale.inward(fitted) - today).abs();
        let told = gap > (WIDE * error).max(self.worthwhile / scale.length(1.0));
        told.then(|| Warning::Gap { n: self.largest(), fitted, measured: scale.outward(today) })
    }
}

/// Mean of the rising score at the largest size, and its standard error.
fn today(observed: &Observed) -> (f64, f64) {
    let variances = observed.variances(observed.typical_spare());
    (observed.sizes[observed.sizes.len() - 1].mean, variances[variances.len() - 1].sqrt())
}
