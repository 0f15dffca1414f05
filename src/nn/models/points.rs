//! What ActionFormer, TemporalMaxer and TriDet are alike in: a pyramid whose every point classifies and regresses, one loss
//! over all points, candidates level by level, one suppression. A model implements [`PointNetwork`] and with it [`Network`].

use tch::{Device, Kind, Tensor};

use crate::config::points::Points;
use crate::data::Segment;
use crate::eval::Detection;
use crate::eval::nms::{Method, Suppression, Vote, Voting};
use crate::nn::layers::losses::{RunningNormaliser, diou, focal};
use crate::nn::layers::masked::{Mask, channels_last};
use crate::nn::layers::points::{Assigner, Level, Targets, levels, rows, valid_points};
use crate::nn::network::{Batch, Conventions, Network, Term, VideoClasses, Window, with_video_classes};
use crate::nn::transfer;

/// What is done around the networks of this family.
pub const CONVENTIONS: Conventions = Conventions {
    centres: true,
    margin: true,
    short_last: false,
    linear_rescale: true,
    channel_multiple: 1,
    spare_plain: true,
    slow: &[],
    inference_batch: 1,
};

/// What a network says about every point.
pub struct Outputs {
    /// Masks of the levels.
    pub masks: Vec<Mask>,
    /// Levels before the neck, `[B, C, T_l]`.
    pub backbone: Vec<Tensor>,
    /// Levels behind it.
    pub neck: Vec<Tensor>,
    /// Class logits, `[B, classes, T_l]`.
    pub logits: Vec<Tensor>,
    /// What distances to the boundaries are made of; with two channels the distances themselves, in strides.
    pub offsets: Vec<Tensor>,
    /// Start and end logits per level, where the model has them, `[B, classes, T_l]`.
    pub boundaries: Option<[Vec<Tensor>; 2]>,
}

/// What every model over a pyramid of points holds.
pub struct Pyramid {
    /// Settings.
    pub points: Points,
    /// Says which points answer for which instances; holds the levels.
    pub assigner: Assigner,
    /// What losses are divided by.
    pub normaliser: RunningNormaliser,
    /// Cells of a training input.
    pub window: usize,
    suppression: Suppression,
}

impl Pyramid {
    /// From the settings; `vote` is how much a candidate weighs in voting.
    pub fn new(points: &Points, window: usize, classes: i64, vote: Vote) -> Self {
        Self {
            assigner: Assigner { levels: levels(points), radius: points.centre_radius as f32, classes: classes as usize },
            normaliser: RunningNormaliser::new(points.loss_norm),
            window,
            suppression: Suppression {
                method: Method::Gaussian { sigma: points.nms_sigma as f32 },
                class_wise: points.class_wise,
                min_score: points.min_score as f32,
                keep: points.nms_keep,
                voting: (points.voting > 0.0).then_some(Voting { tiou: points.voting as f32, vote }),
            },
            points: points.clone(),
        }
    }

    /// Levels of the pyramid.
    pub fn levels(&self) -> &[Level] {
        &self.assigner.levels
    }

    /// The masks of all levels of inputs of `time` cells.
    pub fn masks(&self, valid: &[usize], time: usize, device: Device) -> Vec<Mask> {
        Mask::pyramid(valid, time, self.levels().len(), device)
    }

    /// The largest stride, of which padded inputs are a multiple.
    pub fn coarsest(&self) -> usize {
        self.levels().last().map_or(1, |level| level.stride)
    }

    /// The targets of a batch.
    pub fn assign(&self, out: &Outputs, batch: &Batch) -> Targets {
        let time = batch.x.size()[2] as usize;
        self.assigner.assign(&batch.truth, &batch.valid, time, out.logits[0].device())
    }

    /// Class targets with label smoothing.
    pub fn smooth(&self, classes: &Tensor) -> Tensor {
        let share = self.points.label_smoothing;
        if share == 0.0 {
            return classes.shallow_clone();
        }
        classes * (1.0 - share) + share / (self.assigner.classes + 1) as f64
    }

    /// The sum of an element-wise class loss `[B, P, C]` over the points that are no padding.
    pub fn sum_valid(loss: Tensor, masks: &[Mask]) -> Tensor {
        match valid_points(masks) {
            Some(valid) => (loss * valid).sum(Kind::Float),
            None => loss.sum(Kind::Float),
        }
    }

    /// Focal and distance-tIoU loss, both divided by the running number of positives; `wanted` are the offsets of the
    /// positives of `targets`, `[N, 2]`.
    pub fn terms(&self, out: &Outputs, targets: &Targets, wanted: &Tensor) -> Vec<Term> {
        let logits = rows(&out.logits);
        let class_loss = Self::sum_valid(focal(&logits, &self.smooth(&targets.classes)), &out.masks);
        let offsets = rows(&out.offsets).view([-1, 2]);
        let regression = if targets.positives.is_empty() {
            offsets.sum(Kind::Float) * 0.0
        } else {
            diou(&offsets.index_select(0, &targets.rows(offsets.device())), wanted).sum(Kind::Float)
        };
        self.divided(class_loss, regression, targets.positives.len())
    }

    /// The two terms over the running number of positives, which takes in `positives` first.
    pub fn divided(&self, class_loss: Tensor, regression: Tensor, positives: usize) -> Vec<Term> {
        let by = self.normaliser.update(positives);
        let weight = self.points.reg_weight;
        vec![Term { name: "cls_loss", value: class_loss / by, weight: 1.0 }, Term { name: "reg_loss", value: regression / by, weight }]
    }

