//! What a machine can do at most, and how far below that a computation stays.

use serde::{Deserialize, Serialize};

use super::compute::Compute;
use super::document::Peaks;
use super::metric::{Finding, Metric, Scope, Unit};

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
    /// Computations with the seconds each took (a median), below the peaks of the machine.
    pub fn new(peaks: Peaks, computations: &[(&Compute, Option<f64>)]) -> Self {
        let point = |&(compute, seconds): &(&Compute, Option<f64>)| {
            let seconds = seconds.filter(|s| *s > 0.0)?;
            let source = "FLOP by formula, bytes of weights and activations moved once";
            let intensity = Finding::Estimated { value: compute.intensity()?, source: source.into() };
            Some(Point {
                name: compute.what.clone(),
                intensity: Metric { unit: Unit::Ratio, scope: Scope::ProcessTree, finding: intensity },
                flops: Metric::derived(
                    compute.flop() as f64 / seconds,
                    Unit::FlopPerSecond,
                    Scope::ProcessTree,
                    "FLOP by formula, median time",
                ),
            })
        };
        let points = computations.iter().filter_map(point).collect();
        Self { peak_flops: peaks.flops, peak_bandwidth: peaks.bandwidth, points }
    }

    /// The most FLOP per second possible at an intensity; `None` when a peak is not known.
    pub fn roof(&self, intensity: f64) -> Option<f64> {
        Some(self.peak_flops.value()?.min(intensity * self.peak_bandwidth.value()?))
    }
}
