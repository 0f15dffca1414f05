//! Inverse logarithm: slower than every power law, for scores that creep.

use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct InverseLog;

impl CurveFamily for InverseLog {
    fn name(&self) -> &'static str {
        "inverse-log"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise / ln(n/origin)"
    }

    fn source(&self) -> &'static str {
        "ilog2 of LCDB (Mohr et al., ECML 2022), with a free origin so that the unit of n does not matter"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const { &[Parameter::size("origin", "videos below which the formula says nothing")] }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        1.0 / (ln_n - shape[0]).max(1e-3)
    }

    fn grid(&self, span: f64) -> Vec<Shape> {
        [0.1, 0.3, 1.0, 3.0, 10.0].map(|before| [-span - before, 0.0, 0.0, 0.0]).into()
    }
}
