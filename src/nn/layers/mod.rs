//! Layers shared by the detectors, each proven against arrays of the authors' code.

pub mod basic;
pub mod deformable;
pub mod graft;
pub mod matching;
pub mod roi_align;
