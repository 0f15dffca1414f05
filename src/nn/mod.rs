//! Native detectors on libtorch: the only place that names `tch`.

pub mod input;
pub mod layers;
pub mod models;
pub mod optim;
pub mod params;
pub mod parity;
pub mod runtime;
pub mod train;
