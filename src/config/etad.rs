//! Settings of ETAD: two published configurations and a laptop-size one, each field of which can be overridden.

use serde::{Deserialize, Serialize};

use super::settings::{Common, Optimiser, Precision, Preset, Schedule, Temporal, ask, settings};

settings! {
    /// Every setting of ETAD, resolved. In a file only `preset` and what differs from it are written:
    /// `arch.etad = { preset = "laptop", epochs = 20 }`.
    pub struct EtadConfig: common {
        /// Longest proposal in cells (D).
        max_duration: usize,
        /// Channels of the aggregated features (256 in the paper).
        hidden: i64,
        /// Channels of the RoI features (128).
        roi_channels: i64,
        /// Bins of a RoI (R).
        roi_bins: i64,
        /// Share of the proposal's length added on each side of the RoI.
        roi_extension: f64,
        /// Width of the first layer of the proposal heads (512).
        fc: i64,
        /// Width of their inner layers (128).
        fc_inner: i64,
        /// tIoU above which a stage regresses; one per cascade stage.
        stage_tiou: Vec<f64>,
        /// tIoU above which a proposal counts as positive for the IoU classification.
        positive_tiou: f64,
        /// Weight of the class head's loss beside the published ones.
        class_weight: f64,
        /// How training proposals are drawn.
        sampling: ProposalSampling,
        /// Share of the valid proposals that is drawn for training.
        ratio: f64,
        /// Matrix products of training in bfloat16.
        autocast: bool,
        /// Which proposals are scored at inference.
        inference: Inference,
        /// Keep a proposal only if both ends lie on boundary peaks.
        boundary_filter: bool,
        /// Gaussian soft-NMS.
        nms_sigma: f64,
        /// Detections kept per video (and per window before merging).
        nms_keep: usize,
    }
}

impl EtadConfig {
    /// Version of the native model's code.
    pub const RECIPE: u32 = 2;
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

impl EtadConfig {
    /// A named configuration. Sources: specs of the authors' release (commit 33d2733) for ActivityNet, OpenTAD
    /// (commit 3dd7b03, `configs/etad/thumos_i3d.py`) for THUMOS14.
    ///
    /// # Errors
    /// None: every preset exists.
    pub fn preset(preset: Preset) -> Result<Self, String> {
        let common = Common {
            temporal: Temporal::Rescale,
            window: 128,
            stride: 64,
            test_stride: 0,
            jitter: false,
            crop: 1.0,
            keep_share: 0.9,
            pool: 1,
            standardise: false,
            noise: 0.0,
            epochs: 6,
            steps: 3600,
            batch: 16,
            optimiser: Optimiser::Adamw,
            lr: 1e-3,
            weight_decay: 1e-4,
            schedule: Schedule::Step,
            warmup_epochs: 0.0,
            min_lr: 0.0,
            decay_epoch: 5,
            clip: 0.0,
            ema: 0.0,
            precision: Precision::Float32,
            deterministic: false,
        };
        let activitynet = Self {
            preset,
            common: common.clone(),
            max_duration: 128,
            hidden: 256,
            roi_channels: 128,
            roi_bins: 24,
            roi_extension: 0.5,
            fc: 512,
            fc_inner: 128,
            stage_tiou: vec![0.7, 0.8, 0.9],
            positive_tiou: 0.9,
            class_weight: 1.0,
            sampling: ProposalSampling::Random,
            ratio: 0.06,
            autocast: false,
            inference: Inference::All,
            boundary_filter: true,
            nms_sigma: 0.35,
            nms_keep: 100,
        };
        Ok(match preset {
            Preset::Activitynet => activitynet,
            Preset::Thumos14 => Self {
                common: Common {
                    temporal: Temporal::Windows,
                    epochs: 8,
                    steps: 1000,
                    optimiser: Optimiser::Adam,
                    lr: 1e-4,
                    clip: 1.0,
                    ..common
                },
                max_duration: 64,
                roi_bins: 16,
                ratio: 0.1,
                nms_sigma: 0.3,
                nms_keep: 200,
                ..activitynet
            },
            Preset::Laptop => Self {
                common: Common {
                    temporal: Temporal::Windows,
                    window: 256,
                    stride: 128,
                    jitter: true,
                    keep_share: 0.5,
                    standardise: true,
                    noise: 0.7,
                    epochs: 20,
                    steps: 300,
                    batch: 8,
                    schedule: Schedule::Cosine,
                    clip: 5.0,
                    ..common
                },
                max_duration: 128,
                hidden: 128,
                roi_channels: 64,
                roi_bins: 12,
                fc: 128,
                fc_inner: 64,
                stage_tiou: vec![0.5, 0.7, 0.8],
                positive_tiou: 0.7,
                sampling: ProposalSampling::Guided,
                ratio: 0.008,
                inference: Inference::Pyramid,
                boundary_filter: false,
                nms_sigma: 0.35,
                nms_keep: 200,
                ..activitynet
            },
        })
    }

    /// Whether a network can be built of these settings.
    ///
    /// # Errors
    /// What is wrong, with the setting.
    pub fn check(&self) -> Result<(), String> {
        ask((1..=self.common.window).contains(&self.max_duration), "`max_duration` must be 1 to `window` cells")?;
        ask(
            self.common.temporal != Temporal::Whole,
            "`temporal` must be \"windows\" or \"rescale\": ETAD's proposals need a fixed length",
        )?;
        ask(self.class_weight >= 0.0, "`class_weight` must not be negative")?;
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
        ask(self.nms_keep >= 1 && self.nms_sigma > 0.0, "`nms_keep` and `nms_sigma` must be positive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_can_be_overridden_and_round_trips() {
        let config: EtadConfig = toml::from_str("preset = \"thumos14\"\nepochs = 3").unwrap();
        assert_eq!((config.common.epochs, config.roi_bins, config.common.optimiser), (3, 16, Optimiser::Adam));
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
