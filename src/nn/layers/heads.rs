//! The heads of a feature pyramid, the same for its levels, and its plainest neck.

use tch::Tensor;

use super::masked::{ChannelNorm, ConvSpec, Mask, MaskedConv1d, Scale, Tower};
use crate::nn::formulation::Formulation;
use crate::nn::params::Params;
use crate::nn::precision::float;
use crate::nn::transfer;

/// Widths and depth of a head.
#[derive(Clone, Copy)]
pub struct HeadShape {
    /// Channels in.
    pub input: i64,
    /// Channels inside.
    pub width: i64,
    /// Convolutions, the last one included.
    pub layers: usize,
}

impl HeadShape {
    fn tower(self, params: &mut Params, path: &str) -> (Tower, i64) {
        let widths: Vec<i64> = (0..self.layers).map(|i| if i == 0 { self.input } else { self.width }).collect();
        (Tower::new(params, &format!("{path}.head"), &format!("{path}.norm"), &widths), widths[self.layers - 1])
    }
}

/// All levels side by side, with an empty cell between them: what a convolution of three cells sees at the end of a level is the
/// zeros that it would see behind it.
struct Joined {
    /// `[B, C, S]`, zero in the cells between levels.
    x: Tensor,
    mask: Mask,
    /// Ones, and zeros in the cells between levels, `[1, 1, S]`.
    apart: Tensor,
    lengths: Vec<i64>,
}

impl Joined {
    fn new(levels: &[Tensor], masks: &[Mask]) -> Self {
        let lengths: Vec<i64> = levels.iter().map(|x| x.size()[2]).collect();
        let padded: Vec<Tensor> = levels.iter().map(|x| x.transpose(1, 2).constant_pad_nd([0, 0, 0, 1])).collect();
        let ones: Vec<f32> = lengths.iter().flat_map(|&n| (0..=n).map(move |t| f32::from(t < n))).collect();
        Self {
            x: Tensor::cat(&padded, 1).transpose(1, 2),
            mask: Mask::join(masks),
            apart: transfer::send_slice(&ones, &[1, 1, -1], levels[0].device()),
            lengths,
        }
    }

    fn with(self, x: Tensor) -> Self {
        Self { x, ..self }
    }

    fn split(&self) -> Vec<Tensor> {
        let mut first = 0;
        let level = |&length: &i64| {
            let part = self.x.narrow(2, first, length);
            first += length + 1;
            part
        };
        self.lengths.iter().map(level).collect()
    }
}

/// What a tower and its output make of every level, `[B, C', T_l]` in single precision: level by level on the CPU, of all at once
/// on a device.
fn on_levels(levels: &[Tensor], masks: &[Mask], tower: &Tower, output: &MaskedConv1d) -> Vec<Tensor> {
    if Formulation::of(levels[0].device()) == Formulation::Host {
        let one = |(x, mask): (&Tensor, &Mask)| float(&output.forward(&tower.forward(x, mask), mask));
        return levels.iter().zip(masks).map(one).collect();
    }
    let joined = Joined::new(levels, masks);
    let inner = tower.forward_apart(&joined.x, &joined.mask, &joined.apart);
    let outer = float(&output.forward(&inner, &joined.mask));
    joined.with(outer).split()
}

/// Logits of classes, which begin at a probability of 1 %.
pub struct ClassHead {
    tower: Tower,
    output: MaskedConv1d,
}

impl ClassHead {
    /// `path.head.i`, `path.norm.i` and `path.cls_head`.
    pub fn new(params: &mut Params, path: &str, shape: HeadShape, classes: i64) -> Self {
        let (tower, width) = shape.tower(params, path);
        let spec = ConvSpec::dense(width, classes, 3).bias(-f64::ln(99.0));
        Self { tower, output: MaskedConv1d::new(params, &format!("{path}.cls_head"), spec) }
    }

    /// Levels `[B, C, T_l]` → `[B, classes, T_l]`.
    pub fn forward(&self, levels: &[Tensor], masks: &[Mask]) -> Vec<Tensor> {
        on_levels(levels, masks, &self.tower, &self.output)
    }
}

/// Distances to boundaries ≥ 0, scaled level by level.
pub struct OffsetHead {
    tower: Tower,
    output: MaskedConv1d,
    scales: Vec<Scale>,
}

impl OffsetHead {
    /// `path.head.i`, `path.norm.i`, `path.offset_head` and `path.scale.l`, with `outputs` channels out.
    pub fn new(params: &mut Params, path: &str, shape: HeadShape, outputs: i64, levels: usize) -> Self {
        let (tower, width) = shape.tower(params, path);
        Self {
            tower,
            scales: (0..levels).map(|l| Scale::new(params, &format!("{path}.scale.{l}"))).collect(),
            output: MaskedConv1d::new(params, &format!("{path}.offset_head"), ConvSpec::dense(width, outputs, 3).bias(0.0)),
        }
    }

    /// With other initial biases than 0, which keep the ReLU from being shut from the start.
    pub fn starting_at(self, bias: f64) -> Self {
        self.output.set_bias(bias);
        self
    }

    /// Levels `[B, C, T_l]` → `[B, outputs, T_l]`.
    pub fn forward(&self, levels: &[Tensor], masks: &[Mask]) -> Vec<Tensor> {
        let levels = on_levels(levels, masks, &self.tower, &self.output);
        levels.iter().zip(&self.scales).map(|(x, scale)| scale.forward(x).relu()).collect()
    }
}

/// One norm per level.
pub struct IdentityNeck(Vec<ChannelNorm>);

impl IdentityNeck {
    /// `neck.fpn_norms.l`.
    pub fn new(params: &mut Params, channels: i64, levels: usize) -> Self {
        Self((0..levels).map(|l| ChannelNorm::new(params, &format!("neck.fpn_norms.{l}"), channels)).collect())
    }

    /// Levels `[B, C, T_l]` → the same shapes.
    pub fn forward(&self, levels: &[Tensor]) -> Vec<Tensor> {
        levels.iter().zip(&self.0).map(|(x, norm)| norm.forward(x)).collect()
    }
}
