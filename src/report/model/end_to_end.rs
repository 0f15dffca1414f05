//! Models that read videos: how their encoders are trained, what that gives and what it costs.

use serde::Serialize;

use super::Spread;
use crate::curves::Lead;

/// Models with a video encoder at the largest fraction that any of them was measured at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndToEnd {
    /// Percent of the training part.
    pub percent: f64,
    /// Training videos.
    pub videos: f64,
    /// By how the encoder is trained, then share of snippets, strategy, share of proposals.
    pub rows: Vec<EndToEndRow>,
    /// Models that differ in one share alone.
    pub sweeps: Vec<Sweep>,
    /// What training the encoder brings over a frozen one, for every model that has such a counterpart.
    pub gains: Vec<EncoderGain>,
    /// Models with an encoder that have no cell at this fraction.
    pub absent: Vec<String>,
}

/// A model with an encoder: its settings, and means over its cells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndToEndRow {
    /// Name in the experiment.
    pub model: String,
    /// The encoder's network, as the experiment calls it.
    pub network: String,
    /// How the encoder is trained.
    pub training: EncoderTraining,
    /// Share of ETAD's valid proposals that a training update draws; `None` for other detectors.
    pub proposals: Option<f64>,
    /// Average mAP.
    pub score: Spread,
    /// Wall seconds of the training phase.
    pub training_s: Option<f64>,
    /// Of them, for each update.
    pub update_s: Option<f64>,
    /// Largest peak resident set in bytes.
    pub peak_rss_bytes: u64,
    /// Largest memory of the process on the first GPU in bytes; `None` where none was seen.
    pub peak_gpu_bytes: Option<f64>,
    /// Share of the training phase spent waiting for frames.
    pub waiting: Option<f64>,
    /// Seconds of decoding, on threads beside the training.
    pub decode_s: Option<f64>,
}

/// How an encoder is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum EncoderTraining {
    /// Not at all.
    Frozen,
    /// Through all snippets at once.
    Plain,
    /// Through all snippets, activations computed a second time.
    Checkpointed,
    /// Through a sampled share of the snippets.
    Sampled {
        /// Share of the snippets, in 0..1.
        ratio: f64,
        /// Which ones: "random", "grid", "block", "label-guided".
        strategy: String,
    },
    /// At low fidelity first, then a detector on the encoder's features.
    Lofi {
        /// What is lowered: "s", "t", "st", "short-cycle", "long-cycle".
        fidelity: String,
    },
    /// A kind that this version does not know.
    Other {
        /// As the experiment calls it.
        name: String,
    },
}

/// A share that experiments vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Snippets that gradients flow through.
    Snippets,
    /// Proposals that ETAD draws for training.
    Proposals,
}

/// Models whose settings are equal but for one share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sweep {
    /// Which.
    pub over: Share,
    /// Model and share, ascending in the share.
    pub models: Vec<(String, f64)>,
}

/// A trained encoder against a frozen one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EncoderGain {
    /// The model that trains its encoder.
    pub model: String,
    /// The one with the same network and start of the encoder, frozen, and the same architecture behind it.
    pub frozen: String,
    /// Whether the two detectors are set alike.
    pub same_detector: bool,
    /// The difference over the seeds that both have.
    pub lead: Lead,
}
