//! ETAD's losses with their published quirks (authors' `loss_function.py`); the quirk of the selection is that of
//! [`map_losses`](crate::nn::layers::map_losses).

use tch::{Kind, Reduction, Tensor};

use crate::nn::layers::map_losses::{count, drawn, log_of, log_of_rest, mask, members, none};

/// Uniform draws of one stage, used where a loss samples.
pub struct Draws {
    /// Negatives of the classifications of tIoU, start and end, `[3, N]`.
    pub class: Tensor,
    /// Proposals of middle tIoU for the regression of the tIoU, `[N]`.
    pub mid: Tensor,
    /// Proposals of low tIoU for it, `[N]`.
    pub low: Tensor,
}

/// What a stage's outputs are compared with.
pub struct StageTargets {
    /// tIoU of the stage's input proposals with their matched instance, `[N]`.
    pub overlap: Tensor,
    /// Offsets to the matched instance, `[N, 4]`: start, end, centre, width.
    pub offsets: Tensor,
    /// Startness at the proposal's start cell, `[N]`.
    pub start: Tensor,
    /// Endness at the proposal's end cell, `[N]`.
    pub end: Tensor,
}

/// Names of the terms of a stage, in the order of [`stage`]'s result.
pub const STAGE_TERMS: [&str; 8] = ["iou_cls", "cls_start", "cls_end", "iou_reg", "reg_start", "reg_end", "reg_center", "reg_width"];
const STAGE_WEIGHTS: [f32; 8] = [1.0, 0.5, 0.5, 5.0, 10.0, 10.0, 10.0, 10.0];

/// Cross-entropy of every row over its positives and about as many drawn negatives; without positives over all negatives.
/// `p`, `truth` and `draw` `[…, N]`, `threshold` one or one per row; `[…]`.
pub fn sampled_cross_entropy(p: &Tensor, truth: &Tensor, threshold: &Tensor, draw: &Tensor) -> Tensor {
    let positive = mask(&truth.gt_tensor(threshold));
    let negative = 1.0 - &positive;
    let np = members(&positive);
    let kept = drawn(draw, &negative, &(&np / members(&negative))).maximum(&none(&np));
    let total = np + members(&kept);
    let each = positive * log_of(p) + kept * log_of_rest(p);
    -(members(&each) / total).squeeze_dim(-1)
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

/// Smooth L1 of every column over the proposals whose tIoU exceeds `threshold`; 0 when there is none. `p` and `target` `[N, K]`,
/// `overlap` `[N]`; `[K]`.
pub fn smooth_l1_above(p: &Tensor, target: &Tensor, overlap: &Tensor, threshold: f64) -> Tensor {
    let chosen = mask(&overlap.gt(threshold));
    let n = count(&chosen).clamp_min(1.0);
    let each = p.smooth_l1_loss(target, Reduction::None, 1.0) * chosen.unsqueeze(1);
    each.sum_dim_intlist([0].as_slice(), false, Kind::Float) / n
}

/// What the losses of all stages are made with.
pub struct Constants {
    /// Values above which tIoU, startness and endness are positive, `[3, 1]`.
    positive: Tensor,
    /// Of the terms, `[8]`.
    weights: Tensor,
}

impl Constants {
    /// On a device, with the tIoU above which the IoU classification is positive.
    pub fn new(positive: f64, device: tch::Device) -> Self {
        Self {
            positive: Tensor::from_slice(&[positive as f32, 0.5, 0.5]).view([3, 1]).to_device(device),
            weights: Tensor::from_slice(&STAGE_WEIGHTS).to_device(device),
        }
    }
}

/// Loss of one stage: the weighted total and the unweighted terms `[8]` in the order of [`STAGE_TERMS`].
/// `iou` `[N, 2]`, `reg` `[N, 6]`; offsets are regressed above a tIoU of `regress`.
pub fn stage(iou: &Tensor, reg: &Tensor, targets: &StageTargets, draws: &Draws, constants: &Constants, regress: f64) -> (Tensor, Tensor) {
    let (classified, regressed) = (iou.select(1, 0), iou.select(1, 1));
    let p = Tensor::cat(&[classified.unsqueeze(0), reg.narrow(1, 4, 2).transpose(0, 1)], 0);
    let truth = Tensor::stack(&[&targets.overlap, &targets.start, &targets.end], 0);
    let terms = [
        sampled_cross_entropy(&p, &truth, &constants.positive, &draws.class),
        sampled_square_error(&regressed, &targets.overlap, &draws.mid, &draws.low).unsqueeze(0),
        smooth_l1_above(&reg.narrow(1, 0, 4), &targets.offsets, &targets.overlap, regress),
    ];
    let terms = Tensor::cat(&terms, 0);
    ((&terms * &constants.weights).sum(Kind::Float), terms.detach())
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
