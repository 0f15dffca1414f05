//! TriDet: a feature pyramid of scalable-granularity perception (SGP) blocks, and a trident head that reads each boundary off
//! the distribution of boundary logits around a point.
//!
//! Source: Shi et al., "TriDet: Temporal Action Detection with Relative Boundary Modeling" (CVPR 2023); the authors' release,
//! commit 764b816. Parameter paths are its state-dict keys.
//!
//! # Deviations
//! - With `sgp_init = 0`, as published for THUMOS14, the SGP convolutions start at zero and no gradient ever reaches them.
//!   They are skipped for as long as all of them are exactly zero, which changes neither outputs nor other gradients.
//! - The two depth-wise convolutions of the window branch are computed as one, with the sum of their kernels.
//! - In training, offsets are decoded at positive pairs of point and class only; the release decodes all pairs first.
//! - Inputs may be of any length; the release stops at a multiple of the training length.
//! - The laptop preset starts the SGP convolutions off zero, so that it trains the network the paper describes, and has no
//!   stochastic depth.

use std::ops::Range;

use tch::{Kind, Tensor};

use super::points::{self, Outputs, PointNetwork, Pyramid};
use crate::config::TriDetConfig;
use crate::eval::nms::Vote;
use crate::nn::layers::heads::{ClassHead, HeadShape, IdentityNeck, OffsetHead};
use crate::nn::layers::losses::{focal, offset_overlap};
use crate::nn::layers::masked::{AffineDropPath, ChannelNorm, Conv1d, ConvSpec, Mask, Tower, add_branch};
use crate::nn::layers::points::{Positive, Targets, rows};
use crate::nn::layers::position::Positions;
use crate::nn::macs;
use crate::nn::network::{Batch, Conventions, Term};
use crate::nn::params::{Init, Params};
use crate::nn::transfer;

/// What is done around the network. Training inputs keep instances up to their outer cells, not beyond.
pub const CONVENTIONS: Conventions = Conventions { margin: false, ..points::CONVENTIONS };

const NORM_GROUPS: i64 = 16;

/// A convolution by one value per channel: computed element by element, so that libtorch dispatches no product for it.
const SCALE: &str = "scale";

/// One kernel per channel.
struct Depthwise {
    /// `[C, 1, K]`.
    weight: Tensor,
    /// `[C]`.
    bias: Tensor,
}

impl Depthwise {
    /// `path.weight` with a normal `deviation`, and `path.bias`, zero.
    fn new(params: &mut Params, path: &str, channels: i64, kernel: i64, deviation: f64) -> Self {
        Self {
            weight: params.add(&format!("{path}.weight"), &[channels, 1, kernel], Init::Normal(deviation)),
            bias: params.add_plain(&format!("{path}.bias"), &[channels], Init::Constant(0.0)),
        }
    }

    /// `[B, C, T]` → the same shape.
    fn forward(&self, x: &Tensor) -> Tensor {
        self.convolve(x, &self.weight)
    }

    /// As [`Depthwise::forward`], counted as the layer of the parameter `layer`.
    fn convolve(&self, x: &Tensor, layer: &Tensor) -> Tensor {
        let (size, channels, kernel) = (x.size(), self.weight.size()[0], self.weight.size()[2]);
        let (kind, y) = if kernel == 1 {
            let [weight, bias] = self.factor_and_shift();
            (SCALE, bias.addcmul(x, &weight))
        } else {
            ("conv1d", x.conv1d(&self.weight, Some(&self.bias), 1, kernel / 2, 1, channels))
        };
        macs::layer(kind, &[size[0], size[2], channels, kernel], x, layer, &y);
        y
    }

    /// Weight and bias as `[1, C, 1]` each, for a kernel of 1.
    fn factor_and_shift(&self) -> [Tensor; 2] {
        [&self.weight, &self.bias].map(|t| t.view([1, -1, 1]))
    }

    /// The sum of two convolutions as one.
    fn sum(a: &Self, b: &Self) -> Self {
        let kernel = |conv: &Self| conv.weight.size()[2];
        let widest = kernel(a).max(kernel(b));
        let widened = |conv: &Self| conv.weight.constant_pad_nd([(widest - kernel(conv)) / 2; 2]);
        Self { weight: widened(a) + widened(b), bias: &a.bias + &b.bias }
    }
}

