//! M4: the excess over the ceiling's error, relative to the way already made, follows a power law. Contains the power
//! law (exponent 0) and the logistic (exponent 1).

use std::sync::LazyLock;

use super::logistic::{HALF, SLOPE};
use crate::curves::family::{geometric, linear, softplus};
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct M4;

impl CurveFamily for M4 {
    fn name(&self) -> &'static str {
        "m4"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise · w, where w / (1 − w)^exponent = (n/half)^−slope"
    }

    fn source(&self) -> &'static str {
        "M4 of Alabdulmohsin et al. (NeurIPS 2022, arXiv 2209.06640)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const {
            &[
                Parameter::size(HALF.name, "videos that set the scale; half of the rise for exponent 1"),
                SLOPE,
                Parameter::positive("exponent", "weight of the way already made"),
            ]
        }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        let [half, slope, exponent, _] = *shape;
        share(-slope * (ln_n - half), exponent)
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        let slopes = geometric(0.18, 3.0, 9);
        let of_exponent = |exponent: f64| {
            let slopes = slopes.clone();
            linear(-8.0, 3.0, 14).flat_map(move |half| slopes.clone().map(move |slope| [half, slope, exponent, 0.0]))
        };
        EXPONENTS.into_iter().flat_map(of_exponent).collect()
    }

    fn remaining_of(&self, shapes: &[Shape], ln_n: f64, into: &mut [f64]) {
        for (out, shape) in into.iter_mut().zip(shapes) {
            let [half, slope, exponent, _] = *shape;
            *out = tabulated(-slope * (ln_n - half), exponent).unwrap_or_else(|| self.remaining(shape, ln_n));
        }
    }
}

/// Exponents of the grid; 0 and 1 are families of their own.
const EXPONENTS: [f64; 3] = [0.3, 2.0, 4.0];

/// w in 0..1 with ln w − exponent · ln(1 − w) = `z`.
///
/// With w the logistic of m, the left side is −softplus(−m) + exponent · softplus(m): rising and piecewise nearly linear,
/// so Newton's steps from the outer line settle in a few rounds.
fn share(z: f64, exponent: f64) -> f64 {
    1.0 / (1.0 + (-logit(z, exponent)).exp())
}

/// ln(w / (1 − w)) of [`share`].
fn logit(z: f64, exponent: f64) -> f64 {
    let mut m = if z < 0.0 { z } else { z / exponent.max(1e-3) };
    for _ in 0..12 {
        let w = 1.0 / (1.0 + (-m).exp());
        let step = (exponent * softplus(m) - softplus(-m) - z) / ((1.0 - w) + exponent * w);
        m -= step;
        if step.abs() < 1e-10 {
            break;
        }
    }
    m
}

/// [`share`] for the exponents of the grid, whose equation would cost more than all other families together: to 3e-5.
fn tabulated(z: f64, exponent: f64) -> Option<f64> {
    const END: f64 = 40.0;
    const PER_UNIT: f64 = 64.0;
    const LENGTH: usize = (2.0 * END * PER_UNIT) as usize + 2;
    static TABLES: LazyLock<[Vec<f64>; 3]> =
        LazyLock::new(|| EXPONENTS.map(|exponent| (0..LENGTH).map(|i| logit(i as f64 / PER_UNIT - END, exponent)).collect()));
    let table = &TABLES[EXPONENTS.iter().position(|e| *e == exponent)?];
    let at = (z + END) * PER_UNIT;
    if !(0.0..2.0 * END * PER_UNIT).contains(&at) {
        return None;
    }
    let (index, part) = (at as usize, at.fract());
    let m = table[index] + part * (table[index + 1] - table[index]);
    Some(1.0 / (1.0 + (-m).exp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_solves_its_equation() {
        for exponent in EXPONENTS.into_iter().chain([0.05, 1.0]) {
            for z in [-40.0, -3.0, -0.1, 0.0, 0.4, 3.0, 40.0] {
                let w = share(z, exponent);
                // Near 1 the complement has no digits left to compare.
                if let Some(near) = tabulated(z, exponent) {
                    assert!((near - w).abs() < 3e-5 * w, "{exponent} {z} {w} {near}");
                }
                if w < 1.0 - 1e-9 {
                    assert!((w.ln() - exponent * (-w).ln_1p() - z).abs() < 1e-6, "{exponent} {z} {w}");
                }
            }
        }
    }
}
