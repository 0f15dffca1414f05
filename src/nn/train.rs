//! The one native training loop: prefetched batches, one update each, a checkpoint per epoch, resumed to the same result.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use tch::Tensor;

use super::network::Terms;
use super::optim::{Adam, AdamOptions, Average, Gradients, learning_rate};
use super::params::{self, Params};
use super::recorded::Recorder;
use crate::config::settings::Common;
use crate::data::{features, video};
use crate::event::{Event, Observer};

/// A model that can be trained.
pub trait Model {
    /// What one update needs, prepared on the loader's thread (plain numbers, no tensors).
    type Batch: Send;

    /// Inputs of a batch, and the cells of each, padding included.
    fn inputs(batch: &Self::Batch) -> [usize; 2];

    /// Trainable parameters.
    fn params(&self) -> &Params;

    /// Losses of a batch by name, and the total under `"cost"`; adds the gradients.
    ///
    /// # Errors
    /// What the batch still had to read is bad.
    fn backward(&self, batch: Self::Batch, gradients: &mut Gradients) -> Result<Terms, Error>;

    /// What an update on this batch reads, as tensors of the same shapes in every update, where it may be recorded and replayed;
    /// otherwise the batch.
    ///
    /// # Errors
    /// The batch, for [`Model::backward`].
    fn stage(&self, batch: Self::Batch) -> Result<Vec<Tensor>, Self::Batch> {
        Err(batch)
    }

    /// As [`Model::backward`], from [`Model::stage`].
    fn backward_from(&self, _inputs: &[Tensor], _gradients: &mut Gradients) -> Terms {
        unreachable!("this model stages nothing")
    }

    /// What the losses remember from update to update, beside the parameters.
    fn memory(&self) -> Vec<f64>;

    /// Takes over a memory of a checkpoint.
    fn recall(&self, memory: &[f64]);

    /// What else is trained along, as named tensors for a checkpoint.
    fn companions(&self) -> Vec<(String, Tensor)> {
        Vec::new()
    }

    /// Takes over what [`Model::companions`] gave.
    ///
    /// # Errors
    /// Something is missing or does not fit; nothing is changed then.
    fn restore(&self, _: Vec<(String, Tensor)>) -> Result<(), params::Error> {
        Ok(())
    }
}

/// What goes on around every update: nothing (`()`), or a measurement.
pub trait Around {
    /// Calls `update` once.
    fn update(&mut self, step: Step<'_>, update: &mut dyn FnMut());
}

impl Around for () {
    fn update(&mut self, _: Step<'_>, update: &mut dyn FnMut()) {
        update();
    }
}

/// An update as it is seen from around it.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// Counted from 0.
    pub number: u64,
    /// What is trained.
    pub params: &'a Params,
    /// Inputs, and the cells of each, padding included.
    pub inputs: [usize; 2],
}

/// How a training goes.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Updates.
    pub total: u64,
    /// Updates between checkpoints.
    pub checkpoint_every: u64,
    /// Rate, schedule, clipping, average.
    pub common: &'a Common,
    /// Optimiser.
    pub adam: AdamOptions,
}

/// Why a training stopped early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A feature file is bad.
    #[error(transparent)]
    Features(#[from] features::Error),
    /// A video is bad.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// A checkpoint cannot be written.
    #[error(transparent)]
    Params(#[from] params::Error),
    /// A loss is no number.
    #[error("training diverged at update {step}: loss term `{term}` is {value}; lower `lr` or set `clip`")]
    Diverged {
        /// Update, from 1.
        step: u64,
        /// Term.
        term: String,
        /// NaN or infinity.
        value: f64,
    },
    /// The sample has nothing to learn from.
    #[error(
        "none of the {0} training videos of this cell has an annotated instance inside a window; raise the fraction or lower `keep_share`"
    )]
    NoInstance(usize),
    /// A video does not fit the network.
    #[error("video {video:?} has {cells} cells, more than the {longest} this model can take at once; raise `window` or `pool`")]
    TooLong {
        /// The video.
        video: String,
        /// Its cells.
        cells: usize,
        /// The most there may be.
        longest: usize,
    },
}

const DEPTH: usize = 4;
const STEP_KEY: &str = "step";
const MEMORY_KEY: &str = "memory";
const COMPANION: &str = "companion.";
const REPORT_EVERY: Duration = Duration::from_millis(300);

