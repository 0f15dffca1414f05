//! `[model.NAME.encoder]`: the video encoder in front of a detector, and how it is trained.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::settings::ask;

/// A video encoder: snippets of frames → one feature vector each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Network.
    pub network: EncoderNetwork,
    /// Channels of the first stage: 64 as published, fewer for a laptop.
    #[serde(default = "EncoderConfig::default_width")]
    pub width: i64,
    /// Weights to start from: a `.pth` of the authors or torchvision, or safetensors. Random ones otherwise, with batch-norm
    /// statistics measured on the training sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Stages that are not trained: 0 = the stem, n = the stem and layers 1 to n (ETAD: 2); all are trained without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_stages: Option<usize>,
    /// Whether scale and shift of batch norms are trained (ETAD's release does, OpenTAD does not). Statistics never are.
    #[serde(default = "EncoderConfig::default_train_norms")]
    pub train_norms: bool,
    /// How it is trained.
    #[serde(default)]
    pub training: Training,
    /// What happens to the frames.
    #[serde(default)]
    pub frames: FrameConfig,
    /// Snippets of every video that go through the encoder at once.
    #[serde(default = "EncoderConfig::default_chunk")]
    pub chunk: usize,
    /// Learning rate; its schedule is that of the detector.
    #[serde(default = "EncoderConfig::default_lr")]
    pub lr: f64,
    /// Optimiser.
    #[serde(default)]
    pub optimiser: EncoderOptimiser,
    /// Weight decay on every trained tensor.
    #[serde(default = "EncoderConfig::default_weight_decay")]
    pub weight_decay: f64,
    /// Largest global norm of the encoder's gradient; 0 = no clipping.
    #[serde(default)]
    pub clip: f64,
    /// Convolutions in bfloat16.
    #[serde(default)]
    pub autocast: bool,
}

/// Network of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncoderNetwork {
    /// ResNet-18 with temporal shifts.
    #[serde(rename = "tsm-resnet18")]
    TsmResnet18,
    /// ResNet-34 with temporal shifts.
    #[serde(rename = "tsm-resnet34")]
    TsmResnet34,
    /// ResNet-50 with temporal shifts.
    #[serde(rename = "tsm-resnet50")]
    TsmResnet50,
    /// R(2+1)D-18 in the layout of TSP.
    #[serde(rename = "r2plus1d-18")]
    R2plus1d18,
    /// R(2+1)D-34 in the layout of TSP.
    #[serde(rename = "r2plus1d-34")]
    R2plus1d34,
}

/// How an encoder is trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Training {
    /// Not at all: features are computed once.
    #[default]
    Frozen,
    /// With the detector, by plain back-propagation through all snippets at once.
    Plain,
    /// With the detector, through all snippets, each chunk's activations computed a second time when its turn comes.
    Checkpointed,
    /// With the detector, through a sampled share of the snippets (ETAD's sequentialised gradient sampling).
    Sampled(Sampled),
    /// With a detector at low fidelity; then features at full fidelity, and the detector from scratch (LoFi).
    Lofi(Lofi),
}

/// Which snippets gradients flow through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampled {
    /// Share of the snippets; whole chunks are drawn, so somewhat more of them (ETAD: 0.3 gives 40 of 128).
    pub ratio: f64,
    /// Which ones.
    #[serde(default)]
    pub strategy: SnippetSampling,
}

/// Which snippets of a video are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnippetSampling {
    /// Uniformly, anew in every update (the release).
    #[default]
    Random,
    /// Evenly spaced, from a random first one on.
    Grid,
    /// A contiguous run from a random place on.
    Block,
    /// Those inside annotated instances before the others.
    LabelGuided,
}

/// Low-fidelity training (Xu et al., NeurIPS 2021).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lofi {
    /// What is lowered.
    #[serde(default)]
    pub fidelity: Fidelity,
    /// Updates of the joint training at low fidelity; as many as the detector's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
}

