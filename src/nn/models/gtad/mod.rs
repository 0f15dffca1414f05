//! G-TAD: sub-graph localization. Graph convolutions over cells, then a map of all anchors (duration, start) scored by their
//! aligned sub-graph features.
//!
//! Source: Xu et al., "G-TAD: Sub-Graph Localization for Temporal Action Detection" (CVPR 2020); the authors' release, commit
//! 6deb5b1 (THUMOS14; its branch `anet` for ActivityNet). Parameter paths are the state-dict keys of its `GTAD`.
//!
//! # Deviations
//! - Sizes are configurable; the published ones are the default of two presets.
//! - The first layer of the map is multiplied before the anchors are aligned, not after: see [`map_align`]. The same values
//!   for a ninth of the multiplications and a sixteenth of the memory. The three blocks that read the first block's output
//!   share its neighbours, which the release computes three times.
//! - Labels: the release is class-agnostic and multiplies external video scores. With `labels = "proposal-head"` a linear
//!   class head on the map's features (`class_head`) is trained jointly.
//! - An instance is a target when `keep_share` of it lies inside of the window; the release wants one such instance per
//!   window and then keeps every instance that reaches into it.
//! - Cell i is the time from i to i + 1 in training and at inference; the release's THUMOS14 branch trains with snippets that
//!   begin half a cell earlier than those it detects with.
//! - The release's THUMOS14 branch sets the score of proposals of 10 seconds or more to 0. `max_duration` bounds them here.
//! - Anchors that begin in the padding of a short input, or end beyond it, are no proposals.
//! - A batch without an anchor above tIoU 0.7 has regression loss 0, where the release divides 0 by 0; likewise the balanced
//!   cross-entropies without positive or negative elements.
//! - With `balance` the losses of the map weigh its anchors so that an instance counts the same whatever its length, and the
//!   class head is trained on as many anchors of every instance (ours, for the laptop preset).
//! - Standardised inputs, input noise, jittered windows and larger initial weights are ours, for the laptop preset.
//!
//! [`map_align`]: crate::nn::layers::map_align

pub mod network;
pub mod targets;

use tch::{Kind, Tensor};

use self::targets::Targets;
use crate::config::GtadConfig;
use crate::nn::layers::graft::Graft;
use crate::nn::layers::graph::{GcNext, TimeConv, nearest, pick, weight_and_bias};
use crate::nn::layers::map_align::MapAlign;
use crate::nn::layers::map_losses::{
    balanced_cross_entropy, map_classification, map_regression, weighted_classification, weighted_regression,
};
use crate::nn::macs;
use crate::nn::network::Terms;
use crate::nn::optim::Gradients;
use crate::nn::params::Params;
use crate::nn::precision::float;

/// Neighbours of a cell, itself among them.
const NEIGHBOURS: i64 = 3;

/// The network.
pub struct Gtad {
    config: GtadConfig,
    enter: TimeConv,
    base: GcNext,
    graph: GcNext,
    start: (GcNext, TimeConv),
    end: (GcNext, TimeConv),
    align: MapAlign,
    localization: Localization,
    class_head: Option<(Tensor, Tensor)>,
}

/// Weights and biases of the map's layers.
struct Localization {
    aligned: (Tensor, Tensor),
    reduce: (Tensor, Tensor),
    convs: [(Tensor, Tensor); 2],
    score: (Tensor, Tensor),
}

/// What the cells of an input give.
struct Cells {
    /// `[B, T, bins * O]`: the graph features multiplied by the map's first layer.
    products: Tensor,
    /// Startness `[B, T]`.
    start: Tensor,
    /// Endness `[B, T]`.
    end: Tensor,
}

/// What the anchors of a map give.
struct Map {
    /// `[B, D, T, C]`.
    features: Tensor,
    /// `[B, D, T, 2]`: regression and classification of the tIoU, in 0..1.
    iou: Tensor,
}

/// What inference yields.
pub struct Inferred {
    /// Startness `[B, T]`.
    pub start: Tensor,
    /// Endness `[B, T]`.
    pub end: Tensor,
    /// `[B, D, T, 2]`: regression and classification of the tIoU, in 0..1.
    pub iou: Tensor,
    /// Class probabilities without background, `[B, D, T, classes]`, where there is a class head.
    pub classes: Option<Tensor>,
}

