//! `etalon plan`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

use super::{Exit, Ui, trainers, ui};
use crate::base::{Percent, fsio};
use crate::config::settings::Common;
use crate::config::{self, ModelConfig};
use crate::data::{features, video};
use crate::protocol::settings::Budget;
use crate::run::Prepared;
use crate::store::{PlannedCell, Store};

/// Show what an experiment would run, without running it.
///
/// Reads the annotations alone; with --store also the features, which the identity of a cell depends on. Where they are not
/// on this machine, it says so and shows the rest.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  etalon plan experiments/demo.toml
  etalon plan experiments/demo.toml --store results      what is done and what is left
  etalon plan experiments/demo.toml --resolved           the experiment with every default
  etalon plan experiment.toml --show mine                what a trainer (`arch.external`) is handed and how it is started")]
pub struct Args {
    /// Experiment file.
    experiment: PathBuf,
    /// Print the experiment as TOML with every default filled in.
    #[arg(long, conflicts_with_all = ["store", "json"])]
    resolved: bool,
    /// Print the files that this trainer's smallest cell is handed, and its command.
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["store", "resolved"])]
    show: Option<String>,
    /// Compare with the results in this store.
    #[arg(long)]
    store: Option<PathBuf>,
}

#[derive(Serialize)]
struct Plan {
    experiment: String,
    models: Vec<String>,
    seeds: Vec<u64>,
    training_videos: usize,
    test_videos: usize,
    fractions: Vec<Size>,
    cells: usize,
    training: Vec<Training>,
    /// What was mended, dropped or left out while the annotations were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// Features or videos that a run needs and that are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// Why nothing is known about the progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress_unknown: Option<String>,
}

/// How long a model trains in every cell; a model that is no network has no row.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Training {
    model: String,
    #[serde(flatten)]
    length: Length,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Length {
    /// Updates.
    Steps(u64),
    /// Passes over the sample.
    Epochs(u32),
}

/// What a fraction amounts to, over the seeds.
#[derive(Serialize)]
struct Size {
    fraction: Percent,
    videos: usize,
    instances_mean: f64,
}

#[derive(Serialize)]
struct Progress {
    done: usize,
    outstanding: Vec<PlannedCell>,
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let prepared = Prepared::open(&args.experiment).context("cannot plan the experiment")?;
    if args.resolved {
        ui.line(prepared.experiment.resolved_toml().trim_end());
        return Ok(Exit::Done);
    }
    if let Some(model) = &args.show {
        return show(&prepared, model, ui);
    }
    let plan = plan(&prepared, args.store.as_deref())?;
    if ui.json {
        ui.json(&plan)?;
    } else {
        print(&plan, ui);
    }
    Ok(Exit::Done)
}

fn plan(prepared: &Prepared, store: Option<&std::path::Path>) -> anyhow::Result<Plan> {
    let protocol = &prepared.experiment.protocol;
    let models: Vec<String> = prepared.experiment.model.keys().cloned().collect();
    let mut fractions = Vec::new();
    for &fraction in &protocol.fractions {
        let samples = protocol.seeds.iter().map(|&seed| prepared.sample(fraction, seed)).collect::<Result<Vec<_>, _>>()?;
        let instances: usize = samples.iter().map(|s| prepared.corpus.dataset.instance_count(&s.videos)).sum();
        let videos = samples.first().map_or(0, |s| s.videos.len());
        fractions.push(Size { fraction, videos, instances_mean: instances as f64 / samples.len().max(1) as f64 });
    }
    let length = |common: &Common| match protocol.budget {
        Budget::Steps => Length::Steps(common.steps),
        Budget::Epochs => Length::Epochs(common.epochs),
    };
    let training = |(name, model): (&String, &ModelConfig)| Some(Training { model: name.clone(), length: length(model.arch.common()?) });
    let (progress, progress_unknown) = match store.map(|root| progress(prepared, root)) {
        None => (None, None),
        Some(Ok(progress)) => (Some(progress), None),
        Some(Err(error)) if is_absence(&error) => (None, Some(format!("{error:#}"))),
        Some(Err(error)) => return Err(error),
    };
    Ok(Plan {
        training: prepared.experiment.model.iter().filter_map(training).collect(),
        experiment: prepared.experiment.name.clone(),
        cells: models.len() * protocol.fractions.len() * protocol.seeds.len(),
        seeds: protocol.seeds.clone(),
        training_videos: prepared.split.train.len(),
        test_videos: prepared.split.test.len(),
        models,
        fractions,
        notes: prepared.corpus.dataset.notes.iter().cloned().chain(prepared.split.note()).collect(),
        missing: prepared.experiment.expect_inputs().err().map(|error| error.to_string()),
        progress,
        progress_unknown,
    })
}

