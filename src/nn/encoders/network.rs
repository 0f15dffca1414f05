//! A residual network over clips, whatever its blocks.

use tch::{Kind, Tensor};

use super::conv::{ConvNorm, Statistics, max_pool, shift};
use super::{r2plus1d, resnet};
use crate::config::EncoderConfig;
use crate::config::encoder::EncoderNetwork;
use crate::nn::params::Params;

/// Stem, layers of blocks, and the mean over what is left of time and space.
pub(in crate::nn) struct Network {
    pub(super) stem: Stem,
    pub(super) layers: Vec<Vec<Block>>,
    pub(super) channels: i64,
}

/// What comes before the layers.
pub(super) struct Stem {
    pub(super) path: Vec<ConvNorm>,
    pub(super) pool: bool,
}

/// What a path of convolutions adds to its input.
pub(super) struct Block {
    /// Whether the path begins with a temporal shift.
    pub(super) shift: bool,
    pub(super) path: Vec<ConvNorm>,
    /// Where the path changes the sizes.
    pub(super) shortcut: Option<ConvNorm>,
}

impl Block {
    fn forward(&self, x: &Tensor, statistics: Statistics) -> Tensor {
        let shortcut = self.shortcut.as_ref().map_or_else(|| x.shallow_clone(), |conv| conv.forward(x, statistics));
        let shifted = if self.shift { shift(x) } else { x.shallow_clone() };
        let y = self.path.iter().fold(shifted, |y, conv| conv.forward(&y, statistics));
        (y + shortcut).relu_()
    }
}

impl Network {
    /// The network of the settings, its tensors added to `params`.
    pub(super) fn new(params: &mut Params, config: &EncoderConfig) -> Self {
        let width = config.width;
        match config.network {
            EncoderNetwork::TsmResnet18 => resnet::basic(params, &[2, 2, 2, 2], width),
            EncoderNetwork::TsmResnet34 => resnet::basic(params, &[3, 4, 6, 3], width),
            EncoderNetwork::TsmResnet50 => resnet::bottleneck(params, &[3, 4, 6, 3], width),
            EncoderNetwork::R2plus1d18 => r2plus1d::network(params, &[2, 2, 2, 2], width),
            EncoderNetwork::R2plus1d34 => r2plus1d::network(params, &[3, 4, 6, 3], width),
        }
    }

    /// An R(2+1)D of that many blocks in its layers, of which there may be fewer than four.
    pub(in crate::nn) fn r2plus1d(params: &mut Params, blocks: &[usize], width: i64) -> Self {
        r2plus1d::network(params, blocks, width)
    }

    /// Values of a clip's vector.
    pub(super) fn channels(&self) -> i64 {
        self.channels
    }

    /// What leaves the stem and each layer, `[N, C, L, H, W]`, for clips `[N, 3, L, H, W]` of the numeric type `kind` inside.
    pub(in crate::nn) fn outputs(&self, clips: &Tensor, kind: Kind) -> Vec<Tensor> {
        let mut outputs = Vec::new();
        let _ = self.pass(clips, kind, Statistics::Running, |x| outputs.push(x.permute([0, 4, 1, 2, 3])));
        outputs
    }

    /// `[N, 3, L, H, W]` → `[N, C]` in single precision; convolutions compute in `kind`.
    pub(super) fn forward(&self, clips: &Tensor, kind: Kind, statistics: Statistics) -> Tensor {
        self.pass(clips, kind, statistics, |_| {}).mean_dim([1i64, 2, 3].as_slice(), false, Kind::Float)
    }

    fn pass(&self, clips: &Tensor, kind: Kind, statistics: Statistics, mut seen: impl FnMut(&Tensor)) -> Tensor {
        let frames = clips.permute([0, 2, 3, 4, 1]).to_kind(kind).contiguous();
        let mut x = self.stem.path.iter().fold(frames, |x, conv| conv.forward(&x, statistics));
        if self.stem.pool {
            x = max_pool(&x);
        }
        seen(&x);
        for layer in &self.layers {
            x = layer.iter().fold(x, |x, block| block.forward(&x, statistics));
            seen(&x);
        }
        x
    }
}
