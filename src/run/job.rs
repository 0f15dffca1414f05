//! What the parent tells the child (`job.json`) and what the child gives back (`result.json`), both in the attempt's folder.
//! `etalon-cell run …/attempts/2/job.json` repeats an attempt by hand.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::base::{Digest, Percent, fsio};
use crate::eval::Scores;
use crate::store::record::{DetectionFacts, SampleFacts, TrainingFacts};

/// Name of the job's file.
pub const JOB: &str = "job.json";

/// Name of the result's file.
pub const RESULT: &str = "result.json";

/// One attempt at one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Version of this format: 1.
    pub schema: u32,
    /// The resolved experiment in the store.
    pub experiment: PathBuf,
    /// The model's name in it.
    pub model: String,
    /// Share of the training videos.
    pub fraction: Percent,
    /// Seed of sample and training.
    pub seed: u64,
    /// Compute threads.
    pub threads: usize,
    /// Device, such as "cpu" or "cuda:0".
    pub device: String,
    /// Seconds since 1970 by which the attempt is stopped.
    #[serde(default)]
    pub deadline: Option<f64>,
}

/// What the child has made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// What was drawn.
    pub sample: SampleFacts,
    /// mAP on the test videos.
    pub scores: Scores,
    /// How the training went.
    pub training: TrainingFacts,
    /// What the detection took.
    pub detection: DetectionFacts,
    /// Digest of the detections.
    pub detections: Digest,
    /// Version of libtorch, where the model used it.
    pub libtorch: Option<String>,
    /// Sentences for the reader of the record.
    pub notes: Vec<String>,
}

impl Job {
    /// Reads a job.
    ///
    /// # Errors
    /// The file cannot be read or is no job.
    pub fn read(path: &Path) -> Result<Self> {
        read(path)
    }

    /// Writes the job into the attempt's folder. Returns the path.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, attempt_dir: &Path) -> Result<PathBuf> {
        write(attempt_dir.join(JOB), self)
    }
}

impl Made {
    /// Reads the result of an attempt.
    ///
    /// # Errors
    /// The file cannot be read or is no result.
    pub fn read(attempt_dir: &Path) -> Result<Self> {
        read(&attempt_dir.join(RESULT))
    }

    /// Writes the result into the attempt's folder.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, attempt_dir: &Path) -> Result<PathBuf> {
        write(attempt_dir.join(RESULT), self)
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fsio::read(path)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::BadJob { path: path.to_owned(), reason: e.to_string() })
}

fn write<T: Serialize>(path: PathBuf, value: &T) -> Result<PathBuf> {
    fsio::replace(&path, &serde_json::to_vec_pretty(value).expect("jobs and results are plain data"))?;
    Ok(path)
}
