//! Settings of TemporalMaxer.

use super::points::Points;
use super::settings::{Common, Optimiser, Preset, Schedule, Temporal, ask, settings};

settings! {
    /// Every setting of TemporalMaxer, resolved; in a file only what differs from the preset is written.
    pub struct TemporalMaxerConfig: common, points {
        /// Channels of the backbone.
        dim: i64,
        /// Convolutions before the pyramid.
        embedding_layers: usize,
    }
}

impl TemporalMaxerConfig {
    /// Version of the native model's code.
    pub const RECIPE: u32 = 1;

    /// A named configuration.
    ///
    /// # Errors
    /// Nothing was published for that data set.
    pub fn preset(preset: Preset) -> Result<Self, String> {
        let common = Common {
            temporal: Temporal::Whole,
            window: 2304,
            stride: 1152,
            test_stride: 1152,
            jitter: false,
            crop: 0.9,
            keep_share: 0.5,
            pool: 1,
            standardise: false,
            noise: 0.0,
            epochs: 65,
            steps: 6500,
            batch: 2,
            optimiser: Optimiser::Adamw,
            lr: 1e-4,
            weight_decay: 0.05,
            schedule: Schedule::WarmupCosine,
            warmup_epochs: 5.0,
            min_lr: 1e-8,
            decay_epoch: 35,
            clip: 1.0,
            ema: 0.999,
        };
        let points = Points {
            levels: 6,
            range: 4.0,
            centre_radius: 1.5,
            head_dim: 512,
            head_layers: 3,
            loss_norm: 100.0,
            reg_weight: 1.0,
            label_smoothing: 0.0,
            min_score: 0.001,
            candidates: 2000,
            min_length: 0.05,
            nms_sigma: 0.5,
            nms_keep: 200,
            class_wise: true,
            voting: 0.0,
            offset_start: 0.0,
        };
        let thumos14 = Self { preset, common: common.clone(), points: points.clone(), dim: 512, embedding_layers: 2 };
        match preset {
            Preset::Thumos14 => Ok(thumos14),
            Preset::Activitynet => Err("TemporalMaxer has no published ActivityNet configuration; start from \"thumos14\"".into()),
            Preset::Laptop => Ok(Self {
                // Few updates: a faster average, a normaliser near where it settles, distances that begin above 0.
                common: Common {
                    window: 512,
                    epochs: 35,
                    batch: 4,
                    lr: 3e-3,
                    standardise: true,
                    noise: 0.7,
                    steps: 250,
                    ema: 0.98,
                    ..common
                },
                points: Points { head_dim: 128, loss_norm: 30.0, offset_start: 1.0, ..points },
                dim: 128,
                ..thumos14
            }),
        }
    }

    fn check(&self) -> Result<(), String> {
        ask(self.dim > 0 && self.dim % 4 == 0, "`dim` must be a positive multiple of 4 (norm groups of the neck)")
    }
}
