//! What renderers turn into files: a document with its title, and its values for machines.

use super::document::Document;
use super::render::Artifact;
use super::{Error, Report};

/// A page before it has a form.
pub struct Page {
    /// A line above the title.
    pub(super) kicker: String,
    /// The title.
    pub(super) title: String,
    /// What was found, in sentences.
    pub(super) lead: Vec<String>,
    /// Everything else.
    pub(super) document: Document,
    /// The values as JSON.
    pub(super) json: String,
    /// Files that belong to it as they are.
    pub(super) files: Vec<Artifact>,
}

impl Page {
    /// The page of an experiment.
    ///
    /// # Errors
    /// The report cannot be written as JSON.
    pub fn of(report: &Report) -> Result<Self, Error> {
        let finished = report.manifest.iter().find(|f| f.name == "last cell finished").map_or("", |f| f.value.as_str());
        let (done, expected) = (report.completeness.done, report.completeness.expected);
        let when = if finished.is_empty() { String::new() } else { format!(" · {finished}") };
        Ok(Self {
            kicker: format!("learning from limited data · {done} of {expected} cells{when}"),
            title: report.experiment.clone(),
            lead: report.headline.clone(),
            document: Document::of(report),
            json: serde_json::to_string_pretty(report)?,
            files: vec![Artifact::new("experiment.toml", report.experiment_toml.clone())],
        })
    }

    /// The page with one more file beside it.
    pub fn with(mut self, file: Artifact) -> Self {
        self.files.push(file);
        self
    }
}