impl Gtad {
    /// Builds the network for inputs of `channels` values (a multiple of 4), with a class head where `classes` is given.
    pub fn new(params: &mut Params, config: &GtadConfig, channels: i64, classes: Option<i64>) -> Self {
        let (hidden, wide, inner) = (config.hidden, config.map_wide, config.map_channels);
        let gain = config.init_gain;
        let boundary = |params: &mut Params, path: &str| {
            let block = GcNext::new(params, &format!("{path}.0"), hidden, gain);
            (block, TimeConv::new(params, &format!("{path}.1"), &[1, hidden, 1], 1, 1.0))
        };
        let enter = TimeConv::new(params, "backbone1.0", &[hidden, channels / 4, 3], 4, gain);
        let base = GcNext::new(params, "backbone1.2", hidden, gain);
        let (start, end) = (boundary(params, "regu_s"), boundary(params, "regu_e"));
        let graph = GcNext::new(params, "backbone2.0", hidden, gain);
        let bins = config.roi_bins + config.context_bins;
        let k = config.map_kernel;
        let mut layer = |j: i64, size: &[i64], gain| weight_and_bias(params, &format!("localization.{j}"), size, gain);
        let localization = Localization {
            aligned: layer(0, &[wide, hidden * bins, 1, 1], gain),
            reduce: layer(2, &[inner, wide, 1, 1], gain),
            convs: [layer(4, &[inner, inner, k, k], gain), layer(6, &[inner, inner, k, k], gain)],
            score: layer(8, &[2, inner, 1, 1], 1.0),
        };
        let groups = [config.roi_bins as usize, config.context_bins as usize];
        let groups = if config.roi_bins == config.context_bins { &groups[..1] } else { &groups };
        Self {
            align: MapAlign::new(config.common.window, config.max_duration, groups),
            class_head: classes.map(|n| weight_and_bias(params, "class_head", &[n + 1, inner], 1.0)),
            config: config.clone(),
            enter,
            base,
            graph,
            start,
            end,
            localization,
        }
    }

    /// `[B, C, T]` → what the cells give.
    fn cells(&self, x: &Tensor) -> Cells {
        let x = self.enter.forward(x).relu_();
        let x = self.base.forward(&x, &nearest(&x, NEIGHBOURS));
        let neighbours = nearest(&x, NEIGHBOURS);
        let boundary = |(block, conv): &(GcNext, TimeConv)| {
            conv.forward(&block.forward(&x, &neighbours)).squeeze_dim(1).to_kind(Kind::Float).sigmoid()
        };
        let features = self.graph.forward(&x, &neighbours);
        // The context of a cell: the mean of those nearest to it.
        let context = pick(&features, &nearest(&features, NEIGHBOURS));
        let context = context.unflatten(2, [-1, NEIGHBOURS]).mean_dim(3, false, Kind::Float);
        Cells { products: float(&self.multiply(&features, &context)), start: boundary(&self.start), end: boundary(&self.end) }
    }

    /// Features and context `[B, C, T]` times the weights of every bin: `[B, T, bins * O]`. Where both have as many bins, a
    /// bin of the one and that of the other cover the same time and are summed.
    fn multiply(&self, features: &Tensor, context: &Tensor) -> Tensor {
        let (inner, outer) = (self.config.roi_bins, self.config.context_bins);
        let (weight, channels) = (&self.localization.aligned.0, features.size()[1]);
        // Channel-major: c * bins + bin.
        let weight = weight.view([-1, channels, inner + outer]).permute([2, 0, 1]);
        let (of_features, of_context) = (weight.narrow(0, 0, inner), weight.narrow(0, inner, outer));
        let layer = &self.localization.aligned.0;
        let product = |x: &Tensor, weight: Tensor| {
            let y = x.transpose(1, 2).linear(&weight.flatten(0, 1), None::<&Tensor>);
            macs::layer("linear", &[x.numel() as i64, weight.size()[0], weight.size()[1]], x, layer, &y);
            y
        };
        if inner == outer {
            product(&Tensor::cat(&[features, context], 1), Tensor::cat(&[of_features, of_context], 2))
        } else {
            Tensor::cat(&[product(features, of_features), product(context, of_context)], 2)
        }
    }

