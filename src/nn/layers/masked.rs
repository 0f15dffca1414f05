//! Convolutions under a mask, the norm over channels, scales: the bricks of ActionFormer and its kin, named by their
//! state-dict keys.
//!
//! Everything is `[B, C, T]`. Any strides work, but the bricks are fastest on channels-last memory (see [`channels_last`]),
//! which every one of them keeps: the norm reads contiguous rows and a kernel of size 1 is one matrix product.

use tch::{Device, Kind, Tensor};

use crate::nn::macs;
use crate::nn::params::{Init, Params};
use crate::nn::transfer;

/// Which cells of a batch are no padding.
pub struct Mask {
    /// Ones and zeros, `[B, 1, T]`.
    pub tensor: Tensor,
    /// No cell is padding, so that there is nothing to multiply.
    whole: bool,
}

impl Mask {
    /// The first `valid[b]` of `time` cells of input `b` are no padding.
    pub fn new(valid: &[usize], time: usize, device: Device) -> Self {
        let ones: Vec<f32> = valid.iter().flat_map(|&n| (0..time).map(move |t| f32::from(t < n))).collect();
        let tensor = transfer::send_slice(&ones, &[valid.len() as i64, 1, time as i64], device);
        Self { tensor, whole: valid.iter().all(|&n| n >= time) }
    }

    /// The masks of all levels of a pyramid; level l has cells 0, 2^l, 2 · 2^l … of the first.
    pub fn pyramid(valid: &[usize], time: usize, levels: usize, device: Device) -> Vec<Self> {
        let first = Self::new(valid, time, device);
        let down = |level: usize| Self { tensor: first.tensor.slice(2, None, None, 1 << level).contiguous(), whole: first.whole };
        (0..levels).map(down).collect()
    }

    /// The masks of several levels side by side, each with an empty cell behind it.
    pub fn join(levels: &[Self]) -> Self {
        let padded: Vec<Tensor> = levels.iter().map(|mask| mask.tensor.constant_pad_nd([0, 1])).collect();
        Self { tensor: Tensor::cat(&padded, 2), whole: levels.iter().all(|mask| mask.whole) }
    }

    /// Whether no cell is padding.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// `x` `[B, C, T]` with zeros at padding.
    pub fn apply(&self, x: Tensor) -> Tensor {
        if self.whole { x } else { x * &self.tensor }
    }
}

/// The same values with the channels of a cell side by side in memory.
pub fn channels_last(x: &Tensor) -> Tensor {
    x.transpose(1, 2).contiguous().transpose(1, 2)
}

/// Shape and initial values of a convolution over time; zero-padded at both ends to keep the length.
#[derive(Clone, Copy)]
pub struct ConvSpec {
    /// Channels in.
    pub input: i64,
    /// Channels out.
    pub output: i64,
    /// Odd kernel size.
    pub kernel: i64,
    /// Cells between outputs.
    pub stride: i64,
    /// Groups; as many as channels for a depth-wise convolution.
    pub groups: i64,
    /// Initial weights; otherwise PyTorch's, uniform within ±1/√fan_in.
    pub weight: Option<Init>,
    /// Initial bias; none otherwise.
    pub bias: Option<f64>,
}

impl ConvSpec {
    /// Every channel from every channel, without a bias.
    pub fn dense(input: i64, output: i64, kernel: i64) -> Self {
        Self { input, output, kernel, stride: 1, groups: 1, weight: None, bias: None }
    }

    /// Every channel on its own, without a bias.
    pub fn depthwise(channels: i64, kernel: i64, stride: i64) -> Self {
        Self { stride, groups: channels, ..Self::dense(channels, channels, kernel) }
    }

    /// With an initial bias.
    pub fn bias(self, value: f64) -> Self {
        Self { bias: Some(value), ..self }
    }
}

/// Conv1d.
pub struct Conv1d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    groups: i64,
}

