//! The report as one HTML file without any external resource.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};

use super::{Artifact, Renderer};
use crate::report::figures::svg;
use crate::report::{Error, Page};

/// `report.html`.
pub struct Html;

const TEMPLATE: &str = include_str!("report.html.j2");

impl Renderer for Html {
    fn render(&self, page: &Page) -> Result<Vec<Artifact>, Error> {
        let document = &page.document;
        // The drawings are ours and escape their own text; everything else is escaped by the template.
        let figures = document.charts.iter().map(|c| Ok(Value::from_safe_string(svg::draw(c)?))).collect::<Result<Vec<_>, Error>>()?;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_template("report", TEMPLATE)?;
        let text = environment.get_template("report")?.render(context! {
            kicker => page.kicker.as_str(),
            title => page.title.as_str(),
            lead => page.lead.clone(),
            sections => Value::from(Serde(&document.sections)),
            figures,
        })?;
        Ok(vec![Artifact::new("report.html", text)])
    }
}
