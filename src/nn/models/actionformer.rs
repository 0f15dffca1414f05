//! ActionFormer (Zhang, Wu and Li 2022): local attention in a feature pyramid, one anchor-free head for all its levels.
//!
//! Source: github.com/happyharrycn/actionformer_release at 61ea7eb.
//!
//! # Deviations
//! - Inputs are padded to one cell of the coarsest level behind their end instead of to the window. That changes no result:
//!   no layer reads further into the padding, which its norms make differ from the zeros behind the last cell. (With a
//!   position table and an input longer than it, it would; there we pad as the authors do.)
//! - Local attention is blocks of queries against their band of keys, not the authors' overlapping chunks.
//! - The last average of the weights is tested, as by the authors.

use tch::Tensor;

pub use super::points::CONVENTIONS;
use super::points::{Outputs, PointNetwork, Pyramid, as_released};
use crate::config::ActionFormerConfig;
use crate::eval::nms::Vote;
use crate::nn::layers::attention::{Attention, AttentionShape};
use crate::nn::layers::heads::{ClassHead, HeadShape, IdentityNeck, OffsetHead};
use crate::nn::layers::masked::{AffineDropPath, ChannelNorm, Conv1d, ConvSpec, Mask, MaskedConv1d, Tower, add_branch};
use crate::nn::layers::position::Positions;
use crate::nn::params::Params;

/// What the authors' code can also do, but none of their THUMOS14 and ActivityNet configurations do.
#[derive(Clone, Debug, PartialEq)]
pub struct Structure {
    /// Attention window of each level; at most 1 = full attention.
    pub windows: Vec<usize>,
    /// Bias of attention by distance.
    pub relative: bool,
    /// A top-down neck of this many channels, instead of a norm per level.
    pub top_down: Option<i64>,
}

impl Structure {
    /// What the settings ask for.
    pub fn of(config: &ActionFormerConfig) -> Self {
        let levels = config.points.levels;
        let local = levels.saturating_sub(config.full_levels);
        let window = |level: usize| if level < local { config.attention_window } else { 0 };
        Self { windows: (0..levels).map(window).collect(), relative: false, top_down: None }
    }
}

/// Attention and a perceptron, each a residual branch.
struct Block {
    norms: [ChannelNorm; 2],
    attention: Attention,
    paths: [Option<AffineDropPath>; 2],
    perceptron: [Conv1d; 2],
    stride: i64,
}

impl Block {
    fn new(params: &mut Params, path: &str, shape: AttentionShape, drop: f64) -> Self {
        let c = shape.channels;
        let norms = ["ln1", "ln2"].map(|name| ChannelNorm::new(params, &format!("{path}.{name}"), c));
        let attention = Attention::new(params, &format!("{path}.attn"), shape);
        let perceptron = [("mlp.0", c, 4 * c), ("mlp.3", 4 * c, c)]
            .map(|(name, input, output)| Conv1d::new(params, &format!("{path}.{name}"), ConvSpec::dense(input, output, 1).bias(0.0)));
        let paths = ["drop_path_attn", "drop_path_mlp"].map(|name| AffineDropPath::new(params, &format!("{path}.{name}"), c, drop));
        Self { norms, attention, paths, perceptron, stride: shape.stride }
    }

    /// `[B, C, T]` → `[B, C, T / stride]`; `mask` is that of the output.
    fn forward(&self, x: &Tensor, mask: &Mask, stochastic: bool) -> Tensor {
        let seen = self.attention.forward(&self.norms[0].forward(x), mask);
        let skip = if self.stride > 1 { x.max_pool1d(3, self.stride, 1, 1, false) } else { x.shallow_clone() };
        let x = add_branch(&mask.apply(skip), &seen, self.paths[0].as_ref(), stochastic);
        let inner = self.perceptron[0].forward(&self.norms[1].forward(&x)).gelu("none");
        add_branch(&x, &mask.apply(self.perceptron[1].forward(&inner)), self.paths[1].as_ref(), stochastic)
    }
}

/// Laterals added top-down (nearest), each smoothed by a depth-wise convolution and normalised.
struct TopDownNeck {
    laterals: Vec<MaskedConv1d>,
    smoothers: Vec<MaskedConv1d>,
    norms: IdentityNeck,
}

