//! ETAD: efficient temporal action detection by LSTM-boosted aggregation, proposal sampling and a three-stage cascade.
//!
//! Source: Liu et al., "ETAD: Training Action Detection End to End on a Laptop" (CVPRW 2023); the authors' release, commit
//! 33d2733. Parameter paths are the state-dict keys of its `base_detector`.
//!
//! # Deviations
//! - Sizes are configurable; the published ones are the default of two presets.
//! - Labels: the release is class-agnostic and multiplies external video scores. With `labels = "proposal-head"` a class
//!   head on the last stage's RoI features (`class_head`) is trained jointly.
//! - `sampling = "guided"`, `inference = "pyramid"`, input noise and per-channel standardisation are ours, for the laptop
//!   preset.
//! - The THUMOS14 preset is the authors' network and post-processing under OpenTAD's windows and schedule, without OpenTAD's
//!   score voting, its half-snippet offset of the ground truth and its duplicate of the last window.
//! - The losses of a stage are differentiated before the next stage is computed (stages exchange only detached proposals,
//!   so the gradients are the same and the memory is that of one stage).
//! - Denominators of tIoU are kept above 1e-8, where the release divides 0 by 0 for a collapsed proposal.

pub mod decode;
pub mod labels;
pub mod losses;
pub mod network;
pub mod proposals;

use tch::{Device, Kind, Tensor};

use self::losses::{Constants, Draws, StageTargets};
use self::proposals::Anchor;
use crate::config::EtadConfig;
use crate::nn::layers::basic::{Conv, ConvNormRelu, ConvShape, Lstm, Mlp};
use crate::nn::layers::graft::Graft;
use crate::nn::layers::map_losses::balanced_cross_entropy;
use crate::nn::layers::roi_align::{Layout, Precision, RoiAlign};
use crate::nn::network::Terms;
use crate::nn::optim::Gradients;
use crate::nn::params::Params;
use crate::nn::precision::float;
use crate::nn::transfer;

/// Temporal aggregation: `[B, C, T]` → `[B, hidden, T]`.
struct Aggregation {
    layer1: ConvNormRelu,
    forward: Lstm,
    backward: Lstm,
    layer2_forward: ConvNormRelu,
    layer2_backward: ConvNormRelu,
    layer2_direct: ConvNormRelu,
    layer3: ConvNormRelu,
}

impl Aggregation {
    fn new(params: &mut Params, channels: i64, hidden: i64) -> Self {
        let p = |name: &str| format!("temporal_enhance.{name}");
        Self {
            layer1: ConvNormRelu::new(params, &p("layer1"), channels, hidden, 3),
            forward: Lstm::new(params, &p("mem_f"), hidden),
            backward: Lstm::new(params, &p("mem_b"), hidden),
            layer2_forward: ConvNormRelu::new(params, &p("layer2_f"), hidden, hidden / 2, 3),
            layer2_backward: ConvNormRelu::new(params, &p("layer2_b"), hidden, hidden / 2, 3),
            layer2_direct: ConvNormRelu::new(params, &p("layer2_d"), hidden, hidden, 3),
            layer3: ConvNormRelu::new(params, &p("layer3"), 2 * hidden, hidden, 1),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.layer1.forward(x);
        let sequence = x.permute([2, 0, 1]).contiguous(); // [B, C, T] -> [T, B, C]
        let forward = self.forward.forward(&sequence).permute([1, 2, 0]);
        let backward = self.backward.forward(&sequence.flip([0])).flip([0]).permute([1, 2, 0]);
        let parts = [self.layer2_forward.forward(&forward), self.layer2_direct.forward(&x), self.layer2_backward.forward(&backward)];
        self.layer3.forward(&Tensor::cat(&parts, 1))
    }
}

/// One stage of the cascade.
struct Stage {
    conv: Conv,
    reduce: Conv,
    ext: Mlp,
    iou: Mlp,
    boundary: Mlp,
    centre_width: Mlp,
    start: Mlp,
    end: Mlp,
}

/// What a stage says of N proposals.
struct StageOutput {
    /// `[N, 2]`: classification and regression of the tIoU, in 0..1.
    iou: Tensor,
    /// `[N, 6]`: start, end, centre and width offsets, startness, endness.
    reg: Tensor,
    /// `[N, fc]`: what all heads but those of the boundaries read.
    embedding: Tensor,
}

impl Stage {
    fn new(params: &mut Params, index: usize, config: &EtadConfig) -> Self {
        let (h, c, r) = (config.hidden, config.roi_channels, config.roi_bins);
        let (fc, inner) = (config.fc, config.fc_inner);
        let p = |name: &str| format!("stage_pem.{index}.{name}");
        let conv = |params: &mut Params, path: &str, output, groups| {
            Conv::new(params, path, ConvShape { input: h, output, kernel: 3, groups, bias: true })
        };
        let side = [c * (r / 4), fc, inner, inner, inner, 1];
        let head = [fc, inner, inner, inner, 2];
        Self {
            conv: conv(params, &format!("stage_conv.{index}.0"), h, 4),
            reduce: conv(params, &p("reduce_dim_before.0"), c, 1),
            ext: Mlp::new(params, &p("reduce_dim_ext"), &[c * r, fc]),
            iou: Mlp::new(params, &p("iou_fc"), &head),
            boundary: Mlp::new(params, &p("cls_se_fc"), &head),
            centre_width: Mlp::new(params, &p("reg_cw_fc"), &head),
            start: Mlp::new(params, &p("reg_s_fc"), &side),
            end: Mlp::new(params, &p("reg_e_fc"), &side),
        }
    }

