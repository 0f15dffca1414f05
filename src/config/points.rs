//! Settings of the anchor-free detectors: a feature pyramid whose every point classifies and regresses.

use serde::Serialize;

use super::settings::{Common, Optimiser, Precision, Schedule, Temporal, ask};

/// What ActionFormer, TemporalMaxer and TriDet share beside [`super::settings::Common`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Points {
    /// Pyramid levels; level l has stride 2^l.
    pub levels: usize,
    /// Longest distance to a boundary that the first level regresses, in cells; it doubles per level, the last has no end.
    pub range: f64,
    /// Points within this many strides of an instance's centre are positive.
    pub centre_radius: f64,
    /// Channels of the heads.
    pub head_dim: i64,
    /// Convolutions per head, the output one included.
    pub head_layers: usize,
    /// Start of the running number of positive points that losses are divided by.
    pub loss_norm: f64,
    /// Weight of the regression loss.
    pub reg_weight: f64,
    /// Label smoothing of the class targets.
    pub label_smoothing: f64,
    /// Candidates below this score are dropped, before and in the suppression.
    pub min_score: f64,
    /// Candidates per level that enter the suppression.
    pub candidates: usize,
    /// Candidates not longer than this many cells are dropped.
    pub min_length: f64,
    /// Gaussian soft-NMS.
    pub nms_sigma: f64,
    /// Detections kept per class and per video.
    pub nms_keep: usize,
    /// Suppress each class on its own.
    pub class_wise: bool,
    /// tIoU from which the suppressed vote on a segment's boundaries; 0 = no voting. Only without `class_wise`.
    pub voting: f64,
    /// First value of the biases of the distances to the boundaries, in strides. At 0, as published, a short training at a high
    /// rate can push one of the two below 0 everywhere, where ReLU passes no gradient: it stays 0 for ever.
    pub offset_start: f64,
}

/// ActionFormer's recipe for THUMOS14, from which the others were made.
pub(super) fn thumos14() -> (Common, Points) {
    let common = Common {
        temporal: Temporal::Whole,
        window: 2304,
        stride: 1152,
        test_stride: 0,
        jitter: false,
        crop: 0.9,
        keep_share: 0.5,
        pool: 1,
        standardise: false,
        noise: 0.0,
        epochs: 35,
        steps: 3500,
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
        precision: Precision::Float32,
        deterministic: false,
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
    (common, points)
}

impl Points {
    pub(super) fn check(&self) -> Result<(), String> {
        ask((1..=12).contains(&self.levels), "`levels` must be 1 to 12")?;
        ask(self.range > 0.0 && self.centre_radius > 0.0, "`range` and `centre_radius` must be positive")?;
        ask(self.head_dim > 0 && self.head_layers >= 1, "`head_dim` and `head_layers` must be positive")?;
        ask(self.loss_norm > 0.0 && self.reg_weight >= 0.0, "`loss_norm` must be positive and `reg_weight` not negative")?;
        ask((0.0..1.0).contains(&self.label_smoothing), "`label_smoothing` must be in [0, 1)")?;
        ask(self.min_score > 0.0 && self.min_score < 1.0, "`min_score` must lie between 0 and 1")?;
        ask(self.candidates >= 1 && self.nms_keep >= 1, "`candidates` and `nms_keep` must be at least 1")?;
        ask(self.nms_sigma > 0.0 && self.min_length >= 0.0, "`nms_sigma` must be positive and `min_length` not negative")?;
        ask((0.0..=1.0).contains(&self.voting), "`voting` must be in [0, 1]")?;
        ask(self.offset_start >= 0.0, "`offset_start` must not be negative")?;
        ask(self.voting == 0.0 || !self.class_wise, "`voting` needs `class_wise = false`")
    }

    /// Range of regression of each level on the larger of the two distances, in cells, both ends included.
    pub fn ranges(&self) -> Vec<(f64, f64)> {
        let edge = |level: usize| if level == 0 { 0.0 } else { self.range * (1u64 << (level - 1)) as f64 };
        let last = self.levels - 1;
        (0..=last).map(|l| (edge(l), if l == last { 10_000.0 } else { edge(l + 1) })).collect()
    }
}
