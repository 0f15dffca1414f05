//! `etalon run`.

mod adaptive;
mod progress;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use serde::Serialize;

use super::{Exit, Ui};
use crate::base::{Percent, Span, origin};
use crate::curves::At;
use crate::profile::Machine;
use crate::protocol::Cell;
use crate::run::trainer::Trainer;
use crate::run::{Error, FailedCell, Prepared, Stop, Tally, Worker, cell_program};
use crate::store::{PlannedCell, Store};

use adaptive::{Spending, Task};
use progress::Progress;

/// Run the cells of an experiment that are not done yet.
///
/// Every finished cell is on disk before the next one begins. Running again continues where the last run ended, also after
/// a crash, and tries failed cells anew. Several runs, also on several machines, can share one store. The first Ctrl-C
/// stops cleanly, the second one at once.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  etalon run experiments/demo.toml --store results
  etalon run results                                  continue, from the store alone
  etalon run experiments/demo.toml --only prior --only fraction=10 --only seed=0
  etalon run experiments/thumos14.toml --jobs 1 --threads 8 --device cuda:0
  etalon run experiments/thumos14.toml --adaptive --budget 2h    the cells that narrow the forecast most per hour

Pretrained weights: `init = \"released.pth.tar\"` in a [model.NAME] table starts the training from them; with `steps = 0` (or
`epochs = 0` under budget = \"epochs\") in its arch they are tested as they are, under this experiment's split and evaluator.

Exit codes: 0 every cell is done, 6 invalid experiment or input, 7 cells failed, 8 the store cannot be used, 130 interrupted.")]
pub struct Args {
    /// Experiment file, or a store with one experiment.
    #[arg(value_name = "EXPERIMENT|STORE")]
    experiment: PathBuf,
    /// Folder for the results; created when missing [default: results].
    #[arg(long)]
    store: Option<PathBuf>,
    /// Cells at once, per device [default: cores divided by threads; 1 on a GPU].
    #[arg(long, short, value_parser = at_least_one)]
    jobs: Option<usize>,
    /// Compute threads per cell [default: cores divided by jobs; 1 when neither is given]. Results depend on it in their
    /// last digits.
    #[arg(long, short, value_parser = at_least_one)]
    threads: Option<usize>,
    /// Where networks compute: cpu, cuda:0, or several, such as cuda:0,cuda:1, over which the cells are spread.
    #[arg(long, default_value = "cpu", value_delimiter = ',', value_name = "DEVICE")]
    device: Vec<String>,
    /// Only these cells: a model's name, or model=NAME, fraction=PERCENT, seed=N; may be repeated.
    #[arg(long, value_name = "MODEL|AXIS=VALUE")]
    only: Vec<Only>,
    /// As --only fraction=PERCENT.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    fraction: Vec<Percent>,
    /// As --only seed=N.
    #[arg(long, value_name = "SEED")]
    seed: Vec<u64>,
    /// List the outstanding cells and run nothing.
    #[arg(long)]
    dry_run: bool,
    /// Run only what narrows the forecasts most per hour, within --budget: first the smallest, middle and largest fraction of
    /// every model, then whatever seed at whatever fraction takes most uncertainty off. Never runs what is done.
    #[arg(long, requires = "budget", conflicts_with = "dry_run")]
    adaptive: bool,
    /// Wall time of all cells together, such as 90s, 15m or 2h. Cells that are in the store already count, so that running
    /// again continues; failed attempts do not.
    #[arg(long, value_name = "TIME", requires = "adaptive", value_parser = budget)]
    budget: Option<Span>,
    /// Size whose forecast --adaptive narrows: a multiple of the training part, or a number of videos.
    #[arg(long, value_name = "SIZE", requires = "adaptive", default_value = "2x")]
    adaptive_at: At,
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "use a whole number from 1".to_owned())
}

fn percent(text: &str) -> Result<Percent, String> {
    let number: f64 = text.trim_end_matches('%').trim().parse().map_err(|_| "use a number from 0 to 100".to_owned())?;
    Percent::new(number).map_err(|e| e.to_string())
}

fn budget(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|e: crate::base::units::BadSpan| e.to_string())?;
    if span.0.is_zero() { Err("use a time above 0".to_owned()) } else { Ok(span) }
}

/// One `--only`: values of one axis are alternatives, different axes must all agree.
#[derive(Clone, Debug, PartialEq)]
enum Only {
    Model(String),
    Fraction(Percent),
    Seed(u64),
}

impl FromStr for Only {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None => Ok(Self::Model(text.to_owned())),
            Some(("model", name)) => Ok(Self::Model(name.to_owned())),
            Some(("fraction", value)) => percent(value).map(Self::Fraction),
            Some(("seed", value)) => value.parse().map(Self::Seed).map_err(|_| "a seed is a whole number from 0".to_owned()),
            Some((axis, _)) => Err(format!("there is no axis {axis:?}; use model=NAME, fraction=PERCENT or seed=N")),
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary<'a> {
    store: &'a Path,
    experiment: String,
    cells: usize,
    interrupted: bool,
    #[serde(flatten)]
    tally: Tally,
    /// Of `--adaptive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    adaptive: Option<Spending>,
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let (experiment, root) = locate(args)?;
    let prepared = Prepared::open(&experiment)?;
    let all = prepared.grid()?.cells;
    let planned: Vec<PlannedCell> = all.iter().map(Into::into).collect();
    let cells = select(args, &prepared, &all)?;
    if args.dry_run {
        return dry_run(&cells, &root, ui);
    }