/// The convolutions of an SGP block: an instant branch, weighted by the whole input, and a window branch of two widths.
struct Perception {
    psi: Depthwise,
    instant: Depthwise,
    narrow: Depthwise,
    wide: Depthwise,
    global: Depthwise,
    /// They started at zero: as long as they are zero, no gradient reaches them.
    dormant: bool,
}

impl Perception {
    fn new(params: &mut Params, path: &str, config: &TriDetConfig, window: i64) -> Self {
        // Half to even, as Python rounds; the next odd kernel.
        let scaled = ((window + 1) as f64 * config.sgp_factor).round_ties_even() as i64;
        let mut conv = |name: &str, kernel: i64| Depthwise::new(params, &format!("{path}.{name}"), config.dim, kernel, config.sgp_init);
        Self {
            psi: conv("psi", window),
            instant: conv("fc", 1),
            narrow: conv("convw", window),
            wide: conv("convkw", scaled | 1),
            global: conv("global_fc", 1),
            dormant: config.sgp_init == 0.0,
        }
    }

    /// Nothing but zeros: the output is the input, and every gradient of the convolutions is a product with a zero.
    fn is_silent(&self) -> bool {
        let any = || {
            let convs = [&self.psi, &self.instant, &self.narrow, &self.wide, &self.global];
            let counts = convs.map(|conv| [&conv.weight, &conv.bias].map(|t| t.count_nonzero(None)));
            transfer::read_integers(&Tensor::stack(counts.as_flattened(), 0)).iter().any(|&count| count > 0)
        };
        self.dormant && !any()
    }

    /// `[B, C, T]` → the same shape.
    fn forward(&self, x: &Tensor) -> Tensor {
        if self.is_silent() { x.shallow_clone() } else { self.perceive(x) }
    }

    /// x + instant(x) · φ + (narrow(x) + wide(x)) · psi(x), where φ is made of the mean over time, padding included.
    fn perceive(&self, x: &Tensor) -> Tensor {
        let phi = self.global.forward(&x.mean_dim(2, true, Kind::Float)).relu();
        let [factor, shift] = self.instant.factor_and_shift();
        let instant = (shift * &phi).addcmul(x, &(factor * &phi + 1.0));
        macs::layer(SCALE, &[x.numel() as i64], x, &self.instant.weight, &instant);
        let window = Depthwise::sum(&self.wide, &self.narrow).convolve(x, &self.wide.weight);
        instant.addcmul(&window, &self.psi.forward(x))
    }
}

/// An SGP block: perception and a perceptron, each on a residual path.
struct SgpBlock {
    /// The block halves the length first.
    halves: bool,
    norm: ChannelNorm,
    perception: Perception,
    group_norm: [Tensor; 2],
    perceptron: [Conv1d; 2],
    /// Stochastic depth behind either.
    paths: [Option<AffineDropPath>; 2],
}

impl SgpBlock {
    fn new(params: &mut Params, path: &str, config: &TriDetConfig, halves: bool) -> Self {
        let (dim, inner) = (config.dim, config.mlp_dim);
        let p = |name: &str| format!("{path}.{name}");
        let drop = if halves { config.drop_path } else { 0.0 };
        Self {
            halves,
            norm: ChannelNorm::new(params, &p("ln"), dim),
            group_norm: [("gn.weight", 1.0), ("gn.bias", 0.0)]
                .map(|(name, value)| params.add_plain(&p(name), &[dim], Init::Constant(value))),
            perception: Perception::new(params, path, config, if halves { config.sgp_window } else { 1 }),
            perceptron: [("mlp.0", dim, inner), ("mlp.2", inner, dim)]
                .map(|(name, input, output)| Conv1d::new(params, &p(name), ConvSpec::dense(input, output, 1).bias(0.0))),
            paths: ["drop_path_out", "drop_path_mlp"].map(|name| AffineDropPath::new(params, &p(name), dim, drop)),
        }
    }

