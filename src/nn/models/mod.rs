//! One detector per file or folder, parameter names as in the authors' releases.

pub mod etad;
