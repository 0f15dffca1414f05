//! Weibull: the gap to the ceiling decays like a stretched exponential. Saturates fastest.

use super::logistic::sigmoids;
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct Weibull;

impl CurveFamily for Weibull {
    fn name(&self) -> &'static str {
        "weibull"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise · exp(−(n/scale)^slope)"
    }

    fn source(&self) -> &'static str {
        "wbl4 of LCDB (Mohr et al., ECML 2022); janoschek of Domhan et al. (IJCAI 2015)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const {
            &[
                Parameter::size("scale", "videos at 63 % of the rise"),
                Parameter::positive("slope", "1: plain exponential; below: stretched; above: S-shaped"),
            ]
        }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        (-(shape[1] * (ln_n - shape[0])).exp()).exp()
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        sigmoids()
    }

    fn inflection(&self, shape: &Shape) -> Option<f64> {
        let slope = shape[1];
        (slope > 1.0).then(|| (shape[0] + (1.0 - 1.0 / slope).ln() / slope).exp())
    }
}
