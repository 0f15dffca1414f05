//! A number and how surely it is known.

use serde::{Deserialize, Serialize};

/// A range that holds the quantity with probability `level`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Probability, 0..1.
    pub level: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl Interval {
    /// Whether `value` lies inside, ends included.
    pub fn contains(&self, value: f64) -> bool {
        (self.lower..=self.upper).contains(&value)
    }

    /// Distance between the ends.
    pub fn width(&self) -> f64 {
        self.upper - self.lower
    }
}

/// A point estimate and, where the sample allows one, its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The best single value.
    pub point: f64,
    /// `None` when one value says nothing about the spread.
    pub interval: Option<Interval>,
}
