//! `etalon report`: a store, its records in one file, or profiles to a self-contained page, Markdown and JSON.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Exit, Ui};
use crate::base::fsio;
use crate::profile::{Profile, Trace};
use crate::report::profiles::{self, Profiled};
use crate::report::source::Stored;
use crate::report::{Page, build, records, render};

/// Write a report of an experiment (learning curves, forecasts, costs, hardware, how to run it again) or of profiles.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  etalon report results --out report              the newest experiment in the store
  etalon report results --experiment sbhar        that one
  etalon report reports/salads50/records.jsonl.zst --out again
                                                  a report again, from the records beside it
  etalon report p.json --out profile              a profile of `etalon profile`
  etalon report etad.json tadtr.json              several beside each other

The folder then holds report.html (one self-contained file), report.md with figures/, report.json, experiment.toml and
records.jsonl.zst, from which the report can be made again without the store.")]
pub struct Args {
    /// Store or file of records (records.jsonl.zst) to report, or profiles (JSON).
    #[arg(required = true)]
    source: Vec<PathBuf>,
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
    if args.source.iter().all(|path| path.is_file() && !records::is_records(path)) {
        return profiles(args, ui);
    }
    let [source] = args.source.as_slice() else {
        ui.remark("one store or file of records, or one or more profiles: a report of several stores is not made");
        return Ok(Exit::Usage);
    };
    let stored = Stored::read(source)?;
    let experiment = stored.experiment(args.experiment.as_deref())?;
    let input = stored.input(experiment)?;
    let report = build(&input);
    let files = write(&Page::of(&report)?.with(records::pack(experiment, &input)), &args.out)?;
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

fn profiles(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let read = |path: &PathBuf| -> anyhow::Result<Profiled> {
        let trace = Profile::trace_path(path);
        // A profile without its trace is still a profile; a trace that is there must be readable.
        let trace = if trace.exists() { Some(Trace::read(&trace)?) } else { None };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Profiled { name, profile: Profile::read(path)?, trace })
    };
    let profiled = args.source.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let files = write(&profiles::page(&profiled)?, &args.out)?;
    if ui.json {
        ui.json(&serde_json::json!({ "profiles": profiled.len(), "files": files }))?;
    } else {
        files.iter().for_each(|path| ui.line(path.display().to_string()));
    }
    Ok(Exit::Done)
}

fn write(page: &Page, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for renderer in render::all() {
        for artifact in renderer.render(page)? {
            let path = out.join(&artifact.path);
            fsio::replace(&path, &artifact.bytes)?;
            files.push(path);
        }
    }
    Ok(files)
}
