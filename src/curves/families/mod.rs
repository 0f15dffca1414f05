//! The curve families, one per file.

mod exponential;
mod gompertz;
mod hill;
mod logistic;
mod power;

use super::CurveFamily;

/// Every family, in the order of reports.
pub const ALL: [&dyn CurveFamily; 5] = [&power::Power, &hill::Hill, &gompertz::Gompertz, &exponential::Exponential, &logistic::Logistic];

/// The family of that name.
pub fn by_name(name: &str) -> Option<&'static dyn CurveFamily> {
    ALL.into_iter().find(|f| f.name() == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::curves::Range;

    proptest! {
        #[test]
        fn every_parameter_vector_gives_a_rising_curve_between_zero_and_its_asymptote(
            theta in prop::collection::vec(-40.0f64..40.0, 4), n in 0.01f64..1e7, factor in 1.0f64..100.0,
        ) {
            for family in ALL {
                let values: Vec<f64> = family.parameters().iter().zip(&theta).map(|(p, &t)| p.link.apply(t)).collect();
                let (low, high, top) = (family.value(&values, n), family.value(&values, n * factor), family.asymptote(&values));
                prop_assert!(0.0 <= low && low <= high + 1e-12 && high <= top + 1e-12 && top <= 1.0, "{}: {low} {high} {top}", family.name());
            }
        }
    }

    #[test]
    fn every_family_has_a_prior_per_parameter() {
        for family in ALL {
            assert_eq!(family.prior(&Range { low: 1.0, high: 3.0 }).len(), family.parameters().len(), "{}", family.name());
        }
    }

    #[test]
    fn every_family_approaches_its_asymptote() {
        for family in ALL {
            let values: Vec<f64> = family.parameters().iter().map(|p| p.link.apply(0.0)).collect();
            assert!((family.value(&values, 1e12) - family.asymptote(&values)).abs() < 1e-6, "{}", family.name());
        }
    }
}