/// Trains; `batches(first)` yields the batches from update `first` (counted from 0) on, without end. Returns the mean cost
/// since the last checkpoint.
///
/// # Errors
/// Bad features, a diverged loss, a full disk.
pub fn train<M: Model, B>(
    model: &M,
    plan: &Plan<'_>,
    batches: impl FnOnce(u64) -> B + Send,
    checkpoint: &Path,
    observer: &mut dyn Observer,
    around: &mut dyn Around,
) -> Result<f64, Error>
where
    B: Iterator<Item = Result<M::Batch, Error>>,
{
    let mut state = State {
        adam: Adam::new(model.params(), plan.adam),
        average: (plan.common.ema > 0.0).then(|| Average::new(model.params(), plan.common.ema)),
        recorder: Recorder::default(),
    };
    let first = resume(model, &mut state, checkpoint, observer);
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(DEPTH);
        scope.spawn(move || {
            for batch in batches(first).take(plan.total.saturating_sub(first) as usize) {
                let stop = batch.is_err();
                if sender.send(batch).is_err() || stop {
                    return;
                }
            }
        });
        let (mut losses, mut last) = (Losses::default(), f64::NAN);
        let mut reported = Instant::now();
        let mut step = first;
        for batch in &receiver {
            let batch = batch?;
            let seen = Step { number: step, params: model.params(), inputs: M::inputs(&batch) };
            let (mut batch, mut made) = (Some(batch), Ok(()));
            around.update(seen, &mut || {
                if let Some(batch) = batch.take() {
                    made = state.update(model, plan, batch, step).map(|terms| losses.waiting.push((step, terms)));
                }
            });
            made?;
            step += 1;
            let report = reported.elapsed() >= REPORT_EVERY || step == plan.total;
            let checkpointed = step.is_multiple_of(plan.checkpoint_every) || step == plan.total;
            if !report && !checkpointed {
                continue;
            }
            let mean = losses.read()?;
            if report {
                observer.observe(&Event::Progress { done: step, total: plan.total, loss: Some(mean) });
                reported = Instant::now();
            }
            if checkpointed {
                last = mean;
                losses = Losses::default();
                if step < plan.total {
                    save(model, &state, step, checkpoint)?;
                }
            }
        }
        if let Some(reason) = state.recorder.refused() {
            observer.observe(&Event::Note { text: format!("steps were launched one operator at a time: {reason}") });
        }
        if let Some(average) = &state.average {
            average.install(model.params());
        }
        // What the last update did, no loss has seen.
        let finite = |t: &Tensor| t.isfinite().all().int64_value(&[]) != 0;
        match model.params().entries().iter().find(|(_, t)| !finite(t)) {
            Some((name, _)) => Err(Error::Diverged { step, term: format!("weight {name}"), value: f64::NAN }),
            None => Ok(last),
        }
    })
}

/// The losses since the last checkpoint. They are read a few times a second and not once per update: who reads one waits for
/// the device, which then waits for the next update.
#[derive(Default)]
struct Losses {
    /// Updates (from 0) whose terms were not read yet.
    waiting: Vec<(u64, Terms)>,
    sum: f64,
    count: u32,
}

impl Losses {
    /// Reads what waits; the mean cost of all updates.
    fn read(&mut self) -> Result<f64, Error> {
        let waiting = std::mem::take(&mut self.waiting);
        let read = Terms::read_all(&waiting.iter().map(|(_, terms)| terms).collect::<Vec<_>>());
        for ((step, _), terms) in waiting.into_iter().zip(read) {
            if let Some((term, value)) = terms.iter().find(|(_, value)| !value.is_finite()) {
                return Err(Error::Diverged { step: step + 1, term: term.clone(), value: *value });
            }
            self.sum += terms.last().map_or(0.0, |(_, cost)| *cost);
            self.count += 1;
        }
        Ok(self.sum / f64::from(self.count))
    }
}

/// What a training carries from update to update beside the weights.
struct State {
    adam: Adam,
    average: Option<Average>,
    recorder: Recorder,
}

