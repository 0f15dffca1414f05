//! Convolutions over space or time, each with the batch norm behind it.
//!
//! Activations are `[N, L, H, W, C]` in memory, channels last, which halves the time of narrow networks on a CPU. Both kinds of
//! convolution then are a two-dimensional one over a view: over space, every frame is a picture; over time, every clip is a
//! picture of L rows and H·W columns.
//!
//! A batch norm always normalises with its running statistics, so it is a factor and a constant per channel: they enter the
//! weights of the convolution, also where these are trained (gradients reach weights, scale and shift through the product).
//! Nothing then reads and writes whole activations for the norm, and nothing is kept of it for the backward pass.

use tch::Tensor;

use crate::nn::macs;
use crate::nn::params::{Init, Params};

/// What a convolution runs over. Odd sizes are padded to keep the number of cells, apart from the stride.
#[derive(Clone, Copy)]
pub(super) enum Kernel {
    /// `size` × `size` pixels of a frame.
    Space {
        /// Pixels.
        size: i64,
        /// Pixels from one output to the next, both ways.
        stride: i64,
    },
    /// A pixel in `size` frames.
    Time {
        /// Frames.
        size: i64,
        /// Frames from one output to the next.
        stride: i64,
    },
    /// One pixel of one frame; of `stride` frames, lines and columns one is kept.
    Point {
        /// In all three dimensions.
        stride: i64,
    },
}

/// Where the norms take mean and variance from.
#[derive(Clone, Copy)]
pub(super) enum Statistics {
    /// What is stored.
    Running,
    /// The batch itself; with this weight they also enter what is stored.
    Batch(f64),
}

/// What a [`ConvNorm`] is made of: names and sizes.
pub(super) struct ConvShape<'a> {
    /// Path of the convolution.
    pub conv: &'a str,
    /// Path of the norm.
    pub norm: &'a str,
    /// Channels in.
    pub input: i64,
    /// Channels out.
    pub output: i64,
    /// What it runs over.
    pub kernel: Kernel,
    /// Dimensions of the stored weight's kernel: 2, or 3 with a 1 where it does not reach.
    pub dimensions: usize,
    /// Added to variances.
    pub epsilon: f64,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// A convolution without bias, its batch norm, and perhaps a ReLU.
pub(super) struct ConvNorm {
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
    kernel: Kernel,
    epsilon: f64,
    relu: bool,
}

impl ConvNorm {
    /// Kaiming-normal weights by fan-out; the norm starts as the identity.
    pub(super) fn new(params: &mut Params, shape: &ConvShape<'_>) -> Self {
        let window: &[i64] = match (shape.kernel, shape.dimensions) {
            (Kernel::Space { size, .. }, 2) => &[size, size],
            (Kernel::Space { size, .. }, _) => &[1, size, size],
            (Kernel::Time { size, .. }, _) => &[size, 1, 1],
            (Kernel::Point { .. }, dimensions) => &[1, 1, 1][..dimensions],
        };
        let fan_out = shape.output * window.iter().product::<i64>();
        let size = [&[shape.output, shape.input], window].concat();
        let channels = [shape.output];
        let norm = |what: &str| format!("{}.{what}", shape.norm);
        Self {
            weight: params.add(&format!("{}.weight", shape.conv), &size, Init::Normal((2.0 / fan_out as f64).sqrt())),
            scale: params.add_plain(&norm("weight"), &channels, Init::Constant(1.0)),
            shift: params.add_plain(&norm("bias"), &channels, Init::Constant(0.0)),
            mean: params.add_buffer(&norm("running_mean"), &channels, 0.0),
            variance: params.add_buffer(&norm("running_var"), &channels, 1.0),
            kernel: shape.kernel,
            epsilon: shape.epsilon,
            relu: shape.relu,
        }
    }

    /// The same convolution and norm alone.
    #[cfg(test)]
    pub(super) fn without_relu(&self) -> Self {
        let [weight, scale, shift, mean, variance] =
            [&self.weight, &self.scale, &self.shift, &self.mean, &self.variance].map(Tensor::shallow_clone);
        Self { weight, scale, shift, mean, variance, kernel: self.kernel, epsilon: self.epsilon, relu: false }
    }

    /// `[N, L, H, W, C]` → `[N, L', H', W', C']`, both contiguous, in the numeric type of `x`.
    pub(super) fn forward(&self, x: &Tensor, statistics: Statistics) -> Tensor {
        let (n, l, h, w, c) = x.size5().expect("[N, L, H, W, C]");
        match self.kernel {
            Kernel::Space { size, stride } => {
                let y = self.planes(&x.view([n * l, h, w, c]), [size, size], [stride, stride], statistics);
                let (_, h, w, c) = y.size4().expect("four dimensions");
                y.view([n, l, h, w, c])
            }
            Kernel::Time { size, stride } => {
                let y = self.planes(&x.view([n, l, h * w, c]), [size, 1], [stride, 1], statistics);
                let (_, l, _, c) = y.size4().expect("four dimensions");
                y.view([n, l, h, w, c])
            }
            Kernel::Point { stride } => {
                let every = x.slice(1, None, None, stride).contiguous();
                let l = every.size()[1];
                let y = self.planes(&every.view([n * l, h, w, c]), [1, 1], [stride, stride], statistics);
                let (_, h, w, c) = y.size4().expect("four dimensions");
                y.view([n, l, h, w, c])
            }
        }
    }

