//! What a detector's network is to the training loop and to inference: one trait, implemented by one file per model.

use tch::Tensor;

use super::optim::Gradients;
use super::params::Params;
use super::transfer;
use crate::base::Stream;
use crate::data::Segment;
use crate::data::windows::CellInstance;
use crate::eval::{Detection, nms};

/// A training batch on the network's device.
pub struct Batch {
    /// `[B, C, T]`, zero-padded at the end.
    pub x: Tensor,
    /// Cells of each input that are not padding.
    pub valid: Vec<usize>,
    /// Instances of each input in its cells; at least one in a batch. A class-agnostic network sees label 0 only.
    pub truth: Vec<Vec<CellInstance>>,
    /// For what the losses draw. libtorch's own generator is seeded before every update too.
    pub rng: Stream,
}

/// Loss terms by name, as yet unread, and behind them their weighted sum under `"cost"`.
#[derive(Debug, Default)]
pub struct Terms {
    names: Vec<String>,
    /// Scalars, or vectors of as many values as names, on the network's device and outside autograd.
    values: Vec<Tensor>,
}

impl Terms {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a term, or with a vector several.
    pub fn add(&mut self, names: impl IntoIterator<Item = impl Into<String>>, values: &Tensor) {
        self.names.extend(names.into_iter().map(Into::into));
        self.values.push(values.detach());
    }

    /// The same with all values in one tensor.
    pub fn joined(&self) -> Self {
        let flat: Vec<Tensor> = self.values.iter().map(|value| value.reshape([-1])).collect();
        Self { names: self.names.clone(), values: vec![Tensor::cat(&flat, 0)] }
    }

    /// The same values in memory of their own.
    pub fn copy(&self) -> Self {
        Self { names: self.names.clone(), values: self.values.iter().map(Tensor::copy).collect() }
    }

    /// Adds a term in front of all others.
    pub fn add_first(&mut self, name: &str, value: &Tensor) {
        self.names.insert(0, name.to_owned());
        self.values.insert(0, value.detach());
    }

    /// The values by name; waits for the device.
    pub fn read(&self) -> Vec<(String, f64)> {
        Self::read_all(&[self]).pop().unwrap_or_default()
    }

    /// The values of several updates in one reading.
    pub fn read_all(all: &[&Self]) -> Vec<Vec<(String, f64)>> {
        let tensors: Vec<&Tensor> = all.iter().flat_map(|terms| &terms.values).collect();
        let mut values = transfer::read_numbers(&tensors).into_iter();
        all.iter().map(|terms| terms.names.iter().cloned().zip(values.by_ref()).collect()).collect()
    }
}

/// A loss term and its weight in the sum.
pub struct Term {
    /// Name, as the authors' code logs it.
    pub name: &'static str,
    /// A scalar.
    pub value: Tensor,
    /// Its weight.
    pub weight: f64,
}

/// What one network input of a video gave, in cells of that input.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// First cell of the input in the video.
    pub start: usize,
    /// Cells of the input that are not padding.
    pub cells: usize,
    /// Detections.
    pub found: Vec<Detection>,
}

/// Scores of a video-level classifier, for class-agnostic networks.
#[derive(Clone, Copy)]
pub struct VideoClasses<'a> {
    /// One per class.
    pub scores: &'a [f64],
    /// Classes used per video.
    pub top: usize,
}

/// A detector's network.
pub trait Network {
    /// Losses of a batch.
    fn losses(&self, batch: &mut Batch) -> Vec<Term>;

    /// Adds the gradients of a batch. For networks with operators of their own that cut the graph.
    fn backward(&self, params: &Params, batch: &mut Batch, gradients: &mut Gradients) -> Terms {
        let terms = self.losses(batch);
        let cost = terms.iter().map(|t| &t.value * t.weight).reduce(|a, b| a + b).expect("a network has a loss");
        let mut values = Terms::new();
        for term in &terms {
            values.add([term.name], &term.value);
        }
        values.add(["cost"], &cost);
        gradients.add(params, &cost, &[]);
        values
    }

    /// Whether a step reads nothing of its batch but tensors of the same shapes in every step, so that it can be recorded and
    /// replayed.
    fn is_regular(&self) -> bool {
        false
    }

