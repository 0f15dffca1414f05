//! TadTR's set losses: a one-to-one matching of queries with instances per decoder layer, and what it is trained on.

use tch::{Device, Kind, Tensor};

use crate::config::tadtr::Actionness;
use crate::data::windows::CellInstance;
use crate::nn::layers::losses::focal;
use crate::nn::layers::matching::assign;
use crate::nn::transfer;

/// Focal cost: weight of the instances' class.
const ALPHA: f64 = 0.25;
/// Weights of the costs of a match beside the class cost.
const COST_SEGMENT: f64 = 5.0;
const COST_OVERLAP: f64 = 2.0;

/// The instances of a batch.
pub struct Truth {
    /// (centre, width) `[G, 2]` as shares of the input.
    segments: Tensor,
    /// Class `[G]`.
    labels: Tensor,
    /// First instance of every input, and G.
    first: Vec<usize>,
}

impl Truth {
    /// From instances in cells of inputs of `time` cells.
    pub fn new(instances: &[Vec<CellInstance>], time: i64, device: Device) -> Self {
        let share = |i: &CellInstance| [(i.start + i.end) / 2.0, i.end - i.start].map(|x| (x / time as f64) as f32);
        let segments: Vec<[f32; 2]> = instances.iter().flatten().map(share).collect();
        let labels: Vec<i64> = instances.iter().flatten().map(|i| i.label as i64).collect();
        let counts: Vec<usize> = instances.iter().map(Vec::len).collect();
        let size = [labels.len() as i64, 2];
        Self::from_arrays(Tensor::from_slice(&segments.concat()).view(size), Tensor::from_slice(&labels), &counts, device)
    }

    /// From (centre, width) `[G, 2]`, classes `[G]` and the number of instances of every input.
    pub fn from_arrays(segments: Tensor, labels: Tensor, counts: &[usize], device: Device) -> Self {
        let mut first = vec![0];
        first.extend(counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }));
        Self { segments: transfer::send(&segments, device), labels: transfer::send(&labels, device), first }
    }

    fn count(&self) -> usize {
        self.first[self.first.len() - 1]
    }

    /// The number that losses are divided by.
    fn scale(&self) -> f64 {
        self.count().max(1) as f64
    }
}

/// Pairs (query, instance of the input) per layer and input, ascending in the query.
pub type Matches = Vec<Vec<Vec<(usize, usize)>>>;

/// Start and end `[…, 1]` of (centre, width) `[…, 2]`.
fn borders(segments: &Tensor) -> (Tensor, Tensor) {
    let (centre, half) = (segments.narrow(-1, 0, 1), segments.narrow(-1, 1, 1) * 0.5);
    (&centre - &half, centre + half)
}

/// tIoU of segments given by their borders, of shapes that broadcast.
fn overlap((s1, e1): (&Tensor, &Tensor), (s2, e2): (&Tensor, &Tensor)) -> Tensor {
    let common = (e1.minimum(e2) - s1.maximum(s2)).clamp_min(0.0);
    &common / ((e1 - s1) + (e2 - s2) - &common)
}

/// tIoU `[N, G]` of (centre, width) `[N, 2]` with all instances.
fn overlaps(segments: &Tensor, truth: &Truth) -> Tensor {
    let ((s1, e1), (s2, e2)) = (borders(segments), borders(&truth.segments));
    overlap((&s1, &e1), (&s2.transpose(0, 1), &e2.transpose(0, 1)))
}

