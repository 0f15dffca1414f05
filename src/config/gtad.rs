//! Settings of G-TAD.

use super::settings::{Common, Optimiser, Precision, Preset, Schedule, Temporal, ask, settings};

settings! {
    /// Every setting of G-TAD, resolved; in a file only what differs from the preset is written.
    pub struct GtadConfig: common {
        /// Initial weights of the hidden layers relative to PyTorch's default, which the release uses: 1; √6 keeps the size of
        /// what passes a layer and its ReLU, so that training starts at once.
        init_gain: f64,
        /// Longest anchor in cells (D).
        max_duration: usize,
        /// Channels of the graph layers.
        hidden: i64,
        /// Bins of the aligned anchor features.
        roi_bins: i64,
        /// Bins of the aligned neighbour features.
        context_bins: i64,
        /// Channels of the map's first layer (512 in the release).
        map_wide: i64,
        /// Channels of its other layers (128).
        map_channels: i64,
        /// Kernel of the two map convolutions: 3 on THUMOS14, 1 on ActivityNet.
        map_kernel: i64,
        /// Weights of the regression and the classification of the tIoU.
        map_weights: (f64, f64),
        /// tIoU above which an anchor counts as positive for the classification (0.9).
        positive_tiou: f64,
        /// Positive anchors that the classification's balance counts beside the real ones: 10 on THUMOS14.
        map_prior: f64,
        /// Weigh anchors so that an instance counts the same whatever its length (ours).
        balance: bool,
        /// Weight of the class head's loss beside the published ones (ours).
        class_weight: f64,
        /// Keep a proposal only if both ends lie on boundary peaks (ActivityNet).
        boundary_filter: bool,
        /// Gaussian soft-NMS.
        nms_sigma: f64,
        /// Detections kept per video.
        nms_keep: usize,
    }
}

impl GtadConfig {
    /// Version of the native model's code.
    pub const RECIPE: u32 = 1;

    /// A named configuration. Sources: the authors' release, commit 6deb5b1, for THUMOS14; its branch `anet` for ActivityNet.
    ///
    /// # Errors
    /// Nothing was published for that data set.
    pub fn preset(preset: Preset) -> Result<Self, String> {
        let common = Common {
            temporal: Temporal::Windows,
            window: 256,
            stride: 128,
            test_stride: 128,
            jitter: false,
            crop: 1.0,
            keep_share: 0.9,
            pool: 1,
            standardise: false,
            noise: 0.0,
            epochs: 10,
            steps: 1000,
            batch: 8,
            optimiser: Optimiser::Adam,
            lr: 4e-5,
            weight_decay: 1e-4,
            schedule: Schedule::Step,
            warmup_epochs: 0.0,
            min_lr: 0.0,
            decay_epoch: 5,
            clip: 1.0,
            ema: 0.0,
            precision: Precision::Float32,
            deterministic: false,
        };
        let thumos14 = Self {
            preset,
            common: common.clone(),
            init_gain: 1.0,
            max_duration: 64,
            hidden: 256,
            roi_bins: 16,
            context_bins: 16,
            map_wide: 512,
            map_channels: 128,
            map_kernel: 3,
            map_weights: (1.0, 10.0),
            positive_tiou: 0.9,
            map_prior: 10.0,
            balance: false,
            class_weight: 1.0,
            boundary_filter: false,
            nms_sigma: 0.46,
            nms_keep: 200,
        };
        match preset {
            Preset::Thumos14 => Ok(thumos14),
            Preset::Activitynet => Ok(Self {
                common: Common { temporal: Temporal::Rescale, window: 100, batch: 16, lr: 4e-3, ..common },
                max_duration: 100,
                roi_bins: 32,
                context_bins: 4,
                map_kernel: 1,
                map_weights: (10.0, 1.0),
                map_prior: 0.0,
                boundary_filter: true,
                nms_sigma: 0.8,
                nms_keep: 100,
                ..thumos14
            }),
            Preset::Laptop => Ok(Self {
                common: Common {
                    window: 192,
                    stride: 96,
                    test_stride: 0,
                    jitter: true,
                    standardise: true,
                    noise: 0.5,
                    steps: 200,
                    lr: 4e-3,
                    schedule: Schedule::Cosine,
                    clip: 5.0,
                    ..common
                },
                init_gain: 2.45,
                max_duration: 60,
                hidden: 64,
                roi_bins: 8,
                context_bins: 8,
                map_wide: 128,
                map_channels: 32,
                map_weights: (10.0, 1.0),
                positive_tiou: 0.7,
                map_prior: 0.0,
                balance: true,
                nms_sigma: 0.35,
                ..thumos14
            }),
        }
    }

    fn check(&self) -> Result<(), String> {
        ask((1..=self.common.window).contains(&self.max_duration), "`max_duration` must be 1 to `window` cells")?;
        ask(self.common.temporal != Temporal::Whole, "`temporal` must be \"windows\" or \"rescale\": G-TAD's anchors need a fixed length")?;
        ask(self.hidden > 0 && self.hidden % 64 == 0, "`hidden` must be a positive multiple of 64 (32 groups on half of it)")?;
        ask(self.init_gain > 0.0 && self.init_gain.is_finite(), "`init_gain` must be a positive number")?;
        ask(self.roi_bins >= 1 && self.context_bins >= 1, "`roi_bins` and `context_bins` must be at least 1")?;
        ask(self.map_wide > 0 && self.map_channels > 0, "`map_wide` and `map_channels` must be positive")?;
        ask(
            (0.0..1.0).contains(&self.positive_tiou) && self.map_prior >= 0.0,
            "`positive_tiou` must be in [0, 1), `map_prior` not negative",
        )?;
        ask(self.map_kernel >= 1 && self.map_kernel % 2 == 1, "`map_kernel` must be odd")?;
        ask(self.map_weights.0 >= 0.0 && self.map_weights.1 >= 0.0 && self.class_weight >= 0.0, "weights must not be negative")?;
        ask(self.nms_sigma > 0.0 && self.nms_keep >= 1, "`nms_sigma` and `nms_keep` must be positive")
    }
}
