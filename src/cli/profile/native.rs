//! `etalon profile EXPERIMENT --model NAME`: training steps and detections of a native model, in its own process.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::base::{fsio, origin};
use crate::profile::Compute;
use crate::profile::document::{JOB_SCHEMA, NativeJob, NativeResult, Peaks, Steps, Subject};
use crate::profile::machine;
use crate::profile::roofline::Roofline;
use crate::profile::session::{self, Finished, Plan};
use crate::run::{self, BAD_INPUT, Prepared, THREAD_VARIABLES, cell_program};
use crate::stats::median;

/// How much work is profiled.
#[derive(clap::Args)]
pub struct Work {
    /// Training steps that are timed.
    #[arg(long, default_value_t = 20, requires = "model")]
    steps: u64,
    /// Training steps before that.
    #[arg(long, default_value_t = 3, requires = "model")]
    warmup: u64,
    /// Test videos that are detected in, at most.
    #[arg(long, default_value_t = 20, requires = "model")]
    videos: usize,
    /// Compute threads; all usable cores by default.
    #[arg(long, requires = "model")]
    threads: Option<usize>,
    /// "cpu" or "cuda:N".
    #[arg(long, default_value = "cpu", requires = "model")]
    device: String,
}

/// What the model's process found out about itself.
pub struct Findings(NativeResult, Peaks);

impl Findings {
    /// Times, theoretical compute, and where both lie below the machine's peaks.
    pub fn parts(self) -> (Option<Steps>, Vec<Compute>, Option<Roofline>) {
        let Self(NativeResult { steps, compute }, peaks) = self;
        let times = [median(&steps.training_s), median(&steps.detection_s)];
        let roofline = Roofline::new(peaks, &compute.iter().zip(times).collect::<Vec<_>>());
        (Some(steps), compute, Some(roofline))
    }
}

/// Runs the model under the recorder.
///
/// # Errors
/// The experiment is wrong, has no such model, or the model's process fails.
pub fn profile(
    experiment: &Path,
    model: &str,
    work: &Work,
    plan: Plan,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<(Subject, Finished, Findings)> {
    let prepared = Prepared::open(experiment)?;
    prepared.model(model)?;
    let threads = work.threads.unwrap_or_else(machine::usable_cores);
    let peaks = peaks(threads, &work.device)?;
    let folder = std::env::temp_dir().join(format!("etalon-profile-{}", uuid::Uuid::new_v4().simple()));
    let guard = Removed(&folder);
    let resolved = folder.join("experiment.toml");
    fsio::replace(&resolved, prepared.experiment.resolved_toml().as_bytes())?;
    origin::note(&resolved, &origin::folder_of(experiment)?)?;
    let Work { steps, warmup, videos, .. } = *work;
    let job = NativeJob {
        schema: JOB_SCHEMA,
        experiment: resolved,
        model: model.to_owned(),
        threads,
        device: work.device.clone(),
        seed: 0,
        warmup,
        steps,
        videos,
    };
    let (path, log) = (folder.join("job.json"), folder.join("stderr.log"));
    fsio::replace(&path, &serde_json::to_vec_pretty(&job)?)?;
    let mut command = Command::new(cell_program());
    command.arg("profile").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(fsio::open_append(&log)?);
    for name in THREAD_VARIABLES {
        command.env(name, threads.to_string());
    }
    let finished = session::run(command, plan, stop)?;
    if !finished.status.is_some_and(|s| s.success()) {
        let words = fsio::read_text(&log).unwrap_or_default();
        let message = words.trim().trim_start_matches("error: ").to_owned();
        let error = match finished.status.and_then(|s| s.code()) {
            Some(BAD_INPUT) => anyhow::Error::new(run::Error::Input(message.into())),
            _ => anyhow::anyhow!("{message} ({})", session::describe(finished.status)),
        };
        return Err(error.context(format!("cannot profile {model}")));
    }
    let result = serde_json::from_slice(&fsio::read(&folder.join("result.json"))?).context("the model's process gave no result")?;
    drop(guard);
    let subject = Subject::Model { experiment: prepared.experiment.name.clone(), model: model.to_owned() };
    Ok((subject, finished, Findings(result, peaks)))
}

/// Measured beside the model's process, so that it leaves no mark in the profile.
fn peaks(threads: usize, device: &str) -> anyhow::Result<Peaks> {
    let output = Command::new(cell_program()).args(["peaks", &threads.to_string(), device]).output().context("cannot start etalon-cell")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("error: ").to_owned();
        return Err(run::Error::Input(words.into()).into());
    }
    serde_json::from_slice(&output.stdout).context("etalon-cell gave no peaks")
}

/// Takes a temporary folder away, whatever happens.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0);
    }
}
