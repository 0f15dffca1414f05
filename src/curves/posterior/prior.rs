//! What is believed before a curve is seen, learned from other curves.
//!
//! The learned belief and the noise in [`Prior::default`] are what `cargo bench -- validate` finds on all development curves (LCDB 1.1,
//! detectors, published tables, halves of two data sets, language models), rounded; what the same procedure is worth on data sets and
//! domains that had no part in it is what that bench prints, and `reports/bench/forecasts.md` has the result. The share is a half, not
//! fitted. Nothing depends on the unit of n.

use super::mixture::Part;
use crate::curves::{Kind, Parameter, Shape};

/// Two beliefs held side by side: one learned from curves, which is sharp, and a broad one, which nothing was fitted to. Each is
/// updated by the observations alone, and the forecast mixes the two in fixed shares, so that a curve unlike all that were
/// learned from is not foretold by them alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    /// Learned from the development curves.
    pub learned: Belief,
    /// The families of the reference method and all their shapes alike.
    pub broad: Belief,
    /// Share of the broad belief in a forecast, 0..1.
    pub share: f64,
    /// Takeoffs of a curve that has not moved yet per unit of ln n.
    pub takeoffs: f64,
    /// Standard deviation of single runs, where none was repeated: median, in units of √(error · score) at the largest size, and
    /// standard deviation of its logarithm.
    pub noise: (f64, f64),
}

/// What one believes of a curve before it is seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Belief {
    /// ln weights of families; those not listed weigh 1.
    pub families: Vec<(&'static str, f64)>,
    /// Mean and standard deviation of the logarithm of slopes and exponents: most are moderate.
    pub slope: (f64, f64),
    /// ln weight per unit of ln n by which an inflection lies beyond the data: most have been seen.
    pub beyond: f64,
    /// Powers of the shares of the error that are overcome and that are left at unlimited data.
    pub course: (f64, f64),
    /// ln weight of a curve that has not moved yet, against all families together and per unit of error.
    pub constant: f64,
    /// Scale of the discrepancy, in units of √(error · score) at the largest size per √ln n.
    pub discrepancy: f64,
    /// ln weight of no discrepancy at all.
    pub exact: f64,
}

impl Default for Prior {
    fn default() -> Self {
        Self {
            learned: Belief {
                families: vec![
                    ("power4", 2.0),
                    ("m4", 2.0),
                    ("logistic", 0.5),
                    ("inverse-log", -2.0),
                    ("broken-power", 0.25),
                    ("weibull", -1.15),
                    ("gompertz", -0.15),
                ],
                slope: (-0.77, 0.8),
                beyond: -2.0,
                course: (-0.075, 0.5),
                constant: -5.7,
                discrepancy: 0.032,
                exact: -0.8,
            },
            broad: Belief::broad(),
            share: 0.5,
            takeoffs: 0.14,
            noise: (0.03, 0.8),
        }
    }
}

/// Scores below this are next to zero rather than at a level of chance.
const CHANCE: f64 = 0.05;

/// Beliefs of a prior.
pub const BELIEFS: usize = 2;
/// Strengths of the discrepancy that are weighed, in units of √(error · score) at the largest size per √ln n.
pub const DISCREPANCIES: [f64; 8] = [0.0, 0.006, 0.015, 0.035, 0.075, 0.15, 0.3, 0.6];

/// Parts that stand for an even distribution of where a curve lands that takes off.
const LANDINGS: usize = 6;

impl Prior {
    /// The beliefs with their shares.
    pub fn beliefs(&self) -> [(f64, &Belief); BELIEFS] {
        [(1.0 - self.share, &self.learned), (self.share, &self.broad)]
    }

    /// For curves of one long training, seen at many sizes.
    pub fn of_one_training(&self) -> Self {
        Self { learned: self.learned.of_one_training(), broad: self.broad.of_one_training(), ..self.clone() }
    }

    /// For curves whose best score is `best`. How soon curves that do not move take off was learned on classifiers at the level of
    /// chance; a score next to zero is below any such level, and nothing suggests that it will rise, which a broad belief would.
    pub fn at_level(&self, best: f64) -> Self {
        let risen = (best / CHANCE).clamp(1e-3, 1.0);
        Self { takeoffs: self.takeoffs * risen, share: self.share * risen, ..self.clone() }
    }

    /// Probability that a curve that has not moved still has not at `t`.
    pub fn stays(&self, t: f64) -> f64 {
        (-self.takeoffs * t.max(0.0)).exp()
    }

    /// When a curve that has not moved takes off, from a uniform number.
    pub fn takeoff(&self, uniform: f64) -> f64 {
        -(1.0 - uniform).ln() / self.takeoffs
    }
}

impl Belief {
    /// Nothing but what these families can do (without Gompertz and a broken power law) and how far real curves stray from them.
    pub fn broad() -> Self {
        let families = vec![("gompertz", f64::NEG_INFINITY), ("broken-power", f64::NEG_INFINITY)];
        Self { families, slope: (0.0, f64::INFINITY), beyond: 0.0, course: (0.0, 0.0), constant: -5.7, discrepancy: 0.075, exact: 0.0 }
    }

    /// One long training strays less from its family than separate ones do, and comes nearer to its ceiling (chosen on the language
    /// curves of the M4 benchmark).
    fn of_one_training(&self) -> Self {
        let course = (self.course.0 - 0.4, self.course.1);
        Self { discrepancy: 0.25 * self.discrepancy, exact: self.exact + 4.0, course, ..self.clone() }
    }

    /// ln weight of a family.
    pub fn of_family(&self, name: &str) -> f64 {
        self.families.iter().find(|f| f.0 == name).map_or(0.0, |f| f.1)
    }

    /// ln weight of a shape within its family, at sizes relative to the largest.
    pub fn of_shape(&self, parameters: &[Parameter], shape: &Shape) -> f64 {
        let first = |kind: Kind| parameters.iter().zip(shape).find(|(p, _)| p.kind == kind).map(|(_, s)| *s);
        let unusual = first(Kind::Positive).map_or(0.0, |slope| (slope.ln() - self.slope.0) / self.slope.1);
        self.beyond * first(Kind::Size).unwrap_or(0.0).max(0.0) - 0.5 * unusual * unusual
    }

    /// ln weight of a curve with the share `left` of its error at unlimited data.
    pub fn of_course(&self, left: f64) -> f64 {
        self.course.0 * (1.02 - left).ln() + self.course.1 * (left + 0.02).ln()
    }

    /// ln weight of a strength of the discrepancy.
    pub fn of_discrepancy(&self, kappa: f64) -> f64 {
        if kappa == 0.0 { self.exact } else { -kappa / self.discrepancy }
    }
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
