//! Layers shared by the detectors, each proven against arrays of the authors' code.

pub mod basic;
pub mod graft;
pub mod roi_align;
