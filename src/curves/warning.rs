//! What a reader of a forecast must know. Each text says what to do.

use serde::{Serialize, Serializer};

/// A reason for caution.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// The shape of the curve is guessed rather than seen.
    FewSizes(usize),
    /// Seed noise is guessed rather than seen.
    FewSeeds(usize),
    /// The sizes lie so close together that the curve is nearly a point.
    NarrowSpan(f64),
    /// All observations are the same number.
    Identical,
    /// The best score is next to zero at every size.
    Floor(f64),
    /// The forecast reaches further than any backtest of this curve.
    FarHorizon {
        /// Forecast size over the largest observed one.
        factor: f64,
        /// The largest factor a backtest could try; `None` without a backtest.
        tested: Option<f64>,
    },
    /// More data gave a worse score, beyond noise.
    NotMonotone {
        /// The size at which the score fell.
        n: f64,
        /// By how many standard errors.
        z: f64,
    },
    /// No family follows the points.
    Misfit {
        /// The size that stands out most.
        n: f64,
        /// By how many standard errors.
        z: f64,
    },
    /// The curve does not pass what was measured at the largest size.
    Gap {
        /// That size.
        n: f64,
        /// What the fit says there.
        fitted: f64,
        /// What was measured.
        measured: f64,
    },
    /// The optimiser did not settle.
    NotConverged(&'static str),
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FewSizes(sizes) => write!(f, "only {sizes} sizes: the prior shapes the curve; run at least 5 fractions"),
            Self::FewSeeds(1) => write!(f, "one seed per size: noise is guessed from the curve's roughness; run at least 3 seeds"),
            Self::FewSeeds(seeds) => write!(f, "{seeds} seeds per size: noise is poorly known; run at least 3"),
            Self::NarrowSpan(span) => {
                write!(f, "the largest size is only {span:.2} times the smallest: the prior shapes the curve; add a fraction of 10 or 20 %")
            }
            Self::Identical => write!(f, "all scores are equal: check that they differ by size and seed in the source"),
            Self::Floor(best) => write!(
                f,
                "nothing suggests a rise: no size scores above {best:.3}; check that the model learns at all before collecting data for it"
            ),
            Self::FarHorizon { factor, tested: Some(tested) } => {
                write!(
                    f,
                    "a forecast at {factor:.1} times the largest size, but the backtest only reaches {tested:.1} times: read it as a guess"
                )
            }
            Self::FarHorizon { factor, tested: None } => {
                write!(f, "a forecast at {factor:.1} times the largest size without any backtest: read it as a guess")
            }
            Self::NotMonotone { n, z } => {
                write!(f, "the score falls at n = {n} by {z:.1} standard errors: check the training budget at that size, or add seeds")
            }
            Self::Misfit { n, z } => {
                write!(f, "no family follows the score at n = {n} ({z:.1} standard errors off): the interval leans on the discrepancy term")
            }
            Self::Gap { n, fitted, measured } => {
                write!(
                    f,
                    "the fit says {fitted:.3} at n = {n}, where {measured:.3} was measured: it misfits there, so add seeds at that size"
                )
            }
            Self::NotConverged(family) => write!(f, "the {family} fit did not converge: its parameters are the best point seen"),
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
