//! Losses of point and query detectors, element by element: the caller reduces.

use std::cell::Cell;

use tch::{Reduction, Tensor};

const ALPHA: f64 = 0.25;

/// Sigmoid focal loss (alpha 0.25, gamma 2) of `logits` against `targets` in 0..1; same shape.
pub fn focal(logits: &Tensor, targets: &Tensor) -> Tensor {
    let cross_entropy = logits.binary_cross_entropy_with_logits::<Tensor>(targets, None, None, Reduction::None);
    let p = logits.sigmoid();
    // 1 - p_t, where p_t = p t + (1 - p)(1 - t).
    let miss = &p + targets - &p * targets * 2.0;
    let alpha = targets * (2.0 * ALPHA - 1.0) + (1.0 - ALPHA);
    alpha * cross_entropy * miss.square()
}

/// tIoU and 1 - distance tIoU of segments around common points, given as distances to start and end `[…, 2]` ≥ 0; `[…]`.
pub fn offset_overlap(predicted: &Tensor, wanted: &Tensor) -> (Tensor, Tensor) {
    const EPSILON: f64 = 1e-8;
    let side = |t: &Tensor, k: i64| t.select(-1, k);
    let (lp, rp, lg, rg) = (side(predicted, 0), side(predicted, 1), side(wanted, 0), side(wanted, 1));
    let common = lp.minimum(&lg) + rp.minimum(&rg);
    let union = (&lp + &rp) + (&lg + &rg) - &common;
    let tiou = common / union.clamp_min(EPSILON);
    let enclosing = lp.maximum(&lg) + rp.maximum(&rg);
    let apart = (rp - lp - rg + lg) * 0.5 / enclosing.clamp_min(EPSILON);
    let loss = 1.0 - &tiou + apart.square();
    (tiou, loss)
}

/// 1 - distance tIoU, as [`offset_overlap`].
pub fn diou(predicted: &Tensor, wanted: &Tensor) -> Tensor {
    offset_overlap(predicted, wanted).1
}

/// The running number of positive points that losses are divided by.
pub struct RunningNormaliser(Cell<f64>);

impl RunningNormaliser {
    /// Starts at `first`.
    pub fn new(first: f64) -> Self {
        Self(Cell::new(first))
    }

    /// Takes in the positives of a batch (at least 1); the new number.
    pub fn update(&self, positives: usize) -> f64 {
        self.0.set(0.9 * self.0.get() + 0.1 * positives.max(1) as f64);
        self.0.get()
    }

    /// The present number.
    pub fn get(&self) -> f64 {
        self.0.get()
    }

    /// Takes over a number.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn losses_follow_their_definitions() {
        let (logit, target) = (0.7f64, 0.3f64);
        let p = 1.0 / (1.0 + (-logit).exp());
        let p_t = p * target + (1.0 - p) * (1.0 - target);
        let cross = -(target * p.ln() + (1.0 - target) * (1.0 - p).ln());
        let wanted = (0.25 * target + 0.75 * (1.0 - target)) * cross * (1.0 - p_t).powi(2);
        let got = focal(&Tensor::from(logit), &Tensor::from(target)).to_kind(Kind::Double).double_value(&[]);
        assert!((got - wanted).abs() < 1e-12, "{got} {wanted}");
        // [-1, 3] and [-3, 3]: 4 of 6 cells common, centres 1 apart in an enclosing length of 6.
        let (tiou, loss) = offset_overlap(&Tensor::from_slice(&[1.0f64, 3.0]), &Tensor::from_slice(&[3.0f64, 3.0]));
        assert!((tiou.double_value(&[]) - 4.0 / 6.0).abs() < 1e-12);
        assert!((loss.double_value(&[]) - (1.0 - 4.0 / 6.0 + 1.0 / 36.0)).abs() < 1e-12);
    }

    #[test]
    fn the_normaliser_takes_in_a_tenth_of_every_batch() {
        let normaliser = RunningNormaliser::new(100.0);
        assert!((normaliser.update(20) - 92.0).abs() < 1e-12);
        assert!((normaliser.update(0) - 82.9).abs() < 1e-12);
    }
}
