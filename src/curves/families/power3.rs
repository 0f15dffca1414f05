//! Power law with an offset: the gap to the ceiling shrinks by the same factor whenever n doubles.

use crate::curves::family::geometric;
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct Power3;

impl CurveFamily for Power3 {
    fn name(&self) -> &'static str {
        "power3"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise · n^−exponent"
    }

    fn source(&self) -> &'static str {
        "pow3 of LCDB (Mohr et al., ECML 2022); M2 of Alabdulmohsin et al. (NeurIPS 2022)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const { &[Parameter::positive("exponent", "power of n at which the gap to the ceiling shrinks")] }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        (-shape[0] * ln_n).exp()
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        geometric(0.03, 4.0, 24).map(|exponent| [exponent, 0.0, 0.0, 0.0]).collect()
    }
}
