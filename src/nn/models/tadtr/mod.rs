//! TadTR: temporal action detection with a deformable transformer, a fixed set of action queries, segment refinement and
//! actionness regression.
//!
//! Source: Liu et al., "End-to-End Temporal Action Detection with Transformer" (IEEE TIP 2022); the authors' release, commit
//! 983ae14. Parameter names are the state-dict keys of its model; the segment heads, which it registers twice, are read under
//! either name.
//!
//! # Deviations
//! - `input_proj.0` takes the channels that the features have; the release reads 2048 whatever its settings say.
//! - The actionness target is measured against the instances of the whole batch, as released; `actionness = "video"` measures
//!   it against the input's own (OpenTAD).
//! - The heads of all layers start from draws of their own; the release copies one draw into all layers.
//! - Refined segments are computed once per layer: the release computes them a second time for its outputs, from the same
//!   numbers.
//! - Detections are cut to the video at the very end; the release writes them as they are.
//! - `merging = "soft-nms"` replaces the fusion of neighbouring windows by soft-NMS over all of them (OpenTAD); without
//!   classes of its own the network always uses it, as the authors do on ActivityNet.
//! - The laptop preset learns by other rules: gradients clipped at 1 instead of 0.1, a cosine from a five-fold rate, noise on
//!   standardised inputs, moved windows, soft-NMS.
//! - The last epoch is tested, not the best one on the test set.

mod losses;
mod transformer;

use tch::{Kind, Tensor};

pub use self::losses::{Matches, SetLosses, Truth, actionness_target, matches, set_losses};
pub use self::transformer::{Decoded, Memory};

use self::transformer::Transformer;
use crate::config::TadTrConfig;
use crate::config::tadtr::{Actionness, Merging};
use crate::data::Segment;
use crate::eval::Detection;
use crate::eval::nms::{Fusion, Method, Suppression};
use crate::nn::layers::basic::{Conv, ConvShape, Linear, Mlp};
use crate::nn::layers::roi_align::{Layout, RoiAlign};
use crate::nn::network::{Batch, Conventions, Network, Term, VideoClasses, Window, with_video_classes};
use crate::nn::params::{Init, Params};
use crate::nn::precision::float;
use crate::nn::transfer;

/// What is done around the network.
pub const CONVENTIONS: Conventions = Conventions {
    centres: false,
    margin: false,
    short_last: true,
    linear_rescale: false,
    channel_multiple: 1,
    spare_plain: false,
    slow: &["reference_points", "sampling_offsets"],
    inference_batch: 16,
};

const NORM_GROUPS: i64 = 32;
/// Actionness is read from the segment enlarged by this factor, in this many bins.
const ROI_SCALE: f64 = 1.5;
const ROI_BINS: i64 = 16;
/// Share of instances among queries that the class heads expect at first.
const PRIOR: f64 = 0.01;
/// Weights of the losses.
const CLASS: f64 = 2.0;
const SEGMENT: f64 = 5.0;
const OVERLAP: f64 = 2.0;
const ACTIONNESS: f64 = 4.0;
/// Soft-NMS: candidates below it are dropped, and the most that are kept (OpenTAD).
const MIN_SCORE: f32 = 0.001;
const KEEP: usize = 2000;

/// The network.
pub struct TadTr {
    config: TadTrConfig,
    projection: Conv,
    norm: (Tensor, Tensor),
    transformer: Transformer,
    class: Vec<Linear>,
    actionness: Mlp,
}

/// How sure the network is that segments hold an action.
pub struct Actioned {
    /// What was read: `[B · Q, 2]` start and end in cells.
    pub rois: Tensor,
    /// `[B · Q, bins, C]`.
    pub features: Tensor,
    /// `[B, Q]`, in 0..1.
    pub values: Tensor,
}

