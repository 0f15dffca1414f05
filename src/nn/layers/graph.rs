//! Graph convolution over the cells of an input: every cell meets its neighbours in time and those nearest in its features.
//!
//! Source: Xu et al., "G-TAD: Sub-Graph Localization for Temporal Action Detection" (CVPR 2020), the GCNeXt block.

use tch::{Kind, Tensor};

use crate::nn::macs;
use crate::nn::params::{Init, Params};

/// A weight and a bias as PyTorch initialises a convolution of any rank, uniform within ±1/√fan_in; the weight times `gain`.
pub fn weight_and_bias(params: &mut Params, path: &str, size: &[i64], gain: f64) -> (Tensor, Tensor) {
    let bound = 1.0 / (size[1..].iter().product::<i64>() as f64).sqrt();
    let weight = params.add(&format!("{path}.weight"), size, Init::Uniform(gain * bound));
    (weight, params.add(&format!("{path}.bias"), &size[..1], Init::Uniform(bound)))
}

/// A grouped convolution over time with "same" padding, initialised by [`weight_and_bias`].
pub struct TimeConv {
    weight: Tensor,
    bias: Tensor,
    groups: i64,
}

impl TimeConv {
    /// `path.weight` of `size`: output channels, input channels of a group, odd kernel; further axes must be 1.
    pub fn new(params: &mut Params, path: &str, size: &[i64], groups: i64, gain: f64) -> Self {
        let (weight, bias) = weight_and_bias(params, path, size, gain);
        Self { weight, bias, groups }
    }

    /// `[B, C, T]` → `[B, C', T]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        convolve(x, &self.weight.view(&self.weight.size()[..3]), Some(&self.bias), self.groups)
    }
}

fn convolve(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, groups: i64) -> Tensor {
    let y = x.conv1d(weight, bias, 1, weight.size()[2] / 2, 1, groups);
    macs::layer("conv1d", &[x.size()[0], x.size()[2], weight.numel() as i64], x, weight, &y);
    y
}

/// The `k` cells nearest to each cell in Euclidean distance, the cell itself among them as a rule: `[B, T * k]` indices,
/// those of a cell together. `x` `[B, C, T]`; not differentiated.
pub fn nearest(x: &Tensor, k: i64) -> Tensor {
    let _guard = tch::no_grad_guard();
    let size = x.size();
    let square = x.square().sum_dim_intlist(1, true, Kind::Float); // [B, 1, T]
    // 2 x·y - |x|² - |y|², the nearer the larger.
    let products = x.transpose(1, 2).matmul(x);
    macs::product("distances of cells", &[size[0], size[2], size[2], size[1]], [x, x], &products);
    let closeness = products * 2.0 - &square - square.transpose(1, 2);
    closeness.topk(k, -1, true, false).1.flatten(1, 2)
}

/// The cells of `x` `[B, C, T]` at `indices` `[B, N]`: `[B, C, N]`.
pub fn pick(x: &Tensor, indices: &Tensor) -> Tensor {
    let (x_size, n) = (x.size(), indices.size()[1]);
    x.gather(2, &indices.unsqueeze(1).expand([x_size[0], x_size[1], n], false), false)
}

/// One block: out = ReLU(x + temporal path + semantic path).
///
/// The temporal path is a bottleneck with a convolution over time; the semantic path runs a perceptron over the pairs
/// (neighbour, cell) and takes the maximum over a cell's neighbours.
pub struct GcNext {
    enter: TimeConv,
    mix: TimeConv,
    leave: TimeConv,
    pair: (Tensor, Tensor),
    pair_mix: TimeConv,
    pair_leave: TimeConv,
}

/// Groups of the inner layers.
const GROUPS: i64 = 32;

impl GcNext {
    /// `path.tconvs.{0, 2, 4}` and `path.sconvs.{0, 2, 4}` for `channels` values, half as many inside (a multiple of 32).
    pub fn new(params: &mut Params, path: &str, channels: i64, gain: f64) -> Self {
        let width = channels / 2;
        let grouped = width / GROUPS;
        let (temporal, semantic) = (|j: i64| format!("{path}.tconvs.{j}"), |j: i64| format!("{path}.sconvs.{j}"));
        Self {
            enter: TimeConv::new(params, &temporal(0), &[width, channels, 1], 1, gain),
            mix: TimeConv::new(params, &temporal(2), &[width, grouped, 3], GROUPS, gain),
            leave: TimeConv::new(params, &temporal(4), &[channels, width, 1], 1, gain),
            pair: weight_and_bias(params, &semantic(0), &[width, 2 * channels, 1, 1], gain),
            pair_mix: TimeConv::new(params, &semantic(2), &[width, grouped, 1, 1], GROUPS, gain),
            pair_leave: TimeConv::new(params, &semantic(4), &[channels, width, 1, 1], 1, gain),
        }
    }

    /// `[B, C, T]` → `[B, C, T]`; `neighbours` from [`nearest`] of the same `x`.
    pub fn forward(&self, x: &Tensor, neighbours: &Tensor) -> Tensor {
        let temporal = self.mix.forward(&self.enter.forward(x).relu_()).relu_();
        let (weight, bias) = &self.pair;
        let (width, channels, time) = (weight.size()[0], x.size()[1], x.size()[2]);
        // The first layer of a pair is linear: each cell is multiplied once as a neighbour and once as itself, instead of
        // once per pair it is in.
        let of = |part: i64| weight.view([width, 2 * channels, 1]).narrow(1, part * channels, channels);
        let as_neighbour = pick(&convolve(x, &of(0), None, 1), neighbours);
        let as_self = convolve(x, &of(1), Some(bias), 1);
        let pairs = as_neighbour.view([-1, width, time, neighbours.size()[1] / time]) + as_self.unsqueeze(3);
        let semantic = self.pair_leave.forward(&self.pair_mix.forward(&pairs.relu().flatten(2, 3)).relu_());
        let semantic = semantic.view([-1, channels, time, neighbours.size()[1] / time]).max_dim(3, false).0;
        (self.leave.forward(&temporal) + x + semantic).relu_()
    }
}