    /// `[B, C, T]` → `[B, C, T or T / 2]`; `mask` is that of the output. Only the residual input is masked, so padding takes
    /// on values and is seen by what follows, as in the release.
    fn forward(&self, x: &Tensor, mask: &Mask, stochastic: bool) -> Tensor {
        let x = if self.halves { x.max_pool1d(3, 2, 1, 1, false) } else { x.shallow_clone() };
        let perceived = self.perception.forward(&self.norm.forward(&x));
        let x = add_branch(&mask.apply(x), &perceived, self.paths[0].as_ref(), stochastic);
        let [scale, shift] = &self.group_norm;
        let normed = x.unsqueeze(2).group_norm(NORM_GROUPS, Some(scale), Some(shift), 1e-5, false).squeeze_dim(2);
        let inner = self.perceptron[0].forward(&normed).gelu("none");
        add_branch(&x, &self.perceptron[1].forward(&inner), self.paths[1].as_ref(), stochastic)
    }
}

/// The network.
pub struct TriDet {
    config: TriDetConfig,
    pyramid: Pyramid,
    embedding: Tower,
    positions: Option<Positions>,
    stem: Vec<SgpBlock>,
    branch: Vec<SgpBlock>,
    neck: IdentityNeck,
    classes: ClassHead,
    boundaries: [ClassHead; 2],
    offsets: OffsetHead,
    /// Distances in strides that the bins of the left and of the right distribution stand for, `[bins + 1]`.
    distances: [Tensor; 2],
}

impl TriDet {
    /// Builds the network for inputs of `channels` values; class-agnostic without `classes`.
    pub fn new(params: &mut Params, config: &TriDetConfig, channels: i64, classes: Option<i64>) -> Self {
        let (classes, points, window) = (classes.unwrap_or(1), &config.points, config.common.window);
        let widths: Vec<i64> = std::iter::once(channels).chain((0..config.embedding_layers).map(|_| config.dim)).collect();
        let head = HeadShape { input: config.dim, width: points.head_dim, layers: points.head_layers };
        let block =
            |params: &mut Params, part: &str, i: usize, halves| SgpBlock::new(params, &format!("backbone.{part}.{i}"), config, halves);
        let right = Tensor::arange(config.bins + 1, (Kind::Float, params.device()));
        Self {
            pyramid: Pyramid::new(points, window, classes, Vote::Score),
            embedding: Tower::new(params, "backbone.embd", "backbone.embd_norm", &widths),
            positions: config.position.then(|| Positions::new(config.dim, window, params.device())),
            stem: (0..config.stem_layers).map(|i| block(params, "stem", i, false)).collect(),
            branch: (1..points.levels).map(|l| block(params, "branch", l - 1, true)).collect(),
            neck: IdentityNeck::new(params, config.dim, points.levels),
            classes: ClassHead::new(params, "cls_head", head, classes),
            boundaries: ["start_head", "end_head"].map(|name| ClassHead::new(params, name, head, classes)),
            offsets: OffsetHead::new(params, "reg_head", head, 2 * (config.bins + 1), points.levels),
            distances: [right.flip([0]), right],
            config: config.clone(),
        }
    }

    /// Bins of either side and the centre.
    fn span(&self) -> i64 {
        self.config.bins + 1
    }

    /// The boundary logits of a side on some levels, with zeros for the cells beyond the input that the outer points look at:
    /// in front of start logits (`side` 0), behind end logits. So the window of a point begins at the point's own place.
    fn boundary(&self, out: &Outputs, side: usize, levels: Range<usize>) -> Tensor {
        let bins = self.config.bins;
        let rim = if side == 0 { [bins, 0] } else { [0, bins] };
        let logits = &out.boundaries.as_ref().expect("every output of TriDet has boundaries")[side][levels];
        Tensor::cat(&logits.iter().map(|level| level.constant_pad_nd(rim)).collect::<Vec<_>>(), 2)
    }

    /// Mean distance `[…]` in strides of the distributions `logits` `[…, bins + 1]`.
    fn expected(&self, logits: Tensor, side: usize) -> Tensor {
        (logits.softmax(-1, Kind::Float) * &self.distances[side]).sum_dim_intlist(-1, false, Kind::Float)
    }

