//! What an evaluation yields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Mean average precision of a set of detections, per threshold and per class, all in 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// tIoU thresholds.
    pub tiou: Vec<f64>,
    /// mAP at each threshold.
    pub map: Vec<f64>,
    /// Mean over the thresholds.
    pub average_map: f64,
    /// Class name → AP at each threshold.
    pub per_class: BTreeMap<String, Vec<f64>>,
    /// Recall at k detections (k → recall at each threshold), where it was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recall: BTreeMap<u32, Vec<f64>>,
    /// Version of the evaluator and its rule set, such as `"activitynet/1"`.
    pub evaluator: String,
}

/// Whose rules decide ties and duplicates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// The official ActivityNet evaluator.
    #[default]
    Activitynet,
    /// ActionFormer's evaluator (used for THUMOS14 in most published comparisons).
    Actionformer,
}
