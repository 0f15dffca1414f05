//! The curve families, one per file.

mod arctan;
mod broken_power;
mod constant;
mod exponential;
mod gompertz;
mod hill;
mod inverse_log;
mod logistic;
mod m4;
mod power3;
mod power4;
mod weibull;

use super::CurveFamily;
pub use constant::Constant;

/// Every family, in the order of reports.
pub const ALL: [&dyn CurveFamily; 11] = [
    &power3::Power3,
    &power4::Power4,
    &logistic::Logistic,
    &hill::Hill,
    &weibull::Weibull,
    &gompertz::Gompertz,
    &m4::M4,
    &broken_power::BrokenPower,
    &inverse_log::InverseLog,
    &exponential::Exponential,
    &arctan::Arctan,
];

/// The families that a forecast averages over by default: those that no other one contains and that helped on real
/// curves (the grounded Hill did not).
pub fn averaged() -> Vec<&'static dyn CurveFamily> {
    ALL.into_iter().filter(|f| !["hill", "exponential", "arctan"].contains(&f.name())).collect()
}

/// The family of that name.
pub fn by_name(name: &str) -> Option<&'static dyn CurveFamily> {
    ALL.into_iter().find(|f| f.name() == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::curves::Shape;

    /// Any admissible shape, from numbers in 0..1.
    fn shape(family: &dyn CurveFamily, unit: [f64; 4]) -> Shape {
        let mut shape = Shape::default();
        for ((number, parameter), u) in shape.iter_mut().zip(family.parameters()).zip(unit) {
            *number = match parameter.kind {
                crate::curves::Kind::Size => 16.0 * u - 8.0,
                crate::curves::Kind::Positive => (6.0 * u - 4.0).exp(),
            };
        }
        shape
    }

    proptest! {
        #[test]
        fn what_remains_falls_towards_nothing(unit in prop::array::uniform4(0.0f64..1.0), ln_n in -6.0f64..6.0, step in 0.0f64..5.0) {
            for family in ALL {
                let shape = shape(family, unit);
                // The inverse logarithm says nothing below its origin.
                let from = if family.name() == "inverse-log" { shape[0] + 0.01 + ln_n.abs() } else { ln_n };
                let (early, late) = (family.remaining(&shape, from), family.remaining(&shape, from + step));
                prop_assert!(early.is_finite() && late >= 0.0 && late <= early * (1.0 + 1e-9), "{}: {shape:?} {early} {late}", family.name());
            }
        }

        #[test]
        fn scaling_n_and_the_sizes_of_a_shape_changes_nothing(unit in prop::array::uniform4(0.0f64..1.0), ln_n in 0.0f64..6.0, by in -5.0f64..5.0) {
            for family in ALL {
                let mut shape = shape(family, unit);
                let from = if family.name() == "inverse-log" { shape[0] + 0.01 + ln_n } else { ln_n };
                // Where no size is in the shape, n only changes the rise.
                let ratio = |shape: &Shape, by: f64| family.remaining(shape, from + by + 1.0) / family.remaining(shape, from + by);
                let before = ratio(&shape, 0.0);
                for (number, parameter) in shape.iter_mut().zip(family.parameters()) {
                    if parameter.kind == crate::curves::Kind::Size {
                        *number += by;
                    }
                }
                let after = ratio(&shape, by);
                prop_assert!(before.is_nan() && after.is_nan() || (before - after).abs() < 1e-6, "{}: {before} {after}", family.name());
            }
        }
    }

    #[test]
    fn a_grid_at_once_is_a_grid_one_by_one() {
        for family in ALL {
            let grid = family.grid(3.0);
            let mut at_once = vec![0.0; grid.len()];
            family.remaining_of(&grid, -0.7, &mut at_once);
            let same = |(shape, s): (&Shape, &f64)| (s - family.remaining(shape, -0.7)).abs() <= 3e-5 * s;
            assert!(grid.iter().zip(&at_once).all(same), "{}", family.name());
        }
    }

    #[test]
    fn an_inflection_is_where_the_gain_per_video_is_greatest() {
        for name in ["logistic", "weibull", "gompertz"] {
            let family = by_name(name).unwrap();
            let shape = [50f64.ln(), 2.0, 0.0, 0.0];
            let at = family.inflection(&shape).unwrap();
            let gain = |n: f64| family.remaining(&shape, (n - 0.01).ln()) - family.remaining(&shape, (n + 0.01).ln());
            assert!(gain(at) > gain(at * 1.05) && gain(at) > gain(at / 1.05), "{name}: {at}");
        }
        assert_eq!(by_name("logistic").unwrap().inflection(&[3.0, 0.9, 0.0, 0.0]), None);
    }
}
