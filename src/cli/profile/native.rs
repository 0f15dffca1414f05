//! `etalon profile EXPERIMENT --model NAME`: training steps and detections of a native model, in its own process.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::job::Workplace;
use crate::profile::Compute;
use crate::profile::document::{JOB_SCHEMA, NativeJob, NativeResult, Peaks, Steps};
use crate::profile::machine;
use crate::profile::roofline::Roofline;
use crate::profile::session::{Finished, Plan};
use crate::run::{self, Prepared, cell_program};
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
    pub(super) threads: Option<usize>,
    /// "cpu" or "cuda:N".
    #[arg(long, default_value = "cpu", requires = "model")]
    pub(super) device: String,
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
/// The model's process fails.
pub fn profile(
    experiment: &Path,
    prepared: &Prepared,
    model: &str,
    work: &Work,
    plan: Plan,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<(Finished, Findings)> {
    let threads = work.threads.unwrap_or_else(machine::usable_cores);
    let peaks = peaks(threads, &work.device)?;
    let place = Workplace::new(experiment, prepared)?;
    let Work { steps, warmup, videos, .. } = *work;
    let job = NativeJob {
        schema: JOB_SCHEMA,
        experiment: place.experiment(),
        model: model.to_owned(),
        threads,
        device: work.device.clone(),
        seed: 0,
        warmup,
        steps,
        videos,
    };
    let mut cell = Command::new(cell_program());
    cell.arg("profile");
    let finished = place.run(cell, &job, threads, plan, stop).map_err(|error| error.context(format!("cannot profile {model}")))?;
    let result = serde_json::from_slice(&place.result()?).context("the model's process gave no result")?;
    Ok((finished, Findings(result, peaks)))
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
