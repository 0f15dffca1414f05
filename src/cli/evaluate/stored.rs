//! `etalon evaluate --store`: scores the detections of a store again, without training anything, and compares.

use std::path::Path;

use anyhow::Context as _;
use rayon::prelude::*;
use serde::Serialize;

use crate::base::Percent;
use crate::cli::{Exit, Ui, ui};
use crate::eval::{self, GroundTruth, Rules, Scores, Thresholds};
use crate::protocol::CellKey;
use crate::report::source::Stored;
use crate::run::{Error, Prepared};
use crate::stats::{mean, standard_deviation};
use crate::store::{Record, Store};

/// Scores that differ by less are equal: they were written and read as decimal text.
const EQUAL: f64 = 1e-9;

/// What is asked for, where it differs from the experiment.
pub struct Request<'a> {
    pub experiment: Option<&'a str>,
    pub tiou: Option<Thresholds>,
    pub rules: Option<Rules>,
    pub recall: &'a [u32],
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output {
    experiment: String,
    name: String,
    tiou: Vec<f64>,
    evaluator: String,
    rows: Vec<Row>,
    comparison: Comparison,
    cells: Vec<Cell>,
}

/// One model at one fraction, over its seeds.
#[derive(Serialize)]
struct Row {
    model: String,
    fraction: Percent,
    /// Training videos, mean over the seeds.
    videos: f64,
    seeds: usize,
    average_map: f64,
    /// Over the seeds; `None` for one.
    sd: Option<f64>,
    stored_average_map: f64,
}

#[derive(Serialize)]
struct Cell {
    key: CellKey,
    model: String,
    fraction: Percent,
    seed: u64,
    scores: Scores,
    stored_average_map: f64,
}

/// How the scores stand to the stored ones.
#[derive(Serialize)]
struct Comparison {
    /// Thresholds and rule set are those of every stored score.
    comparable: bool,
    /// Cells whose average mAP differs; `None` where it cannot be compared.
    changed: Option<usize>,
    /// Of the average mAP, in 0..1.
    largest_difference: Option<f64>,
}

pub fn run(root: &Path, request: &Request<'_>, ui: &Ui) -> anyhow::Result<Exit> {
    let stored = Stored::read(root)?;
    let experiment = stored.experiment(request.experiment)?;
    let records = stored.records_of(experiment)?;
    let store = stored.store()?;
    let path = store.experiment(&experiment.digest)?;
    let prepared = Prepared::open(&path).context("cannot open the data set of the stored experiment")?;
    let truth = prepared.truth();
    let settings = &prepared.experiment.evaluate;
    let (tiou, rules) =
        (request.tiou.as_ref().map_or(settings.tiou.as_slice(), Thresholds::as_slice), request.rules.unwrap_or(settings.rules));
    let cells = records
        .par_iter()
        .map(|record| Ok(cell(record, score(store, record, &truth, tiou, rules, request.recall)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let output = Output {
        experiment: experiment.digest.clone(),
        name: experiment.name.clone(),
        tiou: tiou.to_vec(),
        evaluator: cells[0].scores.evaluator.clone(),
        rows: cells.chunk_by(|a, b| a.model == b.model && a.fraction == b.fraction).zip(rows_of(&records)).map(row).collect(),
        comparison: compare(&cells, &records),
        cells,
    };
    if ui.json {
        ui.json(&output)?;
    } else {
        print(&output, ui);
    }
    Ok(Exit::Done)
}

fn score(store: &Store, record: &Record, truth: &GroundTruth, tiou: &[f64], rules: Rules, recall: &[u32]) -> anyhow::Result<Scores> {
    let (videos, instances) = (record.sample.test_videos, record.sample.test_instances);
    let found = (truth.video_count(), truth.instance_count(Rules::Activitynet));
    if found != (videos, instances) {
        return Err(Error::Request(format!(
            "cell {} was tested on {videos} videos with {instances} instances, but the annotations (`dataset.annotations`) now give {} with {}: \
             restore the annotations, or run the experiment again on the new ones",
            record.key, found.0, found.1
        ))
        .into());
    }
    let detections = store.detections(record)?;
    Ok(eval::evaluate(truth, &detections, tiou, rules, recall)?)
}

fn cell(record: &Record, scores: Scores) -> Cell {
    let Record { key, model, fraction, seed, .. } = record.clone();
    Cell { key, model, fraction, seed, scores, stored_average_map: record.scores.average_map }
}

fn rows_of(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    records.chunk_by(|a, b| a.model == b.model && a.fraction == b.fraction)
}

fn row((cells, records): (&[Cell], &[Record])) -> Row {
    let values = |value: fn(&Cell) -> f64| cells.iter().map(value).collect::<Vec<f64>>();
    let average = |values: &[f64]| mean(values).expect("a group has at least one cell");
    let maps = values(|c| c.scores.average_map);
    Row {
        model: cells[0].model.clone(),
        fraction: cells[0].fraction,
        videos: average(&records.iter().map(|r| r.sample.videos as f64).collect::<Vec<_>>()),
        seeds: cells.len(),
        average_map: average(&maps),
        sd: standard_deviation(&maps),
        stored_average_map: average(&values(|c| c.stored_average_map)),
    }
}

fn compare(cells: &[Cell], records: &[Record]) -> Comparison {
    let rules = |evaluator: &str| evaluator.split('/').next().unwrap_or_default().to_owned();
    let same = |(cell, record): (&Cell, &Record)| {
        cell.scores.tiou == record.scores.tiou && rules(&cell.scores.evaluator) == rules(&record.scores.evaluator)
    };
    let comparable = cells.iter().zip(records).all(same);
    let differences = || cells.iter().map(|c| (c.scores.average_map - c.stored_average_map).abs());
    Comparison {
        comparable,
        changed: comparable.then(|| differences().filter(|d| *d > EQUAL).count()),
        largest_difference: comparable.then(|| differences().fold(0.0, f64::max)),
    }
}

fn print(output: &Output, ui: &Ui) {
    let percent = |value: f64| format!("{:.2}", 100.0 * value);
    let mut table = ui::table(&["model", "fraction", "videos", "seeds", "average mAP %", "± sd", "stored"]);
    for row in &output.rows {
        let sd = row.sd.map_or_else(|| "–".to_owned(), percent);
        let (map, stored) = (percent(row.average_map), percent(row.stored_average_map));
        let sizes = [format!("{} %", row.fraction), format!("{:.0}", row.videos), row.seeds.to_string()];
        table.add_row([vec![row.model.clone()], sizes.to_vec(), vec![map, sd, stored]].concat());
    }
    ui.line(table.to_string());
    let tiou: Vec<String> = output.tiou.iter().map(f64::to_string).collect();
    ui.line(format!("{}: {} cells scored at tIoU {} by {}", output.name, output.cells.len(), tiou.join(", "), output.evaluator));
    ui.line(match (output.comparison.changed, output.comparison.largest_difference) {
        (Some(0), _) => "the scores equal the stored ones".to_owned(),
        (Some(changed), Some(largest)) => {
            format!("{changed} cells differ from the stored scores, by at most {:.4} points", 100.0 * largest)
        }
        _ => "the stored scores are at other thresholds or by other rules: the column \"stored\" is no comparison".to_owned(),
    });
}
