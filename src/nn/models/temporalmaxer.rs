//! TemporalMaxer (Tang, Kim and Sohn 2023): a pyramid made by max pooling alone, under ActionFormer's heads.
//!
//! Source: github.com/TuanTNG/TemporalMaxer at 4030cdf.
//!
//! # Deviations
//! - The neck's norm has no parameters, as in the THUMOS14 configuration; the layer-norm variant is not offered.
//! - The last average of the weights is tested, not the best of all epochs on the test set.

use tch::{Device, Kind, Tensor};

pub use super::points::CONVENTIONS;
use super::points::{Outputs, PointNetwork, Pyramid};
use crate::config::TemporalMaxerConfig;
use crate::eval::nms::Vote;
use crate::nn::layers::heads::{ClassHead, HeadShape, OffsetHead};
use crate::nn::layers::losses::{diou, focal};
use crate::nn::layers::masked::Tower;
use crate::nn::layers::points::{Targets, rows};
use crate::nn::network::Batch;
use crate::nn::params::Params;

/// Weight of the distance-tIoU loss beside the focal loss in the cost of an instance for a point.
const OVERLAP_COST: f64 = 2.0;
const NECK_GROUPS: i64 = 4;

/// The network.
pub struct TemporalMaxer {
    pyramid: Pyramid,
    embedding: Tower,
    classes: ClassHead,
    offsets: OffsetHead,
}

impl TemporalMaxer {
    /// Builds the network for inputs of `channels` values; class-agnostic without `classes`.
    pub fn new(params: &mut Params, config: &TemporalMaxerConfig, channels: i64, classes: Option<i64>) -> Self {
        let classes = classes.unwrap_or(1);
        let points = &config.points;
        let widths: Vec<i64> = std::iter::once(channels).chain((0..config.embedding_layers).map(|_| config.dim)).collect();
        let head = HeadShape { input: config.dim, width: points.head_dim, layers: points.head_layers };
        Self {
            embedding: Tower::new(params, "backbone.embd", "backbone.embd_norm", &widths),
            classes: ClassHead::new(params, "cls_head", head, classes),
            offsets: OffsetHead::new(params, "reg_head", head, 2, points.levels).starting_at(points.offset_start),
            pyramid: Pyramid::new(points, config.common.window, classes, Vote::ScoreTimesOverlap),
        }
    }
}

impl PointNetwork for TemporalMaxer {
    fn pyramid(&self) -> &Pyramid {
        &self.pyramid
    }

    fn forward(&self, x: &Tensor, valid: &[usize], _: bool) -> Outputs {
        let masks = self.pyramid.masks(valid, x.size()[2] as usize, x.device());
        let mut backbone = vec![self.embedding.forward(x, &masks[0])];
        for mask in &masks[1..] {
            let finer = &backbone[backbone.len() - 1];
            backbone.push(mask.apply(finer.max_pool1d(3, 2, 1, 1, false)));
        }
        // The norm sees padding too: so do the authors', who always pad to the window.
        let norm = |x: &Tensor| x.unsqueeze(2).group_norm::<Tensor>(NECK_GROUPS, None, None, 1e-5, false).squeeze_dim(2);
        let neck: Vec<Tensor> = backbone.iter().map(norm).collect();
        let (logits, offsets) = (self.classes.forward(&neck, &masks), self.offsets.forward(&neck, &masks));
        Outputs { masks, backbone, neck, logits, offsets, boundaries: None }
    }

