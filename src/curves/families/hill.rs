//! Hill: an S-curve in log n. A logistic in ln n is this very curve, so it is not listed a second time.

use crate::curves::family::{CEILING, CEILING_PRIOR, FLOOR, FLOOR_PRIOR, between};
use crate::curves::{CurveFamily, Link, Normal, Parameter, Range};

pub(super) struct Hill;

impl CurveFamily for Hill {
    fn name(&self) -> &'static str {
        "hill"
    }

    fn formula(&self) -> &'static str {
        "ceiling · (floor + (1 − floor) n^slope / (n^slope + half^slope))"
    }

    fn source(&self) -> &'static str {
        "mmf4 of LCDB (Mohr et al., ECML 2022); M4 of Alabdulmohsin et al. (NeurIPS 2022) with exponent 1"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            CEILING,
            FLOOR,
            Parameter { name: "half", meaning: "videos at half of the rise", link: Link::Log },
            Parameter { name: "slope", meaning: "steepness in ln n", link: Link::Log },
        ]
    }

    fn prior(&self, range: &Range) -> Vec<Normal> {
        vec![CEILING_PRIOR, FLOOR_PRIOR, range.of_size(), Normal { mean: -0.2, sd: 0.8 }]
    }

    fn value(&self, values: &[f64], n: f64) -> f64 {
        between(values, 1.0 / (1.0 + (values[3] * (values[2] / n).ln()).exp()))
    }
}