impl TadTr {
    /// Builds the network for inputs of `channels` values; class-agnostic without `classes`.
    pub fn new(params: &mut Params, config: &TadTrConfig, channels: i64, classes: Option<i64>) -> Self {
        let dim = config.dim;
        let default = Linear::default_init(dim);
        let doubt = vec![-((1.0 - PRIOR) / PRIOR).ln() as f32; classes.unwrap_or(1) as usize];
        let layer = |params: &mut Params, index: usize, input: i64, output: i64| {
            let init = Linear::default_init(input);
            Linear::with(params, &format!("actionness_pred.{index}"), [input, output], init, init)
        };
        Self {
            projection: Conv::new(params, "input_proj.0.0", ConvShape { input: channels, output: dim, kernel: 1, groups: 1, bias: true }),
            norm: (
                params.add("input_proj.0.1.weight", &[dim], Init::Constant(1.0)),
                params.add("input_proj.0.1.bias", &[dim], Init::Constant(0.0)),
            ),
            transformer: Transformer::new(params, config),
            class: (0..config.decoder_layers)
                .map(|i| Linear::with_bias(params, &format!("class_embed.{i}"), dim, default, &doubt))
                .collect(),
            actionness: Mlp::of(vec![layer(params, 0, dim * ROI_BINS, dim), layer(params, 2, dim, dim), layer(params, 4, dim, 1)]),
            config: config.clone(),
        }
    }

    /// `[B, C, T]` to the transformer's width, `[B, dim, T]`.
    pub fn project(&self, x: &Tensor) -> Tensor {
        self.projection.forward(x).group_norm(NORM_GROUPS, Some(&self.norm.0), Some(&self.norm.1), 1e-5, false)
    }

    /// Encodes projected cells `[B, dim, T]`. Nothing is dropped at inference.
    pub fn encode(&self, projected: &Tensor, padding: Option<&Tensor>, dropout: f64) -> Memory {
        self.transformer.encode(projected.transpose(1, 2).contiguous(), padding, dropout)
    }

    /// Decodes the queries layer by layer.
    pub fn decode(&self, memory: &Memory, dropout: f64) -> Decoded {
        self.transformer.decode(memory, dropout)
    }

    /// Class logits `[B, Q, K]` of a layer's states.
    pub fn classify(&self, layer: usize, states: &Tensor) -> Tensor {
        float(&self.class[layer].forward(states))
    }

    /// Actionness of (centre, width) `[B, Q, 2]`, through which no gradient flows.
    pub fn actionness(&self, memory: &Memory, segments: &Tensor) -> Actioned {
        let (batch, queries, _) = segments.size3().expect("segments are [B, Q, 2]");
        let time = memory.cells.size()[1];
        let segments = segments.detach();
        let (centre, half) = (segments.select(2, 0), segments.select(2, 1) * (0.5 * ROI_SCALE));
        let rois = (Tensor::stack(&[&centre - &half, &centre + &half], 2) * time as f64).clamp(0.0, time as f64).view([-1, 2]);
        let layout = Layout::new(&vec![queries as usize; batch as usize], rois.device());
        let features = RoiAlign::plan(&rois, &layout, time, ROI_BINS).differentiable(&memory.cells);
        let values = float(&self.actionness.forward_bins_first(&features)).sigmoid().view([batch, queries]);
        Actioned { rois, features, values }
    }
}

/// A training pass.
pub struct Pass {
    /// `[L, B, Q, K]`.
    pub logits: Tensor,
    /// Per layer and input.
    pub matches: Matches,
    /// Per layer.
    pub set: SetLosses,
    /// What actionness is compared with, `[B, Q]`.
    pub target: Tensor,
    /// A scalar.
    pub actionness: Tensor,
}

impl Pass {
    /// The losses, summed over the layers.
    pub fn terms(&self) -> Vec<Term> {
        let term = |name, value: &Tensor, weight| Term { name, value: value.sum(Kind::Float), weight };
        vec![
            term("loss_ce", &self.set.class, CLASS),
            term("loss_segments", &self.set.segment, SEGMENT),
            term("loss_iou", &self.set.overlap, OVERLAP),
            term("loss_actionness", &self.actionness, ACTIONNESS),
        ]
    }
}

impl TadTr {
    /// Losses of inputs `[B, C, T]` against `truth`, whose part that `whose` says makes the actionness target.
    pub fn pass(&self, x: &Tensor, padding: Option<&Tensor>, truth: &Truth, dropout: f64, whose: Actionness) -> Pass {
        let memory = self.encode(&self.project(x), padding, dropout);
        let Decoded { states, segments } = self.decode(&memory, dropout);
        let logits: Vec<Tensor> = states.iter().enumerate().map(|(layer, state)| self.classify(layer, state)).collect();
        let (logits, all) = (Tensor::stack(&logits, 0), Tensor::stack(&segments, 0));
        let matches = matches(&logits, &all, truth, self.config.class_cost);
        let set = set_losses(&logits, &all, truth, &matches);
        let last = &segments[segments.len() - 1];
        let target = actionness_target(last, truth, whose);
        let actionness = (self.actionness(&memory, last).values - &target).abs().mean(Kind::Float);
        Pass { logits, matches, set, target, actionness }
    }
}