impl Conv1d {
    /// `path.weight` and, where asked for, `path.bias`.
    pub fn new(params: &mut Params, path: &str, spec: ConvSpec) -> Self {
        let size = [spec.output, spec.input / spec.groups, spec.kernel];
        let default = Init::Uniform(1.0 / ((size[1] * size[2]) as f64).sqrt());
        Self {
            weight: params.add(&format!("{path}.weight"), &size, spec.weight.unwrap_or(default)),
            bias: spec.bias.map(|b| params.add_plain(&format!("{path}.bias"), &[spec.output], Init::Constant(b))),
            stride: spec.stride,
            groups: spec.groups,
        }
    }

    /// `[B, C, T]` → `[B, C', T / stride]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let kernel = self.weight.size()[2];
        let y = if kernel == 1 && self.groups == 1 && self.stride == 1 {
            let rows = x.transpose(1, 2).linear(&self.weight.squeeze_dim(2), self.bias.as_ref());
            rows.transpose(1, 2)
        } else {
            x.conv1d(&self.weight, self.bias.as_ref(), self.stride, kernel / 2, 1, self.groups)
        };
        let size = y.size();
        macs::layer("conv1d", &[size[0], size[2], self.weight.numel() as i64], x, &self.weight, &y);
        y
    }
}

/// Conv1d whose output is zero at padding.
pub struct MaskedConv1d(Conv1d);

impl MaskedConv1d {
    /// `path.conv.weight` and, where asked for, `path.conv.bias`.
    pub fn new(params: &mut Params, path: &str, spec: ConvSpec) -> Self {
        Self(Conv1d::new(params, &format!("{path}.conv"), spec))
    }

    /// Sets every bias.
    pub fn set_bias(&self, value: f64) {
        tch::no_grad(|| self.0.bias.iter().for_each(|bias| drop(bias.shallow_clone().fill_(value))));
    }

    /// `[B, C, T]` → `[B, C', T / stride]`; `mask` is that of the output.
    pub fn forward(&self, x: &Tensor, mask: &Mask) -> Tensor {
        mask.apply(self.0.forward(x))
    }
}

/// Layer norm over the channels of every cell.
pub struct ChannelNorm {
    weight: Tensor,
    bias: Tensor,
    channels: i64,
}

impl ChannelNorm {
    /// `path.weight` and `path.bias`, `[1, C, 1]`, one and zero.
    pub fn new(params: &mut Params, path: &str, channels: i64) -> Self {
        Self {
            weight: params.add_plain(&format!("{path}.weight"), &[1, channels, 1], Init::Constant(1.0)),
            bias: params.add_plain(&format!("{path}.bias"), &[1, channels, 1], Init::Constant(0.0)),
            channels,
        }
    }

    /// `[B, C, T]` → `[B, C, T]`. Padding becomes the bias, as in the authors' code.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let flat = |t: &Tensor| t.view([-1]);
        let rows = x.transpose(1, 2).layer_norm(self.channels, Some(flat(&self.weight)), Some(flat(&self.bias)), 1e-5, false);
        rows.transpose(1, 2)
    }
}

/// One learnable factor.
pub struct Scale(Tensor);

impl Scale {
    /// `path.scale`, a scalar of 1.
    pub fn new(params: &mut Params, path: &str) -> Self {
        Self(params.add_plain(&format!("{path}.scale"), &[], Init::Constant(1.0)))
    }

    /// Same shape.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x * &self.0
    }
}

/// Stochastic depth per input behind a learnable factor per channel.
pub struct AffineDropPath {
    scale: Tensor,
    drop: f64,
}

impl AffineDropPath {
    /// `path.scale`, `[1, C, 1]`, 1e-4 at first; `None` (a plain residual branch) when nothing is ever dropped.
    pub fn new(params: &mut Params, path: &str, channels: i64, drop: f64) -> Option<Self> {
        (drop > 0.0).then(|| Self { scale: params.add_plain(&format!("{path}.scale"), &[1, channels, 1], Init::Constant(1e-4)), drop })
    }

