//! Why a comparison cannot be made.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::fsio;

/// One of the two things compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// What was.
    Baseline,
    /// What is to come.
    Candidate,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        })
    }
}

/// Why a comparison cannot be made. What makes two profiles not comparable is an outcome, not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// A configuration that cannot be used.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key and what to write instead.
        problem: String,
    },
    /// Settings that contradict each other or make no sense.
    #[error("{0}")]
    Settings(String),
    /// A command did not succeed.
    #[error("the {side} command failed ({ended}): {command}{}", last_lines(stderr))]
    Failed {
        /// Which.
        side: Side,
        /// The command.
        command: String,
        /// "exit 3", "signal 9".
        ended: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// A command cannot be started or waited for.
    #[error("cannot run the {side} command: {command}")]
    Launch {
        /// Which.
        side: Side,
        /// The command.
        command: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Valgrind is missing or says nothing.
    #[error("--instructions needs valgrind, {0}")]
    Valgrind(String),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}

fn last_lines(stderr: &str) -> String {
    if stderr.is_empty() { "\n  (nothing on standard error)".to_owned() } else { format!("\n  {}", stderr.replace('\n', "\n  ")) }
}
