//! Losses on tIoU predictions and boundary curves that BMN introduced and ETAD and G-TAD share, with their published quirks.
//!
//! The quirk worth knowing: of a set, elements are kept where `draw * is_member > 1 - wanted / members`. With more wanted
//! than there are members the threshold is below zero and *every* element passes, members or not. It is reproduced because
//! it is common for the tIoU regression, where it changes the weights.

use tch::{Kind, Tensor};

/// 1 where the condition holds.
pub fn mask(condition: &Tensor) -> Tensor {
    condition.to_kind(Kind::Float)
}

/// Number of ones, a scalar on the mask's device.
pub fn count(mask: &Tensor) -> Tensor {
    mask.sum(Kind::Float)
}

/// Number of ones of every row, `[…, N]` → `[…, 1]`.
pub fn members(mask: &Tensor) -> Tensor {
    mask.sum_dim_intlist([-1].as_slice(), true, Kind::Float)
}

/// 1 where a count is zero, otherwise 0.
pub fn none(count: &Tensor) -> Tensor {
    mask(&count.eq(0.0))
}

/// ln(p + 1e-6).
pub fn log_of(p: &Tensor) -> Tensor {
    (p + 1e-6).log()
}

/// ln(1 - p + 1e-6).
pub fn log_of_rest(p: &Tensor) -> Tensor {
    let rest: Tensor = 1.0 - p;
    (rest + 1e-6).log()
}

/// The published selection: see the module's note on its quirk. `ratio` (wanted / members), one or one per row, may be infinite; one that
/// is not a number (none wanted, none there) selects nothing.
pub fn drawn(draw: &Tensor, members: &Tensor, ratio: &Tensor) -> Tensor {
    let least: Tensor = 1.0 - ratio;
    mask(&(draw * members).gt_tensor(&least))
}

/// Cross-entropies `[K]` of K curves over a batch, `truth` and `p` `[K, …]`, with both classes weighted to equal shares.
pub fn balanced_cross_entropy(truth: &Tensor, p: &Tensor) -> Tensor {
    let (truth, p) = (truth.flatten(1, -1), p.flatten(1, -1));
    let positive = mask(&truth.gt(0.5));
    let negative = 1.0 - &positive;
    let (np, nn) = (members(&positive), members(&negative));
    // Half of the loss to each class, and all of it to the only one.
    let share = |own: &Tensor, other: &Tensor| (none(other) + 1.0) * 0.5 / own.clamp_min(1.0);
    let weighted = &positive * log_of(&p) * share(&np, &nn) + negative * log_of_rest(&p) * share(&nn, &np);
    -weighted.sum_dim_intlist([1].as_slice(), false, Kind::Float)
}

/// Squared error of predicted tIoU over a map: anchors of high (> 0.7), middle (> 0.3) and low (> 0) tIoU in about equal
/// numbers, the two lower bands by `draws`. All of equal shape; `valid` may lack the batch axis. 0 when no anchor is high.
pub fn map_regression(p: &Tensor, truth: &Tensor, valid: &Tensor, draws: [&Tensor; 2]) -> Tensor {
    let band = |low: f64, high: f64| mask(&truth.gt(low).logical_and(&truth.le(high)));
    let high = mask(&truth.gt(0.7));
    let bands = [band(0.3, 0.7), band(0.0, 0.3) * valid];
    let nh = count(&high);
    let kept = |i: usize| drawn(draws[i], &bands[i], &(&nh / count(&bands[i])));
    let weight = high + kept(0) + kept(1);
    let error = (p * &weight - truth * &weight).square();
    error.sum(Kind::Float) * 0.5 / weight.sum(Kind::Float).clamp_min(1.0)
}

/// Cross-entropy of the predicted tIoU exceeding `threshold` over a map's valid anchors, both classes in equal shares.
/// `prior` is added to the number of positive anchors and once more to that of all (10 in G-TAD's THUMOS14 branch).
pub fn map_classification(p: &Tensor, truth: &Tensor, valid: &Tensor, threshold: f64, prior: f64) -> Tensor {
    let positive = mask(&truth.gt(threshold));
    let negative = mask(&truth.le(threshold)) * valid;
    let np = count(&positive) + prior;
    let n = &np + prior + count(&negative);
    // Without positive anchors their weight does not matter; without negative ones theirs does not.
    let share = |of: &Tensor| of.clamp_min(1.0).reciprocal() * 0.5;
    -(positive * log_of(p) * share(&np) + negative * log_of_rest(p) * share(&(&n - &np))).sum(Kind::Float)
}

/// As [`map_regression`], with given weights instead of bands.
pub fn weighted_regression(p: &Tensor, truth: &Tensor, weights: &Tensor) -> Tensor {
    ((p - truth).square() * weights).sum(Kind::Float) * 0.5 / weights.sum(Kind::Float)
}

/// As [`map_classification`], each class a weighted mean and half of the loss.
pub fn weighted_classification(p: &Tensor, truth: &Tensor, weights: &Tensor, threshold: f64) -> Tensor {
    let positive = mask(&truth.gt(threshold)) * weights;
    let negative = weights - &positive;
    let mean = |log: Tensor, weights: &Tensor| (log * weights).sum(Kind::Float) / weights.sum(Kind::Float).clamp_min(1e-6);
    -(mean(log_of(p), &positive) + mean(log_of_rest(p), &negative)) * 0.5
}
