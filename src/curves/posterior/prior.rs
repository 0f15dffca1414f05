//! What was learned from other curves: everything here that is a number was chosen on the development half of LCDB 1.1
//! (1,130 curves of 113 data sets) and on the detection curves of ActionFormer, and judged by cross-validation over data
//! sets (`reports/bench/forecasts.md` says what each choice is worth). Nothing depends on the unit of n.

use super::mixture::Part;
use crate::curves::{Kind, Parameter, Shape};

/// ln of a family's prior weight. Those that another one contains are not averaged over; alone, a weight says nothing.
pub fn ln_weight(family: &str) -> f64 {
    match family {
        "power4" => 2.5,
        "m4" => 1.5,
        "logistic" => -0.5,
        "inverse-log" => -1.0,
        "broken-power" => -1.5,
        "weibull" => -2.0,
        _ => 0.0,
    }
}

/// ln of the weight of a curve that has not moved yet, against all families together and per unit of error.
pub const LN_CONSTANT: f64 = -5.7;

/// ln weight of a shape within its family: most slopes and exponents are moderate, and most inflections have been seen.
pub fn ln_of_shape(parameters: &[Parameter], shape: &Shape) -> f64 {
    /// Mean and standard deviation of ln slope.
    const SLOPE: (f64, f64) = (-0.6, 0.4);
    /// Per unit of ln n beyond the largest size.
    const BEYOND: f64 = -1.2;
    let slope = parameters.iter().zip(shape).find(|(p, _)| p.kind == Kind::Positive).map(|(_, s)| s);
    let size = parameters.iter().zip(shape).find(|(p, _)| p.kind == Kind::Size).map_or(0.0, |(_, s)| *s);
    let unusual = slope.map_or(0.0, |s| (s.ln() - SLOPE.0) / SLOPE.1);
    BEYOND * size.max(0.0) - 0.5 * unusual * unusual
}

/// Strengths of the discrepancy, in units of √(error · score) at the largest size per √ln n, with ln prior weights.
pub fn discrepancies() -> impl Iterator<Item = (f64, f64)> + Clone {
    const NONE: f64 = -1.0;
    const SCALE: f64 = 0.04;
    [0.0, 0.006, 0.015, 0.035, 0.075, 0.15, 0.3, 0.6].into_iter().map(|k| (k, if k == 0.0 { NONE } else { -k / SCALE }))
}

/// error · score at the largest size is taken to be no less.
pub const LEAST_SPREAD: f64 = 0.002;

/// ln weight of a curve of which the share `rest` of the error is left at unlimited data: both ends, a curve that goes all
/// the way and one that stops at the last point, are a little likelier and a little less likely than their fit suggests.
pub fn ln_of_rest(rest: f64) -> f64 {
    0.1 * (1.02 - rest).ln() - 0.15 * (rest + 0.02).ln()
}

/// Takeoffs per unit of ln n of a curve that has not moved.
const TAKEOFFS: f64 = 0.14;
/// Parts that stand for an even distribution of where it lands.
const LANDINGS: usize = 6;

/// Probability that a curve that has not moved still has not at `t`.
pub fn stays(t: f64) -> f64 {
    (-TAKEOFFS * t.max(0.0)).exp()
}

/// When a curve that has not moved takes off, from a uniform number.
pub fn takeoff(uniform: f64) -> f64 {
    -(1.0 - uniform).ln() / TAKEOFFS
}

/// Where a curve that has taken off from an error lies: anywhere down to `floor`.
pub fn taken_off(weight: f64, from: f64, floor: f64) -> impl Iterator<Item = Part> {
    let height = (from - floor).max(0.0);
    (0..LANDINGS).map(move |i| Part {
        weight: weight / LANDINGS as f64,
        mean: floor + height * (i as f64 + 0.5) / LANDINGS as f64,
        sd: (0.1 * height).max(1e-6),
    })
}
