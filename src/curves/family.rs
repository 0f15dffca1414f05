//! What a curve family is: a formula with named, bounded parameters and a weak prior on them.

/// A family of learning curves: the score rises with the number of training videos and stays within 0..1 for every
/// admissible parameter vector.
///
/// ```
/// use etalon::curves::{CurveFamily, families};
/// let hill = families::by_name("hill").unwrap();
/// assert_eq!(hill.value(&[0.8, 0.0, 50.0, 1.0], 50.0), 0.4);
/// ```
pub trait CurveFamily: Sync {
    /// Name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// The formula in text.
    fn formula(&self) -> &'static str;

    /// Where the formula is used for learning curves.
    fn source(&self) -> &'static str;

    /// The parameters in the order of `values`.
    fn parameters(&self) -> &'static [Parameter];

    /// Weak prior of each unbounded parameter, given the observed range of sizes.
    fn prior(&self, range: &Range) -> Vec<Normal>;

    /// Score at `n` training videos.
    fn value(&self, values: &[f64], n: f64) -> f64;

    /// Score at unlimited data.
    fn asymptote(&self, values: &[f64]) -> f64 {
        values[0]
    }
}

/// A parameter with its meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Name in output.
    pub name: &'static str,
    /// One phrase with the unit.
    pub meaning: &'static str,
    /// How an unbounded number becomes this parameter.
    pub link: Link,
}

/// Maps the real line onto a parameter's admissible values, so that an optimiser needs no bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// exp: positive.
    Log,
    /// Logistic: between 0 and 1.
    Logit,
}

impl Link {
    /// The parameter at `theta`.
    pub fn apply(self, theta: f64) -> f64 {
        match self {
            Self::Log => theta.clamp(-300.0, 300.0).exp(),
            Self::Logit => 1.0 / (1.0 + (-theta).exp()),
        }
    }
}

/// A normal distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub sd: f64,
}

/// Observed range of sizes as natural logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// ln of the smallest.
    pub low: f64,
    /// ln of the largest.
    pub high: f64,
}

impl Range {
    /// Prior of a characteristic size: anywhere from well below the data to well above them.
    pub fn of_size(&self) -> Normal {
        Normal { mean: (self.low + self.high) / 2.0 + 0.5, sd: (self.high - self.low) / 2.0 + 1.5 }
    }
}

/// Score at unlimited data.
pub(super) const CEILING: Parameter = Parameter { name: "ceiling", meaning: "score at unlimited data", link: Link::Logit };

/// Score without data, relative to the ceiling.
pub(super) const FLOOR: Parameter =
    Parameter { name: "floor", meaning: "score without training data, as a share of the ceiling", link: Link::Logit };

/// Wide, leaning towards a high ceiling: a finished task is usually solvable.
pub(super) const CEILING_PRIOR: Normal = Normal { mean: 1.0, sd: 2.0 };

/// A detector that has seen nothing finds nothing, but a classifier guesses: small, with a long tail.
pub(super) const FLOOR_PRIOR: Normal = Normal { mean: -5.0, sd: 2.0 };

/// `ceiling · (floor + (1 − floor) · rise)`, for families that differ in their rise from 0 to 1.
pub(super) fn between(values: &[f64], rise: f64) -> f64 {
    values[0] * (values[1] + (1.0 - values[1]) * rise)
}
