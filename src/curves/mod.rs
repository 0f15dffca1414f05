//! Learning curves: from (training videos, score) to a forecast at more videos and to the videos a score needs.
//!
//! [`Curve::fit`] takes [`Observation`]s and averages over curve [families](families::ALL), their shapes and several
//! strengths of a discrepancy that grows with the distance from the data. [`Curve::forecast`], [`Curve::gain`] and
//! [`Curve::reach`] read it; [`backtest`] fits without the largest sizes and says how well they would have been foretold.
//! [`choose`] says which training to run next. [`Plan`] says how much to collect and in how many rounds. [`Crossing`] compares two models size by size, without any curve.
//!
//! The method follows what was measured on about a thousand learning curves: no single family wins, intervals of one
//! family are far too narrow, and a Brownian discrepancy in ln n anchored at the largest observed size restores
//! coverage. Its prior was learned on such curves ([`Prior`]).

mod backtest;
mod crossing;
mod curve;
mod design;
pub mod families;
mod family;
mod fan;
mod fit;
mod gain;
mod linalg;
mod next;
mod observation;
mod plan;
mod posterior;
#[cfg(test)]
mod properties;
mod reach;
mod record;
mod summary;
#[cfg(test)]
mod tests;
mod warning;

pub use backtest::{Backtest, Prediction, backtest};
pub use crossing::{Chances, Crossing, FEWEST_SEEDS, Lead, PairedSize};
pub use curve::{Curve, FamilyFit, Forecast, Line, Options, ParameterValue};
pub use design::{Choice, Known, Open, Reason, choose};
pub use family::{CurveFamily, Kind, Parameter, Shape};
pub use fan::FanPoint;
pub use fit::Stop;
pub use gain::{Gain, Saturation};
pub use next::Next;
pub use observation::{Direction, Observation, Size};
pub use plan::{Aim, Plan, Round, Terms, Unreachable};
pub use posterior::prior::{Belief, Prior};
pub use reach::{HORIZON, Reach, Requirement};
pub use record::Record;
pub use summary::{At, BadAt, Questions, Summary};
pub use warning::Warning;

/// Why no curve could be fitted.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// A size that is no number of videos.
    #[error("observation {index} has n = {n}: the number of training videos must be above 0 and finite")]
    Size {
        /// Position in the input, from 0.
        index: usize,
        /// The value.
        n: f64,
    },
    /// A score that is no score.
    #[error(
        "observation {index} has score {score}: scores must lie in 0..1 (divide percentages by 100; for losses fit a decreasing curve, \
         whose values must be finite and not negative)"
    )]
    Score {
        /// Position in the input, from 0.
        index: usize,
        /// The value.
        score: f64,
    },
    /// A ceiling that a score has passed, or that is no score.
    #[error("the ceiling {ceiling} does not hold: it must lie in 0..1 and not below the best mean score, {best}")]
    Ceiling {
        /// The ceiling.
        ceiling: f64,
        /// The best mean score.
        best: f64,
    },
    /// Nothing to draw a curve through.
    #[error("a curve needs at least two different numbers of training videos, got {0}; run more fractions")]
    TooFewSizes(usize),
}
