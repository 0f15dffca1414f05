//! Power law with offset: the gap to the ceiling shrinks as a power of n. The slowest saturation of all families.

use crate::curves::family::{CEILING, CEILING_PRIOR, FLOOR, FLOOR_PRIOR, between};
use crate::curves::{CurveFamily, Link, Normal, Parameter, Range};

pub(super) struct Power;

impl CurveFamily for Power {
    fn name(&self) -> &'static str {
        "power"
    }

    fn formula(&self) -> &'static str {
        "ceiling · (1 − (1 − floor)(1 + n/scale)^−exponent)"
    }

    fn source(&self) -> &'static str {
        "pow4 of LCDB (Mohr et al., ECML 2022), written so that it starts at the floor"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            CEILING,
            FLOOR,
            Parameter { name: "scale", meaning: "videos after which the power law sets in", link: Link::Log },
            Parameter { name: "exponent", meaning: "power at which the gap shrinks", link: Link::Log },
        ]
    }

    fn prior(&self, range: &Range) -> Vec<Normal> {
        vec![CEILING_PRIOR, FLOOR_PRIOR, range.of_size(), Normal { mean: -0.7, sd: 0.9 }]
    }

    fn value(&self, values: &[f64], n: f64) -> f64 {
        between(values, -f64::exp_m1(-values[3] * (n / values[2]).ln_1p()))
    }
}
