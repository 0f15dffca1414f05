//! Plain exponential: every further video closes the same share of the gap to the ceiling.

use crate::curves::family::linear;
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct Exponential;

impl CurveFamily for Exponential {
    fn name(&self) -> &'static str {
        "exponential"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise · exp(−n/scale)"
    }

    fn source(&self) -> &'static str {
        "exp3 of LCDB (Mohr et al., ECML 2022)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const { &[Parameter::size("scale", "videos at 63 % of the rise")] }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        (-(ln_n - shape[0]).exp()).exp()
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        linear(-6.0, 3.0, 19).map(|scale| [scale, 0.0, 0.0, 0.0]).collect()
    }
}