impl TopDownNeck {
    fn new(params: &mut Params, input: i64, output: i64, levels: usize) -> Self {
        let mut convs = |name: &str, spec: ConvSpec| -> Vec<MaskedConv1d> {
            (0..levels).map(|l| MaskedConv1d::new(params, &format!("neck.{name}.{l}"), spec)).collect()
        };
        Self {
            laterals: convs("lateral_convs", ConvSpec::dense(input, output, 1)),
            smoothers: convs("fpn_convs", ConvSpec::depthwise(output, 3, 1)),
            norms: IdentityNeck::new(params, output, levels),
        }
    }

    fn forward(&self, levels: &[Tensor], masks: &[Mask]) -> Vec<Tensor> {
        let lateral = |((x, mask), conv): ((&Tensor, &Mask), &MaskedConv1d)| conv.forward(x, mask);
        let mut summed: Vec<Tensor> = levels.iter().zip(masks).zip(&self.laterals).map(lateral).collect();
        for level in (1..summed.len()).rev() {
            let finer = summed[level - 1].size()[2];
            summed[level - 1] = &summed[level - 1] + summed[level].upsample_nearest1d(finer, None);
        }
        let smooth: Vec<Tensor> = summed.iter().zip(masks).zip(&self.smoothers).map(lateral).collect();
        self.norms.forward(&smooth)
    }
}

enum Neck {
    Identity(IdentityNeck),
    TopDown(TopDownNeck),
}

/// The network.
pub struct ActionFormer {
    pyramid: Pyramid,
    embedding: Tower,
    positions: Option<Positions>,
    stem: Vec<Block>,
    branch: Vec<Block>,
    neck: Neck,
    classes: ClassHead,
    offsets: OffsetHead,
    multiple: usize,
}

impl ActionFormer {
    /// Builds the network for inputs of `channels` values; class-agnostic without `classes`.
    pub fn new(params: &mut Params, config: &ActionFormerConfig, channels: i64, classes: Option<i64>) -> Self {
        Self::with(params, config, &Structure::of(config), channels, classes)
    }

    /// As [`ActionFormer::new`], with a structure that the settings cannot ask for.
    pub fn with(params: &mut Params, config: &ActionFormerConfig, structure: &Structure, channels: i64, classes: Option<i64>) -> Self {
        let (classes, points, dim) = (classes.unwrap_or(1), &config.points, config.dim);
        let shape = |level: usize, stride| AttentionShape {
            channels: dim,
            heads: config.heads,
            stride,
            window: structure.windows[level],
            relative: structure.relative,
        };
        let widths: Vec<i64> = std::iter::once(channels).chain((0..config.embedding_layers).map(|_| dim)).collect();
        let embedding = Tower::new(params, "backbone.embd", "backbone.embd_norm", &widths);
        let mut block = |name: String, shape| Block::new(params, &format!("backbone.{name}"), shape, config.drop_path);
        let stem = (0..config.stem_layers).map(|i| block(format!("stem.{i}"), shape(0, 1))).collect();
        let branch = (1..points.levels).map(|l| block(format!("branch.{}", l - 1), shape(l, 2))).collect();
        let (neck, width) = match structure.top_down {
            Some(width) => (Neck::TopDown(TopDownNeck::new(params, dim, width, points.levels)), width),
            None => (Neck::Identity(IdentityNeck::new(params, dim, points.levels)), dim),
        };
        let head = HeadShape { input: width, width: points.head_dim, layers: points.head_layers };
        let window = config.common.window;
        let reach = |(level, &w): (usize, &usize)| (1 << level) * if w > 1 { w / 2 * 2 } else { 1 };
        Self {
            embedding,
            positions: config.position.then(|| Positions::new(dim, window, params.device())),
            stem,
            branch,
            neck,
            classes: ClassHead::new(params, "cls_head", head, classes),
            offsets: OffsetHead::new(params, "reg_head", head, 2, points.levels).starting_at(points.offset_start),
            multiple: structure.windows.iter().enumerate().map(reach).max().unwrap_or(1),
            pyramid: Pyramid::new(points, window, classes, Vote::ScoreTimesOverlap),
        }
    }

