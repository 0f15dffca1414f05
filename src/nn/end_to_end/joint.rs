//! Training of encoder and detector together, on the loop that every detector has.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Tensor};

use super::fidelity::{Fidelities, Fidelity};
use super::frames::{Camera, Reel};
use super::optimiser::EncoderOptimiser;
use super::sampling;
use super::step::{Course, Scale, step};
use crate::base::Stream;
use crate::config::encoder::{EncoderConfig, Training};
use crate::config::settings::Temporal;
use crate::data::windows::CellInstance;
use crate::event::Observer;
use crate::nn::clips::{Clip, Passes};
use crate::nn::encoders::VideoEncoder;
use crate::nn::network::{Batch, Network, Terms};
use crate::nn::optim::{Gradients, learning_rate};
use crate::nn::params::{self, Params};
use crate::nn::task::{Outcome, Task};
use crate::nn::train::{self, Model};

/// An encoder, what it sees and how it is trained.
pub struct Joint<'a> {
    /// The encoder.
    pub encoder: &'a VideoEncoder,
    /// Its settings.
    pub config: &'a EncoderConfig,
    /// Its view of the videos.
    pub camera: &'a Camera,
}

/// Divisors of the number of cells, beside 1, that a training needs networks for.
pub fn slower(config: &EncoderConfig) -> Vec<usize> {
    Fidelities::of(&config.training).slower()
}

/// Trains the detector of `task` and the encoder of `joint` on `videos`; `fixed_steps` as in [`Task::train`]. The task's features
/// are those of the encoder as it starts: what standardises them stays in force. `slower` has the networks over the task's
/// weights that [`slower`] asks for. Also returns the seconds that the training waited for frames.
///
/// # Errors
/// See [`train::Error`].
pub fn train(
    task: &mut Task<'_>,
    joint: &Joint<'_>,
    slower: BTreeMap<usize, Box<dyn Network>>,
    videos: &[String],
    (seed, fixed_steps): (u64, bool),
    checkpoint: &Path,
    observer: &mut dyn Observer,
) -> Result<(Outcome, f64), train::Error> {
    let mut schedule = match task.schedule(videos, (seed, fixed_steps))? {
        Ok(schedule) => schedule,
        Err(untrained) => return Ok((untrained, 0.0)),
    };
    if let Training::Lofi(lofi) = &joint.config.training
        && let Some(steps) = lofi.steps
    {
        schedule.epochs *= steps as f64 / schedule.total as f64;
        schedule.total = steps;
    }
    let device = task.params.device();
    let values = |v: &[f32]| Tensor::from_slice(v).to_device(device);
    let scale = task.inputs.standard().map(|s| Scale { mean: values(&s.mean), deviation: values(&s.deviation) });
    let fidelities = Fidelities::of(&joint.config.training);
    let pair = Pair {
        joint,
        task,
        total: schedule.total,
        scale,
        slower,
        optimiser: RefCell::new(EncoderOptimiser::new(joint.encoder.params(), joint.config)),
        waited: Cell::new(0.0),
    };
    let passes = Passes { common: &task.common, seed, sources: &schedule.sources };
    let director = Director {
        config: joint.config,
        camera: joint.camera,
        videos,
        seed,
        class_agnostic: task.is_class_agnostic(),
        padded: tabulated(task, &pair),
    };
    let shots = |skip: u64| {
        let clips = (0..).flat_map(|pass| passes.batches(pass).into_iter().map(move |clips| (pass, clips))).skip(skip as usize);
        clips.zip(skip..).map(|((pass, clips), step)| Ok(director.shoot(&clips, fidelities.at(pass, step), step)))
    };
    let plan = task.plan(schedule.total);
    let final_loss = train::train(&pair, &plan, shots, checkpoint, observer, &mut ())?;
    let waited = pair.waited.get();
    Ok((schedule.outcome(final_loss), waited))
}

/// Cells that inputs of so many are padded to, at every fidelity: the networks live on the training's thread.
fn tabulated(task: &Task<'_>, pair: &Pair<'_, '_>) -> Vec<(usize, Vec<usize>)> {
    let table = |times: usize, network: &dyn Network| {
        let window = task.common.window.div_ceil(times);
        let padded = |cells: usize| if task.common.temporal == Temporal::Whole { network.padded(cells) } else { window };
        (times, (0..=window).map(padded).collect())
    };
    let slower = pair.slower.iter().map(|(times, network)| table(*times, &**network));
    std::iter::once(table(1, &*task.network)).chain(slower).collect()
}

/// Plans the updates on the loader's thread, and has their frames read ahead.
struct Director<'a> {
    config: &'a EncoderConfig,
    camera: &'a Camera,
    videos: &'a [String],
    seed: u64,
    class_agnostic: bool,
    padded: Vec<(usize, Vec<usize>)>,
}

/// A planned update.
struct Shot {
    valid: Vec<usize>,
    truth: Vec<Vec<CellInstance>>,
    rng: Stream,
    course: Course,
    reel: Reel,
    fidelity: Fidelity,
    step: u64,
}

