//! Predicted segments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::Segment;

/// One predicted action.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Seconds.
    pub segment: Segment,
    /// Class index.
    pub label: usize,
    /// Confidence; larger is surer. Finite.
    pub score: f64,
}

/// Detections by video identifier.
pub type Detections = BTreeMap<String, Vec<Detection>>;
