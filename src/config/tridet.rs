//! Settings of TriDet.

use super::points::{self, Points};
use super::settings::{Common, Preset, ask, settings};

settings! {
    /// Every setting of TriDet, resolved; in a file only what differs from the preset is written.
    pub struct TriDetConfig: common, points {
        /// Channels of the backbone.
        dim: i64,
        /// Width of the blocks' perceptrons.
        mlp_dim: i64,
        /// Kernel of the instant branch of an SGP block in the pyramid.
        sgp_window: i64,
        /// How much wider the window branch is (k).
        sgp_factor: f64,
        /// Deviation of the initial weights of the SGP convolutions; 0 keeps those branches silent for ever.
        sgp_init: f64,
        /// Convolutions before the pyramid.
        embedding_layers: usize,
        /// SGP blocks before the pyramid.
        stem_layers: usize,
        /// Absolute position encoding.
        position: bool,
        /// Stochastic depth in the pyramid.
        drop_path: f64,
        /// Bins of the relative boundary distribution (B).
        bins: i64,
        /// Power of the tIoU that weighs positive points in the class loss.
        iou_power: f64,
    }
}

impl TriDetConfig {
    /// Version of the native model's code.
    pub const RECIPE: u32 = 1;

    /// A named configuration.
    ///
    /// # Errors
    /// Nothing was published for that data set.
    pub fn preset(preset: Preset) -> Result<Self, String> {
        let (common, points) = points::thumos14();
        let common = Common { noise: 5e-4, epochs: 40, steps: 4000, weight_decay: 0.025, warmup_epochs: 20.0, ..common };
        let points = Points { nms_keep: 2000, ..points };
        let thumos14 = Self {
            preset,
            common: common.clone(),
            points: points.clone(),
            dim: 512,
            mlp_dim: 768,
            sgp_window: 1,
            sgp_factor: 5.0,
            sgp_init: 0.0,
            embedding_layers: 2,
            stem_layers: 2,
            position: false,
            drop_path: 0.1,
            bins: 16,
            iou_power: 0.2,
        };
        match preset {
            Preset::Thumos14 => Ok(thumos14),
            Preset::Activitynet => Ok(Self {
                common: Common {
                    window: 768,
                    epochs: 15,
                    warmup_epochs: 10.0,
                    batch: 16,
                    lr: 1e-3,
                    min_lr: 5e-5,
                    clip: 0.4,
                    noise: 0.5,
                    weight_decay: 0.04,
                    ..common
                },
                points: Points {
                    loss_norm: 400.0,
                    label_smoothing: 0.1,
                    min_length: 0.1,
                    nms_sigma: 0.7,
                    nms_keep: 200,
                    class_wise: false,
                    voting: 0.95,
                    ..points
                },
                dim: 256,
                mlp_dim: 2048,
                sgp_window: 15,
                sgp_factor: 1.3,
                sgp_init: 0.2,
                position: true,
                bins: 12,
                iou_power: 1.0,
                ..thumos14
            }),
            Preset::Laptop => Ok(Self {
                // Few updates: a faster average, a normaliser near where it settles, and residual branches at full strength,
                // since the scales of stochastic depth start near zero and have no time to grow.
                common: Common {
                    window: 512,
                    epochs: 35,
                    warmup_epochs: 5.0,
                    batch: 4,
                    lr: 2e-3,
                    standardise: true,
                    noise: 0.7,
                    steps: 200,
                    ema: 0.98,
                    ..common
                },
                points: Points { head_dim: 96, nms_keep: 200, loss_norm: 30.0, ..points },
                dim: 96,
                mlp_dim: 144,
                sgp_init: 0.2,
                drop_path: 0.0,
                ..thumos14
            }),
        }
    }

    fn check(&self) -> Result<(), String> {
        let coarsest = 1 << (self.points.levels - 1);
        ask(self.common.window.is_multiple_of(coarsest), "`window` must be a multiple of 2^(`levels` - 1) cells")?;
        ask(self.dim > 0 && self.dim % 16 == 0, "`dim` must be a positive multiple of 16 (norm groups)")?;
        ask(self.mlp_dim > 0 && self.bins >= 1, "`mlp_dim` and `bins` must be positive")?;
        ask(self.sgp_window >= 1 && self.sgp_window % 2 == 1, "`sgp_window` must be odd")?;
        ask(self.sgp_factor > 0.0 && self.sgp_init >= 0.0, "`sgp_factor` must be positive and `sgp_init` not negative")?;
        ask((0.0..1.0).contains(&self.drop_path), "`drop_path` must be in [0, 1)")?;
        ask(self.iou_power >= 0.0, "`iou_power` must not be negative")
    }
}