    /// Offsets `[Q, 2]` in strides at pairs of point and class.
    fn offsets_at(&self, out: &Outputs, pairs: &Pairs) -> Tensor {
        let bins = rows(&out.offsets).view([-1, 2, self.span()]).index_select(0, &pairs.point);
        let window = pairs.window.unsqueeze(1) + Tensor::arange(self.span(), (Kind::Int64, bins.device()));
        let of_side = |side: usize| {
            let boundary = self.boundary(out, side, 0..self.pyramid.levels().len());
            self.expected(boundary.take(&window) + bins.select(1, side as i64), side)
        };
        Tensor::stack(&[of_side(0), of_side(1)], 1)
    }

    /// The pairs that answer for an instance: a point with two classes has two.
    fn pairs(&self, targets: &Targets, time: usize) -> Pairs {
        let device = targets.classes.device();
        let (levels, classes) = (self.pyramid.levels().len() as i64, self.pyramid.assigner.classes as i64);
        let (points, bins) = (self.pyramid.assigner.points(time) as i64, self.config.bins);
        let row = points + levels * bins;
        let window = |p: &Positive| p.input as i64 * classes * row + p.row % points + p.level as i64 * bins;
        let windows = transfer::send_slice(&targets.positives.iter().map(window).collect::<Vec<_>>(), &[-1], device);
        let rows = targets.rows(device);
        let found = targets.classes.view([-1, classes]).index_select(0, &rows).nonzero();
        let (which, class) = (found.select(1, 0), found.select(1, 1));
        let of_pairs = |t: &Tensor| t.index_select(0, &which);
        let point = of_pairs(&rows);
        Pairs {
            entry: &point * classes + &class,
            window: of_pairs(&windows) + class * row,
            wanted: of_pairs(&targets.offsets(device)),
            point,
        }
    }
}

/// Q pairs of point and class.
struct Pairs {
    /// Place of the point in `[B · P]`.
    point: Tensor,
    /// Place in `[B · P · C]`.
    entry: Tensor,
    /// Place in the padded boundary logits of all levels, `[B · C · (P + levels · bins)]`, at which the window begins.
    window: Tensor,
    /// Distances to start and end of the instance in strides, `[Q, 2]`.
    wanted: Tensor,
}

impl PointNetwork for TriDet {
    fn pyramid(&self) -> &Pyramid {
        &self.pyramid
    }

    fn forward(&self, x: &Tensor, valid: &[usize], stochastic: bool) -> Outputs {
        let time = x.size()[2];
        let masks = self.pyramid.masks(valid, time as usize, x.device());
        let embedded = self.embedding.forward(x, &masks[0]);
        let mut x = match &self.positions {
            Some(positions) => embedded + masks[0].apply(positions.of(time)),
            None => embedded,
        };
        for block in &self.stem {
            x = block.forward(&x, &masks[0], stochastic);
        }
        let mut backbone = vec![x];
        for (block, mask) in self.branch.iter().zip(&masks[1..]) {
            backbone.push(block.forward(&backbone[backbone.len() - 1], mask, stochastic));
        }
        let neck = self.neck.forward(&backbone);
        // What the boundary heads learn does not reach the features.
        let detached: Vec<Tensor> = neck.iter().map(Tensor::detach).collect();
        let boundaries = self.boundaries.each_ref().map(|head| head.forward(&detached, &masks));
        let (logits, offsets) = (self.classes.forward(&neck, &masks), self.offsets.forward(&neck, &masks));
        Outputs { masks, backbone, neck, logits, offsets, boundaries: Some(boundaries) }
    }

    /// The focal loss of a positive pair weighs tIoU^power. The weight is differentiated too, as in the release.
    fn terms(&self, out: &Outputs, batch: &Batch) -> Vec<Term> {
        let targets = self.pyramid.assign(out, batch);
        let pairs = self.pairs(&targets, batch.x.size()[2] as usize);
        let (tiou, regression) = offset_overlap(&self.offsets_at(out, &pairs), &pairs.wanted);
        let focal = focal(&rows(&out.logits), &self.pyramid.smooth(&targets.classes));
        let excess = focal.view([-1]).index_select(0, &pairs.entry) * (tiou.pow_tensor_scalar(self.config.iou_power) - 1.0);
        let class_loss = Pyramid::sum_valid(focal, &out.masks) + excess.sum(Kind::Float);
        self.pyramid.divided(class_loss, regression.sum(Kind::Float), targets.positives.len())
    }

