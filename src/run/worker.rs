//! Works through a list of cells, several at once, sharing the store with any other worker on it. Each result is on disk
//! before the next cell begins.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::attempt;
use super::error::{Error, Result};
use super::stop::Stop;
use super::trainer::Trainer;
use super::watch::{Happening, Watch};
use crate::base::Digest;
use crate::config::experiment::{CellLimits, ProfileConfig};
use crate::profile::Machine;
use crate::protocol::Cell;
use crate::store::{Attempt, Granted, Outcome, PlannedCell, State, Store};

/// Pause before a cell that another worker holds is looked at again.
const BUSY_PAUSE: Duration = Duration::from_millis(300);

/// The child's exit code for bad input (see the command line's exit codes).
pub const BAD_INPUT: i32 = 6;

/// Variables that tell numeric libraries how many threads to use.
pub const THREAD_VARIABLES: [&str; 4] = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"];

/// The child's exit code when it could not write into the store: no other cell could either.
const UNWRITABLE: i32 = 8;

/// Everything a run needs.
pub struct Worker<'a> {
    /// Where results go.
    pub store: &'a Store,
    /// The resolved experiment in it.
    pub experiment: &'a Digest,
    /// Time and attempts per cell.
    pub limits: &'a CellLimits,
    /// The user's trainers, by model.
    pub trainers: &'a BTreeMap<String, Trainer>,
    /// What is measured meanwhile.
    pub profile: &'a ProfileConfig,
    /// Where it runs.
    pub machine: &'a Machine,
    /// The child's program.
    pub program: PathBuf,
    /// Cells at once, on all devices together.
    pub jobs: usize,
    /// Compute threads per cell.
    pub threads: usize,
    /// Devices, such as "cpu" or "cuda:0": the cells are spread over them.
    pub devices: &'a [String],
    /// The wish to stop.
    pub stop: &'a Stop,
    /// Who is told.
    pub watch: &'a dyn Watch,
}

/// The child's program: `etalon-cell` beside this one.
pub fn cell_program() -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name("etalon-cell")
}

/// This program as the child of a cell without a network: it loads no libtorch, and so starts in less time and memory.
pub fn own_cell() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap_or_default());
    command.arg("cell");
    command
}

/// A cell that failed, and the attempt to look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailedCell {
    /// Which.
    #[serde(flatten)]
    pub cell: PlannedCell,
    /// Attempts of all runs.
    pub attempts: usize,
    /// How the last one ended.
    pub message: String,
    /// Its log.
    pub log: PathBuf,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Cells done by this run.
    pub done: usize,
    /// Cells that were done before, or by another worker meanwhile.
    pub found: usize,
    /// Cells that failed in this run.
    pub failed: Vec<FailedCell>,
    /// Cells not reached because the run was stopped.
    pub left: usize,
}

impl Worker<'_> {
    /// Runs the cells that have no record. Cells that another worker holds are waited for, so that every cell is done or
    /// has failed when this returns, unless it was stopped.
    ///
    /// # Errors
    /// The store or the child's program cannot be used; running children are stopped, finished cells stay.
    pub fn run(&self, cells: &[Cell]) -> Result<Tally> {
        let began = Timestamp::now();
        let work = Mutex::new((cells.iter().collect::<VecDeque<_>>(), Tally::default()));
        let slots = self.jobs.clamp(1, cells.len().max(1));
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .devices
                .iter()
                .cycle()
                .take(slots)
                .map(|device| scope.spawn(|| self.slot(device, &work, began).inspect_err(|_| self.stop.request())))
                .collect();
            threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let (queue, mut tally) = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.left = queue.len();
        Ok(tally)
    }

    /// One of the `jobs` threads: takes cells off the queue until it is empty.
    fn slot(&self, device: &str, work: &Mutex<(VecDeque<&Cell>, Tally)>, began: Timestamp) -> Result<()> {
        let lock = || work.lock().unwrap_or_else(PoisonError::into_inner);
        // Cells in a row that others hold: only when that is all that is left is there nothing to do but wait.
        let mut busy = 0;
        while !self.stop.requested() {
            let Some(cell) = lock().0.pop_front() else { break };
            let step = self.advance(cell, device, began)?;
            busy = if matches!(step, Step::Busy) { busy + 1 } else { 0 };
            match step {
                Step::Done => lock().1.done += 1,
                Step::Found => {
                    self.watch.watch(cell, Happening::AlreadyDone);
                    lock().1.found += 1;
                }
                Step::Again => lock().0.push_front(cell),
                Step::Busy => {
                    let waiting = {
                        let queue = &mut lock().0;
                        queue.push_back(cell);
                        queue.len()
                    };
                    if busy >= waiting {
                        std::thread::sleep(BUSY_PAUSE);
                    }
                }
                Step::Failed(failed) => {
                    self.watch.watch(cell, Happening::Failed);
                    lock().1.failed.push(failed);
                }
            }
        }
        Ok(())
    }

    /// Brings one cell one step further.
    fn advance(&self, cell: &Cell, device: &str, began: Timestamp) -> Result<Step> {
        if self.store.is_done(&cell.key) {
            return Ok(Step::Found);
        }
        let attempts = self.store.attempts(&cell.key)?;
        if let Some(failed) = self.given_up(cell, &attempts, began) {
            return Ok(Step::Failed(failed));
        }
        let lease = match self.store.claim(cell)? {
            Granted::Lease(lease) => lease,
            Granted::Busy(_) => return Ok(Step::Busy),
            Granted::Done => return Ok(Step::Found),
        };
        let outcome = attempt::run(self, cell, device, lease)?;
        match &outcome {
            Outcome::Completed => return Ok(Step::Done),
            Outcome::Failed { code: UNWRITABLE, message, .. } => return Err(Error::Unwritable(message.clone())),
            Outcome::Interrupted => self.watch.watch(cell, Happening::Interrupted),
            failure => self.watch.watch(cell, Happening::AttemptFailed(failure)),
        }
        Ok(Step::Again)
    }

    /// The failure, when nobody should try again in this run. Only attempts made since it began count, by any worker:
    /// running again is the user's way of saying that the cause is mended.
    fn given_up(&self, cell: &Cell, attempts: &[Attempt], began: Timestamp) -> Option<FailedCell> {
        let recent = attempts.iter().filter(|a| a.claim.started >= began);
        let failures: Vec<_> = recent.filter_map(|a| ended(a).filter(|o| o.is_failure()).map(|o| (a, o))).collect();
        let (last, outcome) = failures.last()?;
        let hopeless = matches!(outcome, Outcome::Failed { code: BAD_INPUT, .. });
        (hopeless || failures.len() >= self.limits.attempts.max(1) as usize).then(|| FailedCell {
            cell: cell.into(),
            attempts: attempts.len(),
            message: outcome.to_string(),
            log: last.dir.join("stderr.log"),
        })
    }
}

/// What became of a cell.
enum Step {
    Done,
    Found,
    Again,
    Busy,
    Failed(FailedCell),
}

fn ended(attempt: &Attempt) -> Option<&Outcome> {
    match &attempt.state {
        State::Ended(outcome) => Some(outcome),
        State::Running | State::Lost => None,
    }
}
