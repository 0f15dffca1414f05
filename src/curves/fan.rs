//! The expected score along the sizes, as a figure shows it.

use rayon::prelude::*;
use serde::Serialize;

use super::{Curve, Forecast};
use crate::stats::Interval;

/// The expected score at one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FanPoint {
    /// Median, mean and interval at the level of the fit.
    #[serde(flatten)]
    pub expected: Forecast,
    /// The interval that holds the expected score with probability one half.
    pub half: Interval,
}

/// Points of a fan.
const POINTS: usize = 72;

impl Curve {
    /// The expected score from the smallest observed size to `last` videos (at least to the largest observed size), on
    /// sizes spaced evenly in ln n, with the largest observed size among them.
    pub fn fan(&self, last: f64) -> Vec<FanPoint> {
        let (first, largest) = (self.observed.sizes[0].n, self.largest());
        let last = last.max(largest);
        let mut sizes: Vec<f64> = (0..=POINTS).map(|i| first * (last / first).powf(i as f64 / POINTS as f64)).collect();
        sizes.push(largest);
        sizes.sort_by(f64::total_cmp);
        let point = |n: f64| {
            let errors = self.errors(n);
            let half = self.outward(&errors, &[0.25, 0.75]);
            FanPoint { expected: self.summarise(n, &errors), half: Interval { level: 0.5, lower: half[0], upper: half[1] } }
        };
        sizes.into_par_iter().map(point).collect()
    }
}
