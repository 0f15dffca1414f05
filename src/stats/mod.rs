//! Small-sample statistics: what a handful of seeds says, and how surely.

pub mod estimate;
pub mod sample;

pub use estimate::{Estimate, Interval};
pub use sample::{mean, quantile, standard_deviation, standard_error, t_interval};