    /// `[B, hidden, T]` → features the RoIs read, `[B, T, C]`.
    fn features(&self, x: &Tensor) -> Tensor {
        let refined = x + self.conv.forward(x).relu();
        self.reduce.forward(&refined).relu().transpose(1, 2).contiguous()
    }

    /// RoI features `[N, R, C]` → outputs.
    fn heads(&self, roi: &Tensor) -> StageOutput {
        let quarter = roi.size()[1] / 4;
        let embedding = self.ext.forward_bins_first(roi).relu();
        let iou = float(&self.iou.forward(&embedding)).sigmoid();
        let boundary = float(&self.boundary.forward(&embedding)).sigmoid();
        let centre_width = float(&self.centre_width.forward(&embedding)) / 2.0;
        let start = float(&self.start.forward_bins_first(&roi.narrow(1, 0, quarter)));
        let end = float(&self.end.forward_bins_first(&roi.narrow(1, roi.size()[1] - quarter, quarter)));
        StageOutput { iou, reg: Tensor::cat(&[start, end, centre_width, boundary], 1), embedding }
    }
}

/// The network.
pub struct Etad {
    aggregation: Aggregation,
    boundary: (Conv, Conv),
    stages: Vec<Stage>,
    class_head: Option<Mlp>,
    constants: Constants,
    config: EtadConfig,
}

/// Proposals of the inputs of a batch, on the model's device.
pub struct Proposals {
    /// Start and end of all, input by input, `[N, 2]` in 0..1.
    pub segments: Tensor,
    /// Which are whose.
    pub layout: Layout,
}

impl Proposals {
    /// From those of each input.
    pub fn new(anchors: &[Vec<Anchor>], device: Device) -> Self {
        let counts: Vec<usize> = anchors.iter().map(Vec::len).collect();
        let flat: Vec<f32> = anchors.iter().flatten().flat_map(|&(s, e)| [s, e]).collect();
        Self { segments: transfer::send_slice(&flat, &[-1, 2], device), layout: Layout::new(&counts, device) }
    }
}

/// A training batch on the model's device.
pub struct Batch {
    /// `[B, C, T]`.
    pub x: Tensor,
    /// Proposals.
    pub proposals: Proposals,
    /// Startness and endness, `[2, B, T]`.
    pub boundaries: Tensor,
    /// Matched instance of every proposal, `[N, 2]` in 0..1.
    pub matched: Tensor,
    /// Class of the matched instance, `[N]`; used by the class head.
    pub classes: Tensor,
    /// Draws per stage.
    pub draws: Vec<Draws>,
    /// Draws of the class head, `[N]`.
    pub class_draw: Tensor,
}

impl Batch {
    /// All tensors, for [`Batch::from_tensors`].
    pub fn into_tensors(self) -> Vec<Tensor> {
        let Self { x, proposals: Proposals { segments, layout }, boundaries, matched, classes, draws, class_draw } = self;
        let draws = draws.into_iter().flat_map(|Draws { class, mid, low }| [class, mid, low]);
        [x, segments, layout.into_owners(), boundaries, matched, classes, class_draw].into_iter().chain(draws).collect()
    }

