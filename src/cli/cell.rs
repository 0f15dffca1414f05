//! A cell as the child of a run or of a profile: in `etalon-cell`, and for trainers of the user in `etalon` itself.

use std::path::{Path, PathBuf};

use super::Exit;
use crate::detectors::{self, Build};
use crate::event::Observer;
use crate::profile::session::Phases;
use crate::run::cell::{self, JsonLines};

/// Run one attempt at a cell.
#[derive(clap::Args)]
pub struct Args {
    /// Whom it tells how far it is.
    #[arg(value_enum)]
    verb: Verb,
    /// The attempt's `job.json`.
    job: PathBuf,
}

/// Whom a cell tells how far it is.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Verb {
    /// The run that started it, by lines of JSON.
    Run,
    /// The session that records it.
    Measure,
}

/// Runs the attempt at a cell of a trainer of the user: this program loads no libtorch.
///
/// # Errors
/// Bad input, a failure of the detector, or of the disk.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    attempt(args.verb, &args.job, detectors::without_network)
}

/// Runs the attempt that `job` describes with the detector that `build` makes.
///
/// # Errors
/// As [`run`].
pub fn attempt(verb: Verb, job: &Path, build: Build) -> anyhow::Result<Exit> {
    let mut observer: Box<dyn Observer> = match verb {
        Verb::Run => Box::new(JsonLines(std::io::stdout())),
        Verb::Measure => phases(),
    };
    cell::run(job, build, &mut *observer).map(|()| Exit::Done).map_err(Into::into)
}

/// Phases go to the session that records this program, where there is one.
pub fn phases() -> Box<dyn Observer> {
    match Phases::offered() {
        Some(phases) => Box::new(phases),
        None => Box::new(JsonLines(std::io::stdout())),
    }
}