impl Network for TadTr {
    fn losses(&self, batch: &mut Batch) -> Vec<Term> {
        let truth = Truth::new(&batch.truth, batch.x.size()[2], batch.x.device());
        self.pass(&batch.x, None, &truth, self.config.dropout, self.config.actionness).terms()
    }

    fn detect(&self, x: &Tensor, _valid: &[usize]) -> Vec<Vec<Detection>> {
        let memory = self.encode(&self.project(x), None, 0.0);
        let Decoded { states, segments } = self.decode(&memory, 0.0);
        let last = states.len() - 1;
        let logits = self.classify(last, &states[last]);
        let actionness = self.actionness(&memory, &segments[last]).values;
        let time = x.size()[2] as f64;
        let in_cells = |d: Detection| Detection { segment: Segment { start: d.segment.start * time, end: d.segment.end * time }, ..d };
        let found = surest(&logits, &segments[last], &actionness, self.config.per_window);
        found.into_iter().map(|of_input| of_input.into_iter().map(|(_, d)| in_cells(d)).collect()).collect()
    }

    fn merge(&self, windows: Vec<Window>, classes: Option<VideoClasses<'_>>) -> Vec<Detection> {
        let found: Vec<Detection> = windows.iter().flat_map(Window::in_video).collect();
        let soft = |class_wise| {
            let method = Method::Gaussian { sigma: self.config.nms_sigma as f32 };
            Suppression { method, class_wise, min_score: MIN_SCORE, keep: KEEP, voting: None }.apply(&found)
        };
        match (classes, self.config.merging) {
            (Some(classes), _) => with_video_classes(&soft(false), classes, |detection, class| detection * class),
            (None, Merging::SoftNms) => soft(true),
            (None, Merging::Fusion) => {
                let common = |pair: &[Window]| Segment { start: pair[1].start as f64, end: (pair[0].start + pair[0].cells) as f64 };
                let common: Vec<Segment> = windows.windows(2).map(common).collect();
                Fusion { tiou: self.config.fusion_tiou }.apply(&found, &common)
            }
        }
    }
}