    /// The batch again; every input has as many proposals.
    pub fn from_tensors(tensors: &[Tensor]) -> Self {
        let mut tensors = tensors.iter().map(Tensor::shallow_clone);
        let mut next = || tensors.next().expect("as many tensors as a batch has");
        let (x, segments, owners, boundaries) = (next(), next(), next(), next());
        let (matched, classes, class_draw) = (next(), next(), next());
        let layout = Layout::even(x.size()[0] as usize, owners);
        let rest: Vec<Tensor> = tensors.collect();
        let of_stage = |t: &[Tensor]| Draws { class: t[0].shallow_clone(), mid: t[1].shallow_clone(), low: t[2].shallow_clone() };
        let draws = rest.chunks_exact(3).map(of_stage).collect();
        Self { x, proposals: Proposals { segments, layout }, boundaries, matched, classes, draws, class_draw }
    }
}

/// One stage as seen from outside (parity).
pub struct StageTrace {
    /// Input proposals, `[N, 2]`.
    pub anchors: Tensor,
    /// `[N, 2]`.
    pub iou: Tensor,
    /// `[N, 6]`.
    pub reg: Tensor,
    /// Refined proposals, `[N, 2]`.
    pub refined: Tensor,
}

/// What inference yields for a batch of inputs and the proposals of each.
pub struct Inferred {
    /// Startness `[B, T]`.
    pub start: Tensor,
    /// Endness `[B, T]`.
    pub end: Tensor,
    /// Mean refined proposal over the stages, `[N, 2]` in 0..1.
    pub segments: Tensor,
    /// Mean (classified, regressed) tIoU over the stages, `[N, 2]`.
    pub iou: Tensor,
    /// Class probabilities without background, `[N, classes]`, where there is a class head.
    pub classes: Option<Tensor>,
}

impl Etad {
    /// Builds the network for inputs of `channels` values (a multiple of 4), with a class head where `classes` is given.
    pub fn new(params: &mut Params, config: &EtadConfig, channels: i64, classes: Option<i64>) -> Self {
        let h = config.hidden;
        let tem = |params: &mut Params, path: &str, output, kernel, groups| {
            Conv::new(params, path, ConvShape { input: h, output, kernel, groups, bias: true })
        };
        Self {
            aggregation: Aggregation::new(params, channels, h),
            boundary: (tem(params, "tem.0", h, 3, 4), tem(params, "tem.2", 2, 1, 1)),
            stages: (0..config.stage_tiou.len()).map(|i| Stage::new(params, i, config)).collect(),
            class_head: classes.map(|n| Mlp::new(params, "class_head", &[config.fc, config.fc, n + 1])),
            constants: Constants::new(config.positive_tiou, params.device()),
            config: config.clone(),
        }
    }

    /// Startness and endness `[B, 2, T]` from the aggregated features.
    fn boundaries(&self, x: &Tensor) -> Tensor {
        float(&self.boundary.1.forward(&self.boundary.0.forward(x).relu())).sigmoid()
    }

    fn align(&self, anchors: &Tensor, layout: &Layout, time: i64) -> RoiAlign {
        let _guard = tch::no_grad_guard();
        let cells = anchors * time as f64;
        let (start, end) = (cells.select(1, 0), cells.select(1, 1));
        let margin = (&end - &start) * self.config.roi_extension;
        RoiAlign::plan(&Tensor::stack(&[start - &margin, end + margin], 1), layout, time, self.config.roi_bins)
    }

