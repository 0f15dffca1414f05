//! Would this method have foretold the sizes already measured? Fit without the largest ones, predict them, compare.

use rayon::prelude::*;
use serde::Serialize;

use super::observation::Observed;
use super::{Curve, Error, Observation, Options};
use crate::stats::{Interval, mean, quantile};

/// A size that was held back and predicted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Largest size the fit saw.
    pub fitted_to: f64,
    /// The size predicted.
    pub n: f64,
    /// Predicted median.
    pub predicted: f64,
    /// Where the measurement should lie.
    #[serde(flatten)]
    pub interval: Interval,
    /// Measured mean score.
    pub observed: f64,
}

impl Prediction {
    /// Predicted minus observed.
    pub fn error(&self) -> f64 {
        self.predicted - self.observed
    }

    /// Whether the interval held the measurement.
    pub fn covered(&self) -> bool {
        self.interval.contains(self.observed)
    }

    /// How far beyond the data the prediction was, as a ratio of sizes.
    pub fn factor(&self) -> f64 {
        self.n / self.fitted_to
    }
}

/// All predictions of held-back sizes. They share data, so their number overstates what they prove.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Backtest {
    /// By sizes fitted, then by size predicted.
    pub predictions: Vec<Prediction>,
    /// Median of the absolute errors.
    pub median_error: f64,
    /// Mean of the absolute errors.
    pub mean_error: f64,
    /// Share of the measurements inside their interval.
    pub coverage: f64,
    /// Largest ratio of a predicted size to the largest one fitted.
    pub tested_factor: f64,
}

/// Sizes a fit must keep for its prediction to count.
const FEWEST: usize = 3;

/// Fits at most: where there are more sizes, every second, third … from the last is tried.
const CUTS: usize = 8;

/// Predicts every size from sets of at least three smaller ones. `None` with fewer than four sizes.
///
/// # Errors
/// As [`Curve::fit`].
pub fn backtest(observations: &[Observation], options: &Options) -> Result<Option<Backtest>, Error> {
    let observed = Observed::new(observations, options)?;
    let n: Vec<f64> = observed.sizes.iter().map(|s| s.n).collect();
    let candidates = &n[(FEWEST - 1).min(n.len() - 1)..n.len() - 1];
    let mut cuts: Vec<f64> = candidates.iter().rev().step_by(candidates.len().div_ceil(CUTS).max(1)).copied().collect();
    cuts.reverse();
    let of_cut = |&cut: &f64| {
        let seen: Vec<Observation> = observations.iter().filter(|o| o.n <= cut).copied().collect();
        let curve = Curve::fit(&seen, options)?;
        let held_back = observed.sizes.iter().filter(|s| s.n > cut);
        Ok(held_back
            .map(|size| {
                let forecast = curve.forecast(size.n);
                let observed = observed.scale.outward(size.mean);
                Prediction { fitted_to: cut, n: size.n, predicted: forecast.median, interval: forecast.interval, observed }
            })
            .collect())
    };
    let by_cut: Vec<Vec<Prediction>> = cuts.par_iter().map(of_cut).collect::<Result<_, Error>>()?;
    Ok(Backtest::of(by_cut.concat()))
}

impl Backtest {
    fn of(predictions: Vec<Prediction>) -> Option<Self> {
        let mut errors: Vec<f64> = predictions.iter().map(|p| p.error().abs()).collect();
        errors.sort_by(f64::total_cmp);
        let covered = predictions.iter().filter(|p| p.covered()).count() as f64;
        Some(Self {
            median_error: quantile(&errors, 0.5)?,
            mean_error: mean(&errors)?,
            coverage: covered / predictions.len() as f64,
            tested_factor: predictions.iter().map(Prediction::factor).fold(1.0, f64::max),
            predictions,
        })
    }
}
