//! Layers that detectors have in common, each proven against arrays of the authors' code.

pub mod attention;
pub mod basic;
pub mod boundaries;
pub mod deformable;
pub mod graft;
pub mod graph;
pub mod heads;
pub mod losses;
pub mod map_align;
pub mod map_losses;
pub mod masked;
pub mod matching;
pub mod points;
pub mod position;
pub mod roi_align;