    /// Computes the losses of a batch and adds their gradients. `inspect` sees every stage.
    pub fn backward(&self, params: &Params, batch: &Batch, gradients: &mut Gradients, mut inspect: impl FnMut(StageTrace)) -> Terms {
        let time = batch.x.size()[2];
        let precision = if self.config.autocast { Precision::Bfloat16 } else { Precision::Float };
        let x = self.aggregation.forward(&batch.x);
        let boundaries = self.boundaries(&x);
        let of_boundaries = balanced_cross_entropy(&batch.boundaries, &boundaries.transpose(0, 1));
        let mut terms = Terms::new();
        terms.add(["tem_start", "tem_end"], &of_boundaries);
        let mut trunk = of_boundaries.sum(Kind::Float);
        let mut cost = trunk.detach().copy();
        let Proposals { segments, layout } = &batch.proposals;
        let mut anchors = segments.shallow_clone();
        for (i, stage) in self.stages.iter().enumerate() {
            let features = stage.features(&x);
            let align = self.align(&anchors, layout, time);
            let graft = Graft::open(&features, |y| align.forward(y, precision));
            let output = stage.heads(&graft.output);
            let targets = stage_targets(batch, &anchors, time);
            let (iou, reg, regress) = (&output.iou, &output.reg, self.config.stage_tiou[i]);
            let (mut total, values) = losses::stage(iou, reg, &targets, &batch.draws[i], &self.constants, regress);
            terms.add(losses::STAGE_TERMS.map(|name| format!("s{i}.{name}")), &values);
            if let Some(head) = self.class_head.as_ref().filter(|_| i + 1 == self.stages.len()) {
                let logits = float(&head.forward(&output.embedding));
                let loss = losses::proposal_class(&logits, &batch.classes, &targets.overlap, &batch.class_draw);
                terms.add(["class"], &loss);
                total += loss * self.config.class_weight;
            }
            terms.add([format!("s{i}")], &total);
            cost += total.detach();
            let leaf = gradients.add(params, &total, &[&graft.output]).pop().flatten();
            if let Some(gradient) = leaf {
                trunk += graft.close(tch::no_grad(|| align.backward(&gradient)));
            }
            let refined = refine(&anchors, &output.reg);
            inspect(StageTrace { anchors, iou: output.iou.detach(), reg: output.reg.detach(), refined: refined.shallow_clone() });
            anchors = refined;
        }
        terms.add(["cost"], &cost);
        gradients.add(params, &trunk, &[]);
        terms
    }

