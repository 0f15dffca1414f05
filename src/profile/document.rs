//! A stored profile: what ran, where, what it used and what its network costs in theory. `etalon profile` writes it,
//! `etalon compare` and reports read it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::compute::Compute;
use super::machine::Fingerprint;
use super::metric::Metric;
use super::roofline::Roofline;
use super::summary::Summary;
use super::verdict::Verdict;

/// Version of the format. History: 1 the first.
pub const SCHEMA: u32 = 1;

/// A profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Version of this format.
    pub schema: u32,
    /// What ran.
    pub subject: Subject,
    /// Where: what must be equal for two profiles to be comparable.
    pub fingerprint: Fingerprint,
    /// Version and commit of the etalon that measured.
    pub etalon: String,
    /// RFC 3339, UTC.
    pub started: String,
    /// Seconds by the monotonic clock.
    pub wall_s: f64,
    /// How it ended: "exit 0", "signal 9".
    pub ended: String,
    /// What it used.
    #[serde(flatten)]
    pub usage: Summary,
    /// What held it up.
    pub verdict: Verdict,
    /// Seconds of each training step and each video detected in; `None` for what is no native model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// Theoretical compute, per activity; empty for what is no native model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compute: Vec<Compute>,
    /// Where the compute lies below the roofs of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roofline: Option<Roofline>,
}

/// What ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A program and its arguments.
    Command(Vec<String>),
    /// A process that ran already.
    Attached {
        /// Process identifier.
        pid: u32,
        /// Its command line.
        command: Vec<String>,
    },
    /// A model of an experiment.
    Model {
        /// Name of the experiment.
        experiment: String,
        /// Name of the model in it.
        model: String,
    },
}

/// Times of the repeated work of a native model, warm-up left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    /// Seconds of each training step.
    pub training_s: Vec<f64>,
    /// Seconds to detect in each video.
    pub detection_s: Vec<f64>,
    /// Seconds of video in each.
    pub video_s: Vec<f64>,
}

/// What the process of a profiled model is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NativeJob {
    /// Version of this format: 1.
    pub schema: u32,
    /// The resolved experiment.
    pub experiment: PathBuf,
    /// The model's name in it.
    pub model: String,
    /// Compute threads.
    pub threads: usize,
    /// Device, such as "cpu" or "cuda:0".
    pub device: String,
    /// Seed of weights and draws.
    pub seed: u64,
    /// Training steps that are not timed.
    pub warmup: u32,
    /// Training steps that are.
    pub steps: u32,
    /// Test videos that are detected in, at most.
    pub videos: usize,
}

/// What it gives back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NativeResult {
    /// Times.
    pub steps: Steps,
    /// Of a training step, and of the detection in a video.
    pub compute: Vec<Compute>,
    /// What the machine can do at most.
    pub peaks: Peaks,
}

/// What a machine can do at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// Floating-point operations per second of a large matrix product.
    pub flops: Metric,
    /// Bytes per second of a triad.
    pub bandwidth: Metric,
}
