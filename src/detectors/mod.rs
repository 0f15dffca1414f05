//! Detectors behind one trait: the native networks, commands of the user, the floor baseline.

#[cfg(feature = "torch")]
mod end_to_end;
pub mod external;
#[cfg(feature = "torch")]
pub mod extraction;
#[cfg(feature = "torch")]
pub mod native;
pub mod prior;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Arch, ModelConfig};
use crate::data::video::{self, VideoSource};
use crate::data::{Dataset, FeatureSource};
use crate::eval::Detections;
use crate::event::Observer;
use crate::protocol::settings::Budget;

/// What a detector is asked to do: train on `train`, later detect in `test`.
pub struct Job<'a> {
    /// The whole data set; a detector must only look at annotations of `train`.
    pub dataset: &'a Dataset,
    /// Features of every video, where the experiment has any.
    pub features: Option<&'a FeatureSource>,
    /// The videos, where the experiment has any.
    pub videos: Option<&'a VideoSource>,
    /// Sampled training videos.
    pub train: &'a [String],
    /// Test videos.
    pub test: &'a [String],
    /// Number of videos in the whole training part (what 100 % means), for the fixed-step budget.
    pub pool_size: usize,
    /// What is held equal between fractions.
    pub budget: Budget,
    /// Seed of every random stream.
    pub seed: u64,
    /// A folder this attempt alone writes; checkpoints go to `dir/checkpoint/`. A checkpoint found there is resumed from.
    pub dir: &'a Path,
    /// Compute threads.
    pub threads: usize,
    /// Device, such as "cpu" or "cuda:0".
    pub device: &'a str,
    /// Seconds since 1970 by which the attempt is stopped, where that is known.
    pub deadline: Option<f64>,
}

/// What training leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// Weights or table, inside the job's folder.
    pub artifact: PathBuf,
    /// Optimiser updates made (0 for a table).
    pub steps: u64,
    /// Passes over the sample (fractional under a fixed-step budget).
    pub epochs: f64,
    /// Trainable parameters, where the detector has them.
    pub parameters: Option<u64>,
    /// Mean loss over the last epoch, where there is one.
    pub final_loss: Option<f64>,
    /// Where the frames came from, for a detector that reads videos.
    pub frames: Option<FrameFacts>,
    /// What the reader of the record should know.
    pub notes: Vec<String>,
}

/// Frames of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameFacts {
    /// Seconds that the training stood still until frames came.
    pub waited_s: f64,
    /// Seconds of decoding, on threads beside the training.
    pub decode_s: f64,
    /// Frames decoded; the others came from the cache.
    pub decoded: u64,
}

/// A temporal action detector.
pub trait Detector {
    /// Learns from the job's training videos. Resumes from a checkpoint in the job's folder to the same result.
    ///
    /// # Errors
    /// Bad input, a diverged loss, or a failure of the backend.
    fn train(&self, job: &Job<'_>, observer: &mut dyn Observer) -> Result<Trained, Error>;

    /// Detects actions in `videos`.
    ///
    /// # Errors
    /// Bad input or a failure of the backend.
    fn detect(&self, job: &Job<'_>, trained: &Trained, videos: &[String], observer: &mut dyn Observer) -> Result<Detected, Error>;
}

/// What detection gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detected {
    /// Per video.
    pub detections: Detections,
    /// Multiply-accumulates of convolutions and matrix products that it took; `None` for what is no network.
    pub macs: Option<u64>,
    /// What the reader of the record should know.
    pub notes: Vec<String>,
}

/// Why a detector failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is bad: the user can mend it.
    #[error(transparent)]
    Features(#[from] crate::data::features::Error),
    /// A video is bad: the user can mend it.
    #[error(transparent)]
    Video(#[from] video::Error),
    /// A file could not be written or read.
    #[error(transparent)]
    File(#[from] crate::base::fsio::Error),
    /// What the user gave does not fit the model: another attempt fails in the same way.
    #[error("{0}")]
    Input(String),
    /// The model failed here, and need not fail again (no memory, above all).
    #[error("{0}")]
    Model(String),
    /// The loss stopped being a number.
    #[error("training diverged at step {step}: loss term `{term}` is {value}; lower `lr` or set `clip`")]
    Diverged {
        /// Update, from 1.
        step: u64,
        /// Name of the loss term.
        term: String,
        /// NaN or infinity.
        value: f64,
    },
    /// This build has no libtorch.
    #[error("model {0:?} needs libtorch, which this build leaves out; build with the default features (`make build`)")]
    NoTorch(String),
}

/// Makes the detector of a configuration: [`build`] or [`without_network`].
pub type Build = fn(&ModelConfig) -> Result<Box<dyn Detector>, Error>;

/// Builds the detector a configuration asks for.
///
/// # Errors
/// The model needs a backend that this build does not have.
pub fn build(config: &ModelConfig) -> Result<Box<dyn Detector>, Error> {
    #[cfg(feature = "torch")]
    let native = if config.encoder.is_some() { end_to_end::build(config) } else { native::build(config) };
    #[cfg(not(feature = "torch"))]
    let native: Option<Box<dyn Detector>> = None;
    native.map_or_else(|| without_network(config), Ok)
}

/// Builds a detector that is no network of etalon. A program that calls this alone is linked without libtorch.
///
/// # Errors
/// The model is a network.
pub fn without_network(config: &ModelConfig) -> Result<Box<dyn Detector>, Error> {
    match &config.arch {
        Arch::Prior(prior) => Ok(Box::new(prior::Prior::new(prior))),
        Arch::External(external) => Ok(Box::new(external::External::new(external))),
        network => Err(Error::NoTorch(format!("{network:?}").split('(').next().unwrap_or_default().to_lowercase())),
    }
}
