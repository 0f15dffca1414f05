//! `etalon status`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::{Exit, Ui, ui};
use crate::base::Percent;
use crate::report::source::{StoredExperiment, experiments};
use crate::store::{PlannedCell, Record, State, Store};

/// Show how far the experiments in a store are.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  etalon status results
  etalon status results --json
  etalon status results --parquet records.parquet     all records as one table")]
pub struct Args {
    /// Folder an `etalon run --store` has written.
    store: PathBuf,
    /// Also write all records into this Parquet file.
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
}

#[derive(Serialize)]
struct Status {
    experiment: String,
    name: String,
    rows: Vec<Row>,
    failures: Vec<Failure>,
}

/// One model at one fraction.
#[derive(Serialize)]
struct Row {
    model: String,
    fraction: Percent,
    cells: usize,
    done: usize,
    running: usize,
    failed: usize,
    /// Average mAP, mean over the seeds that are done.
    mean_map: Option<f64>,
}

/// A cell whose last attempt failed.
#[derive(Serialize)]
struct Failure {
    #[serde(flatten)]
    cell: PlannedCell,
    attempts: usize,
    message: String,
    log: PathBuf,
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let store = Store::open(&args.store)?;
    let records = store.records()?;
    if let Some(path) = &args.parquet {
        write_parquet(path, &records)?;
        ui.remark(format!("{} records written to {}", records.len(), path.display()));
    }
    let by_key: BTreeMap<_, _> = records.iter().map(|r| (&r.key, r)).collect();
    let lookup = |cell: &PlannedCell| by_key.get(&cell.key).copied();
    let all = experiments(&store)?.into_iter().map(|experiment| status(&store, experiment, lookup)).collect::<anyhow::Result<Vec<_>>>()?;
    if ui.json {
        ui.json(&all)?;
    } else {
        all.iter().for_each(|status| print(status, ui));
        if all.is_empty() {
            ui.line("no experiment has been run with this store yet");
        }
    }
    Ok(Exit::Done)
}

fn status<'r>(store: &Store, experiment: StoredExperiment, record: impl Fn(&PlannedCell) -> Option<&'r Record>) -> anyhow::Result<Status> {
    let (mut rows, mut failures) = (Vec::<Row>::new(), Vec::new());
    for cell in experiment.cells {
        let at = rows.iter().position(|r| r.model == cell.model && r.fraction == cell.fraction).unwrap_or_else(|| {
            let (model, fraction) = (cell.model.clone(), cell.fraction);
            rows.push(Row { model, fraction, cells: 0, done: 0, running: 0, failed: 0, mean_map: None });
            rows.len() - 1
        });
        let row = &mut rows[at];
        row.cells += 1;
        if let Some(record) = record(&cell) {
            row.done += 1;
            let before = row.mean_map.unwrap_or(0.0);
            row.mean_map = Some(before + (record.scores.average_map - before) / row.done as f64);
            continue;
        }
        let mut attempts = store.attempts(&cell.key)?;
        let made = attempts.len();
        let Some(last) = attempts.pop() else { continue };
        match last.state {
            State::Running => row.running += 1,
            State::Ended(outcome) if outcome.is_failure() => {
                row.failed += 1;
                failures.push(Failure { cell, attempts: made, message: outcome.to_string(), log: last.dir.join("stderr.log") });
            }
            State::Lost | State::Ended(_) => {}
        }
    }
    rows.sort_by(|a, b| (&a.model, a.fraction.value()).partial_cmp(&(&b.model, b.fraction.value())).expect("percentages are finite"));
    Ok(Status { experiment: experiment.digest, name: experiment.name, rows, failures })
}

fn print(status: &Status, ui: &Ui) {
    let sum = |value: fn(&Row) -> usize| status.rows.iter().map(value).sum::<usize>();
    let (cells, done, running, failed) = (sum(|r| r.cells), sum(|r| r.done), sum(|r| r.running), sum(|r| r.failed));
    ui.line(format!("{} ({}): {done} of {cells} cells done, {running} running, {failed} failed", status.name, status.experiment));
    let mut table = ui::table(&["model", "fraction", "cells", "done", "running", "failed", "mean mAP"]);
    for row in &status.rows {
        let map = row.mean_map.map_or_else(|| "-".to_owned(), |m| format!("{m:.4}"));
        let numbers = [row.cells, row.done, row.running, row.failed].map(|n| n.to_string());
        table.add_row([vec![row.model.clone(), format!("{} %", row.fraction)], numbers.to_vec(), vec![map]].concat());
    }
    ui.line(table.to_string());
    for Failure { cell, attempts, message, log } in &status.failures {
        ui.line(format!("{} {} % seed {} failed ({attempts} attempts): {message}", cell.model, cell.fraction, cell.seed));
        ui.line(format!("  log: {}", log.display()));
    }
}

#[cfg(feature = "columnar")]
fn write_parquet(path: &std::path::Path, records: &[Record]) -> anyhow::Result<()> {
    Ok(crate::store::table::write_parquet(path, records)?)
}

#[cfg(not(feature = "columnar"))]
fn write_parquet(_: &std::path::Path, _: &[Record]) -> anyhow::Result<()> {
    anyhow::bail!("this build leaves out Parquet; build with the feature `columnar`, or use --json")
}