    fn distances(&self, out: &Outputs, level: usize) -> Tensor {
        let bins = out.offsets[level].transpose(1, 2).unflatten(2, [2, self.span()]); // [B, T, 2, bins + 1]
        let of_side = |side: usize| {
            let windows = self.boundary(out, side, level..level + 1).unfold(2, self.span(), 1); // [B, C, T, bins + 1]
            self.expected(windows + bins.select(2, side as i64).unsqueeze(1), side)
        };
        Tensor::stack(&[of_side(0), of_side(1)], -1).transpose(1, 2)
    }

    fn padding_multiple(&self) -> usize {
        self.pyramid.coarsest() * self.config.sgp_window as usize
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::base::Stream;
    use crate::config::points::Points;
    use crate::config::settings::{Common, Preset};
    use crate::data::windows::CellInstance;
    use crate::nn::optim::Gradients;

    fn small() -> TriDetConfig {
        let laptop = TriDetConfig::preset(Preset::Laptop).unwrap();
        let points = Points { levels: 3, head_dim: 24, ..laptop.points };
        let common = Common { window: 64, ..laptop.common };
        TriDetConfig { common, points, dim: 32, mlp_dim: 40, sgp_window: 3, sgp_init: 0.2, bins: 4, position: true, ..laptop }
    }

    fn batch(config: &TriDetConfig, valid: &[usize]) -> Batch {
        let instance = |start: f64, end: f64, label| CellInstance { start, end, label };
        let truth = vec![instance(3.2, 9.7, 0), instance(3.2, 9.7, 1), instance(12.0, 30.5, 2), instance(20.1, 24.0, 0)];
        let shape = [valid.len() as i64, 6, config.common.window as i64];
        Batch {
            x: Tensor::randn(shape, (Kind::Float, Device::Cpu)),
            truth: vec![truth; valid.len()],
            valid: valid.to_vec(),
            rng: Stream::new(0, "test"),
        }
    }

    /// Values of all parameters' gradients, zero where there is none, and whether there is.
    fn gradients(network: &TriDet, params: &Params, batch: &Batch) -> Vec<(bool, Tensor)> {
        network.pyramid.normaliser.set(network.config.points.loss_norm);
        let terms = network.terms(&network.forward(&batch.x, &batch.valid, false), batch);
        let mut gradients = Gradients::none(params);
        gradients.add(params, &(&terms[0].value + &terms[1].value), &[]);
        let with_zeros = params.entries().iter().zip(gradients.as_slice());
        with_zeros.map(|((_, t), g)| (g.is_some(), g.as_ref().map_or_else(|| t.zeros_like(), Tensor::shallow_clone))).collect()
    }

    #[test]
    fn the_published_network_has_the_published_size_and_cost() {
        let mut params = Params::new(0, Device::Cpu);
        let network = TriDet::new(&mut params, &TriDetConfig::preset(Preset::Thumos14).unwrap(), 2048, Some(20));
        assert_eq!(params.count(), 15_989_604);
        let x = Tensor::zeros([1, 2048, 2304], (Kind::Float, Device::Cpu));
        let (_, macs) = macs::count(|| tch::no_grad(|| network.forward(&x, &[2304], false)));
        assert!((macs as f64 / 43.68e9 - 1.0).abs() < 0.01, "{macs}");
    }

    #[test]
    fn skipping_convolutions_that_are_zero_changes_nothing() {
        tch::manual_seed(1);
        let config = TriDetConfig { sgp_init: 0.0, ..small() };
        let mut params = Params::new(0, Device::Cpu);
        let mut network = TriDet::new(&mut params, &config, 6, Some(3));
        let batch = batch(&config, &[64, 40]);
        let skipped = gradients(&network, &params, &batch);
        let logits = network.forward(&batch.x, &batch.valid, false).logits;
        network.stem.iter_mut().chain(&mut network.branch).for_each(|block| block.perception.dormant = false);
        for (a, b) in logits.iter().zip(network.forward(&batch.x, &batch.valid, false).logits) {
            assert!(a.allclose(&b, 1e-6, 1e-7, false));
        }
        let computed = gradients(&network, &params, &batch);
        for (((name, _), (reached, a)), (_, b)) in params.entries().iter().zip(&skipped).zip(&computed) {
            assert!((a - b).norm().double_value(&[]) <= 1e-5 * b.norm().double_value(&[]), "{name}");
            let convolution = ["psi", "fc", "convw", "convkw", "global_fc"].iter().any(|part| name.split('.').any(|p| p == *part));
            assert_eq!(*reached, !convolution, "{name}");
        }
        // One weight off zero, and they are no longer skipped.
        let psi = &params.entries().iter().find(|(name, _)| name.ends_with("stem.0.psi.weight")).unwrap().1;
        network.stem.iter_mut().for_each(|block| block.perception.dormant = true);
        assert!(network.stem[0].perception.is_silent());
        let _ = tch::no_grad(|| psi.shallow_clone().fill_(0.5));
        assert!(!network.stem[0].perception.is_silent() && network.stem[1].perception.is_silent());
    }

    #[test]
    fn two_kernels_as_one_are_their_sum() {
        tch::manual_seed(1);
        let mut params = Params::new(0, Device::Cpu);
        let [wide, narrow] = [("wide", 7), ("narrow", 3)].map(|(name, kernel)| Depthwise::new(&mut params, name, 4, kernel, 1.0));
        let x = Tensor::randn([2, 4, 20], (Kind::Float, Device::Cpu));
        let apart = wide.forward(&x) + narrow.forward(&x);
        assert!(Depthwise::sum(&wide, &narrow).forward(&x).allclose(&apart, 1e-5, 1e-6, false));
        let point = Depthwise::new(&mut params, "point", 4, 1, 1.0);
        assert!(point.forward(&x).allclose(&x.conv1d(&point.weight, Some(&point.bias), 1, 0, 1, 4), 1e-5, 1e-6, false));
    }

    /// The offsets decoded at pairs are those decoded everywhere, and a boundary logit moves the boundary to its cell.
    #[test]
    fn offsets_at_pairs_are_those_of_the_dense_decoding() {
        tch::manual_seed(1);
        let config = small();
        let mut params = Params::new(0, Device::Cpu);
        let network = TriDet::new(&mut params, &config, 6, Some(3));
        let batch = batch(&config, &[64, 40]);
        let mut out = network.forward(&batch.x, &batch.valid, false);
        let targets = network.pyramid.assign(&out, &batch);
        let pairs = network.pairs(&targets, 64);
        assert!(pairs.point.size()[0] > targets.positives.len() as i64, "no point has two classes");
        let dense: Vec<Tensor> = (0..config.points.levels).map(|level| network.distances(&out, level)).collect();
        let dense = Tensor::cat(&dense, 1).reshape([-1, 2]).index_select(0, &pairs.entry);
        assert!(network.offsets_at(&out, &pairs).allclose(&dense, 1e-5, 1e-6, false));
        let start = &mut out.boundaries.as_mut().unwrap()[0][0];
        *start = start.zeros_like();
        let _ = start.narrow(2, 10, 1).fill_(50.0);
        let left = network.distances(&out, 0).select(3, 0).select(2, 1); // class 1, [B, T]
        for (cell, wanted) in [(10, 0.0), (11, 1.0), (14, 4.0)] {
            assert!((left.double_value(&[0, cell]) - wanted).abs() < 1e-3, "{cell}");
        }
    }

    #[test]
    fn a_batch_without_a_positive_point_has_finite_losses_and_gradients() {
        let config = small();
        let mut params = Params::new(0, Device::Cpu);
        let network = TriDet::new(&mut params, &config, 6, Some(3));
        let mut batch = batch(&config, &[64]);
        batch.truth = vec![vec![CellInstance { start: 10.2, end: 10.4, label: 1 }]];
        let found = gradients(&network, &params, &batch);
        assert!(found.iter().all(|(_, g)| g.isfinite().all().int64_value(&[]) == 1));
    }
}
