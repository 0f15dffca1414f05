//! etalon measures how temporal action detection (TAD) models learn from limited data and what they cost in hardware.
//!
//! # Glossary
//! - *experiment*: a TOML file; *grid*: its cells; *cell*: model × fraction × seed
//! - *sample*: the training videos drawn for a cell; *pool*: the subsets that are split
//! - *attempt*: one try at a cell; *lease*: the right to make it; *record*: its immutable result
//! - *instance*: an annotated action; *detection*: a predicted one; *segment*: [start, end] in seconds
//! - *snippet*: one feature vector; *window*: a fixed number of snippets; *proposal*: a candidate segment; *tIoU*: temporal
//!   intersection over union
//! - *observation*: (n, score) of a record; *fit*: a curve through observations; *forecast*: its value at a larger n
//! - *backtest*: forecasts of sizes that were held back, beside what was measured; *outlook*: what twice the data would give;
//!   *prospect*: who would be ahead then
//! - *channel*: one quantity a sensor reads; *trace*: every reading of a run; *profile*: what a run used, with the origin of each
//!   number; *baseline* and *candidate*: what a comparison holds against each other

pub mod base;
pub mod compare;
pub mod config;
pub mod curves;
pub mod data;
pub mod detectors;
pub mod eval;
pub mod event;
pub mod guide;
#[cfg(feature = "torch")]
pub mod nn;
pub mod profile;
pub mod protocol;
pub mod report;
pub mod run;
pub mod stats;
pub mod store;

pub mod cli;
