//! The bridge from jobs to the native networks.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Detected, Detector, Error, Job, Trained};
use crate::base::fsio;
use crate::config::ModelConfig;
use crate::config::experiment::{Labels as LabelSource, VideoScores};
use crate::data::FeatureSource;
use crate::event::Observer;
use crate::nn::failure::Failure;
pub use crate::nn::profile::Rounds;
use crate::nn::task::{Labels, Task};
use crate::nn::{self, models, params, peaks, runtime, train};
use crate::profile::Metric;
use crate::profile::document::{NativeResult, Peaks};
use crate::profile::metric::{Scope, Unit};
use crate::profile::roofline;
use crate::protocol::settings::Budget;

/// File of the trained weights inside the attempt's folder.
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const CHECKPOINT: &str = "checkpoint/state.safetensors";

/// The network that a configuration asks for; `None` when it asks for none.
pub fn build(config: &ModelConfig) -> Option<Box<dyn Detector>> {
    config.arch.common().is_some().then(|| Box::new(Native { config: config.clone() }) as Box<dyn Detector>)
}

/// What a device can do at most with so many threads.
///
/// # Errors
/// There is no such device.
pub fn peaks(threads: usize, device: &str) -> Result<Peaks, Error> {
    runtime::prepare(threads);
    let device = runtime::device(device).map_err(Error::Input)?;
    let bandwidth = if device.is_cuda() {
        Metric::unavailable(
            Unit::BytesPerSecond,
            Scope::Device,
            "the triad is measured on the CPU only; its data sheet names that of a GPU",
        )
    } else {
        roofline::bandwidth(threads)
    };
    guarded(|| Ok(Peaks { flops: peaks::flops(device), bandwidth }))
}

/// What the network of `config` costs on the videos of `job`. The weights start as in a training.
///
/// # Errors
/// As those of a training and of detection; a model without a network.
pub fn profile(config: &ModelConfig, job: &Job<'_>, rounds: Rounds<'_>, observer: &mut dyn Observer) -> Result<NativeResult, Error> {
    if config.encoder.is_some() {
        let instead = "is not profiled yet: profile the run of its cell, `etalon profile -- etalon-cell run …/job.json`";
        return Err(Error::Input(format!("a model with an encoder {instead}")));
    }
    runtime::prepare(job.threads);
    let native = Native { config: config.clone() };
    guarded(|| {
        let mut task = native.task(job)?;
        config.init.as_deref().map(|path| task.start_from(path)).transpose()?;
        let (steps, compute) = nn::profile::measure(task, rounds, &job.dir.join(CHECKPOINT), observer)?;
        Ok(NativeResult { steps, compute })
    })
}

struct Native {
    config: ModelConfig,
}

impl Native {
    fn task<'a>(&self, job: &Job<'a>) -> Result<Task<'a>, Error> {
        let features =
            job.features.ok_or_else(|| Error::Input("the experiment has no `dataset.features` for this model to read".into()))?;
        task(&self.config, job, features)
    }
}

/// The network of `config` on `features`.
pub(super) fn task<'a>(config: &ModelConfig, job: &Job<'a>, features: &'a FeatureSource) -> Result<Task<'a>, Error> {
    let device = runtime::device(job.device).map_err(Error::Input)?;
    let labels = match (&config.labels, &config.video_scores) {
        (LabelSource::External, Some(scores)) => {
            Labels::External { scores: read_video_scores(scores, &job.dataset.classes)?, top: scores.top }
        }
        _ => Labels::Network(job.dataset.classes.len()),
    };
    let arch = &config.arch;
    let (Some(common), Some(conventions)) = (arch.common(), models::conventions(arch)) else {
        unreachable!("a native detector is built for a network only")
    };
    Ok(Task::new(common, conventions, (job.dataset, features), labels, (job.seed, device), |params, channels, classes| {
        models::build(arch, params, channels, classes).expect("conventions exist")
    }))
}