    let store = Store::create(&root)?;
    let digest = {
        let others = store.experiments()?;
        let digest = store.add_experiment(&prepared.experiment.resolved_toml(), &origin::folder_of(&experiment)?, &planned)?;
        if !others.is_empty() && !others.iter().any(|d| d == digest.as_str()) {
            let done = planned.iter().filter(|c| store.is_done(&c.key)).count();
            let new = planned.len() - done;
            ui.remark(format!("this experiment is new to the store: {done} of its cells are done already, {new} are added"));
        }
        digest
    };
    // Everything a cell needs is in the store and on the data's own disk; what was opened here is not needed any more.
    let (limits, profile) = (prepared.experiment.limits.cell.clone(), prepared.experiment.profile.clone());
    let training = prepared.split.train.len();
    let trainers = Trainer::of_experiment(&prepared.experiment, &store)?;
    drop(prepared);

    let machine = Machine::here();
    let (jobs, threads) = parallelism(args.jobs, args.threads, machine.usable_cores, &args.device);
    let stop = Stop::on_signals()?;
    let told = RefCell::new(BTreeSet::new());
    let work = |cells: &[Cell]| {
        let progress = Progress::new(ui, cells.len());
        let worker = Worker {
            store: &store,
            experiment: &digest,
            limits: &limits,
            trainers: &trainers,
            profile: &profile,
            machine: &machine,
            program: cell_program(),
            jobs,
            threads,
            devices: &args.device,
            stop: &stop,
            watch: &progress,
        };
        let tally = worker.run(cells);
        progress.finish();
        told.borrow_mut().extend(progress.told());
        tally.context("the run was stopped; finished cells are kept")
    };
    let (tally, adaptive) = match args.budget {
        Some(budget) => {
            let (target, budget_s) = (args.adaptive_at.videos(training as f64), budget.0.as_secs_f64());
            let task = Task { store: &store, grid: &all, cells: &cells, training, target, budget_s, jobs, stop: &stop, ui };
            let (tally, spending) = task.run(work)?;
            (tally, Some(spending))
        }
        None => {
            let outstanding: Vec<Cell> = cells.iter().filter(|c| !store.is_done(&c.key)).cloned().collect();
            let mut tally = work(&outstanding)?;
            tally.found += cells.len() - outstanding.len();
            (tally, None)
        }
    };
    let (store, experiment, interrupted) = (store.root(), digest.to_string(), stop.requested());
    conclude(Summary { store, experiment, cells: cells.len(), interrupted, tally, adaptive }, &told.into_inner(), ui)
}

/// The experiment file and the store's folder.
fn locate(args: &Args) -> anyhow::Result<(PathBuf, PathBuf)> {
    if !args.experiment.is_dir() {
        return Ok((args.experiment.clone(), args.store.clone().unwrap_or_else(|| "results".into())));
    }
    let store = Store::open(&args.experiment)?;
    let folder = store.root().join("experiments");
    match store.experiments()?.as_slice() {
        [digest] => Ok((store.experiment(digest)?, args.store.clone().unwrap_or_else(|| args.experiment.clone()))),
        [] => {
            Err(Error::Request(format!("{} has no experiment yet; run an experiment file with --store", args.experiment.display())).into())
        }
        several => {
            let files: Vec<_> = several.iter().map(|d| folder.join(format!("{d}.toml")).display().to_string()).collect();
            let text = format!("{} has {} experiments; name one of them: {}", args.experiment.display(), files.len(), files.join(", "));
            Err(Error::Request(text).into())
        }
    }
}

/// The cells that --only, --fraction and --seed leave.
fn select(args: &Args, prepared: &Prepared, all: &[Cell]) -> anyhow::Result<Vec<Cell>> {
    let shorthand = args.fraction.iter().copied().map(Only::Fraction).chain(args.seed.iter().copied().map(Only::Seed));
    let (mut models, mut fractions, mut seeds) = (Vec::new(), Vec::new(), Vec::new());
    for only in args.only.iter().cloned().chain(shorthand) {
        match only {
            Only::Model(name) => {
                prepared.model(&name)?;
                models.push(name);
            }
            Only::Fraction(fraction) => fractions.push(fraction),
            Only::Seed(seed) => seeds.push(seed),
        }
    }
    let wanted = |c: &&Cell| {
        (models.is_empty() || models.contains(&c.model))
            && (fractions.is_empty() || fractions.contains(&c.spec.fraction))
            && (seeds.is_empty() || seeds.contains(&c.spec.seed))
    };
    let cells: Vec<Cell> = all.iter().filter(wanted).cloned().collect();
    if cells.is_empty() {
        let text = "no cell of the experiment matches --only, --fraction and --seed; `etalon plan` shows what it has";
        return Err(Error::Request(text.to_owned()).into());
    }
    Ok(cells)
}