    /// Offsets `[N, 2]` of each positive point to the instance around it that its present output costs least, which need not
    /// be the one whose class it answers for.
    fn wanted(&self, out: &Outputs, targets: &Targets, batch: &Batch) -> Tensor {
        let device = batch.x.device();
        let wanted = targets.offsets(device);
        // Only points inside several instances have a choice: all their pairs are costed together.
        let (mut rows_of, mut labels, mut choices, mut first) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (at, positive) in targets.positives.iter().enumerate() {
            let stride = self.pyramid.levels()[positive.level].stride as f32;
            let around = batch.truth[positive.input].iter().filter_map(|i| {
                let offsets = [positive.cell - i.start as f32, i.end as f32 - positive.cell];
                (offsets[0] > 0.0 && offsets[1] > 0.0).then_some((i.label as i64, offsets.map(|d| d / stride)))
            });
            let around: Vec<(i64, [f32; 2])> = around.collect();
            if around.len() > 1 {
                first.push((at, choices.len()));
                for (label, offsets) in around {
                    rows_of.push(positive.row);
                    labels.push(label);
                    choices.push(offsets);
                }
            }
        }
        if choices.is_empty() {
            return wanted;
        }
        let index = Tensor::from_slice(&rows_of).to_device(device);
        let of = |levels: &[Tensor]| {
            let rows = rows(levels);
            rows.view([-1, rows.size()[2]]).index_select(0, &index)
        };
        let (logits, offsets) = (of(&out.logits), of(&out.offsets));
        let labels = Tensor::from_slice(&labels).to_device(device);
        let classes = labels.one_hot(logits.size()[1]).to_kind(Kind::Float);
        let instances = Tensor::from_slice(choices.as_flattened()).view([-1, 2]).to_device(device);
        let cost = focal(&logits, &classes).sum_dim_intlist(-1, false, Kind::Float) + diou(&offsets, &instances) * OVERLAP_COST;
        let cost = Vec::<f32>::try_from(cost.to_device(Device::Cpu)).expect("a float tensor");
        let mut flat = Vec::<f32>::try_from(wanted.to_device(Device::Cpu).reshape([-1])).expect("a float tensor");
        for (which, &(at, from)) in first.iter().enumerate() {
            let to = first.get(which + 1).map_or(choices.len(), |next| next.1);
            let best = (from..to).reduce(|a, b| if cost[b] < cost[a] { b } else { a }).expect("several instances");
            flat[2 * at..][..2].copy_from_slice(&choices[best]);
        }
        Tensor::from_slice(&flat).view([-1, 2]).to_device(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use crate::config::settings::Preset;
    use crate::data::windows::CellInstance;
    use crate::nn::macs;
    use crate::nn::network::Network;

    #[test]
    fn the_published_network_has_the_published_size_and_work() {
        let mut params = Params::new(0, Device::Cpu);
        let network = TemporalMaxer::new(&mut params, &TemporalMaxerConfig::preset(Preset::Thumos14).unwrap(), 2048, Some(20));
        assert_eq!((params.count(), network.padding_multiple()), (7_117_852, 32));
        assert_eq!((network.padded(100), network.padded(2304), network.padded(2305)), (2304, 2304, 2336));
        let x = Tensor::zeros([1, 2048, 2304], (Kind::Float, Device::Cpu));
        let (_, macs) = macs::count(|| tch::no_grad(|| network.forward(&x, &[2304], false)));
        assert!((macs as f64 / 23.48e9 - 1.0).abs() < 0.01, "{macs}");
    }

    #[test]
    fn a_point_in_two_instances_reaches_for_the_cheaper_one() {
        let mut params = Params::new(0, Device::Cpu);
        let network = TemporalMaxer::new(&mut params, &TemporalMaxerConfig::preset(Preset::Laptop).unwrap(), 8, Some(3));
        let x = Tensor::randn([1, 8, 64], (Kind::Float, Device::Cpu));
        let out = tch::no_grad(|| network.forward(&x, &[64], false));
        let truth = vec![CellInstance { start: 10.5, end: 13.5, label: 0 }, CellInstance { start: 4.5, end: 30.5, label: 1 }];
        let batch = Batch { x, valid: vec![64], truth: vec![truth], rng: Stream::new(0, "test") };
        let targets = network.pyramid().assign(&out, &batch);
        let wanted = Vec::<f32>::try_from(tch::no_grad(|| network.wanted(&out, &targets, &batch)).view([-1])).unwrap();
        let mut choices = 0;
        for (positive, wanted) in targets.positives.iter().zip(wanted.chunks_exact(2)) {
            let stride = network.pyramid().levels()[positive.level].stride as f32;
            let cost = |i: &CellInstance| {
                let offsets = [(positive.cell - i.start as f32) / stride, (i.end as f32 - positive.cell) / stride];
                let row = |levels: &[Tensor]| rows(levels).get(0).narrow(0, positive.row, 1);
                let class = Tensor::from_slice(&[i.label as i64]).one_hot(3).to_kind(Kind::Float);
                let cost = focal(&row(&out.logits), &class).sum(Kind::Float)
                    + diou(&row(&out.offsets), &Tensor::from_slice(&offsets).view([1, 2])).sum(Kind::Float) * 2.0;
                (cost.double_value(&[]), offsets)
            };
            let around = batch.truth[0].iter().filter(|i| (positive.cell as f64) > i.start && (positive.cell as f64) < i.end);
            let costs: Vec<(f64, [f32; 2])> = around.map(cost).collect();
            choices += usize::from(costs.len() > 1);
            let best = costs.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            assert_eq!(wanted, best.1);
        }
        assert!(choices > 0);
    }
}