/// Sentences for the record on what the network knew before it saw the sample.
pub(super) fn origin_notes(config: &ModelConfig, started: Option<String>, steps: u64) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(started) = started {
        let updates = if steps == 0 { " and are used as they are" } else { "" };
        notes.push(format!(
            "{started}{updates}: class i of theirs is taken for class i of the data set; what they have seen before, beyond this sample, shows in the score"
        ));
    }
    if let Some(scores) = config.video_scores.as_ref().filter(|_| config.labels == LabelSource::External) {
        notes.push(format!(
            "class labels come from video-level scores in {}: if their classifier saw more data than this sample, the score leaks it",
            scores.path.display()
        ));
    }
    notes
}

impl Detector for Native {
    fn train(&self, job: &Job<'_>, observer: &mut dyn Observer) -> Result<Trained, Error> {
        runtime::prepare(job.threads);
        guarded(|| {
            let mut task = self.task(job)?;
            let started = self.config.init.as_deref().map(|path| task.start_from(path)).transpose()?;
            let fixed_steps = job.budget == Budget::Steps;
            let outcome = task.train(job.train, job.seed, fixed_steps, &job.dir.join(CHECKPOINT), observer)?;
            let artifact = job.dir.join(WEIGHTS);
            task.save(&artifact)?;
            let mut notes = outcome.notes;
            notes.extend(origin_notes(&self.config, started, outcome.steps));
            Ok(Trained {
                artifact,
                steps: outcome.steps,
                epochs: outcome.epochs,
                parameters: Some(task.parameter_count()),
                final_loss: Some(outcome.final_loss).filter(|l| l.is_finite()),
                frames: None,
                notes,
            })
        })
    }

    fn detect(&self, job: &Job<'_>, trained: &Trained, videos: &[String], observer: &mut dyn Observer) -> Result<Detected, Error> {
        runtime::prepare(job.threads);
        guarded(|| {
            let mut task = self.task(job)?;
            task.load(&trained.artifact)?;
            let (detections, macs) = task.detect(videos, observer)?;
            Ok(Detected { detections, macs: Some(macs), ..Detected::default() })
        })
    }
}

/// libtorch reports failures (out of memory above all) by unwinding through tch; the work shall fail with the message. The frames
/// are on standard error, which is the log of a cell.
///
/// # Errors
/// Those of `work`, or [`Error::Model`] when libtorch fails in it.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let Failure { what, remedy } = Failure::of(&text.unwrap_or_default());
        Err(Error::Model(format!("libtorch failed: {what}; {remedy}")))
    })
}

/// Reads `{ "video": { "class": score } }` into one list per video in class order; a class without a score has 0.
fn read_video_scores(scores: &VideoScores, classes: &[String]) -> Result<BTreeMap<String, Vec<f64>>, Error> {
    let path = scores.path.display();
    let text = fsio::read_text(&scores.path)?;
    let table: BTreeMap<String, BTreeMap<String, f64>> = serde_json::from_str(&text)
        .map_err(|e| Error::Input(format!("video-level scores {path} are not of the form {{video: {{class: score}}}}: {e}")))?;
    let mut by_video = BTreeMap::new();
    for (video, given) in table {
        if let Some(unknown) = given.keys().find(|c| !classes.contains(c)) {
            return Err(Error::Input(format!(
                "video-level scores {path}: video {video:?} has the unknown class {unknown:?}; use the names of the annotations"
            )));
        }
        by_video.insert(video, classes.iter().map(|c| given.get(c).copied().unwrap_or(0.0)).collect());
    }
    Ok(by_video)
}

impl From<params::Error> for Error {
    fn from(error: params::Error) -> Self {
        match error {
            params::Error::File(e) => Self::File(e),
            other => Self::Input(other.to_string()),
        }
    }
}

impl From<train::Error> for Error {
    fn from(error: train::Error) -> Self {
        match error {
            train::Error::Features(e) => Self::Features(e),
            train::Error::Video(e) => Self::Video(e),
            train::Error::Params(e) => e.into(),
            train::Error::Diverged { step, term, value } => Self::Diverged { step, term, value },
            other @ (train::Error::NoInstance(_) | train::Error::TooLong { .. }) => Self::Input(other.to_string()),
        }
    }
}
