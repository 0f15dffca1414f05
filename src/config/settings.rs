//! What the settings of every native architecture share, and the macro that makes a preset overridable key by key.

use serde::{Deserialize, Serialize};

/// Named configurations of an architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// ActivityNet-1.3, as the authors published it.
    Activitynet,
    /// THUMOS14, as the authors (or OpenTAD) published it.
    Thumos14,
    /// About a million parameters or fewer: minutes on one core.
    #[default]
    Laptop,
}

/// How a video becomes network inputs, and how the network is trained: the same keys for every native architecture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Common {
    /// How a video becomes network inputs.
    pub temporal: Temporal,
    /// Cells of a network input; with `temporal = "whole"` the longest training input.
    pub window: usize,
    /// Cells between training windows (with `temporal = "windows"`).
    pub stride: usize,
    /// Cells between windows at inference; 0 = as in training.
    pub test_stride: usize,
    /// Training windows start up to half a stride off.
    pub jitter: bool,
    /// Shortest random crop of a whole video, as a share of it (with `temporal = "whole"`); 1 = no crop.
    pub crop: f64,
    /// Ground truth in a training window is kept when more than this share of it lies inside.
    pub keep_share: f64,
    /// Snippets averaged into one cell before anything else.
    pub pool: usize,
    /// Standardise channels with mean and deviation of the training sample.
    pub standardise: bool,
    /// Standard deviation of Gaussian noise added to training inputs (after standardisation).
    pub noise: f64,
    /// Passes over the sample under `budget = "epochs"`, warm-up included; checkpoints (and schedule epochs) in a training
    /// either way. 0 only with `init`, to evaluate weights as they are.
    pub epochs: u32,
    /// Updates under `budget = "steps"`. 0 only with `init`, to evaluate weights as they are.
    pub steps: u64,
    /// Inputs per update.
    pub batch: usize,
    /// Optimiser.
    pub optimiser: Optimiser,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay; on which tensors, the architecture says.
    pub weight_decay: f64,
    /// Learning-rate schedule.
    pub schedule: Schedule,
    /// Epochs of linear warm-up (`schedule = "warmup-cosine"`).
    pub warmup_epochs: f64,
    /// Where a cosine ends (`schedule = "warmup-cosine"`).
    pub min_lr: f64,
    /// Epoch from which the rate is a tenth (`schedule = "step"`).
    pub decay_epoch: u32,
    /// Largest global gradient norm; 0 = no clipping.
    pub clip: f64,
    /// Decay of the moving average of the weights that is tested; 0 = the last weights are.
    pub ema: f64,
    /// Numbers that products are made of, in training and in detection.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// On a CUDA device: the same bits every time, at the cost of slower operators.
    #[serde(skip_serializing_if = "is_default")]
    pub deterministic: bool,
}

/// What is as it always was is left out, so that it changes no cell's key.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Numbers that matrix products and convolutions are made of; weights, losses and moments are single precision in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    Float32,
    /// Factors rounded to 10 bits of mantissa inside the tensor cores of an NVIDIA device; single precision on the CPU.
    Tf32,
    /// bfloat16 for products and what lies between them, by libtorch's autocast.
    Bfloat16,
}

/// How a video becomes network inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Temporal {
    /// The whole video rescaled to `window` cells.
    Rescale,
    /// Overlapping windows of `window` cells.
    Windows,
    /// The whole video, zero-padded; longer ones are cut to a random `window` cells in training.
    Whole,
}

/// Optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimiser {
    /// Decoupled weight decay.
    Adamw,
    /// Weight decay added to the gradient.
    Adam,
}

/// Learning-rate schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Times 0.1 from epoch index `decay_epoch` on.
    Step,
    /// Linear warm-up over 20 updates, then a half cosine to 0.
    Cosine,
    /// From 0 to `lr` over `warmup_epochs`, then a half cosine to `min_lr` (ActionFormer and its kin).
    WarmupCosine,
}

