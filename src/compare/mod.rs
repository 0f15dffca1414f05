//! Whether a change made a program dearer: two stored profiles, or two commands run in interleaved pairs. Counts are compared
//! exactly, times by a sequential test that says "inconclusive" rather than guess.

pub mod commands;
pub mod document;
mod error;
mod instructions;
mod judge;
mod launch;
pub mod profiles;
mod quality;
pub mod render;
pub mod settings;

pub use document::{Comparison, Outcome, Row, Verdict};
pub use error::{Error, Side};
pub use settings::{Measure, Settings};