fn dry_run(cells: &[Cell], root: &Path, ui: &Ui) -> anyhow::Result<Exit> {
    let store = root.exists().then(|| Store::open(root)).transpose()?;
    let outstanding: Vec<PlannedCell> =
        cells.iter().filter(|c| !store.as_ref().is_some_and(|s| s.is_done(&c.key))).map(Into::into).collect();
    if ui.json {
        ui.json(&outstanding)?;
    } else {
        for cell in &outstanding {
            ui.line(format!("{}  {} {} % seed {}", cell.key, cell.model, cell.fraction, cell.seed));
        }
        ui.remark(format!("{} of {} cells would run", outstanding.len(), cells.len()));
    }
    Ok(Exit::Done)
}

/// Cells at once and threads per cell.
fn parallelism(jobs: Option<usize>, threads: Option<usize>, cores: usize, devices: &[String]) -> (usize, usize) {
    let count = devices.len();
    match (jobs, threads) {
        (Some(jobs), Some(threads)) => (jobs * count, threads),
        (Some(jobs), None) => (jobs * count, (cores / (jobs * count)).max(1)),
        // Cells would compete for the memory of their device.
        (None, threads) if devices.iter().all(|device| device != "cpu") => (count, threads.unwrap_or((cores / count).max(1))),
        (None, threads) => {
            let threads = threads.unwrap_or(1);
            ((cores / threads).max(1), threads)
        }
    }
}

/// `told` are messages that were shown before.
fn conclude(summary: Summary<'_>, told: &BTreeSet<String>, ui: &Ui) -> anyhow::Result<Exit> {
    let Summary { cells, interrupted, tally, adaptive, .. } = &summary;
    if ui.json {
        ui.json(&summary)?;
    } else {
        let mut by_message: BTreeMap<&str, Vec<&FailedCell>> = BTreeMap::new();
        tally.failed.iter().for_each(|failed| by_message.entry(&failed.message).or_default().push(failed));
        for (message, cells) in by_message {
            let names: Vec<String> = cells.iter().map(|c| format!("{} {} % seed {}", c.cell.model, c.cell.fraction, c.cell.seed)).collect();
            let message = if told.contains(message) { "as said above" } else { message };
            ui.line(format!("failed: {}: {message}\n  log: {}", names.join(", "), cells[0].log.display()));
        }
        if let Some(spending) = adaptive {
            spending.show(ui);
        }
        let Tally { done, found, failed, left } = tally;
        let mut text = format!("{} of {cells} cells are done ({done} by this run), {} failed", done + found, failed.len());
        if *interrupted {
            text += &format!(", {left} left: run the same command again to continue");
        } else if adaptive.is_some() && *left > 0 {
            text += &format!(", {left} left that the budget does not cover");
        }
        ui.line(text);
    }
    Ok(match () {
        () if summary.interrupted => Exit::Interrupted,
        () if !summary.tally.failed.is_empty() => Exit::Incomplete,
        () => Exit::Done,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_divided_between_jobs_and_threads() {
        let devices = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (cpu, gpu, gpus) = (&devices(&["cpu"]), &devices(&["cuda:0"]), &devices(&["cuda:0", "cuda:1"]));
        assert_eq!(parallelism(None, None, 8, cpu), (8, 1));
        assert_eq!(parallelism(Some(3), None, 8, cpu), (3, 2));
        assert_eq!(parallelism(None, Some(4), 8, cpu), (2, 4));
        assert_eq!(parallelism(None, Some(16), 8, cpu), (1, 16));
        assert_eq!(parallelism(Some(16), None, 8, cpu), (16, 1));
        assert_eq!(parallelism(None, None, 8, gpu), (1, 8));
        assert_eq!(parallelism(None, None, 8, gpus), (2, 4));
        assert_eq!(parallelism(Some(2), None, 8, gpus), (4, 2));
    }

    #[test]
    fn only_names_a_model_or_a_value_of_an_axis() {
        let hundred = Percent::new(100.0).unwrap();
        assert_eq!("etad".parse(), Ok(Only::Model("etad".into())));
        assert_eq!("model=etad".parse(), Ok(Only::Model("etad".into())));
        assert_eq!("fraction=100".parse(), Ok(Only::Fraction(hundred)));
        assert_eq!("seed=3".parse(), Ok(Only::Seed(3)));
        assert!("speed=3".parse::<Only>().unwrap_err().contains("speed"));
        assert!("seed=-1".parse::<Only>().is_err());
    }

    #[test]
    fn fractions_may_carry_a_percent_sign() {
        assert_eq!(percent("10%").unwrap(), percent("10").unwrap());
        assert!(percent("0").is_err() && percent("ten").is_err());
    }
}
