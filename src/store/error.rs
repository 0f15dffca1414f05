//! Why a store cannot be used.

use std::path::{Path, PathBuf};

use crate::base::fsio;

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A store operation that failed. What was finished before stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The folder is something else.
    #[error("{} is not a store (it has no store.toml); name the folder of an earlier run, or for a new one an empty folder", path.display())]
    NotAStore {
        /// The folder given.
        path: PathBuf,
    },
    /// Written by a later etalon.
    #[error(
        "{} has store format {found}, and this etalon knows formats up to {known}; use a newer etalon, or another folder with --store",
        path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: String,
        /// The newest format known here.
        known: &'static str,
    },
    /// A file of the store is not what its name says.
    #[error("{} is damaged: {reason}; remove it (a cell without a record is run again) or restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store does not hold that experiment.
    #[error("{} has no experiment {digest}; it has: {}", path.display(), list(known))]
    UnknownExperiment {
        /// The store.
        path: PathBuf,
        /// What was asked for.
        digest: String,
        /// What is there.
        known: Vec<String>,
    },
}

impl Error {
    /// For `map_err`: the content of `path` cannot be understood.
    pub(super) fn damaged<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self + '_ {
        move |reason| Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
