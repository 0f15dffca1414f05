//! The report's values as JSON, for machines.

use super::{Artifact, Renderer};
use crate::report::{Error, Page};

/// `report.json` and the files that belong to the page.
pub struct Json;

impl Renderer for Json {
    fn render(&self, page: &Page) -> Result<Vec<Artifact>, Error> {
        let values = Artifact::new(
            "report.json",
            format!(
                "{}
",
                page.json
            ),
        );
        Ok(std::iter::once(values).chain(page.files.iter().cloned()).collect())
    }
}
