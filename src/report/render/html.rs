//! The report as one HTML file without any external resource.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};

use super::{Artifact, Renderer};
use crate::report::document::Document;
use crate::report::figures::svg;
use crate::report::{Error, Report};

/// `report.html`.
pub struct Html;

const TEMPLATE: &str = include_str!("report.html.j2");

impl Renderer for Html {
    fn render(&self, report: &Report) -> Result<Vec<Artifact>, Error> {
        let document = Document::of(report);
        // The drawings are ours and escape their own text; everything else is escaped by the template.
        let figures = document.charts.iter().map(|c| Ok(Value::from_safe_string(svg::draw(c)?))).collect::<Result<Vec<_>, Error>>()?;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_template("report", TEMPLATE)?;
        let finished = report.manifest.iter().find(|f| f.name == "last cell finished").map_or("", |f| f.value.as_str());
        let text = environment.get_template("report")?.render(context! {
            experiment => report.experiment.as_str(),
            headline => report.headline.clone(),
            sections => Value::from(Serde(&document.sections)),
            figures,
            finished,
            done => report.completeness.done,
            expected => report.completeness.expected,
        })?;
        Ok(vec![Artifact::new("report.html", text)])
    }
}
