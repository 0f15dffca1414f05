//! G-TAD as the training loop and inference see it: targets of a batch, detections from scored maps.

use tch::Tensor;

use super::Gtad;
use super::targets::{Grid, Targets, Wanted};
use crate::config::GtadConfig;
use crate::data::Segment;
use crate::eval::{Detection, nms};
use crate::nn::layers::boundaries::boundary_mask;
use crate::nn::network::{self, Conventions, Network, Term, Terms, VideoClasses, Window, merge_proposals};
use crate::nn::optim::Gradients;
use crate::nn::params::Params;
use crate::nn::transfer;

/// What is done around the network.
pub const CONVENTIONS: Conventions = Conventions {
    centres: false,
    margin: false,
    short_last: false,
    linear_rescale: true,
    channel_multiple: 4,
    spare_plain: false,
    slow: &[],
    inference_batch: 4,
};

/// With a class head: candidates of a class in one input that go on to suppression, the surest first.
const PER_CLASS: usize = 200;
/// With a class head: scores below this never do.
const FLOOR: f32 = 1e-4;

/// G-TAD with its targets and its post-processing.
pub struct GtadNetwork {
    config: GtadConfig,
    network: Gtad,
    grid: Grid,
    classes: Option<usize>,
}

/// The anchors of one input, `[D, T]`.
struct Scored {
    /// Product of the two tIoU predictions.
    score: Vec<f32>,
    /// Cells an anchor may start and end on, one flag per cell and one for the end of the last.
    on_boundary: Option<(Vec<bool>, Vec<bool>)>,
    /// Class probabilities `[D, T, classes]`, where there is a class head.
    classes: Option<Vec<f32>>,
}

impl GtadNetwork {
    /// See [`Gtad::new`].
    pub fn new(params: &mut Params, config: &GtadConfig, channels: i64, classes: Option<i64>) -> Self {
        Self {
            network: Gtad::new(params, config, channels, classes),
            grid: Grid { durations: config.max_duration, time: config.common.window },
            config: config.clone(),
            classes: classes.map(|n| n as usize),
        }
    }

    /// Flat indices and segments of the anchors that are proposals in an input of `cells` cells. An anchor that ends with a
    /// full input is none, as in the release.
    fn proposals(&self, scored: &Scored, cells: usize) -> Vec<(usize, Segment)> {
        let Grid { durations, time } = self.grid;
        let last = cells.min(time - 1);
        let allowed = |start: usize, end: usize| scored.on_boundary.as_ref().is_none_or(|(starts, ends)| starts[start] && ends[end]);
        let mut proposals = Vec::new();
        for d in 0..durations.min(last) {
            for start in 0..last - d {
                let end = start + d + 1;
                if allowed(start, end) {
                    proposals.push((d * time + start, Segment { start: start as f64, end: end as f64 }));
                }
            }
        }
        proposals
    }

    fn detections(&self, scored: &Scored, cells: usize) -> Vec<Detection> {
        let proposals = self.proposals(scored, cells);
        let (Some(classes), Some(probabilities)) = (self.classes, &scored.classes) else {
            let of = |&(index, segment): &(usize, Segment)| Detection { segment, label: 0, score: scored.score[index].into() };
            return nms::soft_nms(&proposals.iter().map(of).collect::<Vec<_>>(), self.config.nms_sigma, self.config.nms_keep);
        };
        let mut all = Vec::new();
        for label in 0..classes {
            let score = |index: usize| scored.score[index] * probabilities[index * classes + label];
            let mut of_class: Vec<Detection> = proposals
                .iter()
                .filter(|(index, _)| score(*index) > FLOOR)
                .map(|&(index, segment)| Detection { segment, label, score: score(index).into() })
                .collect();
            if of_class.len() > PER_CLASS {
                of_class.select_nth_unstable_by(PER_CLASS, |a, b| b.score.total_cmp(&a.score));
                of_class.truncate(PER_CLASS);
            }
            all.extend(of_class);
        }
        all
    }
}

impl Network for GtadNetwork {
    fn losses(&self, _: &mut network::Batch) -> Vec<Term> {
        unreachable!("G-TAD differentiates its map in `backward`")
    }

    fn backward(&self, params: &Params, batch: &mut network::Batch, gradients: &mut Gradients) -> Terms {
        let wanted = Wanted { classes: self.classes, balance: self.config.balance.then_some(self.config.positive_tiou) };
        let targets = self.grid.targets(&batch.truth, wanted, &mut batch.rng, batch.x.device());
        self.network.backward(params, &batch.x, &targets, gradients)
    }

    fn is_regular(&self) -> bool {
        // The class head sees as many anchors as a batch has.
        self.classes.is_none() && !self.config.balance
    }

    fn inputs(&self, batch: &mut network::Batch) -> Vec<Tensor> {
        let wanted = Wanted { classes: None, balance: None };
        let targets = self.grid.targets(&batch.truth, wanted, &mut batch.rng, batch.x.device());
        let Targets { iou, valid, start, end, draws: [first, second], .. } = targets;
        vec![batch.x.shallow_clone(), iou, valid, start, end, first, second]
    }