impl Common {
    /// Says what is wrong with a value.
    pub(super) fn check(&self) -> Result<(), String> {
        ask(self.window >= 8, "`window` must be at least 8 cells")?;
        let windows = self.temporal == Temporal::Windows;
        ask(!windows || (1..=self.window).contains(&self.stride), "`stride` must be 1 to `window` cells")?;
        ask(!windows || self.test_stride <= self.window, "`test_stride` must be 0 (as `stride`) to `window` cells")?;
        ask(self.noise >= 0.0, "`noise` must not be negative")?;
        ask((0.0..1.0).contains(&self.keep_share), "`keep_share` must be in [0, 1)")?;
        ask(self.crop > 0.0 && self.crop <= 1.0, "`crop` must be in (0, 1]")?;
        ask(self.pool >= 1, "`pool` must be at least 1 snippet")?;
        ask(self.batch >= 1, "`batch` must be at least 1")?;
        ask(self.lr > 0.0 && self.lr.is_finite(), "`lr` must be a positive number")?;
        ask(self.min_lr >= 0.0 && self.min_lr <= self.lr, "`min_lr` must be 0 to `lr`")?;
        let warm = self.epochs == 0 || (0.0..f64::from(self.epochs)).contains(&self.warmup_epochs);
        ask(warm, "`warmup_epochs` must be less than `epochs`")?;
        ask(self.weight_decay >= 0.0 && self.clip >= 0.0, "`weight_decay` and `clip` must not be negative")?;
        ask((0.0..1.0).contains(&self.ema), "`ema` must be in [0, 1)")
    }
}

/// `Err(what)` unless `ok`.
pub(super) fn ask(ok: bool, what: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(what.to_owned()) }
}

/// Declares an architecture's settings: `preset`, the [`Common`] ones, with `points` those of the anchor-free detectors, and
/// its own. In a file they are one flat table, in which only what differs from the preset is written; `preset(Preset)` and
/// `check(&self)` are the architecture's to define.
macro_rules! settings {
    ($(#[$meta:meta])* pub struct $name:ident: common { $($own:tt)* }) => {
        settings! { @common [] $(#[$meta])* $name { $($own)* } }
    };
    ($(#[$meta:meta])* pub struct $name:ident: common, points { $($own:tt)* }) => {
        settings! { @common [
            points: crate::config::points::Points {
                levels: usize, range: f64, centre_radius: f64, head_dim: i64, head_layers: usize, loss_norm: f64,
                reg_weight: f64, label_smoothing: f64, min_score: f64, candidates: usize, min_length: f64, nms_sigma: f64,
                nms_keep: usize, class_wise: bool, voting: f64, offset_start: f64,
            }
        ] $(#[$meta])* $name { $($own)* } }
    };
    (@common [$($more:tt)*] $(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        settings! { @build [
            common: crate::config::settings::Common {
                temporal: crate::config::settings::Temporal, window: usize, stride: usize, test_stride: usize, jitter: bool,
                crop: f64, keep_share: f64, pool: usize, standardise: bool, noise: f64, epochs: u32, steps: u64, batch: usize,
                optimiser: crate::config::settings::Optimiser, lr: f64, weight_decay: f64,
                schedule: crate::config::settings::Schedule, warmup_epochs: f64, min_lr: f64, decay_epoch: u32, clip: f64,
                ema: f64, precision: crate::config::settings::Precision, deterministic: bool,
            }
            $($more)*
        ] $(#[$meta])* $name { $($own)* } }
    };
    (
        @build [$($group:ident: $of:ty { $($common:ident: $common_kind:ty,)* })*]
        $(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ty,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, try_from = "Overrides")]
        pub struct $name {
            /// Where the other values come from unless they are given.
            pub preset: crate::config::settings::Preset,
            $(
                /// Settings that architectures have in common.
                #[serde(flatten)]
                pub $group: $of,
            )*
            $($(#[$doc])* pub $field: $kind,)*
        }

        /// What an experiment file may write: every key optional.
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Overrides {
            #[serde(default)]
            preset: crate::config::settings::Preset,
            $($(#[serde(default)] $common: Option<$common_kind>,)*)*
            $(#[serde(default)] $field: Option<$kind>,)*
        }

        impl TryFrom<Overrides> for $name {
            type Error = String;

            fn try_from(given: Overrides) -> Result<Self, String> {
                let mut config = Self::preset(given.preset)?;
                $($(if let Some(value) = given.$common { config.$group.$common = value; })*)*
                $(if let Some(value) = given.$field { config.$field = value; })*
                $(config.$group.check()?;)*
                config.check()?;
                Ok(config)
            }
        }
    };
}

pub(super) use settings;
