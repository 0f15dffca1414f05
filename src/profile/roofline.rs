//! What a machine can do at most, and how far below that a computation stays.

use serde::{Deserialize, Serialize};

use super::metric::Metric;

/// Peaks of a machine and the computations below them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Roofline {
    /// Largest floating-point rate (a matrix product), FLOP per second.
    pub peak_flops: Metric,
    /// Largest memory bandwidth (a triad), bytes per second.
    pub peak_bandwidth: Metric,
    /// Computations.
    pub points: Vec<Point>,
}

/// One computation on the roofline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// "training step", "detection".
    pub name: String,
    /// FLOP per byte.
    pub intensity: Metric,
    /// FLOP per second reached.
    pub flops: Metric,
}

impl Roofline {
    /// The most FLOP per second possible at an intensity; `None` when a peak is not known.
    pub fn roof(&self, intensity: f64) -> Option<f64> {
        Some(self.peak_flops.value()?.min(intensity * self.peak_bandwidth.value()?))
    }
}
