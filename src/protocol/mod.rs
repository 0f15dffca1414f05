//! The limited-data protocol: split, sample, cells and what is left to run. Pure functions of (data set, settings).

pub mod cell;
pub mod grid;
pub mod sample;
pub mod settings;
pub mod split;

pub use cell::{Cell, CellKey, CellSpec};
pub use grid::Grid;
pub use sample::Sample;
pub use settings::ProtocolConfig;
pub use split::Split;
