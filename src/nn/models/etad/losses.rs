//! ETAD's losses with their published quirks (authors' `loss_function.py`); the quirk of the selection is that of
//! [`map_losses`](crate::nn::layers::map_losses).

use tch::{Kind, Reduction, Tensor};

use crate::nn::layers::map_losses::{count, drawn, log_of, log_of_rest, mask};

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

/// Cross-entropy over the positives and about as many drawn negatives.
pub fn sampled_cross_entropy(p: &Tensor, truth: &Tensor, threshold: f64, draw: &Tensor) -> Tensor {
    let positive = mask(&truth.gt(threshold));
    let np = count(&positive);
    if np == 0.0 {
        return -log_of_rest(p).mean(Kind::Float);
    }
    let negative = 1.0 - &positive;
    let kept = drawn(draw, &negative, f64::from((np / count(&negative)) as f32));
    let total = np + count(&kept);
    -(positive * log_of(p) + kept * log_of_rest(p)).sum(Kind::Float) / total
}

/// Squared error over proposals of high (> 0.7), middle (> 0.3) and low tIoU in about equal numbers.
pub fn sampled_square_error(p: &Tensor, truth: &Tensor, draw_mid: &Tensor, draw_low: &Tensor) -> Tensor {
    let high = mask(&truth.gt(0.7));
    let not_low = mask(&truth.gt(0.3));
    let error = (p - truth).square();
    let nh = count(&high);
    if nh == 0.0 {
        return error.mean(Kind::Float);
    }
    let (mid, low) = (&not_low - &high, 1.0 - &not_low);
    let share = |of: &Tensor| f64::from((nh / count(of)) as f32);
    let weight = &high + drawn(draw_mid, &mid, share(&mid)) + drawn(draw_low, &low, share(&low));
    (&weight * error).sum(Kind::Float) / weight.sum(Kind::Float)
}

/// Smooth L1 over the proposals whose tIoU exceeds `threshold`; `None` when there is none.
pub fn smooth_l1_above(p: &Tensor, target: &Tensor, overlap: &Tensor, threshold: f64) -> Option<Tensor> {
    let chosen = mask(&overlap.gt(threshold));
    let n = count(&chosen);
    (n > 0.0).then(|| (p.smooth_l1_loss(target, Reduction::None, 1.0) * chosen).sum(Kind::Float) / n)
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
pub fn stage(iou: &Tensor, reg: &Tensor, targets: &StageTargets, draws: &Draws, thresholds: StageThresholds) -> (Tensor, [f64; 8]) {
    let column = |x: &Tensor, j: i64| x.select(1, j);
    let mut terms = vec![
        Some(sampled_cross_entropy(&column(iou, 0), &targets.overlap, thresholds.positive, &draws.iou_class)),
        Some(sampled_cross_entropy(&column(reg, 4), &targets.start, 0.5, &draws.start)),
        Some(sampled_cross_entropy(&column(reg, 5), &targets.end, 0.5, &draws.end)),
        Some(sampled_square_error(&column(iou, 1), &targets.overlap, &draws.iou_mid, &draws.iou_low)),
    ];
    terms.extend((0..4).map(|j| smooth_l1_above(&column(reg, j as i64), &targets.offsets[j], &targets.overlap, thresholds.regress)));
    let mut total = Tensor::zeros([], (Kind::Float, iou.device()));
    let mut values = [0.0; 8];
    for ((term, weight), value) in terms.into_iter().zip(STAGE_WEIGHTS).zip(&mut values) {
        if let Some(term) = term {
            *value = term.double_value(&[]);
            total += term * weight;
        }
    }
    (total, values)
}

/// Cross-entropy of the class head (our addition): instances above tIoU 0.6 against as many drawn proposals below 0.3,
/// which are background (the last class). `logits` `[N, classes + 1]`, `classes`, `overlap` and `draw` `[N]`.
/// `None` when no proposal is positive.
pub fn proposal_class(logits: &Tensor, classes: &Tensor, overlap: &Tensor, draw: &Tensor) -> Option<Tensor> {
    let positive = overlap.gt(0.6);
    let negative = overlap.lt(0.3);
    let (np, nn) = (count(&mask(&positive)), count(&mask(&negative)));
    if np == 0.0 {
        return None;
    }
    let background = logits.size()[1] - 1;
    let kept = draw.lt((np / nn.max(1.0)).min(1.0)).logical_and(&negative);
    let target = classes.where_scalarother(&positive, background);
    let chosen = positive.logical_or(&kept).nonzero().squeeze_dim(1);
    Some(logits.index_select(0, &chosen).cross_entropy_for_logits(&target.index_select(0, &chosen)))
}
