//! Stretched exponential: the gap to the ceiling decays exponentially. The fastest saturation besides the logistic.

use crate::curves::family::{CEILING, CEILING_PRIOR, FLOOR, FLOOR_PRIOR, between};
use crate::curves::{CurveFamily, Link, Normal, Parameter, Range};

pub(super) struct Exponential;

impl CurveFamily for Exponential {
    fn name(&self) -> &'static str {
        "exponential"
    }

    fn formula(&self) -> &'static str {
        "ceiling · (1 − (1 − floor) exp(−(n/scale)^shape))"
    }

    fn source(&self) -> &'static str {
        "wbl4 of LCDB (Mohr et al., ECML 2022); shape 1 is the plain exponential"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            CEILING,
            FLOOR,
            Parameter { name: "scale", meaning: "videos at 63 % of the rise", link: Link::Log },
            Parameter { name: "shape", meaning: "1: plain exponential; below: stretched; above: S-shaped", link: Link::Log },
        ]
    }

    fn prior(&self, range: &Range) -> Vec<Normal> {
        vec![CEILING_PRIOR, FLOOR_PRIOR, range.of_size(), Normal { mean: -0.2, sd: 0.7 }]
    }

    fn value(&self, values: &[f64], n: f64) -> f64 {
        between(values, -f64::exp_m1(-(values[3] * (n / values[2]).ln()).exp()))
    }
}