    /// `[P, R, Q, C]` → `[P, R', Q', C']`: rows and columns of P pictures.
    fn planes(&self, x: &Tensor, kernel: [i64; 2], stride: [i64; 2], statistics: Statistics) -> Tensor {
        let pictures = x.permute([0, 3, 1, 2]);
        let padding = kernel.map(|size| size / 2);
        let weight = self.weight.view([-1, x.size()[3], kernel[0], kernel[1]]);
        let mut y = match statistics {
            Statistics::Running => {
                let factor = &self.scale * (&self.variance + self.epsilon).rsqrt();
                let weight = (weight * factor.view([-1, 1, 1, 1])).to_kind(x.kind());
                let bias = (&self.shift - &self.mean * factor).to_kind(x.kind());
                pictures.conv2d(&weight, Some(&bias), stride, padding, [1, 1], 1)
            }
            Statistics::Batch(share) => {
                let y = pictures.conv2d(&weight, None::<&Tensor>, stride, padding, [1, 1], 1);
                let (scale, shift, mean, variance) = (Some(&self.scale), Some(&self.shift), Some(&self.mean), Some(&self.variance));
                y.batch_norm(scale, shift, mean, variance, true, share, self.epsilon, false)
            }
        };
        // Before the view: an in-place operation on one is costly to differentiate.
        if self.relu {
            y = y.relu_();
        }
        let (p, _, rows, columns) = y.size4().expect("four dimensions");
        macs::layer("conv2d", &[p * rows * columns, self.weight.numel() as i64], x, &self.weight, &y);
        y.permute([0, 2, 3, 1]).contiguous()
    }
}

/// Largest of 3 × 3 pixels, every other one: `[N, L, H, W, C]` → `[N, L, ⌈H/2⌉, ⌈W/2⌉, C]`.
pub(super) fn max_pool(x: &Tensor) -> Tensor {
    let (n, l, h, w, c) = x.size5().expect("[N, L, H, W, C]");
    let pooled = x.view([n * l, h, w, c]).permute([0, 3, 1, 2]).max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
    let (_, _, h, w) = pooled.size4().expect("four dimensions");
    pooled.permute([0, 2, 3, 1]).contiguous().view([n, l, h, w, c])
}

/// Temporal shift: the first eighth of the channels of every frame comes from the next frame, the second from the previous one,
/// zeros at the ends of the clip. `[N, L, H, W, C]` → the same.
pub(super) fn shift(x: &Tensor) -> Tensor {
    let (n, l, h, w, c) = x.size5().expect("[N, L, H, W, C]");
    let fold = c / 8;
    let channels = |first: i64, frame: i64, frames: i64| x.narrow(4, first, fold).narrow(1, frame, frames);
    let zeros = Tensor::zeros([n, 1, h, w, fold], (x.kind(), x.device()));
    let next = Tensor::cat(&[&channels(0, 1, l - 1), &zeros], 1);
    let previous = Tensor::cat(&[&zeros, &channels(fold, 0, l - 1)], 1);
    Tensor::cat(&[next, previous, x.narrow(4, 2 * fold, c - 2 * fold)], 4)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn the_norm_in_the_weights_is_the_norm_behind_them() {
        let mut params = Params::new(3, Device::Cpu);
        let shape = ConvShape {
            conv: "c",
            norm: "n",
            input: 8,
            output: 4,
            kernel: Kernel::Time { size: 3, stride: 2 },
            dimensions: 3,
            epsilon: 1e-3,
            relu: true,
        };
        let unit = ConvNorm::new(&mut params, &shape);
        tch::no_grad(|| {
            for (tensor, offset) in [(&unit.scale, 0.5), (&unit.shift, -0.2), (&unit.mean, 0.3), (&unit.variance, 0.7)] {
                tensor.shallow_clone().copy_(&(Tensor::arange(4, (Kind::Float, Device::Cpu)) * 0.1 + offset));
            }
        });
        let x = Tensor::randn([2, 5, 3, 2, 8], (Kind::Float, Device::Cpu));
        let apart = x
            .permute([0, 4, 1, 2, 3])
            .conv3d(&unit.weight, None::<&Tensor>, [2, 1, 1], [1, 0, 0], [1, 1, 1], 1)
            .batch_norm(Some(&unit.scale), Some(&unit.shift), Some(&unit.mean), Some(&unit.variance), false, 0.0, 1e-3, false)
            .relu()
            .permute([0, 2, 3, 4, 1]);
        let y = unit.forward(&x, Statistics::Running);
        assert_eq!(y.size(), [2, 3, 3, 2, 4]);
        assert!((&y - &apart).abs().max().double_value(&[]) < 1e-5);
        let weights: Vec<&Tensor> = params.entries().iter().map(|(_, t)| t).collect();
        let upstream = Tensor::randn_like(&y);
        let gradients = |y: &Tensor| Tensor::run_backward(&[(y * &upstream).sum(Kind::Float)], &weights, false, false);
        for (a, b) in gradients(&y).iter().zip(gradients(&apart)) {
            assert!((a - &b).abs().max().double_value(&[]) < 1e-4 * (1.0 + b.abs().max().double_value(&[])), "{a} {b}");
        }
    }

    #[test]
    fn a_shift_takes_channels_from_the_neighbouring_frames_and_zeros_beyond_the_clip() {
        let frames = Tensor::arange(3, (Kind::Float, Device::Cpu)) + 1;
        let x = frames.view([1, 3, 1, 1, 1]).expand([2, 3, 1, 1, 8], false).contiguous();
        let of = |channel: i64| Vec::<f32>::try_from(shift(&x).select(0, 1).select(-1, channel).reshape([-1])).unwrap();
        assert_eq!((of(0), of(1), of(2), of(7)), (vec![2.0, 3.0, 0.0], vec![0.0, 1.0, 2.0], vec![1.0, 2.0, 3.0], vec![1.0, 2.0, 3.0]));
        let alone = x.narrow(1, 0, 1).contiguous();
        assert_eq!(shift(&alone).sum(Kind::Float).double_value(&[]), 2.0 * 6.0);
    }
}
