//! Logistic in ln n: the classic S-curve with a free floor.

use crate::curves::family::{geometric, linear, pairs};
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct Logistic;

/// Videos at half of the rise.
pub(super) const HALF: Parameter = Parameter::size("half", "videos at half of the rise");
/// How steep.
pub(super) const SLOPE: Parameter = Parameter::positive("slope", "steepness in ln n");

impl CurveFamily for Logistic {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise / (1 + (n/half)^slope)"
    }

    fn source(&self) -> &'static str {
        "mmf4 of LCDB (Mohr et al., ECML 2022); M4 of Alabdulmohsin et al. (NeurIPS 2022) with exponent 1"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const { &[HALF, SLOPE] }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        1.0 / (1.0 + (shape[1] * (ln_n - shape[0])).exp())
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        sigmoids()
    }

    fn inflection(&self, shape: &Shape) -> Option<f64> {
        let slope = shape[1];
        (slope > 1.0).then(|| (shape[0] + ((slope - 1.0) / (slope + 1.0)).ln() / slope).exp())
    }
}

/// Centres from far below to far beyond the data, slopes from a creep to a step.
pub(super) fn sigmoids() -> Vec<Shape> {
    pairs(linear(-8.0, 4.0, 21), geometric(0.18, 4.0, 12))
}