impl Director<'_> {
    fn shoot(&self, clips: &[Clip], fidelity: Fidelity, step: u64) -> Shot {
        let mut rng = Stream::new(self.seed, &format!("train/step/{step}"));
        let slower = fidelity.slower;
        let valid: Vec<usize> = clips.iter().map(|c| c.cells.div_ceil(slower)).collect();
        let label = |i: &CellInstance| if self.class_agnostic { 0 } else { i.label };
        let cell = |at: f64| at / slower as f64;
        let lowered = |i: &CellInstance| CellInstance { start: cell(i.start), end: cell(i.end), label: label(i) };
        let truth: Vec<Vec<CellInstance>> = clips.iter().map(|c| c.truth.iter().map(lowered).collect()).collect();
        let longest = valid.iter().copied().max().unwrap_or(0);
        let time = self.padded.iter().find(|(times, _)| *times == slower).expect("every fidelity has a table").1[longest];

        let chunk = self.config.chunk;
        let mut drawn =
            |sampled| valid.iter().zip(&truth).map(|(&cells, truth)| sampling::draw(sampled, chunk, cells, truth, &mut rng)).collect();
        let again: Option<Vec<Vec<usize>>> = match self.config.training {
            Training::Sampled(sampled) => Some(drawn(sampled)),
            Training::Checkpointed => Some(valid.iter().map(|&cells| (0..cells).collect()).collect()),
            Training::Frozen | Training::Plain | Training::Lofi(_) => None,
        };
        let course = Course::new(time, chunk, &valid, again.as_deref());
        let views = clips.iter().map(|c| (self.videos[c.video].clone(), self.camera.random(&mut rng))).collect();
        // Of the snippets that a slower cell stands for, the middle one.
        let snippet = |(input, cell): (usize, usize)| {
            let Clip { start, cells, .. } = clips[input];
            (input, start + (cell * slower + slower / 2).min(cells - 1))
        };
        let work = course.asked().map(|places| places.iter().copied().map(snippet).collect()).collect();
        Shot { reel: self.camera.roll(views, work), valid, truth, rng, course, fidelity, step }
    }
}

/// Gaussian noise like `x`.
fn noise(x: &Tensor, deviation: f64, rng: &mut Stream) -> Tensor {
    let values: Vec<f32> = (0..x.numel()).map(|_| (deviation * rng.normal()) as f32).collect();
    Tensor::from_slice(&values).view(x.size().as_slice()).to_device(x.device())
}

/// The detector's network and the encoder in front of it.
struct Pair<'a, 'b> {
    joint: &'a Joint<'a>,
    task: &'a Task<'b>,
    total: u64,
    scale: Option<Scale>,
    slower: BTreeMap<usize, Box<dyn Network>>,
    optimiser: RefCell<EncoderOptimiser>,
    waited: Cell<f64>,
}

impl Pair<'_, '_> {
    fn networks(&self) -> impl Iterator<Item = (usize, &dyn Network)> {
        std::iter::once((1, &*self.task.network)).chain(self.slower.iter().map(|(times, network)| (*times, &**network)))
    }

    fn device(&self) -> Device {
        self.task.params.device()
    }
}

impl Model for Pair<'_, '_> {
    type Batch = Shot;

    fn inputs(batch: &Shot) -> [usize; 2] {
        batch.course.shape
    }

    fn params(&self) -> &Params {
        &self.task.params
    }

    fn backward(&self, shot: Shot, gradients: &mut Gradients) -> Result<Terms, train::Error> {
        let Shot { valid, truth, mut rng, course, mut reel, fidelity, step: number } = shot;
        let (common, Joint { encoder, config, camera, .. }) = (&self.task.common, self.joint);
        tch::manual_seed((rng.uniform() * (1u64 << 53) as f64) as i64);
        let (_, network) = self.networks().find(|(times, _)| *times == fidelity.slower).expect("every fidelity has a network");
        let frames = || camera.clips(&mut reel, self.device()).map(|clips| fidelity.shrink(&clips));
        let detector = |x: &Tensor| {
            gradients.watch(x);
            let x = if common.noise > 0.0 { x + noise(x, common.noise, &mut rng) } else { x.shallow_clone() };
            let mut batch = Batch { x, valid, truth, rng };
            let terms = network.backward(&self.task.params, &mut batch, gradients);
            (terms, gradients.of_watched())
        };
        let (terms, mut of_encoder) = step((*encoder, encoder.params()), &course, self.scale.as_ref(), frames, detector)?;
        self.waited.set(self.waited.get() + reel.waited.as_secs_f64());
        if config.clip > 0.0 {
            let _ = of_encoder.clip(config.clip);
        }
        // The detector's gradients exist already, so that the encoder may move before the loop moves the detector.
        let lr = config.lr * learning_rate(common, number, self.total) / common.lr;
        self.optimiser.borrow_mut().step(encoder.params(), &of_encoder, lr);
        // Networks at other fidelities remember the same.
        if !self.slower.is_empty() {
            let memory = network.memory();
            self.networks().for_each(|(_, other)| other.recall(&memory));
        }
        Ok(terms)
    }

    fn memory(&self) -> Vec<f64> {
        self.task.network.memory()
    }

    fn recall(&self, memory: &[f64]) {
        self.networks().for_each(|(_, network)| network.recall(memory));
    }

    fn companions(&self) -> Vec<(String, Tensor)> {
        let encoder = self.joint.encoder;
        let weights = encoder.tensors().into_iter().map(|(name, t)| (format!("weight.{name}"), t));
        weights.chain(self.optimiser.borrow().state(encoder.params())).collect()
    }

    fn restore(&self, given: Vec<(String, Tensor)>) -> Result<(), params::Error> {
        let encoder = self.joint.encoder;
        let unreadable = || params::Error::Unreadable { path: "the checkpoint".into(), reason: "the encoder's moments are missing".into() };
        let weights = given.iter().filter_map(|(n, t)| Some((n.strip_prefix("weight.")?.to_owned(), t.shallow_clone()))).collect();
        if !self.optimiser.borrow_mut().restore(encoder.params(), &given) {
            return Err(unreadable());
        }
        encoder.assign("the encoder in the checkpoint", weights)
    }
}
