//! What an evaluation yields.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// Mean average precision of a set of detections, per threshold and per class, all in 0..1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// tIoU thresholds.
    pub tiou: Vec<f64>,
    /// mAP at each threshold.
    pub map: Vec<f64>,
    /// Mean over the thresholds.
    pub average_map: f64,
    /// Class name → AP at each threshold. Classes without an instance have none.
    pub per_class: BTreeMap<String, Vec<f64>>,
    /// Recall at k detections per instance (k → recall at each threshold), where it was asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recall: BTreeMap<u32, Vec<f64>>,
    /// Version of the evaluator and its rule set, such as `"activitynet/1"`.
    pub evaluator: String,
}

impl Scores {
    /// Version of the evaluator; bumped when a figure changes.
    const VERSION: u32 = 1;

    /// Averages the classes.
    ///
    /// # Errors
    /// A figure is NaN or outside 0..1.
    pub(super) fn new(tiou: &[f64], per_class: BTreeMap<String, Vec<f64>>, recall: BTreeMap<u32, Vec<f64>>, rules: Rules) -> Result<Self> {
        let mean_at = |level: usize| per_class.values().map(|ap| ap[level]).sum::<f64>() / per_class.len() as f64;
        let map: Vec<f64> = (0..tiou.len()).map(mean_at).collect();
        let average_map = map.iter().sum::<f64>() / map.len() as f64;
        let named = per_class.iter().map(|(class, ap)| (format!("AP of {class}"), ap));
        let named = named.chain(recall.iter().map(|(k, recall)| (format!("recall at {k}x"), recall)));
        for (what, values) in named {
            // Sums of k times 1/k may pass 1 by a rounding error.
            if let Some(&value) = values.iter().find(|value| !(0.0..=1.0 + 1e-9).contains(*value)) {
                return Err(Error::NoScore { what, value });
            }
        }
        if !average_map.is_finite() {
            return Err(Error::NoScore { what: "average mAP".into(), value: average_map });
        }
        Ok(Self { tiou: tiou.to_vec(), map, average_map, per_class, recall, evaluator: format!("{rules}/{}", Self::VERSION) })
    }
}

/// Whose rules decide which instances count. Both rank ties as NumPy does (see `eval::ties`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rules {
    /// The official ActivityNet evaluator: every annotated instance counts. Its download of videos to leave out is not
    /// made here: remove them from the ground truth.
    #[default]
    Activitynet,
    /// ActionFormer's evaluator (used for THUMOS14 in most published comparisons): instances shorter than a millisecond
    /// and repeated annotations do not count.
    Actionformer,
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activitynet => "activitynet",
            Self::Actionformer => "actionformer",
        })
    }
}
