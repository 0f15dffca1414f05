//! Power law with one smooth break: its exponent changes around some size, to a faster or a slower one.

use crate::curves::family::{geometric, linear, softplus};
use crate::curves::{CurveFamily, Parameter, Shape};

pub(super) struct BrokenPower;

impl CurveFamily for BrokenPower {
    fn name(&self) -> &'static str {
        "broken-power"
    }

    fn formula(&self) -> &'static str {
        "ceiling − rise · n^−exponent · (1 + (n/break)^(1/width))^(−width · exponent · (factor − 1))"
    }

    fn source(&self) -> &'static str {
        "BNSL with one break, Caballero et al. (ICLR 2023)"
    }

    fn parameters(&self) -> &'static [Parameter] {
        const {
            &[
                Parameter::size("break", "videos around which the exponent changes"),
                Parameter::positive("exponent", "power of n well below the break"),
                Parameter::positive("factor", "the exponent well above the break as a multiple of it"),
                Parameter::positive("width", "how gradual the break is, in ln n"),
            ]
        }
    }

    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64 {
        let [at, exponent, factor, width] = *shape;
        (-exponent * (ln_n + (factor - 1.0) * width * softplus((ln_n - at) / width))).exp()
    }

    fn grid(&self, _: f64) -> Vec<Shape> {
        const WIDTH: f64 = 0.4;
        let exponents = geometric(0.08, 1.0, 4);
        let of_break =
            |at: f64| exponents.clone().flat_map(move |exponent| [0.15, 0.4, 2.5, 6.0].map(|factor| [at, exponent, factor, WIDTH]));
        linear(-4.0, 1.5, 9).flat_map(of_break).collect()
    }
}
