//! Gompertz in log n: an S-curve whose late part is longer than its early part.

use crate::curves::family::{CEILING, CEILING_PRIOR, FLOOR, FLOOR_PRIOR, between};
use crate::curves::{CurveFamily, Link, Normal, Parameter, Range};

pub(super) struct Gompertz;

impl CurveFamily for Gompertz {
    fn name(&self) -> &'static str {
        "gompertz"
    }

    fn formula(&self) -> &'static str {
        "ceiling · (floor + (1 − floor) exp(−(n/scale)^−slope))"
    }

    fn source(&self) -> &'static str {
        "Gompertz growth in ln n"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            CEILING,
            FLOOR,
            Parameter { name: "scale", meaning: "videos at 37 % of the rise", link: Link::Log },
            Parameter { name: "slope", meaning: "steepness in ln n", link: Link::Log },
        ]
    }

    fn prior(&self, range: &Range) -> Vec<Normal> {
        vec![CEILING_PRIOR, FLOOR_PRIOR, range.of_size(), Normal { mean: -0.2, sd: 0.8 }]
    }

    fn value(&self, values: &[f64], n: f64) -> f64 {
        between(values, (-(values[3] * (values[2] / n).ln()).exp()).exp())
    }
}
