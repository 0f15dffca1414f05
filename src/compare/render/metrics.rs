//! The OpenMetrics text that GitLab's metrics report compares between branches.

use std::fmt::Write;

use crate::compare::document::Comparison;

/// A line per row: the candidate's value, named by the row.
pub fn metrics(comparison: &Comparison) -> String {
    let mut text = String::new();
    for row in &comparison.rows {
        if let Some(value) = row.candidate {
            let name = row.name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
            let _ = writeln!(text, "etalon{{comparison=\"{}\",metric=\"{name}\"}} {value}", comparison.id);
        }
    }
    text
}
