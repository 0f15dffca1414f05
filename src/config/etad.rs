//! Settings of ETAD: two published configurations and a laptop-size one, each field of which can be overridden.

use serde::{Deserialize, Serialize};

/// Every setting of ETAD, resolved. In a file only `preset` and what differs from it are written:
/// `arch.etad = { preset = "laptop", epochs = 20 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Overrides")]
pub struct EtadConfig {
    /// Where the other values come from unless they are given.
    pub preset: Preset,
    /// How a video becomes network inputs.
    pub temporal: Temporal,
    /// Cells of a network input (T).
    pub window: usize,
    /// Longest proposal in cells (D).
    pub max_duration: usize,
    /// Cells between windows (with `temporal = "windows"`).
    pub stride: usize,
    /// Training windows start up to half a stride off.
    pub jitter: bool,
    /// Ground truth in a training window is kept when more than this share of it lies inside.
    pub keep_share: f64,
    /// Snippets averaged into one cell before anything else.
    pub pool: usize,
    /// Standardise channels with mean and deviation of the training sample.
    pub standardise: bool,
    /// Channels of the aggregated features (256 in the paper).
    pub hidden: i64,
    /// Channels of the RoI features (128).
    pub roi_channels: i64,
    /// Bins of a RoI (R).
    pub roi_bins: i64,
    /// Share of the proposal's length added on each side of the RoI.
    pub roi_extension: f64,
    /// Width of the first layer of the proposal heads (512).
    pub fc: i64,
    /// Width of their inner layers (128).
    pub fc_inner: i64,
    /// tIoU above which a stage regresses; one per cascade stage.
    pub stage_tiou: Vec<f64>,
    /// tIoU above which a proposal counts as positive for the IoU classification.
    pub positive_tiou: f64,
    /// Standard deviation of Gaussian noise added to standardised training inputs.
    pub noise: f64,
    /// Weight of the class head's loss beside the published ones.
    pub class_weight: f64,
    /// How training proposals are drawn.
    pub sampling: ProposalSampling,
    /// Share of the valid proposals that is drawn for training.
    pub ratio: f64,
    /// Passes over the sample under `budget = "epochs"`; checkpoints (and schedule steps) in a training either way.
    pub epochs: u32,
    /// Updates under `budget = "steps"`.
    pub steps: u64,
    /// Inputs per update.
    pub batch: usize,
    /// Optimiser.
    pub optimiser: Optimiser,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay, on every tensor.
    pub weight_decay: f64,
    /// Learning-rate schedule.
    pub schedule: Schedule,
    /// Largest global gradient norm; 0 = no clipping.
    pub clip: f64,
    /// Matrix products of training in bfloat16.
    pub autocast: bool,
    /// Which proposals are scored at inference.
    pub inference: Inference,
    /// Keep a proposal only if both ends lie on boundary peaks.
    pub boundary_filter: bool,
    /// Gaussian soft-NMS.
    pub nms_sigma: f64,
    /// Detections kept per video (and per window before merging).
    pub nms_keep: usize,
}

impl EtadConfig {
    /// Version of the native model's code.
    pub const RECIPE: u32 = 1;
}

/// Named configurations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// ActivityNet-1.3 on TSP features, the authors' release.
    Activitynet,
    /// THUMOS14 on I3D features, OpenTAD's schedule and windows with the authors' network.
    Thumos14,
    /// About a million parameters: minutes on one core.
    #[default]
    Laptop,
}

/// How a video becomes network inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Temporal {
    /// The whole video rescaled to `window` cells.
    Rescale,
    /// Overlapping windows of `window` cells.
    Windows,
}

/// How training proposals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProposalSampling {
    /// Uniform over the valid proposals (the paper's default).
    Random,
    /// A lattice.
    Grid,
    /// One square block of the duration-start map.
    Block,
    /// Half jittered ground truth, half drawn with weight 1/length (laptop preset; our addition).
    Guided,
}

/// Which proposals are scored at inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inference {
    /// Every valid one, as published.
    All,
    /// All durations at starts and lengths on a grid relative to the length (ours): several times fewer, and the cascade
    /// refines the difference away.
    Pyramid,
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
    /// Times 0.1 from epoch index 5 on.
    Step,
    /// Linear warm-up over 20 updates, then a half cosine to 0.
    Cosine,
}

macro_rules! overrides {
    ($($field:ident: $kind:ty),* $(,)?) => {
        /// What an experiment file may write: every key optional.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Overrides {
            #[serde(default)]
            preset: Preset,
            $(#[serde(default)] $field: Option<$kind>,)*
        }

        impl TryFrom<Overrides> for EtadConfig {
            type Error = String;

            fn try_from(given: Overrides) -> Result<Self, String> {
                let mut config = Self::preset(given.preset);
                $(if let Some(value) = given.$field { config.$field = value; })*
                config.checked()
            }
        }
    };
}

overrides! {
    temporal: Temporal, window: usize, max_duration: usize, stride: usize, jitter: bool, keep_share: f64, pool: usize,
    standardise: bool, hidden: i64, roi_channels: i64, roi_bins: i64, roi_extension: f64, fc: i64, fc_inner: i64,
    stage_tiou: Vec<f64>, positive_tiou: f64, noise: f64, class_weight: f64, sampling: ProposalSampling, ratio: f64, epochs: u32, steps: u64, batch: usize,
    optimiser: Optimiser, lr: f64, weight_decay: f64, schedule: Schedule, clip: f64, autocast: bool,
    inference: Inference, boundary_filter: bool, nms_sigma: f64, nms_keep: usize,
}

