//! `etalon report`: records to a self-contained page, Markdown and JSON.

use std::path::PathBuf;

use serde::Serialize;

use super::{Exit, Ui};
use crate::base::fsio;
use crate::report::build;
use crate::report::render;
use crate::report::source::Stored;

/// Write a report of an experiment: learning curves, forecasts, costs, and how to run it again.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  etalon report results --out report              the newest experiment in the store
  etalon report results --experiment sbhar        that one

The folder then holds report.html (one self-contained file), report.md with figures/, report.json and experiment.toml.")]
pub struct Args {
    /// Store whose records are reported.
    store: PathBuf,
    /// Folder to write to.
    #[arg(long, default_value = "report")]
    out: PathBuf,
    /// Name or digest of the experiment; without it, the newest.
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
}

#[derive(Serialize)]
struct Output<'a> {
    experiment: &'a str,
    cells: usize,
    cells_expected: usize,
    files: Vec<PathBuf>,
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let stored = Stored::read(&args.store)?;
    let experiment = stored.experiment(args.experiment.as_deref())?;
    let report = build(&stored.input(experiment)?);
    let mut files = Vec::new();
    for renderer in render::all() {
        for artifact in renderer.render(&report)? {
            let path = args.out.join(&artifact.path);
            fsio::replace(&path, &artifact.bytes)?;
            files.push(path);
        }
    }
    let completeness = &report.completeness;
    if completeness.done < completeness.expected {
        ui.remark(format!("note: {} of {} cells have no result yet", completeness.expected - completeness.done, completeness.expected));
    }
    if ui.json {
        ui.json(&Output { experiment: &report.experiment, cells: completeness.done, cells_expected: completeness.expected, files })?;
    } else {
        files.iter().for_each(|path| ui.line(path.display().to_string()));
    }
    Ok(Exit::Done)
}
