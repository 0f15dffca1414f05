//! The guide: one page per question. The same pages lie in `src/guide/*.md`; every command on them is run by a test
//! (`tests/cli/guide.rs`).
//!
//! - [`own_data`]: from annotations and features to a first learning curve
//! - [`your_own_trainer`]: any program as a model
//! - [`how_much_data`]: what a forecast says, and what it is worth
//! - [`planning_a_collection`]: how much to collect, in how many rounds, at what cost
//! - [`reading_a_report`]: section by section
//! - [`hardware_and_ci`]: what a model uses, and whether a change made it dearer
//! - [`gpu`]: computing on one, and what differs there
//! - [`end_to_end_from_video`]: training the encoder too
//! - [`pretrained_weights`]: starting from, or scoring, an authors' release
//! - [`what_is_defined`]: the cases that a protocol must decide
//! - [`figures`]: the numbers in this repository and how they were made
//! - [`troubleshooting`]: messages and remedies

#[doc = include_str!("own-data.md")]
pub mod own_data {}

#[doc = include_str!("your-own-trainer.md")]
pub mod your_own_trainer {}

#[doc = include_str!("how-much-data.md")]
pub mod how_much_data {}

#[doc = include_str!("planning-a-collection.md")]
pub mod planning_a_collection {}

#[doc = include_str!("reading-a-report.md")]
pub mod reading_a_report {}

#[doc = include_str!("hardware-and-ci.md")]
pub mod hardware_and_ci {}

#[doc = include_str!("gpu.md")]
pub mod gpu {}

#[doc = include_str!("end-to-end-from-video.md")]
pub mod end_to_end_from_video {}

#[doc = include_str!("pretrained-weights.md")]
pub mod pretrained_weights {}

#[doc = include_str!("what-is-defined.md")]
pub mod what_is_defined {}

#[doc = include_str!("figures.md")]
pub mod figures {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}