/// What a clip loses in LoFi's joint training: a factor of four in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fidelity {
    /// Half the width and height.
    S,
    /// A fourth of the snippets.
    T,
    /// Half the snippets, √2 less width and height.
    St,
    /// S, T and ST in turn, changed every 16 updates.
    ShortCycle,
    /// S, T and ST in turn, changed every pass over the sample (the paper's default).
    #[default]
    LongCycle,
}

/// Optimiser of an encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EncoderOptimiser {
    /// Decoupled weight decay (ETAD).
    #[default]
    Adamw,
    /// Plain stochastic gradient descent (LoFi).
    Sgd,
}

/// What happens to frames between the decoder and the encoder. Values in the units of ETAD's release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrameConfig {
    /// Width and height of the crop: random in training, central otherwise; the whole frame without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<[usize; 2]>,
    /// Probability that a training video is mirrored.
    pub flip: f64,
    /// Largest relative change of brightness, contrast and saturation, and largest turn of the hue (in full circles), of a
    /// training video; 0 = none.
    pub jitter: [f64; 4],
    /// Subtracted from red, green and blue (0 to 255).
    pub mean: [f64; 3],
    /// What they are divided by.
    pub deviation: [f64; 3],
}

impl Default for FrameConfig {
    fn default() -> Self {
        Self { crop: None, flip: 0.5, jitter: [0.0; 4], mean: [110.2008, 100.63983, 95.99475], deviation: [58.14765, 56.46975, 55.332195] }
    }
}

impl EncoderConfig {
    /// Version of the encoders' code and of their training; bump when a change alters results.
    pub const RECIPE: u32 = 1;

    fn default_width() -> i64 {
        64
    }

    fn default_train_norms() -> bool {
        true
    }

    fn default_chunk() -> usize {
        4
    }

    fn default_lr() -> f64 {
        5e-7
    }

    fn default_weight_decay() -> f64 {
        1e-4
    }

    /// Whether the encoder learns at all.
    pub fn is_trained(&self) -> bool {
        self.training != Training::Frozen
    }

    /// Says what is wrong with a value: the key behind `encoder.`, and the problem.
    pub(super) fn check(&self) -> Result<(), String> {
        ask(self.width >= 8 && self.width % 8 == 0, "`width` must be a multiple of 8")?;
        ask(self.frozen_stages.is_none_or(|n| n <= 4), "`frozen_stages` must be 0 to 4")?;
        ask(self.chunk >= 1, "`chunk` must be at least 1 snippet")?;
        ask(self.lr > 0.0 && self.lr.is_finite(), "`lr` must be a positive number")?;
        ask(self.weight_decay >= 0.0 && self.clip >= 0.0, "`weight_decay` and `clip` must not be negative")?;
        if let Training::Sampled(Sampled { ratio, .. }) = self.training {
            ask(ratio > 0.0 && ratio <= 1.0, "`training.sampled.ratio` must be in (0, 1]; `training = \"frozen\"` trains no encoder")?;
        }
        if let Training::Lofi(Lofi { steps, .. }) = self.training {
            ask(steps != Some(0), "`training.lofi.steps` must be at least 1")?;
        }
        let FrameConfig { crop, flip, jitter, deviation, .. } = &self.frames;
        ask(crop.is_none_or(|[w, h]| w >= 16 && h >= 16), "`frames.crop` must be [width, height], at least 16 pixels each")?;
        ask((0.0..=1.0).contains(flip), "`frames.flip` must be 0 to 1")?;
        let [brightness, contrast, saturation, hue] = jitter;
        ask([brightness, contrast, saturation].iter().all(|v| (0.0..1.0).contains(*v)), "`frames.jitter` must be 0 to 1, hue excluded")?;
        ask((0.0..=0.5).contains(hue), "`frames.jitter`: the last value, hue, must be 0 to 0.5")?;
        ask(deviation.iter().all(|&v| v > 0.0), "`frames.deviation` must be positive")
    }
}
