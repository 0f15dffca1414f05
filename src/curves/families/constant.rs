//! A level: what is left when nothing moves. Not asked for by name; every average holds it against the families.

use crate::curves::{CurveFamily, Parameter, Shape};

/// A curve that has not moved.
pub struct Constant;

impl CurveFamily for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn formula(&self) -> &'static str {
        "ceiling, until it takes off"
    }

    fn source(&self) -> &'static str {
        "last1 of LCDB (Mohr et al., ECML 2022)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    fn remaining(&self, _: &Shape, _: f64) -> f64 {
        0.0
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        vec![Shape::default()]
    }
}
