//! Settings of TadTR.

use serde::{Deserialize, Serialize};

use super::settings::{Common, Optimiser, Precision, Preset, Schedule, Temporal, ask, settings};

/// Whose instances TadTR's actionness target is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actionness {
    /// Those of the whole batch, as released.
    Batch,
    /// The input's own (OpenTAD).
    Video,
}

/// How the detections of a video's windows become those of the video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merging {
    /// Hard suppression where neighbouring windows overlap, and only there (as released).
    Fusion,
    /// Class-wise Gaussian soft-NMS over all of them (OpenTAD).
    SoftNms,
}

settings! {
    /// Every setting of TadTR, resolved; in a file only what differs from the preset is written.
    pub struct TadTrConfig: common {
        /// Channels of the transformer.
        dim: i64,
        /// Attention heads.
        heads: i64,
        /// Sampling points per head.
        attention_points: i64,
        /// Encoder layers.
        encoder_layers: usize,
        /// Decoder layers.
        decoder_layers: usize,
        /// Width of the feed-forward layers.
        feed_forward: i64,
        /// Action queries, the most detections per class and window.
        queries: i64,
        /// Dropout.
        dropout: f64,
        /// Weight of the class cost in the matching.
        class_cost: f64,
        /// Whose instances the actionness target is measured against.
        actionness: Actionness,
        /// Detections kept per window.
        per_window: usize,
        /// How the windows of a video are merged.
        merging: Merging,
        /// tIoU of the suppression between neighbouring windows (`merging = "fusion"`).
        fusion_tiou: f64,
        /// Gaussian soft-NMS (`merging = "soft-nms"`, and always without classes).
        nms_sigma: f64,
    }
}

impl TadTrConfig {
    /// Version of the native model's code.
    pub const RECIPE: u32 = 1;

    /// A named configuration.
    ///
    /// # Errors
    /// Nothing was published for that data set.
    pub fn preset(preset: Preset) -> Result<Self, String> {
        let common = Common {
            temporal: Temporal::Windows,
            window: 128,
            stride: 32,
            test_stride: 96,
            jitter: false,
            crop: 1.0,
            keep_share: 0.75,
            pool: 1,
            standardise: false,
            noise: 0.0,
            epochs: 16,
            steps: 1600,
            batch: 16,
            optimiser: Optimiser::Adamw,
            lr: 2e-4,
            weight_decay: 1e-4,
            schedule: Schedule::Step,
            warmup_epochs: 0.0,
            min_lr: 0.0,
            decay_epoch: 14,
            clip: 0.1,
            ema: 0.0,
            precision: Precision::Float32,
            deterministic: false,
        };
        let thumos14 = Self {
            preset,
            common: common.clone(),
            dim: 256,
            heads: 8,
            attention_points: 4,
            encoder_layers: 4,
            decoder_layers: 4,
            feed_forward: 1024,
            queries: 40,
            dropout: 0.1,
            class_cost: 6.0,
            actionness: Actionness::Batch,
            per_window: 100,
            merging: Merging::Fusion,
            fusion_tiou: 0.4,
            nms_sigma: 0.4,
        };
        match preset {
            Preset::Thumos14 => Ok(thumos14),
            Preset::Activitynet => Err("TadTR's ActivityNet configuration was not released; start from \"thumos14\"".into()),
            Preset::Laptop => Ok(Self {
                common: Common {
                    window: 128,
                    stride: 64,
                    test_stride: 64,
                    jitter: true,
                    standardise: true,
                    noise: 0.7,
                    steps: 400,
                    lr: 1e-3,
                    schedule: Schedule::Cosine,
                    clip: 1.0,
                    ..common
                },
                dim: 128,
                heads: 4,
                encoder_layers: 2,
                decoder_layers: 2,
                feed_forward: 256,
                actionness: Actionness::Video,
                merging: Merging::SoftNms,
                ..thumos14
            }),
        }
    }

    fn check(&self) -> Result<(), String> {
        ask(
            self.dim > 0 && self.dim % 32 == 0 && self.heads >= 1 && self.dim % self.heads == 0,
            "`dim` must be a positive multiple of 32 (norm groups) and of `heads`",
        )?;
        ask(self.attention_points >= 1 && self.feed_forward >= 1, "`attention_points` and `feed_forward` must be positive")?;
        ask(self.decoder_layers >= 1 && self.queries >= 1, "`decoder_layers` and `queries` must be at least 1")?;
        ask((0.0..1.0).contains(&self.dropout), "`dropout` must be in [0, 1)")?;
        ask(self.class_cost >= 0.0 && self.per_window >= 1, "`class_cost` must not be negative and `per_window` be at least 1")?;
        ask(
            self.common.temporal != Temporal::Whole,
            "`temporal` must be \"windows\" or \"rescale\": TadTR's segments are shares of a fixed length",
        )?;
        ask((0.0..=1.0).contains(&self.fusion_tiou), "`fusion_tiou` must be in [0, 1]")?;
        ask(self.nms_sigma > 0.0, "`nms_sigma` must be positive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_can_be_overridden_and_round_trips() {
        let config: TadTrConfig = toml::from_str("preset = \"thumos14\"\nactionness = \"video\"\nqueries = 12").unwrap();
        assert_eq!((config.actionness, config.queries, config.common.stride), (Actionness::Video, 12, 32));
        let again: TadTrConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        let message = |text: &str| toml::from_str::<TadTrConfig>(text).unwrap_err().to_string();
        assert!(message("dim = 100").contains("`dim`"));
        assert!(message("heads = 0").contains("`dim`"));
        assert!(message("temporal = \"whole\"").contains("`temporal`"));
        assert!(message("preset = \"activitynet\"").contains("thumos14"));
    }
}
