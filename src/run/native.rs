//! The profile of a native model in its own process: load, updates, detection.

use std::path::Path;

use super::error::{Error, Result};
use super::job::RESULT;
use super::prepare::Prepared;
use crate::base::fsio;
use crate::detectors::native::Rounds;
use crate::detectors::{self, native};
use crate::event::{Event, Observer, Phase};
use crate::profile::document::{JOB_SCHEMA, NativeJob};

/// Makes the profile that the job in `path` asks for, and writes `result.json` beside it.
///
/// # Errors
/// Bad input (a model without a network, above all), a failure of the network, or of the disk. A result exists only on success.
pub fn run(path: &Path, observer: &mut dyn Observer) -> Result<()> {
    let job = read(path)?;
    let dir = path.parent().unwrap_or(Path::new("."));

    observer.observe(&Event::Phase { phase: Phase::Load });
    let prepared = Prepared::open(&job.experiment)?;
    let config = prepared.model(&job.model)?;
    if config.arch.common().is_none() {
        let reason =
            format!("model {:?} has no network of etalon, so that there is no profile of it to make; name another with --model", job.model);
        return Err(Error::Request(reason));
    }
    let split = &prepared.split;
    let work = detectors::Job { threads: job.threads, device: &job.device, ..prepared.work(&split.train, job.seed, dir) };
    let NativeJob { seed, warmup, steps, videos, .. } = job;
    let rounds = Rounds { train: &split.train, test: &split.test, seed, warmup, steps, videos };
    let result = native::profile(config, &work, rounds, observer)?;
    fsio::replace(&dir.join(RESULT), &serde_json::to_vec_pretty(&result).expect("a result is plain data"))?;
    Ok(())
}

fn read(path: &Path) -> Result<NativeJob> {
    let bad = |reason: String| Error::BadJob { path: path.to_owned(), reason };
    let job: NativeJob = serde_json::from_slice(&fsio::read(path)?).map_err(|e| bad(e.to_string()))?;
    match job {
        NativeJob { schema, .. } if schema != JOB_SCHEMA => {
            Err(bad(format!("`schema` is {schema}, and this etalon reads {JOB_SCHEMA}; use the same etalon for both")))
        }
        NativeJob { threads: 0, .. } => Err(bad("`threads` is 0; use at least 1".into())),
        NativeJob { steps: 0, .. } => Err(bad("`steps` is 0; use at least 1".into())),
        NativeJob { videos: 0, .. } => Err(bad("`videos` is 0; use at least 1".into())),
        job => Ok(job),
    }
}
