//! The right to make the next attempt at a cell. A claim is published under the next number and never removed: numbers
//! only grow, so a holder that was wrongly believed dead is superseded, and the record is still published once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attempt::Outcome;
use super::error::{Error, Result};
use super::record::Record;
use crate::base::fsio::{self, Published};
use crate::profile::process::{self, Stat};

/// A holder on another machine that has not touched its claim for this long is taken for dead.
pub const STALE_AFTER: Duration = Duration::from_secs(120);

/// How often a holder touches its claim.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// Who holds an attempt: `claims/<n>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Version of this format: 1.
    pub schema: u32,
    /// Host name, for people.
    pub host: String,
    /// Boot and process namespace in which `pid` means something.
    pub namespace: String,
    /// The parent process.
    pub pid: u32,
    /// Its start in clock ticks since boot: tells it from a later process of the same number.
    pub pid_started: u64,
    /// When.
    pub started: Timestamp,
}

impl Claim {
    /// A claim of this process, made now.
    pub fn of_this_process() -> Self {
        let pid = std::process::id();
        Self {
            schema: 1,
            host: std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".into(), |h| h.trim().to_owned()),
            namespace: process::namespace(),
            pid,
            pid_started: Stat::of(pid).map_or(0, |s| s.started),
            started: Timestamp::now(),
        }
    }

    /// Whether the holder lives. In our own namespace the process table tells at once; elsewhere the heartbeat's age does,
    /// measured against a file touched now in the same folder: the file server's clock, not ours.
    pub(super) fn is_live(&self, path: &Path) -> Result<bool> {
        if self.namespace == process::namespace() {
            return Ok(Stat::of(self.pid).is_some_and(|s| s.alive && s.started == self.pid_started));
        }
        let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).map_err(fsio::Error::wrap("read", path));
        let probe = path.with_file_name(format!(".probe.{}", uuid::Uuid::new_v4().simple()));
        fsio::touch(&probe)?;
        let now = modified(&probe);
        // Never read again; a leftover is harmless.
        let _ = std::fs::remove_file(&probe);
        Ok(now?.duration_since(modified(path)?).unwrap_or_default() < STALE_AFTER)
    }
}

/// The answer to asking for a cell.
#[derive(Debug)]
pub enum Granted {
    /// The right to make an attempt.
    Lease(Lease),
    /// Somebody else is at it.
    Busy(Claim),
    /// The cell has its record.
    Done,
}

/// An open attempt. Dropping it without ending it is what a crash does: the attempt is then lost and the next one resumes.
#[derive(Debug)]
pub struct Lease {
    cell: PathBuf,
    attempt: u32,
    claim: Claim,
}

impl Lease {
    pub(super) fn new(cell: PathBuf, attempt: u32, claim: Claim) -> Self {
        Self { cell, attempt, claim }
    }

    /// Number of the attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Who holds it and since when.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The folder of the attempt.
    pub fn dir(&self) -> PathBuf {
        self.cell.join("attempts").join(self.attempt.to_string())
    }

    /// Creates the attempt's folder with the checkpoint of the newest earlier attempt that has one. Returns the number of
    /// that attempt.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn prepare(&self) -> Result<Option<u32>> {
        let dir = self.dir();
        fsio::create_dir(&dir)?;
        let earlier = (1..self.attempt).rev().map(|n| (n, self.checkpoint_of(n))).find(|(_, folder)| folder.is_dir());
        let Some((number, folder)) = earlier else { return Ok(None) };
        fsio::copy_folder(&folder, &dir.join("checkpoint"))?;
        Ok(Some(number))
    }

    /// Says that the holder lives.
    ///
    /// # Errors
    /// The claim cannot be touched.
    pub fn heartbeat(&self) -> Result<()> {
        Ok(fsio::touch(&self.cell.join("claims").join(format!("{}.json", self.attempt)))?)
    }

    /// Ends the attempt without a record.
    ///
    /// # Errors
    /// The disk refuses; the attempt is then lost, which the next one repairs.
    pub fn end(self, outcome: &Outcome) -> Result<()> {
        self.write_outcome(outcome)
    }

    /// Publishes the record and ends the attempt. Earlier attempts' checkpoints, of no more use, are removed.
    ///
    /// # Errors
    /// The disk refuses; the cell is then not done.
    pub fn complete(self, record: &Record) -> Result<Published> {
        let text = serde_json::to_vec_pretty(record).expect("a record is plain data");
        let published = fsio::publish_new(&self.cell.join("record.json"), &text)?;
        self.write_outcome(&Outcome::Completed)?;
        for number in 1..self.attempt {
            // Only disk space is at stake.
            let _ = std::fs::remove_dir_all(self.checkpoint_of(number));
        }
        Ok(published)
    }

    fn checkpoint_of(&self, attempt: u32) -> PathBuf {
        self.cell.join("attempts").join(attempt.to_string()).join("checkpoint")
    }

    fn write_outcome(&self, outcome: &Outcome) -> Result<()> {
        let text = serde_json::to_vec_pretty(outcome).expect("an outcome is plain data");
        match fsio::publish_new(&self.dir().join("outcome.json"), &text)? {
            Published::New => Ok(()),
            Published::AlreadyThere => {
                Err(Error::Damaged { path: self.dir().join("outcome.json"), reason: "an attempt ended twice".to_owned() })
            }
        }
    }
}
