//! Settings of ActionFormer.

use super::points::{self, Points};
use super::settings::{Common, Preset, Temporal, ask, settings};

settings! {
    /// Every setting of ActionFormer, resolved; in a file only what differs from the preset is written.
    pub struct ActionFormerConfig: common, points {
        /// Channels of the backbone.
        dim: i64,
        /// Attention heads.
        heads: i64,
        /// Window of the local attention in cells, odd; 0 = full attention.
        attention_window: usize,
        /// Coarsest levels whose attention is full all the same.
        full_levels: usize,
        /// Convolutions before the transformer.
        embedding_layers: usize,
        /// Transformer blocks before the pyramid.
        stem_layers: usize,
        /// Absolute position encoding.
        position: bool,
        /// Stochastic depth.
        drop_path: f64,
    }
}

impl ActionFormerConfig {
    /// Version of the native model's code.
    pub const RECIPE: u32 = 1;

    /// A named configuration.
    ///
    /// # Errors
    /// Nothing was published for that data set.
    pub fn preset(preset: Preset) -> Result<Self, String> {
        let (common, points) = points::thumos14();
        let thumos14 = Self {
            preset,
            common: common.clone(),
            points: points.clone(),
            dim: 512,
            heads: 4,
            attention_window: 19,
            full_levels: 0,
            embedding_layers: 2,
            stem_layers: 2,
            position: false,
            drop_path: 0.1,
        };
        match preset {
            Preset::Thumos14 => Ok(thumos14),
            Preset::Activitynet => Ok(Self {
                common: Common { temporal: Temporal::Rescale, window: 192, epochs: 15, batch: 16, lr: 1e-3, ..common },
                points: Points {
                    head_dim: 256,
                    loss_norm: 200.0,
                    reg_weight: 2.0,
                    label_smoothing: 0.1,
                    min_length: 0.001,
                    nms_sigma: 0.75,
                    nms_keep: 100,
                    class_wise: false,
                    voting: 0.9,
                    ..points
                },
                dim: 256,
                attention_window: 7,
                full_levels: 1,
                position: true,
                ..thumos14
            }),
            Preset::Laptop => Ok(Self {
                // Few updates: a faster average, a normaliser near where it settles, distances that begin above 0. Residual branches
                // are at full strength at once, since the scales of stochastic depth would begin near 0.
                common: Common { window: 512, batch: 4, lr: 1e-3, standardise: true, noise: 0.7, steps: 200, ema: 0.98, ..common },
                points: Points { head_dim: 96, loss_norm: 30.0, offset_start: 1.0, ..points },
                dim: 96,
                stem_layers: 1,
                drop_path: 0.0,
                ..thumos14
            }),
        }
    }

    fn check(&self) -> Result<(), String> {
        let coarsest = 1 << (self.points.levels - 1);
        ask(self.common.window.is_multiple_of(coarsest), "`window` must be a multiple of 2^(`levels` - 1) cells")?;
        ask(self.dim > 0 && self.heads > 0 && self.dim % self.heads == 0, "`dim` must be a positive multiple of `heads`")?;
        ask(self.attention_window == 0 || self.attention_window % 2 == 1, "`attention_window` must be odd, or 0 for full attention")?;
        ask(self.full_levels <= self.points.levels, "`full_levels` must be at most `levels`")?;
        ask((0.0..1.0).contains(&self.drop_path), "`drop_path` must be in [0, 1)")
    }
}
