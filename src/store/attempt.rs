//! One try at a cell and how it ended. A failed attempt is data: it stays in the store with its logs.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::lease::Claim;
use crate::event::Phase;

/// How an attempt ended: `attempts/<n>/outcome.json`, written by the parent process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// The record is published.
    Completed,
    /// The child gave up and said why.
    Failed {
        /// The stage it was in; `None` before the first one.
        stage: Option<Phase>,
        /// Its exit code.
        code: i32,
        /// Its last words.
        message: String,
    },
    /// It was stopped at the experiment's time limit.
    TimedOut {
        /// The limit in seconds.
        limit_s: f64,
    },
    /// A signal that etalon did not send: an abort, the out-of-memory killer.
    Killed {
        /// Its number.
        signal: i32,
        /// The stage it was in.
        stage: Option<Phase>,
    },
    /// The user stopped the run.
    Interrupted,
}

impl Outcome {
    /// Whether this counts against the allowed number of attempts: an interruption is nobody's fault.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Completed | Self::Interrupted)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => write!(f, "completed"),
            Self::Failed { message, .. } => write!(f, "{message}"),
            Self::TimedOut { limit_s } => write!(f, "stopped after {}; raise `limits.cell.time`", crate::base::units::seconds(*limit_s)),
            Self::Killed { signal: libc::SIGKILL, .. } => {
                write!(f, "killed (signal 9), probably for want of memory; run fewer cells at once with --jobs")
            }
            Self::Killed { signal, .. } => write!(f, "ended by signal {signal}"),
            Self::Interrupted => write!(f, "interrupted"),
        }
    }
}

/// Where an attempt stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Its holder is alive.
    Running,
    /// Its holder vanished without a word (power, kill -9); the next attempt resumes from its checkpoint.
    Lost,
    /// It ended.
    Ended(Outcome),
}

/// File in an attempt's folder: every reading of the sensors.
pub const TRACE: &str = "trace.jsonl.zst";

/// One attempt as the store knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Who made it.
    pub claim: Claim,
    /// Where it stands.
    pub state: State,
    /// `attempts/<n>`: logs, checkpoint, results. May not exist when the holder vanished early.
    pub dir: PathBuf,
}
