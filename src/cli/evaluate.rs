//! `etalon evaluate`: scores a file of detections, whoever made it, or those of a store again.

mod stored;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::{Exit, Ui};
use crate::base::fsio;
use crate::eval::coverage::Coverage;
use crate::eval::json::DetectionFile;
use crate::eval::{self, GroundTruth, Rules, Scores, Thresholds};

/// Thresholds for files of detections: the usual ones of THUMOS14.
const DEFAULT_TIOU: &str = "0.3:0.7:0.1";

/// Score detections: mean average precision per tIoU threshold and class, as the published evaluators compute it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  etalon evaluate --ground-truth gt.json --detections results.json --subset test --tiou 0.3:0.7:0.1
  etalon evaluate --ground-truth gt.json --detections results.json --subset validation \\
    --tiou 0.5:0.95:0.05 --recall 1,5 --json
  etalon evaluate --store results --rules actionformer       every cell again, without training")]
pub struct Args {
    #[command(flatten)]
    files: Option<Files>,
    /// Score the detections of this store again; it is not changed.
    #[arg(long, conflicts_with = "Files", required_unless_present = "Files")]
    store: Option<PathBuf>,
    /// Name or digest of the experiment in the store; without it, the newest.
    #[arg(long, value_name = "NAME", requires = "store")]
    experiment: Option<String>,
    /// tIoU thresholds: `start:end:step`, both ends included, or a comma-separated list [default: 0.3:0.7:0.1, for a store
    /// those of the experiment].
    #[arg(long, value_name = "GRID")]
    tiou: Option<String>,
    /// Whose rules decide which instances count [default: activitynet, for a store those of the experiment].
    #[arg(long, value_enum)]
    rules: Option<RuleSet>,
    /// Recall with k detections per instance, for each k of a comma-separated list.
    #[arg(long, value_name = "K,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    recall: Vec<u32>,
}

/// What is scored, from files.
#[derive(clap::Args)]
struct Files {
    /// Annotations in ActivityNet's form (`database` → `subset`, `annotations`).
    #[arg(long, value_name = "JSON")]
    ground_truth: PathBuf,
    /// Detections: `results` → video → `label`, `score`, `segment`; or columns `video-id`, `t-start`, `t-end`, `label`, `score`.
    #[arg(long, value_name = "JSON")]
    detections: PathBuf,
    /// Subset of the annotations that is scored, in any case.
    #[arg(long, value_name = "NAME")]
    subset: String,
}

/// [`Rules`] as an argument.
#[derive(Clone, Copy, ValueEnum)]
enum RuleSet {
    /// Every annotated instance counts.
    Activitynet,
    /// Repeated instances and those under a millisecond do not count.
    Actionformer,
}

impl From<RuleSet> for Rules {
    fn from(rules: RuleSet) -> Self {
        match rules {
            RuleSet::Activitynet => Self::Activitynet,
            RuleSet::Actionformer => Self::Actionformer,
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output {
    #[serde(flatten)]
    scores: Scores,
    subset: String,
    videos: usize,
    instances: usize,
    detections: usize,
    /// Detections whose label the ground truth lacks; they are not scored.
    ignored: usize,
    /// How detections and ground truth fit together.
    input: Coverage,
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let tiou = args.tiou.as_deref().map(str::parse::<Thresholds>).transpose()?;
    let rules = args.rules.map(Rules::from);
    if let Some(store) = &args.store {
        let request = stored::Request { experiment: args.experiment.as_deref(), tiou, rules, recall: &args.recall };
        return stored::run(store, &request, ui);
    }
    let files = args.files.as_ref().expect("clap asks for files or a store");
    let tiou = tiou.map_or_else(|| DEFAULT_TIOU.parse(), Ok)?;
    let rules = rules.unwrap_or_default();
    let truth = GroundTruth::parse(&read(&files.ground_truth, "--ground-truth")?, &files.ground_truth, &files.subset)?;
    let detections = match files.detections.extension() {
        Some(extension) if extension == "pkl" => DetectionFile::unpickle(&fsio::read(&files.detections)?, &files.detections, &truth)?,
        _ => DetectionFile::parse(&read(&files.detections, "--detections")?, &files.detections, &truth)?,
    };
    let scores = eval::evaluate_rows(&truth, detections.rows(), tiou.as_slice(), rules, &args.recall)?;
    let input = Coverage::of(&truth, &detections);
    input.notes().iter().for_each(|note| ui.remark(format!("note: {note}")));
    let output = Output {
        subset: files.subset.clone(),
        videos: truth.video_count(),
        instances: truth.instance_count(rules),
        detections: detections.len(),
        ignored: detections.unknown_labels.values().sum(),
        input,
        scores,
    };
    if ui.json {
        ui.json(&output)?;
    } else {
        ui.line(table(&output).to_string());
        ui.line(summary(&output));
    }
    Ok(Exit::Done)
}

fn read(path: &Path, option: &str) -> anyhow::Result<String> {
    fsio::read_text(path).with_context(|| format!("{option} needs a JSON file that exists and is UTF-8 text"))
}

/// One row per class, then the mean, then recall; one column per threshold, in percent.
fn table(output: &Output) -> Table {
    let scores = &output.scores;
    let percent = |values: &[f64]| values.iter().map(|value| format!("{:.2}", 100.0 * value)).collect::<Vec<_>>();
    let row = |name: String, values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        [vec![name], percent(values), percent(&[mean])].concat()
    };
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    let thresholds: Vec<String> = scores.tiou.iter().map(f64::to_string).collect();
    table.set_header([vec!["AP % at tIoU".to_owned()], thresholds, vec!["mean".to_owned()]].concat());
    table.add_rows(scores.per_class.iter().map(|(class, values)| row(class.clone(), values)));
    table.add_row(row("mAP".to_owned(), &scores.map));
    table.add_rows(scores.recall.iter().map(|(k, values)| row(format!("recall at {k}x"), values)));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    table
}

fn summary(output: &Output) -> String {
    format!(
        "average mAP {:.2} % · {} detections · {} instances of {} classes in {} videos · rules {}",
        100.0 * output.scores.average_map,
        output.detections,
        output.instances,
        output.scores.per_class.len(),
        output.videos,
        output.scores.evaluator
    )
}