/// The `most` surest pairs of query and class of every input, the surest first, with the query: `logits` `[B, Q, K]`,
/// (centre, width) `[B, Q, 2]`, actionness `[B, Q]`. The score is class probability × actionness; segments are shares of the
/// input and may reach beyond it.
pub fn surest(logits: &Tensor, segments: &Tensor, actionness: &Tensor, most: usize) -> Vec<Vec<(usize, Detection)>> {
    let (_, queries, classes) = logits.size3().expect("logits are [B, Q, K]");
    let scores = (logits.sigmoid() * actionness.unsqueeze(-1)).flatten(1, 2);
    let kept = (most as i64).min(queries * classes);
    let (scores, pairs) = scores.topk(kept, 1, true, true);
    let (scores, segments, pairs) = (transfer::read(&scores), transfer::read(segments), transfer::read_integers(&pairs));
    let of_input = |((scores, pairs), segments): ((&[f32], &[i64]), &[f32])| {
        let detection = |(&score, &pair): (&f32, &i64)| {
            let (query, label) = ((pair / classes) as usize, (pair % classes) as usize);
            let (centre, half) = (f64::from(segments[2 * query]), f64::from(segments[2 * query + 1]) / 2.0);
            let segment = Segment { start: centre - half, end: centre + half };
            (query, Detection { segment, label, score: f64::from(score) })
        };
        scores.iter().zip(pairs).map(detection).collect()
    };
    let kept = kept as usize;
    scores.chunks_exact(kept).zip(pairs.chunks_exact(kept)).zip(segments.chunks_exact(2 * queries as usize)).map(of_input).collect()
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::base::Stream;
    use crate::config::settings::Preset;
    use crate::data::windows::CellInstance;
    use crate::nn::macs;
    use crate::nn::optim::Gradients;

    #[test]
    fn the_published_network_has_its_parameters_and_cost() {
        let config = TadTrConfig::preset(Preset::Thumos14).unwrap();
        let mut params = Params::new(0, Device::Cpu);
        let network = TadTr::new(&mut params, &config, 2048, Some(20));
        assert_eq!(params.count(), 8_661_594);
        let x = Tensor::zeros([1, 2048, 128], (Kind::Float, Device::Cpu));
        let (found, macs) = macs::count(|| tch::no_grad(|| network.detect(&x, &[128])));
        assert_eq!(found[0].len(), 100);
        // The release's 0.67 billion include what it computes twice (segment heads) or for nothing (classes of all layers).
        let (dim, queries, layers) = (256, 40, 4);
        let segments = layers * queries * (2 * dim * dim + 2 * dim);
        let classes = (layers - 1) * queries * dim * 20;
        let published = (macs + segments + classes) as f64 / 0.67e9;
        assert!((published - 1.0).abs() < 0.02, "{published}");
    }

    fn small(classes: Option<i64>) -> (Params, TadTr) {
        let published = TadTrConfig::preset(Preset::Thumos14).unwrap();
        let config = TadTrConfig { dim: 32, heads: 2, encoder_layers: 1, decoder_layers: 2, feed_forward: 16, queries: 3, ..published };
        let mut params = Params::new(0, Device::Cpu);
        let network = TadTr::new(&mut params, &config, 5, classes);
        (params, network)
    }

    fn input(inputs: i64, time: i64) -> Tensor {
        tch::manual_seed(3);
        Tensor::randn([inputs, 5, time], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn every_parameter_learns_also_with_more_instances_than_queries_and_inputs_without_any() {
        let (params, network) = small(Some(4));
        let instance = |k: usize| CellInstance { start: 2.0 * k as f64, end: 2.0 * k as f64 + 3.0, label: k % 4 };
        let truth = vec![(0..5).map(instance).collect(), Vec::new(), vec![instance(6)]];
        let mut batch = Batch { x: input(3, 16), valid: vec![16; 3], truth, rng: Stream::new(0, "test") };
        let mut gradients = Gradients::none(&params);
        let terms = network.backward(&params, &mut batch, &mut gradients);
        let values = terms.read();
        assert!(values.iter().all(|(name, v)| v.is_finite() && (*v > 0.0 || name == "cost")), "{values:?}");
        // The last layers of the segment heads start at zero, which is all that holds anything back.
        for ((name, _), gradient) in params.entries().iter().zip(gradients.as_slice()) {
            assert!(gradient.is_some(), "{name}");
        }
    }

    #[test]
    fn dropout_is_training_only() {
        let (_, network) = small(Some(4));
        let x = input(1, 16);
        let detect = || tch::no_grad(|| network.detect(&x, &[16]));
        assert_eq!(detect(), detect());
        let truth = Truth::new(&[vec![CellInstance { start: 2.0, end: 5.0, label: 1 }]], 16, Device::Cpu);
        let cost = |dropout| {
            let pass = network.pass(&x, None, &truth, dropout, Actionness::Video);
            pass.set.class.sum(Kind::Float).double_value(&[])
        };
        assert_eq!(cost(0.0), cost(0.0));
        assert_ne!(cost(0.5), cost(0.5));
    }

    #[test]
    fn windows_are_fused_where_they_overlap_and_video_classes_follow_soft_nms() {
        let detection = |start: f64, end: f64, score: f64| Detection { segment: Segment { start, end }, label: 0, score };
        let windows = || {
            let first = vec![detection(2.0, 4.0, 0.9), detection(13.0, 16.0, 0.5)];
            let second = vec![detection(0.9, 4.0, 0.8), detection(10.0, 12.0, 0.7)];
            vec![Window { start: 0, cells: 16, found: first }, Window { start: 12, cells: 16, found: second }]
        };
        let scores = |found: Vec<Detection>| found.iter().map(|d| (d.label, (d.score * 1e3).round() as i64)).collect::<Vec<_>>();
        // 13..16 of the first window gives way to the surer 12.9..16 of the second.
        assert_eq!(scores(small(Some(4)).1.merge(windows(), None)), [(0, 900), (0, 800), (0, 700)]);
        let classes = VideoClasses { scores: &[0.1, 0.5], top: 1 };
        let found = small(None).1.merge(windows(), Some(classes));
        assert_eq!(scores(found)[..3], [(1, 450), (1, 400), (1, 350)]);
    }
}
