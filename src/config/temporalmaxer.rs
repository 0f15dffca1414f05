//! Settings of TemporalMaxer.

use super::points::{self, Points};
use super::settings::{Common, Preset, ask, settings};

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
        let (common, points) = points::thumos14();
        let common = Common { epochs: 65, steps: 6500, ..common };
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
        let coarsest = 1 << (self.points.levels - 1);
        ask(self.common.window.is_multiple_of(coarsest), "`window` must be a multiple of 2^(`levels` - 1) cells")?;
        ask(self.dim > 0 && self.dim % 4 == 0, "`dim` must be a positive multiple of 4 (norm groups of the neck)")
    }
}