    fn backward_from(&self, params: &Params, inputs: &[Tensor], gradients: &mut Gradients) -> Terms {
        let t = |i: usize| inputs[i].shallow_clone();
        let (iou, valid, start, end) = (t(1), t(2), t(3), t(4));
        let targets = Targets { iou, valid, start, end, draws: [t(5), t(6)], weights: None, classes: None };
        self.network.backward(params, &inputs[0], &targets, gradients)
    }

    fn detect(&self, x: &Tensor, valid: &[usize]) -> Vec<Vec<Detection>> {
        let inferred = self.network.infer(x);
        let score = inferred.iou.select(3, 0) * inferred.iou.select(3, 1);
        let of = |t: &Tensor, input: usize| transfer::read(&t.get(input as i64));
        let one = |(input, &cells): (usize, &usize)| {
            let on_boundary = self.config.boundary_filter.then(|| {
                let (mut starts, mut ends) = (boundary_mask(&of(&inferred.start, input)), boundary_mask(&of(&inferred.end, input)));
                // The first cell may always start and the last one always end.
                starts[0] = true;
                *ends.last_mut().expect("an input has cells") = true;
                (starts, ends)
            });
            let scored = Scored { score: of(&score, input), on_boundary, classes: inferred.classes.as_ref().map(|c| of(c, input)) };
            self.detections(&scored, cells)
        };
        valid.iter().enumerate().map(one).collect()
    }

    fn merge(&self, windows: Vec<Window>, classes: Option<VideoClasses<'_>>) -> Vec<Detection> {
        merge_proposals(&windows, classes, self.config.nms_sigma, self.config.nms_keep)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::config::settings::{Common, Preset};
    use crate::data::synthetic::{SyntheticConfig, generate};
    use crate::nn::task::{Labels, Task};

    fn small(preset: Preset) -> GtadConfig {
        let preset = GtadConfig::preset(preset).unwrap();
        GtadConfig {
            common: Common { window: 64, stride: 32, steps: 4, epochs: 2, batch: 4, ..preset.common },
            max_duration: 48,
            hidden: 64,
            roi_bins: 4,
            context_bins: if preset.context_bins == preset.roi_bins { 4 } else { 2 },
            map_wide: 32,
            map_channels: 16,
            ..preset
        }
    }

    #[test]
    fn every_preset_trains_and_detects_inside_the_videos() {
        let corpus = generate(&SyntheticConfig { videos: 6, channels: 6, ..SyntheticConfig::default() });
        let (dataset, features) = &corpus;
        let all: Vec<String> = dataset.videos.keys().cloned().collect();
        let classes = dataset.classes.len();
        for preset in [Preset::Activitynet, Preset::Thumos14, Preset::Laptop] {
            for external in [false, true] {
                let scores = || all.iter().map(|v| (v.clone(), (0..classes).map(|c| c as f64 / classes as f64).collect())).collect();
                let labels = if external { Labels::External { scores: scores(), top: 2 } } else { Labels::Network(classes) };
                let config = small(preset);
                let build = |params: &mut Params, channels, classes| -> Box<dyn Network> {
                    Box::new(GtadNetwork::new(params, &config, channels, classes))
                };
                let mut task = Task::new(&config.common, CONVENTIONS, (dataset, features), labels, (7, Device::Cpu), build);
                let dir = tempfile::tempdir().unwrap();
                let outcome = task.train(&all, 7, true, &dir.path().join("c"), &mut ()).unwrap();
                assert!(outcome.steps == 4 && outcome.final_loss.is_finite(), "{preset:?}");
                let (found, macs) = task.detect(&all, &mut ()).unwrap();
                assert!(macs > 0 && found.values().any(|d| !d.is_empty()), "{preset:?}");
                for (video, detections) in &found {
                    let duration = dataset.videos[video].duration;
                    for d in detections {
                        assert!(0.0 <= d.segment.start && d.segment.start < d.segment.end && d.segment.end <= duration, "{d:?}");
                        assert!(d.score.is_finite() && (!external || d.label >= classes - 2));
                    }
                }
            }
        }
    }

    #[test]
    fn proposals_end_before_the_input_and_inside_of_the_video() {
        let mut params = Params::new(0, Device::Cpu);
        let config = small(Preset::Thumos14);
        let network = GtadNetwork::new(&mut params, &config, 8, None);
        let scored = Scored { score: Vec::new(), on_boundary: None, classes: None };
        // 64 cells: 1 to 48 long, ending at 63 at the latest. 10 of them filled: 1 to 10 long.
        assert_eq!(network.proposals(&scored, 64).len(), (16..=63).sum::<usize>());
        assert_eq!(network.proposals(&scored, 10).len(), (1..=10).sum::<usize>());
    }
}
