//! The heads of a feature pyramid, the same for its levels, and its plainest neck.

use tch::{Kind, Tensor};

use super::masked::{ChannelNorm, ConvSpec, Mask, MaskedConv1d, Scale, Tower};
use crate::nn::params::Params;

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
        levels.iter().zip(masks).map(|(x, mask)| self.output.forward(&self.tower.forward(x, mask), mask).to_kind(Kind::Float)).collect()
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
        let one = |((x, mask), scale): ((&Tensor, &Mask), &Scale)| {
            scale.forward(&self.output.forward(&self.tower.forward(x, mask), mask).to_kind(Kind::Float)).relu()
        };
        levels.iter().zip(masks).zip(&self.scales).map(one).collect()
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
