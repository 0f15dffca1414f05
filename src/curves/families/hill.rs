//! Hill: the logistic in ln n that starts at score 0. For detectors, which find nothing before they are trained.

use super::logistic::{HALF, Logistic, SLOPE};
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct Hill;

impl CurveFamily for Hill {
    fn name(&self) -> &'static str {
        "hill"
    }

    fn formula(&self) -> &'static str {
        "ceiling · n^slope / (n^slope + half^slope)"
    }

    fn source(&self) -> &'static str {
        "hill3 of Domhan et al. (IJCAI 2015); Michaelis–Menten with a cooperative exponent"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const { &[HALF, SLOPE] }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        Logistic.remaining(shape, ln_n)
    }

    fn grid(&self, span: f64) -> Vec<Shape> {
        Logistic.grid(span)
    }

    fn inflection(&self, shape: &Shape) -> Option<f64> {
        Logistic.inflection(shape)
    }

    fn grounded(&self) -> bool {
        true
    }
}
