//! ETAD as the training loop and inference see it: proposals drawn and matched for a batch, detections from scored ones.

use tch::Tensor;

use super::decode::Scored;
use super::labels::match_instances;
use super::losses::Draws;
use super::proposals::{Anchor, Lattice};
use super::{Batch, Etad, Inferred, Proposals};
use crate::base::Stream;
use crate::config::EtadConfig;
use crate::config::etad::{Inference, ProposalSampling};
use crate::data::Segment;
use crate::eval::Detection;
use crate::nn::layers::boundaries::boundary_curve;
use crate::nn::network::{self, Conventions, Network, Term, Terms, VideoClasses, Window, merge_proposals};
use crate::nn::optim::Gradients;
use crate::nn::params::Params;
use crate::nn::transfer::{self, read};

/// What is done around the network.
pub const CONVENTIONS: Conventions = Conventions {
    centres: false,
    margin: false,
    short_last: false,
    linear_rescale: false,
    channel_multiple: 4,
    spare_plain: false,
    slow: &[],
    inference_batch: 8,
};

const DRAWS_PER_STAGE: usize = 5;

/// ETAD with its proposals.
pub struct EtadNetwork {
    config: EtadConfig,
    network: Etad,
    lattice: Lattice,
    /// Proposals scored at inference.
    scored: Vec<Anchor>,
    class_agnostic: bool,
}

impl EtadNetwork {
    /// See [`Etad::new`].
    pub fn new(params: &mut Params, config: &EtadConfig, channels: i64, classes: Option<i64>) -> Self {
        let lattice = Lattice { time: config.common.window, max_duration: config.max_duration };
        let indices = match config.inference {
            Inference::All => lattice.valid(),
            Inference::Pyramid => lattice.pyramid(),
        };
        Self {
            network: Etad::new(params, config, channels, classes),
            scored: indices.into_iter().map(|(d, t)| lattice.anchor(d, t)).collect(),
            lattice,
            config: config.clone(),
            class_agnostic: classes.is_none(),
        }
    }

    fn draw(&self, truth: &[(f64, f64)], rng: &mut Stream) -> Vec<Anchor> {
        match self.config.sampling {
            ProposalSampling::Guided => {
                let truth: Vec<Anchor> = truth.iter().map(|&(s, e)| (s as f32, e as f32)).collect();
                self.lattice.draw_guided(&truth, self.lattice.sample_size(self.config.ratio), rng)
            }
            published => self.lattice.draw(published, self.config.ratio, rng),
        }
    }

    fn prepare(&self, batch: &mut network::Batch) -> Batch {
        let (device, time) = (batch.x.device(), self.config.common.window);
        let (mut anchors, mut start, mut end, mut matched, mut classes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for instances in &batch.truth {
            let truth: Vec<(f64, f64)> = instances.iter().map(|i| (i.start / time as f64, i.end / time as f64)).collect();
            let drawn = self.draw(&truth, &mut batch.rng);
            start.extend(boundary_curve(truth.iter().map(|t| t.0), time));
            end.extend(boundary_curve(truth.iter().map(|t| t.1), time));
            for index in match_instances(&drawn, &truth).expect("only windows with an instance are trained on") {
                matched.extend([truth[index].0 as f32, truth[index].1 as f32]);
                classes.push(instances[index].label as i64);
            }
            anchors.push(drawn);
        }
        let (inputs, n) = (batch.truth.len() as i64, classes.len());
        let stages = self.config.stage_tiou.len();
        let draws: Vec<f32> = (0..(stages * DRAWS_PER_STAGE + 1) * n).map(|_| batch.rng.uniform_f32()).collect();
        let floats = |values: &[f32], shape: &[i64]| transfer::send_slice(values, shape, device);
        let draws = floats(&draws, &[-1, n as i64]);
        let of_stage = |i: usize| {
            let first = (i * DRAWS_PER_STAGE) as i64;
            Draws { class: draws.narrow(0, first, 3), mid: draws.get(first + 3), low: draws.get(first + 4) }
        };
        Batch {
            x: batch.x.shallow_clone(),
            boundaries: floats(&[start, end].concat(), &[2, inputs, time as i64]),
            matched: floats(&matched, &[-1, 2]),
            classes: transfer::send_slice(&classes, &[-1], device),
            draws: (0..stages).map(of_stage).collect(),
            class_draw: draws.get(draws.size()[0] - 1),
            proposals: Proposals::new(&anchors, device),
        }
    }
}

impl Network for EtadNetwork {
    fn losses(&self, _: &mut network::Batch) -> Vec<Term> {
        unreachable!("ETAD differentiates stage by stage in `backward`")
    }

    fn backward(&self, params: &Params, batch: &mut network::Batch, gradients: &mut Gradients) -> Terms {
        let batch = self.prepare(batch);
        self.network.backward(params, &batch, gradients, |_| {})
    }

    fn is_regular(&self) -> bool {
        // Blocks differ in size.
        self.config.sampling != ProposalSampling::Block
    }

    fn inputs(&self, batch: &mut network::Batch) -> Vec<Tensor> {
        self.prepare(batch).into_tensors()
    }

    fn backward_from(&self, params: &Params, inputs: &[Tensor], gradients: &mut Gradients) -> Terms {
        self.network.backward(params, &Batch::from_tensors(inputs), gradients, |_| {})
    }

    fn detect(&self, x: &Tensor, valid: &[usize]) -> Vec<Vec<Detection>> {
        let config = &self.config;
        let inferred = self.network.infer(x, &Proposals::new(&vec![self.scored.clone(); valid.len()], x.device()));
        let window = config.common.window as f64;
        // Clipped to the input, as in the release; a segment refined to outside of it comes out empty and is dropped.
        let cells = |s: Segment| Segment { start: s.start.max(0.0) * window, end: s.end.min(1.0) * window };
        let of_input = |scored: Scored| {
            let found = if self.class_agnostic {
                scored.class_agnostic(config.boundary_filter, config.nms_sigma, config.nms_keep)
            } else {
                scored.class_aware(config.boundary_filter)
            };
            found.into_iter().map(|d| Detection { segment: cells(d.segment), ..d }).filter(|d| d.segment.length() > 0.0).collect()
        };
        split(&inferred, valid.len()).map(of_input).collect()
    }

    fn merge(&self, windows: Vec<Window>, classes: Option<VideoClasses<'_>>) -> Vec<Detection> {
        merge_proposals(&windows, classes, self.config.nms_sigma, self.config.nms_keep)
    }
}

/// The inputs of an inferred batch, in plain numbers.
fn split(inferred: &Inferred, inputs: usize) -> impl Iterator<Item = Scored> {
    let (segments, iou) = (read(&inferred.segments), read(&inferred.iou));
    let (start, end) = (read(&inferred.start), read(&inferred.end));
    let classes = inferred.classes.as_ref().map(read);
    let part = move |all: &[f32], b: usize| {
        let size = all.len() / inputs;
        all[b * size..][..size].to_vec()
    };
    let pairs = |flat: Vec<f32>| flat.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    (0..inputs).map(move |b| Scored {
        segments: pairs(part(&segments, b)),
        iou: pairs(part(&iou, b)),
        boundaries: (part(&start, b), part(&end, b)),
        classes: classes.as_ref().map(|c| part(c, b)),
    })
}