impl EtadConfig {
    /// A named configuration. Sources: specs of the authors' release (commit 33d2733) for ActivityNet, OpenTAD
    /// (commit 3dd7b03, `configs/etad/thumos_i3d.py`) for THUMOS14.
    pub fn preset(preset: Preset) -> Self {
        let activitynet = Self {
            preset,
            temporal: Temporal::Rescale,
            window: 128,
            max_duration: 128,
            stride: 64,
            jitter: false,
            keep_share: 0.9,
            pool: 1,
            standardise: false,
            hidden: 256,
            roi_channels: 128,
            roi_bins: 24,
            roi_extension: 0.5,
            fc: 512,
            fc_inner: 128,
            stage_tiou: vec![0.7, 0.8, 0.9],
            positive_tiou: 0.9,
            noise: 0.0,
            class_weight: 1.0,
            sampling: ProposalSampling::Random,
            ratio: 0.06,
            epochs: 6,
            steps: 3600,
            batch: 16,
            optimiser: Optimiser::Adamw,
            lr: 1e-3,
            weight_decay: 1e-4,
            schedule: Schedule::Step,
            clip: 0.0,
            autocast: false,
            inference: Inference::All,
            boundary_filter: true,
            nms_sigma: 0.35,
            nms_keep: 100,
        };
        match preset {
            Preset::Activitynet => activitynet,
            Preset::Thumos14 => Self {
                temporal: Temporal::Windows,
                max_duration: 64,
                roi_bins: 16,
                ratio: 0.1,
                epochs: 8,
                steps: 1000,
                optimiser: Optimiser::Adam,
                lr: 1e-4,
                clip: 1.0,
                nms_sigma: 0.3,
                nms_keep: 200,
                ..activitynet
            },
            Preset::Laptop => Self {
                temporal: Temporal::Windows,
                window: 256,
                max_duration: 128,
                stride: 128,
                jitter: true,
                keep_share: 0.5,
                standardise: true,
                hidden: 128,
                roi_channels: 64,
                roi_bins: 12,
                fc: 128,
                fc_inner: 64,
                stage_tiou: vec![0.5, 0.7, 0.8],
                positive_tiou: 0.7,
                sampling: ProposalSampling::Guided,
                ratio: 0.008,
                noise: 0.7,
                epochs: 20,
                steps: 300,
                batch: 8,
                schedule: Schedule::Cosine,
                clip: 5.0,
                inference: Inference::Pyramid,
                boundary_filter: false,
                nms_sigma: 0.35,
                nms_keep: 200,
                ..activitynet
            },
        }
    }

    fn checked(self) -> Result<Self, String> {
        let ask = |ok: bool, what: &str| if ok { Ok(()) } else { Err(what.to_owned()) };
        ask(self.window >= 8, "`window` must be at least 8 cells")?;
        ask((1..=self.window).contains(&self.max_duration), "`max_duration` must be 1 to `window` cells")?;
        ask((1..=self.window).contains(&self.stride), "`stride` must be 1 to `window` cells")?;
        ask(self.noise >= 0.0 && self.class_weight >= 0.0, "`noise` and `class_weight` must not be negative")?;
        ask((0.0..1.0).contains(&self.keep_share), "`keep_share` must be in [0, 1)")?;
        ask(self.pool >= 1, "`pool` must be at least 1 snippet")?;
        ask(self.hidden > 0 && self.hidden % 32 == 0, "`hidden` must be a positive multiple of 32 (16 norm groups on half of it)")?;
        ask(self.roi_channels > 0 && self.fc > 0 && self.fc_inner > 0, "`roi_channels`, `fc` and `fc_inner` must be positive")?;
        ask(
            self.roi_bins >= 4 && self.roi_bins % 4 == 0,
            "`roi_bins` must be a positive multiple of 4 (its quarters feed the start and end heads)",
        )?;
        ask(self.roi_extension >= 0.0, "`roi_extension` must not be negative")?;
        ask(!self.stage_tiou.is_empty(), "`stage_tiou` needs one threshold per cascade stage")?;
        ask(self.stage_tiou.iter().all(|t| (0.0..1.0).contains(t)), "`stage_tiou` values must be in [0, 1)")?;
        ask(self.ratio > 0.0 && self.ratio <= 1.0, "`ratio` must be in (0, 1]")?;
        ask(self.epochs >= 1 && self.batch >= 1, "`epochs` and `batch` must be at least 1")?;
        ask(self.lr > 0.0 && self.lr.is_finite(), "`lr` must be a positive number")?;
        ask(self.weight_decay >= 0.0 && self.clip >= 0.0, "`weight_decay` and `clip` must not be negative")?;
        ask(self.steps >= 1, "`steps` must be at least 1")?;
        ask(self.nms_keep >= 1 && self.nms_sigma > 0.0, "`nms_keep` and `nms_sigma` must be positive")?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_can_be_overridden_and_round_trips() {
        let config: EtadConfig = toml::from_str("preset = \"thumos14\"\nepochs = 3").unwrap();
        assert_eq!((config.epochs, config.roi_bins, config.optimiser), (3, 16, Optimiser::Adam));
        let again: EtadConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn wrong_values_and_unknown_keys_are_refused_by_name() {
        let message = |text: &str| toml::from_str::<EtadConfig>(text).unwrap_err().to_string();
        assert!(message("roi_bins = 6").contains("`roi_bins`"));
        assert!(message("learning_rate = 1.0").contains("learning_rate"));
    }
}
