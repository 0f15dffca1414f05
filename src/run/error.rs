//! Why an experiment or a cell cannot be run.

use std::io;
use std::path::PathBuf;

use crate::base::fsio;
use crate::{detectors, store};

/// Result of running.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, of the parent or of the child.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The experiment, its annotations or its features are wrong: the user can mend them.
    #[error(transparent)]
    Input(Box<dyn std::error::Error + Send + Sync>),
    /// The detector failed.
    #[error(transparent)]
    Detector(#[from] detectors::Error),
    /// A name the experiment does not have.
    #[error("the experiment has no model {name:?}; it has: {}", known.join(", "))]
    NoModel {
        /// What was asked for.
        name: String,
        /// What is there.
        known: Vec<String>,
    },
    /// What was asked for is not one thing, or nothing: says what there is.
    #[error("{0}")]
    Request(String),
    /// The child's program cannot be started.
    #[error("cannot start {}; it belongs beside `etalon`: build both with `make build`", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A child could not write into the store.
    #[error("{0}")]
    Unwritable(String),
    /// The child cannot be watched.
    #[error("cannot wait for process {pid}")]
    Wait {
        /// The child.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The handlers of Ctrl-C cannot be set.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// `job.json` is not one.
    #[error("{} is no job of this etalon: {reason}", path.display())]
    BadJob {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whose fault a failure is: decides the exit code and whether another attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The experiment or its data: another attempt fails in the same way.
    Input,
    /// The store or its disk.
    Store,
    /// Anything else.
    Other,
}

impl Error {
    /// For `map_err`: what the user gave is wrong.
    pub fn input(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Input(Box::new(error))
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Input(_)
            | Self::NoModel { .. }
            | Self::Request(_)
            | Self::Detector(
                detectors::Error::Features(_)
                | detectors::Error::Video(_)
                | detectors::Error::NoTorch(_)
                | detectors::Error::Input(_)
                | detectors::Error::Diverged { .. },
            ) => Fault::Input,
            Self::Store(_) | Self::File(_) | Self::Unwritable(_) | Self::Detector(detectors::Error::File(_)) => Fault::Store,
            _ => Fault::Other,
        }
    }
}