    /// What a step of a regular network reads of a batch, on the network's device.
    fn inputs(&self, _batch: &mut Batch) -> Vec<Tensor> {
        unreachable!("only regular networks are asked")
    }

    /// As [`Network::backward`], from [`Network::inputs`].
    fn backward_from(&self, _params: &Params, _inputs: &[Tensor], _gradients: &mut Gradients) -> Terms {
        unreachable!("only regular networks are asked")
    }

    /// Detections of each input of `x` `[B, C, T]` in its cells; `valid` as in [`Batch`]. Called without gradients.
    fn detect(&self, x: &Tensor, valid: &[usize]) -> Vec<Vec<Detection>>;

    /// The detections of a video, in its cells, the surest first, from those of its inputs. `classes` is given exactly when
    /// the network is class-agnostic.
    fn merge(&self, windows: Vec<Window>, classes: Option<VideoClasses<'_>>) -> Vec<Detection>;

    /// Cells an input of `longest` valid ones is padded to (with `temporal = "whole"`).
    fn padded(&self, longest: usize) -> usize {
        longest
    }

    /// The most cells an input may have.
    fn longest(&self) -> Option<usize> {
        None
    }

    /// What the losses remember from update to update, beside the parameters.
    fn memory(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Takes over a memory of a checkpoint.
    fn recall(&self, _memory: &[f64]) {}
}

/// What the authors' code does around the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conventions {
    /// Cell i stands for the centre of its snippet (ActionFormer and its kin), not for the time from i to i + 1.
    pub centres: bool,
    /// Training inputs keep instances up to the edges of their outer snippets (with `centres`).
    pub margin: bool,
    /// The last test window begins on the stride and is padded, instead of ending with the video.
    pub short_last: bool,
    /// `temporal = "rescale"` interpolates linearly, instead of averaging.
    pub linear_rescale: bool,
    /// Channels are zero-padded to a multiple of this.
    pub channel_multiple: usize,
    /// Biases, norms and scales are not decayed.
    pub spare_plain: bool,
    /// Parts of names whose tensors learn at a tenth of the rate.
    pub slow: &'static [&'static str],
    /// Inputs per forward pass at inference (those of one video).
    pub inference_batch: usize,
}

impl Window {
    /// The detections in cells of the video.
    pub fn in_video(&self) -> impl Iterator<Item = Detection> + '_ {
        let shift = self.start as f64;
        let moved = move |s: Segment| Segment { start: s.start + shift, end: s.end + shift };
        self.found.iter().map(move |d| Detection { segment: moved(d.segment), ..*d })
    }
}

/// Each detection with each of the surest classes of its video, in that order; `combine(detection, class)` gives the score.
pub fn with_video_classes(detections: &[Detection], classes: VideoClasses<'_>, combine: impl Fn(f64, f64) -> f64) -> Vec<Detection> {
    let mut surest: Vec<usize> = (0..classes.scores.len()).collect();
    surest.sort_by(|&a, &b| classes.scores[b].total_cmp(&classes.scores[a]));
    surest.truncate(classes.top);
    let of = |d: &Detection, label: usize| Detection { label, score: combine(d.score, classes.scores[label]), ..*d };
    detections.iter().flat_map(|d| surest.iter().map(|&label| of(d, label)).collect::<Vec<_>>()).collect()
}

/// The detections of a video from those of windows that score proposals, by soft-NMS. Class-agnostic ones were suppressed within
/// their window: where several overlap they are once more, then each takes the video's classes with the product of the scores.
pub fn merge_proposals(windows: &[Window], classes: Option<VideoClasses<'_>>, sigma: f64, keep: usize) -> Vec<Detection> {
    let found: Vec<Detection> = windows.iter().flat_map(Window::in_video).collect();
    let suppress = |candidates: &[Detection]| nms::soft_nms(candidates, sigma, keep);
    match classes {
        None => {
            let mut kept = nms::per_class(&found, suppress);
            kept.truncate(keep);
            kept
        }
        Some(classes) => {
            let kept = if windows.len() > 1 { suppress(&found) } else { found };
            with_video_classes(&kept, classes, |detection, class| detection * class)
        }
    }
}
