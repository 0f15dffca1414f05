//! ETAD's losses with their published quirks (authors' `loss_function.py`); the quirk of the selection is that of
//! [`map_losses`](crate::nn::layers::map_losses).

use tch::{Kind, Reduction, Tensor};

use crate::nn::layers::map_losses::{count, drawn, log_of, log_of_rest, mask, none};

/// Uniform draws of one stage, each `[N]`, used where a loss samples.
pub struct Draws {
    /// Negatives of the IoU classification.
    pub iou_class: Tensor,
    /// Proposals of middle tIoU for the IoU regression.
    pub iou_mid: Tensor,
    /// Proposals of low tIoU for the IoU regression.
    pub iou_low: Tensor,
    /// Negatives of the start classification.
    pub start: Tensor,
    /// Negatives of the end classification.
    pub end: Tensor,
}

/// What a stage's outputs are compared with, all `[N]`.
pub struct StageTargets {
    /// tIoU of the stage's input proposals with their matched instance.
    pub overlap: Tensor,
    /// Offsets to the matched instance: start, end, centre, width.
    pub offsets: [Tensor; 4],
    /// Startness at the proposal's start cell.
    pub start: Tensor,
    /// Endness at the proposal's end cell.
    pub end: Tensor,
}

/// Names of the terms of a stage, in the order of [`stage`]'s result.
pub const STAGE_TERMS: [&str; 8] = ["iou_cls", "cls_start", "cls_end", "iou_reg", "reg_start", "reg_end", "reg_center", "reg_width"];
const STAGE_WEIGHTS: [f64; 8] = [1.0, 0.5, 0.5, 5.0, 10.0, 10.0, 10.0, 10.0];

/// Cross-entropy over the positives and about as many drawn negatives; without positives over all negatives.
pub fn sampled_cross_entropy(p: &Tensor, truth: &Tensor, threshold: f64, draw: &Tensor) -> Tensor {
    let positive = mask(&truth.gt(threshold));
    let negative = 1.0 - &positive;
    let np = count(&positive);
    let kept = drawn(draw, &negative, &(&np / count(&negative))).maximum(&none(&np));
    let total = &np + count(&kept);
    -(positive * log_of(p) + kept * log_of_rest(p)).sum(Kind::Float) / total
}

/// Squared error over proposals of high (> 0.7), middle (> 0.3) and low tIoU in about equal numbers; over all without high ones.
pub fn sampled_square_error(p: &Tensor, truth: &Tensor, draw_mid: &Tensor, draw_low: &Tensor) -> Tensor {
    let high = mask(&truth.gt(0.7));
    let not_low = mask(&truth.gt(0.3));
    let nh = count(&high);
    let (mid, low) = (&not_low - &high, 1.0 - &not_low);
    let kept = |draw: &Tensor, of: &Tensor| drawn(draw, of, &(&nh / count(of)));
    let weight = (high + kept(draw_mid, &mid) + kept(draw_low, &low)).maximum(&none(&nh));
    (&weight * (p - truth).square()).sum(Kind::Float) / weight.sum(Kind::Float)
}

/// Smooth L1 over the proposals whose tIoU exceeds `threshold`; 0 when there is none.
pub fn smooth_l1_above(p: &Tensor, target: &Tensor, overlap: &Tensor, threshold: f64) -> Tensor {
    let chosen = mask(&overlap.gt(threshold));
    let n = count(&chosen).clamp_min(1.0);
    (p.smooth_l1_loss(target, Reduction::None, 1.0) * chosen).sum(Kind::Float) / n
}

/// Thresholds of a stage.
#[derive(Clone, Copy)]
pub struct StageThresholds {
    /// tIoU above which offsets are regressed.
    pub regress: f64,
    /// tIoU above which the IoU classification is positive.
    pub positive: f64,
}

/// Loss of one stage: the weighted total and the unweighted terms in the order of [`STAGE_TERMS`].
/// `iou` `[N, 2]`, `reg` `[N, 6]`.
pub fn stage(iou: &Tensor, reg: &Tensor, targets: &StageTargets, draws: &Draws, thresholds: StageThresholds) -> (Tensor, [Tensor; 8]) {
    let column = |x: &Tensor, j: i64| x.select(1, j);
    let regressed = |j: usize| smooth_l1_above(&column(reg, j as i64), &targets.offsets[j], &targets.overlap, thresholds.regress);
    let terms = [
        sampled_cross_entropy(&column(iou, 0), &targets.overlap, thresholds.positive, &draws.iou_class),
        sampled_cross_entropy(&column(reg, 4), &targets.start, 0.5, &draws.start),
        sampled_cross_entropy(&column(reg, 5), &targets.end, 0.5, &draws.end),
        sampled_square_error(&column(iou, 1), &targets.overlap, &draws.iou_mid, &draws.iou_low),
        regressed(0),
        regressed(1),
        regressed(2),
        regressed(3),
    ];
    let total = terms.iter().zip(STAGE_WEIGHTS).map(|(term, weight)| term * weight).reduce(|a, b| a + b).expect("there are terms");
    (total, terms.map(|term| term.detach()))
}

/// Cross-entropy of the class head (our addition): instances above tIoU 0.6 against as many drawn proposals below 0.3,
/// which are background (the last class). `logits` `[N, classes + 1]`, `classes`, `overlap` and `draw` `[N]`.
/// 0 when no proposal is positive.
pub fn proposal_class(logits: &Tensor, classes: &Tensor, overlap: &Tensor, draw: &Tensor) -> Tensor {
    let positive = overlap.gt(0.6);
    let negative = overlap.lt(0.3);
    let (np, nn) = (count(&mask(&positive)), count(&mask(&negative)));
    let background = logits.size()[1] - 1;
    let kept = draw.lt_tensor(&(np / nn.clamp_min(1.0)).clamp_max(1.0)).logical_and(&negative);
    let target = classes.where_scalarother(&positive, background);
    let chosen = mask(&positive.logical_or(&kept));
    let each = logits.cross_entropy_loss::<Tensor>(&target, None, Reduction::None, -100, 0.0);
    (each * &chosen).sum(Kind::Float) / count(&chosen).clamp_min(1.0)
}
