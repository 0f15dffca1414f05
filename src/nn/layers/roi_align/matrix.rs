//! RoI align on a device: a matrix of interpolation weights per box, made by a few tensor operations, and one product.

use tch::{IndexOp, Kind, Tensor};

use super::{Layout, Precision};
use crate::nn::precision::float;

/// Interpolation weights of every bin.
pub(super) struct Matrix {
    /// `[N, R, T]`.
    weights: Tensor,
    /// First box of every input, and N.
    first: Vec<i64>,
}

/// Samples of a bin at most, for `time` cells and `bins` bins: exact for boxes up to four times as long as their input. A longer
/// one (a diverging regression) reads zeros almost everywhere.
fn most(time: i64, bins: i64) -> i64 {
    (4 * time + bins - 1) / bins
}

impl Matrix {
    /// For `boxes` `[N, 2]` as [`RoiAlign::plan`](super::RoiAlign::plan); the order of single-precision operations is that of the
    /// runs.
    pub(super) fn new(boxes: &Tensor, layout: &Layout, time: i64, bins: i64, aligned: bool) -> Self {
        let device = boxes.device();
        let shift = if aligned { 0.5 } else { 0.0 };
        let (start, end) = (boxes.i((.., 0..1)) - shift, boxes.i((.., 1..2)) - shift); // [N, 1]
        let length = &end - &start;
        let length = if aligned { length } else { length.clamp_min(1.0) };
        // By a tensor: a device multiplies by the reciprocal of a number, which rounds otherwise.
        let bin = length / Tensor::full([1], bins as f64, (Kind::Float, device));
        let most = most(time, bins);
        let samples = bin.ceil().nan_to_num(0.0, None, None).clamp(0.0, most as f64);
        let number = |count: i64| Tensor::arange(count, (Kind::Float, device));
        let sample = number(most); // [S]
        let first = &start + number(bins) * &bin; // [N, R]
        let within = (&sample + 0.5) * &bin / samples.clamp_min(1.0); // [N, S]
        let at = first.unsqueeze(2) + within.unsqueeze(1); // [N, R, S]
        let last = (time - 1) as f64;
        let counted = sample.lt_tensor(&samples).unsqueeze(1).logical_and(&at.ge(-1.0)).logical_and(&at.le(time as f64));
        // What does not count has a place too: an index that is not a number would be the device's end.
        let at = at.where_scalarother(&counted, 0.0).clamp(0.0, last);
        let low = at.floor();
        let share = counted.to_kind(Kind::Float) / samples.clamp_min(1.0).unsqueeze(2);
        let above = (at - &low) * &share;
        let cells = Tensor::cat(&[&low, &(&low + 1.0).clamp_max(last)], 2).to_kind(Kind::Int64);
        let values = Tensor::cat(&[share - &above, above], 2);
        let weights = Tensor::zeros([boxes.size()[0], bins, time], (Kind::Float, device)).scatter_add_(2, &cells, &values);
        Self { weights, first: layout.first.iter().map(|&n| n as i64).collect() }
    }

    /// The product is differentiable.
    pub(super) fn forward(&self, features: &Tensor, precision: Precision) -> Tensor {
        let features = float(features);
        let products = self.by_input(|weights, input| weights.bmm(&features.narrow(0, input, weights.size()[0])).flatten(0, 1));
        let output = joined(products).view([self.weights.size()[0], self.weights.size()[1], -1]);
        match precision {
            Precision::Float => output,
            Precision::Bfloat16 => output.to_kind(Kind::BFloat16),
        }
    }

    pub(super) fn backward(&self, gradient: &Tensor) -> Tensor {
        let (gradient, channels) = (float(gradient), gradient.size()[2]);
        let gradients = self.by_input(|weights, input| {
            let (inputs, rows) = (weights.size()[0], weights.size()[1]);
            let first = self.first[input as usize];
            let boxes = self.first[(input + inputs) as usize] - first;
            weights.transpose(1, 2).bmm(&gradient.narrow(0, first, boxes).reshape([inputs, rows, channels]))
        });
        joined(gradients)
    }

    /// What `product` makes of the weights `[b, K * R, T]` of inputs with as many boxes each, from input `i` on: of all at once
    /// where all have K, one by one otherwise.
    fn by_input(&self, product: impl Fn(&Tensor, i64) -> Tensor) -> Vec<Tensor> {
        let (inputs, time) = (self.first.len() as i64 - 1, self.weights.size()[2]);
        let boxes: Vec<i64> = self.first.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if boxes.iter().all(|&n| n == boxes[0]) {
            return vec![product(&self.weights.view([inputs, -1, time]), 0)];
        }
        let one = |input: usize| {
            let weights = self.weights.narrow(0, self.first[input], boxes[input]);
            product(&weights.reshape([1, -1, time]), input as i64)
        };
        (0..inputs as usize).map(one).collect()
    }
}

/// Rows of all, without a copy of the only one.
fn joined(mut parts: Vec<Tensor>) -> Tensor {
    if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 0) }
}
