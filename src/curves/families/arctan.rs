//! Arctangent of n: rises in proportion to n first, closes the gap as 1/n at last.

use std::f64::consts::FRAC_2_PI;

use super::logistic::HALF;
use crate::curves::family::linear;
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct Arctan;

impl CurveFamily for Arctan {
    fn name(&self) -> &'static str {
        "arctan"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise · (1 − 2/π · arctan(n/half))"
    }

    fn source(&self) -> &'static str {
        "Mahmood et al. (CVPR 2022), with a free rise instead of a shift of n"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const { &[HALF] }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        // Keeps its precision where n is large, unlike one minus the arctangent.
        FRAC_2_PI * (shape[0] - ln_n).exp().atan()
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        linear(-8.0, 4.0, 25).map(|half| [half, 0.0, 0.0, 0.0]).collect()
    }
}
