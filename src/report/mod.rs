//! From records to a report: learning curves, forecasts, costs and everything needed to run it again.
//!
//! [`Stored::read`](source::Stored::read) gathers what a store holds, [`build`] turns it into a [`Report`] of typed
//! values without any markup, and a [`Renderer`] turns its [`Page`] into files' bytes; [`profiles::page`] makes a page of stored
//! profiles. Nothing here prints or writes.

pub mod build;
mod document;
mod efficiency;
mod end_to_end;
pub mod figures;
mod hardware;
pub mod model;
pub mod page;
mod pairs;
pub mod profiles;
pub mod records;
pub mod render;
pub mod source;

pub use build::build;
pub use model::Report;
pub use page::Page;
pub use render::{Artifact, Renderer};

#[cfg(test)]
mod example;

/// Why a report cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the store cannot be read.
    #[error(transparent)]
    File(#[from] crate::base::fsio::Error),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// A stored experiment is no TOML.
    #[error("{} is not TOML", path.display())]
    Experiment {
        /// The file.
        path: std::path::PathBuf,
        /// What the parser said.
        #[source]
        source: toml::de::Error,
    },
    /// A file of records cannot be used.
    #[error(transparent)]
    Records(#[from] records::Error),
    /// Detections are asked of a file of records.
    #[error("{} holds records without their detections: name the store they come from", path.display())]
    NoDetections {
        /// The file.
        path: std::path::PathBuf,
    },
    /// Nothing to report.
    #[error("{} holds no finished cell; run an experiment into it first (`etalon run EXPERIMENT --store {}`)", path.display(), path.display())]
    Empty {
        /// The store.
        path: std::path::PathBuf,
    },
    /// The experiment asked for is not there.
    #[error("{} holds no experiment {wanted:?}; it holds {known}", path.display())]
    NoExperiment {
        /// The store.
        path: std::path::PathBuf,
        /// Name or digest.
        wanted: String,
        /// What is there.
        known: String,
    },
    /// The template is broken.
    #[error("the report's template does not render")]
    Template(#[from] minijinja::Error),
    /// A figure cannot be drawn.
    #[error("figure {figure:?} cannot be drawn: {reason}")]
    Figure {
        /// Its identifier.
        figure: String,
        /// What the backend said.
        reason: String,
    },
    /// The report cannot be serialised.
    #[error("the report cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}
