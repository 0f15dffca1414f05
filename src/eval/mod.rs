//! Detections, suppression and mean average precision: pure functions, no I/O.

pub mod detection;
pub mod nms;
pub mod scores;

pub use detection::{Detection, Detections};
pub use scores::{Rules, Scores};
