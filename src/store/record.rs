//! The record of a finished cell: written once, never edited.

use serde::{Deserialize, Serialize};

use crate::base::{Digest, Percent};
use crate::eval::Scores;
use crate::event::Phase;
use crate::profile::Summary;
use crate::protocol::CellKey;

/// What one cell gave and what it cost. `cells/<k[..2]>/<key>/record.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format.
    pub schema: u32,
    /// The cell.
    pub key: CellKey,
    /// Name of the model in the experiment that ran it.
    pub model: String,
    /// Share of the training videos.
    pub fraction: Percent,
    /// Seed of sample and training.
    pub seed: u64,
    /// The attempt that succeeded, from 1.
    pub attempt: u32,
    /// What was drawn.
    pub sample: SampleFacts,
    /// mAP on the test videos.
    pub scores: Scores,
    /// Digest of the detections that were scored.
    pub detections: Digest,
    /// How the training went.
    pub training: TrainingFacts,
    /// What the detection took; empty in records older than this field.
    #[serde(default)]
    pub detection: DetectionFacts,
    /// What it cost.
    pub usage: Usage,
    /// What the sensors saw meanwhile; `None` in records older than this field. The trace lies beside the attempt's logs.
    #[serde(default)]
    pub profile: Option<Summary>,
    /// Where and with what it ran.
    pub provenance: Provenance,
    /// Sentences for the reader: padded dimensions, possible leakage, capped draws.
    pub notes: Vec<String>,
}

/// The videos a cell trained and tested on, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleFacts {
    /// Training videos.
    pub videos: usize,
    /// Instances in them.
    pub instances: usize,
    /// Seconds of video in them.
    pub seconds: f64,
    /// Classes with at least one instance.
    pub classes: usize,
    /// Draws until the coverage rule held (1 without a rule).
    pub draws: u32,
    /// Digest of the ordered identifiers.
    pub digest: Digest,
    /// Test videos.
    pub test_videos: usize,
    /// Instances in them.
    pub test_instances: usize,
}

/// How a training went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingFacts {
    /// Optimiser updates.
    pub steps: u64,
    /// Passes over the sample.
    pub epochs: f64,
    /// Trainable parameters; `None` for a model without any.
    pub parameters: Option<u64>,
    /// Mean loss over the last epoch.
    pub final_loss: Option<f64>,
    /// Where the frames came from, for a model that reads videos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameFacts>,
}

/// Frames of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameFacts {
    /// Seconds that the training stood still until frames came.
    pub waited_s: f64,
    /// Seconds of decoding, on threads beside the training.
    pub decode_s: f64,
    /// Frames decoded; the others came from the cache.
    pub decoded: u64,
}

/// The theoretical compute of the detection in the test videos.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DetectionFacts {
    /// Multiply-accumulates of convolutions, linear layers and matrix products, padding included; `None` for what is no
    /// native network.
    pub macs: Option<u64>,
    /// Seconds of video they were spent on.
    pub seconds: f64,
}

/// A trainer of the user: which code ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerFacts {
    /// The command as the experiment has it.
    pub command: Vec<String>,
    /// Name of the folder it ran in.
    pub directory: String,
    /// The git commit, where the folder is a clean git tree.
    pub commit: Option<String>,
    /// Digest of the files that decide what it does.
    pub code: Digest,
    /// Its interpreter and packages, where it names `{python}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentFacts>,
}

/// The interpreter of a trainer; `environments/<digest>.json` of the store lists its packages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentFacts {
    /// Digest of the list.
    pub digest: Digest,
    /// In a few words.
    pub words: String,
}

/// Time and memory of the cell's process tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Seconds from start to exit.
    pub wall_s: f64,
    /// User and system seconds of the process and its children (wait4).
    pub cpu_s: f64,
    /// Peak resident set size in bytes (rusage).
    pub peak_rss_bytes: u64,
    /// Compute threads it was given.
    pub threads: usize,
    /// Wall seconds per phase, in order.
    pub phases: Vec<(Phase, f64)>,
}

impl Usage {
    /// Wall seconds of the training phase; `None` when the phases were not recorded.
    pub fn training_s(&self) -> Option<f64> {
        let seconds = |&(phase, seconds): &(Phase, f64)| (phase == Phase::Train).then_some(seconds);
        self.phases.iter().filter_map(seconds).reduce(|sum, s| sum + s)
    }
}

/// Where and with what a cell ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of etalon and git commit it was built from ("0.1.0 (abcdef1)").
    pub etalon: String,
    /// Direct dependencies it was built with; empty in records older than this field.
    #[serde(default)]
    pub crates: String,
    /// Version of libtorch, where the model used it.
    pub libtorch: Option<String>,
    /// The user's trainer, where it made this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trainer: Option<TrainerFacts>,
    /// Device, such as "cpu".
    pub device: String,
    /// Host name.
    pub host: String,
    /// Processor.
    pub cpu: String,
    /// RFC 3339, UTC.
    pub started: String,
    /// RFC 3339, UTC.
    pub finished: String,
    /// Digest of the resolved experiment (`experiments/<digest>.toml` in the store).
    pub experiment: String,
}