    fn backbone(&self, x: &Tensor, masks: &[Mask], stochastic: bool) -> Vec<Tensor> {
        let embedded = self.embedding.forward(x, &masks[0]);
        let mut x = match &self.positions {
            Some(positions) => embedded + masks[0].apply(positions.of(masks[0].tensor.size()[2])),
            None => embedded,
        };
        for block in &self.stem {
            x = block.forward(&x, &masks[0], stochastic);
        }
        let mut levels = vec![x];
        for (block, mask) in self.branch.iter().zip(&masks[1..]) {
            levels.push(block.forward(&levels[levels.len() - 1], mask, stochastic));
        }
        levels
    }
}

impl PointNetwork for ActionFormer {
    fn pyramid(&self) -> &Pyramid {
        &self.pyramid
    }

    fn forward(&self, x: &Tensor, valid: &[usize], stochastic: bool) -> Outputs {
        let masks = self.pyramid.masks(valid, x.size()[2] as usize, x.device());
        let backbone = self.backbone(x, &masks, stochastic);
        let neck = match &self.neck {
            Neck::Identity(neck) => neck.forward(&backbone),
            Neck::TopDown(neck) => neck.forward(&backbone, &masks),
        };
        let (logits, offsets) = (self.classes.forward(&neck, &masks), self.offsets.forward(&neck, &masks));
        Outputs { masks, backbone, neck, logits, offsets, boundaries: None }
    }

    fn padding_multiple(&self) -> usize {
        self.multiple
    }

    fn padded_to(&self, longest: usize) -> usize {
        let (window, coarsest) = (self.pyramid.window, self.pyramid.coarsest());
        let released = as_released(longest, window, self.multiple);
        if self.positions.is_some() && longest > window {
            return released;
        }
        released.min(longest.next_multiple_of(coarsest) + coarsest)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::config::settings::Preset;
    use crate::nn::macs;
    use crate::nn::network::Network;

    fn network(config: &ActionFormerConfig, channels: i64, classes: i64) -> (Params, ActionFormer) {
        let mut params = Params::new(0, Device::Cpu);
        let network = ActionFormer::new(&mut params, config, channels, Some(classes));
        (params, network)
    }

    #[test]
    fn the_published_network_has_the_published_size_and_work() {
        let (params, network) = network(&ActionFormerConfig::preset(Preset::Thumos14).unwrap(), 2048, 20);
        assert_eq!((params.count(), network.padding_multiple()), (29_251_612, 576));
        let x = Tensor::zeros([1, 2048, 2304], (Kind::Float, Device::Cpu));
        let (_, macs) = macs::count(|| tch::no_grad(|| network.forward(&x, &[2304], false)));
        assert!((macs as f64 / 45.25e9 - 1.0).abs() < 0.01, "{macs}");
    }

    #[test]
    fn padding_changes_nothing() {
        let laptop = ActionFormerConfig::preset(Preset::Laptop).unwrap();
        for (position, full_levels) in [(false, 0), (true, 2)] {
            let config = ActionFormerConfig { position, full_levels, ..laptop.clone() };
            let (params, network) = network(&config, 12, 4);
            // Norms with a bias make padding differ from zero, as training does.
            tch::no_grad(|| params.entries().iter().for_each(|(_, t)| drop(t.shallow_clone().g_add_scalar_(0.02))));
            let x = Tensor::randn([1, 12, 77], (Kind::Float, Device::Cpu));
            let levels = |padded: i64| {
                let out = tch::no_grad(|| network.forward(&x.constant_pad_nd([0, padded - 77]), &[77], false));
                let valid = |t: &Tensor, level: usize| t.narrow(2, 0, (77 + (1 << level) - 1) >> level);
                out.logits.iter().chain(&out.offsets).enumerate().map(|(i, t)| valid(t, i % out.masks.len())).collect::<Vec<_>>()
            };
            let least = network.padded(77) as i64;
            assert_eq!(least, 96 + 32);
            for (a, b) in levels(least).iter().zip(levels(least + 5 * 32)) {
                assert!((a - b).abs().max().double_value(&[]) < 2e-5);
            }
        }
    }

    #[test]
    fn the_normaliser_is_remembered() {
        let (_, network) = network(&ActionFormerConfig::preset(Preset::Laptop).unwrap(), 12, 4);
        let first = network.memory();
        network.pyramid().normaliser.update(7);
        assert_ne!(network.memory(), first);
        network.recall(&first);
        assert_eq!(network.memory(), first);
    }
}