    /// `[B or 1, C, 1]`: what the branch is multiplied by. In training (`stochastic`) a share `drop` of the inputs goes
    /// without the branch, and the others have it that much stronger.
    fn factor(&self, inputs: i64, stochastic: bool) -> Tensor {
        if !stochastic {
            return self.scale.shallow_clone();
        }
        let keep = 1.0 - self.drop;
        let kept = (Tensor::rand([inputs, 1, 1], (Kind::Float, self.scale.device())) + keep).floor();
        &self.scale * (kept / keep)
    }
}

/// `residual + branch`, the branch behind its stochastic depth where there is one.
pub fn add_branch(residual: &Tensor, branch: &Tensor, path: Option<&AffineDropPath>, stochastic: bool) -> Tensor {
    match path {
        Some(path) => residual.addcmul(branch, &path.factor(branch.size()[0], stochastic)),
        None => residual + branch,
    }
}

/// Convolution → norm → ReLU, several times: the embedding of the inputs and the body of every head.
pub struct Tower {
    layers: Vec<(MaskedConv1d, ChannelNorm)>,
}

impl Tower {
    /// Layer i is `convs.i` and `norms.i`, from `widths[i]` to `widths[i + 1]` channels with kernels of 3.
    pub fn new(params: &mut Params, convs: &str, norms: &str, widths: &[i64]) -> Self {
        let layer = |(i, pair): (usize, &[i64])| {
            let conv = MaskedConv1d::new(params, &format!("{convs}.{i}"), ConvSpec::dense(pair[0], pair[1], 3));
            (conv, ChannelNorm::new(params, &format!("{norms}.{i}"), pair[1]))
        };
        Self { layers: widths.windows(2).enumerate().map(layer).collect() }
    }

    /// `[B, C, T]` → `[B, C', T]`.
    pub fn forward(&self, x: &Tensor, mask: &Mask) -> Tensor {
        self.layers.iter().fold(x.shallow_clone(), |x, (conv, norm)| norm.forward(&conv.forward(&x, mask)).relu())
    }

    /// As [`Tower::forward`] for several levels side by side: the cells between them (zero in `apart` `[1, 1, T]`) stay empty.
    pub fn forward_apart(&self, x: &Tensor, mask: &Mask, apart: &Tensor) -> Tensor {
        self.layers.iter().fold(x.shallow_clone(), |x, (conv, norm)| norm.forward(&conv.forward(&x, mask)).relu() * apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_path_keeps_the_mean() {
        tch::manual_seed(3);
        let mut params = Params::new(0, Device::Cpu);
        let path = AffineDropPath::new(&mut params, "p", 4, 0.25).unwrap();
        let mean = path.factor(40_000, true).mean(Kind::Double).double_value(&[]) / 1e-4;
        assert!((mean - 1.0).abs() < 0.015, "{mean}");
        assert!((path.factor(1, false).mean(Kind::Double).double_value(&[]) / 1e-4 - 1.0).abs() < 1e-6);
        assert!(AffineDropPath::new(&mut params, "q", 4, 0.0).is_none());
    }

    #[test]
    fn memory_order_changes_nothing_and_is_kept() {
        let mut params = Params::new(0, Device::Cpu);
        let tower = Tower::new(&mut params, "conv", "norm", &[6, 8, 8]);
        let x = Tensor::randn([2, 6, 20], (Kind::Float, Device::Cpu));
        let mask = Mask::new(&[20, 13], 20, Device::Cpu);
        let (a, b) = (tower.forward(&x, &mask), tower.forward(&channels_last(&x), &mask));
        assert!((a - &b).abs().max().double_value(&[]) < 1e-5);
        assert!(b.transpose(1, 2).is_contiguous());
    }
}
