//! A job for a child process in a temporary folder, run under the recorder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::base::{fsio, origin};
use crate::profile::session::{self, Finished, Plan};
use crate::run::attempt::last_words;
use crate::run::{self, BAD_INPUT, Prepared, THREAD_VARIABLES};

/// A folder that goes away with it, whatever happens.
pub struct Workplace(PathBuf);

impl Workplace {
    /// With the experiment in it, as cells read it.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn new(experiment: &Path, prepared: &Prepared) -> anyhow::Result<Self> {
        let place = Self(std::env::temp_dir().join(format!("etalon-profile-{}", uuid::Uuid::new_v4().simple())));
        fsio::replace(&place.experiment(), prepared.experiment.resolved_toml().as_bytes())?;
        origin::note(&place.experiment(), &origin::folder_of(experiment)?)?;
        Ok(place)
    }

    pub fn experiment(&self) -> PathBuf {
        self.0.join("experiment.toml")
    }

    /// Has `program` with the job as its last argument do it, and gives what it used.
    ///
    /// # Errors
    /// It cannot start, or it failed: its last words.
    pub fn run(
        &self,
        mut program: Command,
        job: &impl Serialize,
        threads: usize,
        plan: Plan,
        stop: &dyn Fn() -> bool,
    ) -> anyhow::Result<Finished> {
        let (path, log) = (self.0.join("job.json"), self.0.join("stderr.log"));
        fsio::replace(&path, &serde_json::to_vec_pretty(job)?)?;
        program.arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(fsio::open_append(&log)?);
        for name in THREAD_VARIABLES {
            program.env(name, threads.to_string());
        }
        let finished = session::run(program, plan, stop)?;
        if finished.status.is_some_and(|s| s.success()) {
            return Ok(finished);
        }
        let message = last_words(&log);
        Err(match finished.status.and_then(|s| s.code()) {
            Some(BAD_INPUT) => anyhow::Error::new(run::Error::Input(message.into())),
            _ => anyhow::anyhow!("{message} ({})", session::describe(finished.status)),
        })
    }

    /// The result that the job left.
    ///
    /// # Errors
    /// There is none.
    pub fn result(&self) -> anyhow::Result<Vec<u8>> {
        Ok(fsio::read(&self.0.join("result.json"))?)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
