//! Power law that sets in only after some videos: flat before, a power of n after.

use crate::curves::family::{geometric, linear, pairs, softplus};
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct Power4;

impl CurveFamily for Power4 {
    fn name(&self) -> &'static str {
        "power4"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise · (1 + n/onset)^−exponent"
    }

    fn source(&self) -> &'static str {
        "pow4 of LCDB (Mohr et al., ECML 2022); M3 of Alabdulmohsin et al. (NeurIPS 2022)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const {
            &[
                Parameter::size("onset", "videos after which the power law sets in"),
                Parameter::positive("exponent", "power of n at which the gap to the ceiling shrinks"),
            ]
        }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        (-shape[1] * softplus(ln_n - shape[0])).exp()
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        pairs(linear(-5.0, 1.6, 11), geometric(0.08, 4.0, 14))
    }

    fn remaining_of(&self, shapes: &[Shape], ln_n: f64, into: &mut [f64]) {
        // Neighbours on the grid share the onset, whose logarithm is the dear part.
        let (mut onset, mut grown) = (f64::NAN, 0.0);
        for (out, shape) in into.iter_mut().zip(shapes) {
            if shape[0] != onset {
                (onset, grown) = (shape[0], softplus(ln_n - shape[0]));
            }
            *out = (-shape[1] * grown).exp();
        }
    }
}