    /// From the first layer's output `[B, D, T, O]`.
    fn map(&self, aligned: &Tensor) -> Map {
        let parts = &self.localization;
        // Channels last throughout, which the convolutions are told by the strides.
        let mut x = pointwise(aligned, &parts.reduce).relu_().permute([0, 3, 1, 2]);
        for (weight, bias) in &parts.convs {
            let padding = weight.size()[2] / 2;
            let mut y = x.conv2d(weight, Some(bias), 1, padding, 1, 1);
            macs::layer("conv2d", &[x.numel() as i64 / x.size()[1], weight.numel() as i64], &x, weight, &y);
            x = y.relu_();
        }
        let features = x.permute([0, 2, 3, 1]).contiguous();
        Map { iou: float(&pointwise(&features, &parts.score)).sigmoid(), features }
    }

    /// Computes the losses of a batch and adds their gradients. `x` `[B, C, T]`.
    pub fn backward(&self, params: &Params, x: &Tensor, targets: &Targets, gradients: &mut Gradients) -> Terms {
        let config = &self.config;
        let cells = self.cells(x);
        let bias = &self.localization.aligned.1;
        let graft = Graft::open(&cells.products, |products| self.align.forward(products, bias));
        let map = self.map(&graft.output);
        let (valid, truth) = (&targets.valid, &targets.iou);
        let (regressed, classified) = (map.iou.select(3, 0), map.iou.select(3, 1));
        let (regression, classification) = match &targets.weights {
            None => (
                map_regression(&regressed, truth, valid, [&targets.draws[0], &targets.draws[1]]),
                map_classification(&classified, truth, valid, config.positive_tiou, config.map_prior),
            ),
            Some(weights) => (
                weighted_regression(&regressed, truth, weights),
                weighted_classification(&classified, truth, weights, config.positive_tiou),
            ),
        };
        let mut cost = &regression * config.map_weights.0 + &classification * config.map_weights.1;
        let mut terms = Terms::new();
        terms.add(["pem_reg"], &regression);
        terms.add(["pem_cls"], &classification);
        terms.add(["subgraph"], &cost);
        if let (Some(head), Some((anchors, classes))) = (&self.class_head, &targets.classes) {
            let rows = map.features.flatten(0, 2).index_select(0, anchors);
            let loss = pointwise(&rows, head).cross_entropy_for_logits(classes);
            terms.add(["class"], &loss);
            // Not in place: a term is read later from the memory of the sum.
            cost = loss * config.class_weight + cost;
        }
        let stacked = |start: &Tensor, end: &Tensor| Tensor::stack(&[start, end], 0);
        let node = balanced_cross_entropy(&stacked(&targets.start, &targets.end), &stacked(&cells.start, &cells.end)).sum(Kind::Float);
        terms.add(["node"], &node);
        terms.add(["cost"], &(&cost + &node));
        let leaf = gradients.add(params, &cost, &[&graft.output]).pop().flatten().expect("the losses read the map");
        drop((map, cost));
        let (of_products, of_bias) = tch::no_grad(|| self.align.backward(&graft.output, &leaf));
        drop(leaf);
        gradients.add(params, &(node + graft.close(of_products) + (bias * of_bias).sum(Kind::Float)), &[]);
        terms
    }

    /// Scores every anchor. `x` `[B, C, T]`; no gradients.
    pub fn infer(&self, x: &Tensor) -> Inferred {
        let _guard = tch::no_grad_guard();
        let cells = self.cells(x);
        let map = self.map(&self.align.forward(&cells.products, &self.localization.aligned.1));
        let classes = self.class_head.as_ref().map(|head| {
            let probabilities = pointwise(&map.features, head).softmax(-1, Kind::Float);
            probabilities.narrow(3, 0, probabilities.size()[3] - 1)
        });
        Inferred { start: cells.start, end: cells.end, iou: map.iou, classes }
    }
}

/// A 1×1 convolution of channels-last values: `[…, C]` → `[…, C']`.
fn pointwise(x: &Tensor, (weight, bias): &(Tensor, Tensor)) -> Tensor {
    let y = x.linear(&weight.view([weight.size()[0], -1]), Some(bias));
    macs::layer("linear", &[x.numel() as i64, weight.size()[0]], x, weight, &y);
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Preset;
    use tch::Device;

    #[test]
    fn the_published_network_has_the_published_number_of_parameters() {
        let mut params = Params::new(0, Device::Cpu);
        let _ = Gtad::new(&mut params, &GtadConfig::preset(Preset::Thumos14).unwrap(), 2048, None);
        assert_eq!(params.count(), 5_617_540);
    }
}
