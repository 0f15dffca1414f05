//! A stored profile: what ran, where, what it used and what its network costs in theory. `etalon profile` writes it,
//! `etalon compare` and reports read it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::compute::Compute;
use super::machine::Fingerprint;
use super::metric::Metric;
use super::roofline::Roofline;
use super::summary::Summary;
use super::verdict::Verdict;
use crate::base::fsio;

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

/// Why a profile cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// It is something else.
    #[error("{} is no profile of etalon: make one with `etalon profile --out`", path.display())]
    NoProfile {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A later etalon wrote it.
    #[error("{} has schema {found}, newer than {SCHEMA}: read it with the etalon that wrote it", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

impl Profile {
    /// Reads a stored profile.
    ///
    /// # Errors
    /// The file cannot be read, is no profile, or a newer one.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = fsio::read(path)?;
        let no_profile = |source| Error::NoProfile { path: path.to_owned(), source };
        // The version first: what follows may mean something else in a later one.
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(no_profile)?;
        if let Some(found) = value["schema"].as_u64().filter(|&found| found > u64::from(SCHEMA)) {
            return Err(Error::Newer { path: path.to_owned(), found });
        }
        serde_json::from_value(value).map_err(no_profile)
    }

    /// Where the trace of the profile at `path` lies: `p.json` to `p.trace.jsonl.zst`.
    pub fn trace_path(path: &Path) -> PathBuf {
        path.with_extension("trace.jsonl.zst")
    }
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

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(words) => f.write_str(&words.join(" ")),
            Self::Attached { pid, command } => write!(f, "process {pid} ({})", command.join(" ")),
            Self::Model { experiment, model } => write!(f, "{model} on {experiment}"),
        }
    }
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

impl Steps {
    /// Seconds of video that are detected in per second; `None` when nothing was.
    pub fn times_real_time(&self) -> Option<f64> {
        let (took, lasted): (f64, f64) = (self.detection_s.iter().sum(), self.video_s.iter().sum());
        (took > 0.0).then(|| lasted / took)
    }
}

/// Version of [`NativeJob`].
pub const JOB_SCHEMA: u32 = 1;

/// What `etalon-cell profile JOB.json` is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeJob {
    /// Version of this format: [`JOB_SCHEMA`].
    pub schema: u32,
    /// The resolved experiment.
    pub experiment: PathBuf,
    /// The model's name in it.
    pub model: String,
    /// Compute threads.
    pub threads: usize,
    /// Device, such as "cpu" or "cuda:0".
    pub device: String,
    /// Seed of the weights and of the order of the training.
    pub seed: u64,
    /// Updates before the first timed one.
    pub warmup: u64,
    /// Timed updates; at least 1.
    pub steps: u64,
    /// Test videos to detect in at most, after one that is not timed; at least 1.
    pub videos: usize,
}

/// What `etalon-cell profile` writes as `result.json` beside its job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NativeResult {
    /// Seconds of each timed update and video.
    pub steps: Steps,
    /// A training step, then the detection in one video; counted apart from the timed ones.
    pub compute: Vec<Compute>,
}

/// What a machine can do at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peaks {
    /// FLOP per second of a large float32 matrix product.
    pub flops: Metric,
    /// Bytes per second of a triad on arrays that no cache holds.
    pub bandwidth: Metric,
}
