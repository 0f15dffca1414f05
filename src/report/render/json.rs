//! The report's values as JSON, for machines.

use super::{Artifact, Renderer};
use crate::report::{Error, Report};

/// `report.json` and, beside it, the experiment file itself.
pub struct Json;

impl Renderer for Json {
    fn render(&self, report: &Report) -> Result<Vec<Artifact>, Error> {
        let text = serde_json::to_string_pretty(report)? + "\n";
        Ok(vec![Artifact::new("report.json", text), Artifact::new("experiment.toml", report.experiment_toml.clone())])
    }
}
