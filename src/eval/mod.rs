//! Detections, suppression and mean average precision: pure functions, no I/O.
//!
//! [`evaluate`] scores [`Detections`] against a [`GroundTruth`] under the [`Rules`] of a published evaluator; [`json`]
//! reads the files those evaluators exchange; [`nms`] suppresses overlapping candidates before they become detections.

mod ap;
mod class;
mod columns;
pub mod coverage;
pub mod detection;
pub mod iou;
pub mod json;
pub mod map;
pub mod nms;
mod recall;
pub mod scores;
pub mod thresholds;
mod ties;
pub mod truth;

use std::path::PathBuf;

pub use detection::{Detection, Detections};
pub use map::{evaluate, evaluate_rows};
pub use scores::{Rules, Scores};
pub use thresholds::Thresholds;
pub use truth::GroundTruth;

/// Result of an evaluation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why detections could not be scored: always something in the input.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the JSON that was expected.
    #[error("cannot read {} as {wanted}: {source}{hint}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What to do about it, with its own separator.
        hint: &'static str,
        /// Names line and column.
        source: serde_json::Error,
    },
    /// Not the pickle that was expected.
    #[error("cannot read {} as a pickle of detections: {problem}", file.display())]
    Pickle {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A video has two entries in one file.
    #[error("video {video:?} appears twice in {}: merge its two entries", file.display())]
    Repeated {
        /// The file.
        file: PathBuf,
        /// The video.
        video: String,
    },
    /// Columns of a table of detections differ in length.
    #[error("column \"{column}\" of {} has {found} values, \"video-id\" has {expected}: write one value per detection", file.display())]
    Ragged {
        /// The file.
        file: PathBuf,
        /// The shorter or longer column.
        column: &'static str,
        /// Its length.
        found: usize,
        /// Rows of the table.
        expected: usize,
    },
    /// No video belongs to the subset.
    #[error("no video of subset {wanted:?} in {}: choose one of {} (key \"subset\" of each video)", file.display(), available.join(", "))]
    UnknownSubset {
        /// The file.
        file: PathBuf,
        /// What was asked for.
        wanted: String,
        /// Subsets of the file.
        available: Vec<String>,
    },
    /// Nothing to find.
    #[error("no annotated instance in the {videos} evaluated videos, so no average precision exists: check the subset and the annotations")]
    NoInstances {
        /// Number of videos.
        videos: usize,
    },
    /// A detection that cannot be ranked or placed.
    #[error("detection in video {video:?} has {key} = {value}: every score and boundary must be a finite number")]
    NotFinite {
        /// The video.
        video: String,
        /// `score` or `segment`.
        key: &'static str,
        /// NaN or infinite.
        value: f64,
    },
    /// A segment that ends before it starts.
    #[error("{}: row {row} of video {video:?} ends at {end} s, before it starts at {start} s: write segments as [start, end], or leave it out", file.display())]
    Inverted {
        /// The file.
        file: PathBuf,
        /// The video.
        video: String,
        /// From 1, within the video; in a table of columns, of the table.
        row: usize,
        /// Seconds.
        start: f64,
        /// Seconds.
        end: f64,
    },
    /// The same in detections that come from no file.
    #[error("a detection in video {video:?} ends at {end} s, before it starts at {start} s")]
    Impossible {
        /// The video.
        video: String,
        /// Seconds.
        start: f64,
        /// Seconds.
        end: f64,
    },
    /// A detection without a class.
    #[error("{}: row {row} of video {video:?} has neither `label` nor `label_id`", file.display())]
    Unlabelled {
        /// The file.
        file: PathBuf,
        /// The video.
        video: String,
        /// From 1, within the video.
        row: usize,
    },
    /// Numbers of classes that nothing explains.
    #[error(
        "{}: row {row} of video {video:?} has a `label_id` and no `label`, and the ground truth numbers no class: add `label` to the detections, or `label_id` to the annotations",
        file.display()
    )]
    Unnumbered {
        /// The file.
        file: PathBuf,
        /// The video.
        video: String,
        /// From 1, within the video.
        row: usize,
    },
    /// Thresholds that make no grid.
    #[error("tiou {text:?} {problem}: write start:end:step such as 0.3:0.7:0.1, or a list such as 0.5,0.75, each above 0 and up to 1")]
    Thresholds {
        /// As given.
        text: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A score outside 0..1.
    #[error("{what} came out as {value}, which is no score between 0 and 1")]
    NoScore {
        /// Which figure.
        what: String,
        /// Its value.
        value: f64,
    },
}