/// Whether a file of the cells' identity (features, scores, initial weights) is not on this machine.
fn is_absence(error: &anyhow::Error) -> bool {
    let Some(crate::run::Error::Input(cause)) = error.downcast_ref() else { return false };
    match cause.downcast_ref::<config::Error>() {
        Some(config::Error::NoData { .. }) => true,
        Some(config::Error::Features(features::Error::Missing { .. }) | config::Error::Video(video::Error::Missing { .. })) => true,
        Some(config::Error::File(file)) => file.source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn progress(prepared: &Prepared, root: &std::path::Path) -> anyhow::Result<Progress> {
    let cells = prepared.grid()?.cells;
    // A store that does not exist yet has nothing done; planning does not create it.
    let store = root.exists().then(|| Store::open(root)).transpose()?;
    let is_done = |key| store.as_ref().is_some_and(|s| s.is_done(key));
    let outstanding: Vec<PlannedCell> = cells.iter().filter(|c| !is_done(&c.key)).map(Into::into).collect();
    Ok(Progress { done: cells.len() - outstanding.len(), outstanding })
}

/// What `--show` prints: paths with `{job}` for the job's folder.
#[derive(Serialize)]
struct Shown {
    command: Vec<String>,
    files: BTreeMap<String, String>,
}

fn show(prepared: &Prepared, model: &str, ui: &Ui) -> anyhow::Result<Exit> {
    let Some(external) = prepared.model(model)?.arch.external() else {
        ui.remark(format!("model {model} is one of etalon's own: --show is for `arch.external`, and --resolved prints its settings"));
        return Ok(Exit::Usage);
    };
    let shown = trainers::smallest(prepared, external, |laid_out| {
        let folder = laid_out.folder.display().to_string();
        let outside = laid_out.folder.parent().unwrap_or(&laid_out.folder).display().to_string();
        let general = |text: &str| text.replace(&folder, "{job}").replace(&outside, "{job}/..");
        let described = [laid_out.folder.join("job.json")];
        let read = |path: &PathBuf| Ok((general(&path.display().to_string()), general(&fsio::read_text(path)?)));
        let files = described.iter().chain(&laid_out.files).map(read).collect::<anyhow::Result<_>>()?;
        Ok(Shown { command: laid_out.train.iter().map(|argument| general(argument)).collect(), files })
    })?;
    if ui.json {
        ui.json(&shown)?;
    } else {
        ui.line(format!("in {}: {}", external.directory.display(), shown.command.join(" ")));
        for (name, text) in &shown.files {
            ui.line(format!("\n{name}\n{}", shortened(text.trim_end())));
        }
    }
    Ok(Exit::Done)
}

/// Long lines, which hold data rather than settings, by their beginning.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = |line: &str| match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{} … ({} characters)", &line[..at], line.chars().count()),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn print(plan: &Plan, ui: &Ui) {
    ui.line(format!(
        "{}: {} models ({}) x {} fractions x {} seeds = {} cells",
        plan.experiment,
        plan.models.len(),
        plan.models.join(", "),
        plan.fractions.len(),
        plan.seeds.len(),
        plan.cells
    ));
    ui.line(format!("{} training videos, {} test videos", plan.training_videos, plan.test_videos));
    let mut table = ui::table(&["fraction", "videos", "instances (mean over seeds)"]);
    for size in &plan.fractions {
        table.add_row([format!("{} %", size.fraction), size.videos.to_string(), format!("{:.1}", size.instances_mean)]);
    }
    ui.line(table.to_string());
    let length = |t: &Training| match t.length {
        Length::Steps(n) => format!("{} {n} updates", t.model),
        Length::Epochs(n) => format!("{} {n} epochs", t.model),
    };
    let lengths: Vec<String> = plan.training.iter().map(length).collect();
    if !lengths.is_empty() {
        ui.line(format!("training of a cell: {}", lengths.join(", ")));
    }
    plan.notes.iter().for_each(|note| ui.line(format!("note: {note}")));
    if let Some(missing) = &plan.missing {
        ui.line(format!("cannot run yet: {missing}"));
    }
    if let Some(why) = plan.progress_unknown.as_ref().filter(|_| plan.missing.is_none()) {
        ui.line(format!("what is done cannot be told, as a cell is known by the content of its features and files: {why}"));
    }
    if let Some(progress) = &plan.progress {
        ui.line(format!("{} done, {} outstanding", progress.done, progress.outstanding.len()));
    }
}
