//! Native detectors on libtorch: the only place that names `tch`.

mod clips;
pub mod encoders;
pub mod end_to_end;
pub mod failure;
mod formulas;
pub mod formulation;
mod graph;
pub mod input;
pub mod layers;
mod lists;
pub mod macs;
pub mod models;
pub mod network;
pub mod optim;
pub mod params;
pub mod parity;
pub mod peaks;
mod precision;
pub mod profile;
mod recorded;
pub mod runtime;
pub mod task;
pub mod train;
pub mod transfer;
pub mod watch;
pub mod weights;
