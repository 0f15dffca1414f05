//! Layers shared by the detectors, each proven against arrays of the authors' code.

pub mod attention;
pub mod basic;
pub mod deformable;
pub mod graft;
pub mod heads;
pub mod losses;
pub mod masked;
pub mod matching;
pub mod points;
pub mod position;
pub mod roi_align;
