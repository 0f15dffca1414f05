//! How verbs talk to the user: text or one JSON document, colour and progress only on a terminal.

use std::io::{IsTerminal, Write};

use serde::Serialize;

/// The user's choices about output.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    /// One JSON document on standard output.
    pub json: bool,
    /// Results and errors only.
    pub quiet: bool,
    /// Standard error is a terminal: progress bars may be drawn.
    pub live: bool,
}

impl Ui {
    /// Reads what the streams are.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, live: !quiet && std::io::stderr().is_terminal() }
    }

    /// A line of the result on standard output. A closed pipe is no error.
    pub fn line(&self, text: impl AsRef<str>) {
        let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
    }

    /// The result as a JSON document.
    ///
    /// # Errors
    /// The value cannot be serialised.
    pub fn json<T: Serialize>(&self, value: &T) -> anyhow::Result<()> {
        self.line(serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// A remark on standard error, unless quiet.
    pub fn remark(&self, text: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
        }
    }
}

/// A function as an observer.
#[cfg(feature = "torch")]
pub struct Observed<F>(pub F);

#[cfg(feature = "torch")]
impl<F: FnMut(&crate::event::Event)> crate::event::Observer for Observed<F> {
    fn observe(&mut self, event: &crate::event::Event) {
        (self.0)(event);
    }
}

/// An empty table for people: no lines, the first column to the left, numbers to the right.
pub fn table(header: &[&str]) -> comfy_table::Table {
    use comfy_table::{CellAlignment, Table, presets};
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The error and its causes on standard error, one paragraph.
pub fn report_error(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str("\n  caused by: ");
            text.push_str(&cause);
        }
    }
    let _ = writeln!(std::io::stderr(), "{text}");
}
