//! Layers shared by the detectors, each proven against arrays of the authors' code.

pub mod basic;
pub mod boundaries;
pub mod graft;
pub mod graph;
pub mod map_align;
pub mod map_losses;
pub mod roi_align;
