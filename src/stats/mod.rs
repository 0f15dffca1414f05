//! Small-sample statistics: what a handful of seeds says, and how surely; whether two programs differ.

pub mod bootstrap;
pub mod estimate;
pub mod multiple;
pub mod sample;
pub mod shift;

pub use bootstrap::median;
pub use estimate::{Estimate, Interval};
pub use sample::{mean, quantile, standard_deviation, standard_error, t_interval};
pub use shift::{Bounds, Shift};