/// Matches the queries of every layer: `logits` `[L, B, Q, K]`, `segments` `[L, B, Q, 2]`.
pub fn matches(logits: &Tensor, segments: &Tensor, truth: &Truth, class_cost: f64) -> Matches {
    let (layers, batch, queries, _) = logits.size4().expect("logits are [L, B, Q, K]");
    let _guard = tch::no_grad_guard();
    let (all, segments) = (truth.count(), segments.view([-1, 2]));
    let p = logits.flatten(0, 2).sigmoid();
    let rest: Tensor = 1.0 - &p;
    let as_instance = rest.square() * (&p + 1e-8).log() * -ALPHA;
    let as_none = p.square() * (&rest + 1e-8).log() * -(1.0 - ALPHA);
    let unlike = as_instance - as_none;
    let distance = Tensor::cdist(&segments, &truth.segments, 1.0, None);
    let cost = distance * COST_SEGMENT + unlike.index_select(1, &truth.labels) * class_cost - overlaps(&segments, truth) * COST_OVERLAP;
    let cost = transfer::read(&cost);
    let queries = queries as usize;
    let of_input = |layer: usize, input: usize| {
        let own = truth.first[input]..truth.first[input + 1];
        let rows = cost.chunks_exact(all.max(1)).skip((layer * batch as usize + input) * queries).take(queries);
        let own_cost: Vec<f64> = rows.flat_map(|row| row[own.clone()].iter().map(|&c| f64::from(c))).collect();
        if own.is_empty() { Vec::new() } else { assign(queries, own.len(), own_cost) }
    };
    (0..layers as usize).map(|layer| (0..batch as usize).map(|input| of_input(layer, input)).collect()).collect()
}

/// The set losses of every layer, each `[L]`.
pub struct SetLosses {
    /// Focal loss of the classes.
    pub class: Tensor,
    /// Distance of centre and width.
    pub segment: Tensor,
    /// One minus tIoU.
    pub overlap: Tensor,
}

/// Computes them for `logits` `[L, B, Q, K]` and `segments` `[L, B, Q, 2]`.
pub fn set_losses(logits: &Tensor, segments: &Tensor, truth: &Truth, matches: &Matches) -> SetLosses {
    let (layers, batch, queries, classes) = logits.size4().expect("logits are [L, B, Q, K]");
    let (mut rows, mut instances) = (Vec::new(), Vec::new());
    for (layer, inputs) in matches.iter().enumerate() {
        for (input, pairs) in inputs.iter().enumerate() {
            for &(query, instance) in pairs {
                rows.push((layer as i64 * batch + input as i64) * queries + query as i64);
                instances.push((truth.first[input] + instance) as i64);
            }
        }
    }
    let device = logits.device();
    let pairs = rows.len() as i64 / layers;
    let [rows, instances] = [rows, instances].map(|list| transfer::send_slice(&list, &[-1], device));
    let mut wanted = Tensor::zeros([layers * batch * queries, classes], (Kind::Float, device));
    let _ =
        wanted.index_put_(&[Some(&rows), Some(&truth.labels.index_select(0, &instances))], &Tensor::ones([], (Kind::Float, device)), false);
    let class = focal(logits, &wanted.view([layers, batch, queries, classes])).sum_dim_intlist([1, 2, 3].as_slice(), false, Kind::Float);
    let (found, meant) = (segments.reshape([-1, 2]).index_select(0, &rows), truth.segments.index_select(0, &instances));
    let per_layer = |x: Tensor| x.view([layers, pairs * x.size()[1]]).sum_dim_intlist([1].as_slice(), false, Kind::Float) / truth.scale();
    let ((s1, e1), (s2, e2)) = (borders(&found), borders(&meant));
    SetLosses {
        class: class / truth.scale(),
        segment: per_layer((&found - &meant).abs()),
        overlap: per_layer(1.0 - overlap((&s1, &e1), (&s2, &e2))),
    }
}

/// Largest tIoU of every segment `[B, Q, 2]` with an instance, `[B, Q]`: one of the whole batch or of its own input.
pub fn actionness_target(segments: &Tensor, truth: &Truth, whose: Actionness) -> Tensor {
    let _guard = tch::no_grad_guard();
    let (batch, queries, _) = segments.size3().expect("segments are [B, Q, 2]");
    if truth.count() == 0 {
        return Tensor::zeros([batch, queries], (Kind::Float, segments.device()));
    }
    let overlaps = overlaps(&segments.reshape([-1, 2]), truth).view([batch, queries, -1]);
    let counted = match whose {
        Actionness::Batch => overlaps,
        Actionness::Video => {
            let owner: Vec<i64> = truth.first.windows(2).enumerate().flat_map(|(b, w)| vec![b as i64; w[1] - w[0]]).collect();
            let owner = transfer::send_slice(&owner, &[1, 1, -1], segments.device());
            let input = Tensor::arange(batch, (Kind::Int64, segments.device())).view([-1, 1, 1]);
            overlaps * owner.eq_tensor(&input).to_kind(Kind::Float)
        }
    };
    counted.amax([2].as_slice(), false)
}
