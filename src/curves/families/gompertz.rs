//! Gompertz in ln n: an S-curve whose late part is longer than its early part.

use super::logistic::{SLOPE, sigmoids};
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct Gompertz;

impl CurveFamily for Gompertz {
    fn name(&self) -> &'static str {
        "gompertz"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise · (1 − exp(−(n/scale)^−slope))"
    }

    fn source(&self) -> &'static str {
        "Gompertz growth with ln n as time (Gompertz, 1825; Winsor, 1932)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const { &[Parameter::size("scale", "videos at 37 % of the rise"), SLOPE] }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        -(-(-shape[1] * (ln_n - shape[0])).exp()).exp_m1()
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        sigmoids()
    }

    fn inflection(&self, shape: &Shape) -> Option<f64> {
        let slope = shape[1];
        Some((shape[0] + (slope / (slope + 1.0)).ln() / slope).exp())
    }
}