    /// Refines and scores the proposals of every input. `x` `[B, C, T]`; no gradients.
    pub fn infer(&self, x: &Tensor, proposals: &Proposals) -> Inferred {
        let _guard = tch::no_grad_guard();
        let time = x.size()[2];
        let x = self.aggregation.forward(x);
        let boundaries = self.boundaries(&x);
        let mut current = proposals.segments.shallow_clone();
        let (mut segments, mut iou, mut classes) = (Vec::new(), Vec::new(), None);
        for (i, stage) in self.stages.iter().enumerate() {
            let roi = self.align(&current, &proposals.layout, time).forward(&stage.features(&x), Precision::Float);
            let output = stage.heads(&roi);
            current = refine(&current, &output.reg);
            segments.push(current.shallow_clone());
            iou.push(output.iou);
            if let Some(head) = self.class_head.as_ref().filter(|_| i + 1 == self.stages.len()) {
                let logits = float(&head.forward(&output.embedding));
                classes = Some(logits.softmax(1, Kind::Float).narrow(1, 0, logits.size()[1] - 1));
            }
        }
        let mean = |list: Vec<Tensor>| Tensor::stack(&list, 0).mean_dim(0, false, Kind::Float);
        Inferred { start: boundaries.select(1, 0), end: boundaries.select(1, 1), segments: mean(segments), iou: mean(iou), classes }
    }
}

/// The mean of two decodings: start and end offsets, centre and width offsets (detached).
fn refine(anchors: &Tensor, reg: &Tensor) -> Tensor {
    let _guard = tch::no_grad_guard();
    let column = |x: &Tensor, j: i64| x.select(1, j);
    let (s, e) = (column(anchors, 0), column(anchors, 1));
    let (length, centre) = (&e - &s, (&s + &e) * 0.5);
    let (r_start, r_end) = (column(reg, 0), column(reg, 1));
    let length1 = &length + &length * (&r_end - &r_start);
    let centre1 = &centre + &length * (&r_start + &r_end) * 0.5;
    let centre2 = &centre + column(reg, 2) * &length;
    let length2 = &length * column(reg, 3).exp();
    let start = ((&centre1 - &length1 * 0.5) + (&centre2 - &length2 * 0.5)) * 0.5;
    let end = ((centre1 + length1 * 0.5) + (centre2 + length2 * 0.5)) * 0.5;
    Tensor::stack(&[start, end], 1)
}

/// Row-wise tIoU of two lists of segments `[N, 2]`.
pub fn overlap(a: &Tensor, b: &Tensor) -> Tensor {
    let column = |x: &Tensor, j: i64| x.select(1, j);
    let ((s1, e1), (s2, e2)) = ((column(a, 0), column(a, 1)), (column(b, 0), column(b, 1)));
    let inter = (e1.minimum(&e2) - s1.maximum(&s2)).clamp_min(0.0);
    let union = (e1 - s1) + (e2 - s2) - &inter;
    inter / union.clamp_min(1e-8)
}

/// Targets of a stage's input proposals `[N, 2]`.
fn stage_targets(batch: &Batch, proposals: &Tensor, time: i64) -> StageTargets {
    let _guard = tch::no_grad_guard();
    let column = |x: &Tensor, j: i64| x.select(1, j);
    let (s, e) = (column(proposals, 0), column(proposals, 1));
    let (gs, ge) = (column(&batch.matched, 0), column(&batch.matched, 1));
    let overlap = overlap(proposals, &batch.matched);
    let (length, wanted) = ((&e - &s).clamp_min(1e-6), (ge - gs).clamp_min(1e-6));
    let ends = (&batch.matched - proposals) / length.unsqueeze(1);
    let centre = ends.mean_dim([1].as_slice(), true, Kind::Float);
    let width = (wanted / length + 1e-6).log().unsqueeze(1);
    // Row of every proposal in the flattened [B * T] boundary curves.
    let first_cell = batch.proposals.layout.owners() * time;
    let cells = (proposals.transpose(0, 1) * time as f64).to_kind(Kind::Int64).clamp(0, time - 1) + first_cell;
    let at = batch.boundaries.flatten(1, 2).gather(1, &cells, false);
    StageTargets { overlap, offsets: Tensor::cat(&[ends, centre, width], 1), start: at.get(0), end: at.get(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Preset;
    use crate::nn::macs;

    #[test]
    fn the_published_network_has_the_published_number_of_parameters() {
        let mut params = Params::new(0, Device::Cpu);
        let _ = Etad::new(&mut params, &EtadConfig::preset(Preset::Activitynet).unwrap(), 512, None);
        assert_eq!(params.count(), 10_343_450);
        let mut params = Params::new(0, Device::Cpu);
        let _ = Etad::new(&mut params, &EtadConfig::preset(Preset::Thumos14).unwrap(), 2048, None);
        assert_eq!(params.count(), 8_279_066);
    }

    #[test]
    fn the_cost_is_that_of_the_trunk_and_of_every_proposal() {
        let mut params = Params::new(0, Device::Cpu);
        let network = Etad::new(&mut params, &EtadConfig::preset(Preset::Thumos14).unwrap(), 2048, None);
        let x = Tensor::zeros([1, 2048, 128], (Kind::Float, Device::Cpu));
        let proposals = |n: usize| Proposals::new(&[vec![(0.25, 0.5); n]], Device::Cpu);
        let cost = |n: usize| macs::count(|| network.infer(&x, &proposals(n))).1;
        let (time, h, c, bins, fc, inner) = (128, 256, 128, 16, 512, 128);
        let aggregation = h * (2048 / 4) * 3 + 2 * 8 * h * h + (2 * (h / 2) + h) * (h / 4) * 3 + h * (2 * h / 4);
        let boundaries = h * (h / 4) * 3 + 2 * h;
        let stage = h * (h / 4) * 3 + c * h * 3;
        let perceptron = 2 * inner * inner;
        let proposal =
            c * bins * fc + 3 * (fc * inner + perceptron + inner * 2) + 2 * (c * bins / 4 * fc + fc * inner + perceptron + inner);
        assert_eq!(cost(1), time * (aggregation + boundaries + 3 * stage) + 3 * proposal);
        assert_eq!(cost(11) - cost(1), 10 * 3 * proposal);
    }
}