    /// The candidates of one input on one level: at most `candidates` pairs of point and class above `min_score`, the surest
    /// first. `scores` are `[T_l, C]`, `offsets` `[T_l, K, 2]` in strides, K being C or 1.
    pub fn candidates(&self, level: &Level, scores: &[f32], offsets: &[f32]) -> Vec<Detection> {
        let classes = self.assigner.classes;
        let kinds = offsets.len() * classes / (2 * scores.len().max(1));
        let (least, shortest) = (self.points.min_score as f32, self.points.min_length as f32);
        let mut sure: Vec<usize> = (0..scores.len()).filter(|&at| scores[at] > least).collect();
        let descending = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
        if sure.len() > self.points.candidates {
            let last = self.points.candidates;
            sure.select_nth_unstable_by(last - 1, descending);
            sure.truncate(last);
        }
        sure.sort_unstable_by(descending);
        let stride = level.stride as f32;
        let detection = |at: usize| {
            let (point, label) = (at / classes, at % classes);
            let offset = 2 * (point * kinds + if kinds == 1 { 0 } else { label });
            let cell = (point * level.stride) as f32;
            let (start, end) = (cell - offsets[offset] * stride, cell + offsets[offset + 1] * stride);
            let segment = Segment { start: start.into(), end: end.into() };
            (end - start > shortest).then_some(Detection { segment, label, score: scores[at].into() })
        };
        sure.into_iter().filter_map(detection).collect()
    }

    /// Suppresses the candidates of one video.
    pub fn suppress(&self, candidates: &[Detection]) -> Vec<Detection> {
        self.suppression.apply(candidates)
    }
}

/// A network of this family.
pub trait PointNetwork {
    /// What every model over a pyramid of points holds.
    fn pyramid(&self) -> &Pyramid;

    /// What is said about every point of `x` `[B, C, T]` (channels-last in memory); `stochastic` in training.
    fn forward(&self, x: &Tensor, valid: &[usize], stochastic: bool) -> Outputs;

    /// Losses of a batch.
    fn terms(&self, out: &Outputs, batch: &Batch) -> Vec<Term> {
        let targets = self.pyramid().assign(out, batch);
        let wanted = tch::no_grad(|| self.wanted(out, &targets, batch));
        self.pyramid().terms(out, &targets, &wanted)
    }

    /// The offsets that the positive points shall give, `[N, 2]` in strides.
    fn wanted(&self, _out: &Outputs, targets: &Targets, batch: &Batch) -> Tensor {
        targets.offsets(batch.x.device())
    }

    /// Distances to the boundaries in strides on a level, `[B, T_l, 2]` or by class `[B, T_l, C, 2]`.
    fn distances(&self, out: &Outputs, level: usize) -> Tensor {
        out.offsets[level].transpose(1, 2)
    }

    /// The score of a detection with that of a class of its video.
    fn with_class(&self, detection: f64, class: f64) -> f64 {
        (detection * class).sqrt()
    }

    /// The authors' max_div_factor: lengths that they pad longer test inputs to are multiples of it.
    fn padding_multiple(&self) -> usize {
        self.pyramid().coarsest()
    }

    /// Cells an input of `longest` valid ones is padded to. Normally as the authors pad.
    fn padded_to(&self, longest: usize) -> usize {
        as_released(longest, self.pyramid().window, self.padding_multiple())
    }

    /// The candidates of every input, before the suppression.
    fn candidates(&self, out: &Outputs) -> Vec<Vec<Detection>> {
        let inputs = out.logits[0].size()[0] as usize;
        let mut found = vec![Vec::new(); inputs];
        for (index, level) in self.pyramid().levels().iter().enumerate() {
            let scores = transfer::read(&out.masks[index].apply(out.logits[index].sigmoid()).transpose(1, 2));
            let offsets = transfer::read(&self.distances(out, index));
            let (scored, reaching) = (scores.len() / inputs, offsets.len() / inputs);
            for (input, found) in found.iter_mut().enumerate() {
                let (scores, offsets) = (&scores[input * scored..][..scored], &offsets[input * reaching..][..reaching]);
                found.extend(self.pyramid().candidates(level, scores, offsets));
            }
        }
        found
    }
}

/// `window`, or for longer inputs the next multiple of `multiple`.
pub fn as_released(longest: usize, window: usize, multiple: usize) -> usize {
    if longest <= window { window } else { longest.next_multiple_of(multiple) }
}

impl<T: PointNetwork> Network for T {
    fn losses(&self, batch: &mut Batch) -> Vec<Term> {
        self.terms(&self.forward(&channels_last(&batch.x), &batch.valid, true), batch)
    }

    fn detect(&self, x: &Tensor, valid: &[usize]) -> Vec<Vec<Detection>> {
        self.candidates(&self.forward(&channels_last(x), valid, false))
    }

    fn merge(&self, windows: Vec<Window>, classes: Option<VideoClasses<'_>>) -> Vec<Detection> {
        let found: Vec<Detection> = windows.iter().flat_map(Window::in_video).collect();
        let kept = self.pyramid().suppress(&found);
        match classes {
            None => kept,
            Some(classes) => with_video_classes(&kept, classes, |detection, class| self.with_class(detection, class)),
        }
    }

    fn padded(&self, longest: usize) -> usize {
        self.padded_to(longest)
    }

    fn memory(&self) -> Vec<f64> {
        vec![self.pyramid().normaliser.get()]
    }

    fn recall(&self, memory: &[f64]) {
        if let [normaliser] = memory {
            self.pyramid().normaliser.set(*normaliser);
        }
    }
}