impl State {
    /// Makes update `step` (from 0); returns its terms.
    fn update<M: Model>(&mut self, model: &M, plan: &Plan<'_>, batch: M::Batch, step: u64) -> Result<Terms, Error> {
        let lr = learning_rate(plan.common, step, plan.total);
        let Self { adam, average, recorder } = self;
        let params = model.params();
        let inputs = match model.stage(batch) {
            Ok(inputs) => inputs,
            Err(batch) => {
                let mut gradients = Gradients::none(params);
                let mut terms = model.backward(batch, &mut gradients)?;
                clip(plan, &mut gradients, &mut terms);
                adam.step(params, &gradients, lr);
                average.iter().for_each(|average| average.update(params));
                return Ok(terms);
            }
        };
        let backward = |inputs: &[Tensor]| {
            let mut gradients = Gradients::none(params);
            let mut terms = model.backward_from(inputs, &mut gradients);
            clip(plan, &mut gradients, &mut terms);
            (terms, gradients)
        };
        Ok(recorder.update((params, adam, average.as_ref()), inputs, lr, backward))
    }
}

/// Clips the gradients where the plan asks for it, and tells their norm.
fn clip(plan: &Plan<'_>, gradients: &mut Gradients, terms: &mut Terms) {
    if plan.common.clip > 0.0 {
        terms.add_first("gradient norm", &gradients.clip(plan.common.clip));
    }
}

fn save<M: Model>(model: &M, state: &State, step: u64, path: &Path) -> Result<(), Error> {
    let params = model.params();
    let mut tensors = state.adam.state(params);
    tensors.extend(state.average.iter().flat_map(|a| a.state(params)));
    tensors.extend(params.entries().iter().map(|(name, t)| (format!("param.{name}"), t.shallow_clone())));
    tensors.extend(model.companions().into_iter().map(|(name, t)| (format!("{COMPANION}{name}"), t)));
    tensors.push((STEP_KEY.into(), Tensor::from_slice(&[step as i64])));
    // As bits: the file holds single precision. Never empty: an empty tensor has no address.
    let bits = |v: f64| v.to_bits().cast_signed();
    let memory: Vec<i64> = model.memory().into_iter().chain([0.0]).map(bits).collect();
    tensors.push((MEMORY_KEY.into(), Tensor::from_slice(&memory)));
    Ok(params::save_tensors(path, tensors.iter().map(|(n, t)| (n.as_str(), t)))?)
}

/// Takes over a checkpoint; returns the update to go on from. An unusable one is reported and left aside.
fn resume<M: Model>(model: &M, state: &mut State, path: &Path, observer: &mut dyn Observer) -> u64 {
    if !path.exists() {
        return 0;
    }
    match read_checkpoint(model, state, path) {
        Ok(step) => {
            observer.observe(&Event::Note { text: format!("resumed after {step} updates") });
            step
        }
        Err(error) => {
            observer.observe(&Event::Note { text: format!("checkpoint left aside: {error}") });
            0
        }
    }
}

fn read_checkpoint<M: Model>(model: &M, state: &mut State, path: &Path) -> Result<u64, params::Error> {
    let params = model.params();
    let tensors = params::read_tensors(path)?;
    let unreadable = |reason: &str| params::Error::Unreadable { path: path.display().to_string(), reason: reason.to_owned() };
    let find = |key: &str| tensors.iter().find(|(n, _)| n == key).map(|(_, t)| t);
    let step = find(STEP_KEY).ok_or_else(|| unreadable("it has no update count"))?.int64_value(&[0]);
    let memory = find(MEMORY_KEY).ok_or_else(|| unreadable("it has no memory of the losses"))?;
    let memory: Vec<i64> = Vec::try_from(memory).map_err(|_| unreadable("its memory of the losses is no list of numbers"))?;
    let weights = tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix("param.")?.to_owned(), t.shallow_clone()))).collect();
    // Nothing is changed before all of it is known to be there: a fresh start must find what it would have found.
    let mut adam = Adam::new(params, state.adam.options());
    if !adam.restore(params, &tensors) {
        return Err(unreadable("optimiser moments are missing"));
    }
    let average = match &state.average {
        Some(average) => Some(average.restored(params, &tensors).ok_or_else(|| unreadable("the average of the weights is missing"))?),
        None => None,
    };
    let companions = tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix(COMPANION)?.to_owned(), t.shallow_clone()))).collect();
    model.restore(companions)?;
    params.assign(&path.display().to_string(), weights)?;
    model.recall(&memory[..memory.len() - 1].iter().map(|v| f64::from_bits(v.cast_unsigned())).collect::<Vec<f64>>());
    *state = State { adam, average, recorder: Recorder::default() };
    Ok(step as u64)
}
