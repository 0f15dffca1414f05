//! `etalon extract`: from videos to the feature files that experiments read.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{Exit, Ui};
use crate::profile::machine;
use crate::run::{THREAD_VARIABLES, cell_program};

/// Turn videos into feature files with the encoder of a model.
///
/// Writes DIR/features/VIDEO.npy (snippets x channels) for every video of the experiment's pool, and DIR/dataset.toml: the table that an
/// experiment needs to read them. Videos that are done already are left alone, so an interrupted extraction goes on where it stopped.
#[derive(clap::Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "\
Examples:
  etalon extract experiments/ucf24-end-to-end.toml --model frozen --out results/ucf24
  etalon extract my.toml --weights results/store/cells/3f/3fa9…/attempts/1/encoder.safetensors --out features

Exit codes: 0 all videos are done, 6 the experiment, the weights or a video is bad, 8 the folder cannot be written.")]
pub struct Args {
    /// Experiment with `dataset.videos`.
    experiment: PathBuf,
    /// Where the features go.
    #[arg(long)]
    out: PathBuf,
    /// Model whose encoder is used; the only one with an encoder by default.
    #[arg(long)]
    model: Option<String>,
    /// Weights of the encoder, in place of those that the experiment names: what a cell left in its attempt's folder, or a checkpoint.
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Seed of an encoder that nothing was trained into.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Compute threads; all usable cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// "cpu" or "cuda:N".
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// The encoder lives in the cells' program, which draws the progress too.
///
/// # Errors
/// The program cannot be started.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let program = cell_program();
    let threads = args.threads.unwrap_or_else(machine::usable_cores);
    let request = Args { threads: Some(threads), ..args.clone() };
    let mut command = Command::new(&program);
    command.arg("extract").arg(serde_json::to_string(&request)?).args([form(ui.json, "json"), form(ui.quiet, "quiet")]);
    for name in THREAD_VARIABLES {
        command.env(name, threads.to_string());
    }
    let status = command
        .status()
        .with_context(|| format!("cannot start {}; it belongs beside `etalon`: build both with `make build`", program.display()))?;
    Ok(Exit::of_command(status))
}

fn form(chosen: bool, name: &str) -> &str {
    if chosen { name } else { "-" }
}

/// What `etalon extract --json` prints.
#[cfg(feature = "torch")]
#[derive(Serialize)]
struct Summary<'a> {
    features: &'a Path,
    channels: usize,
    extracted: usize,
    found: usize,
    seconds: f64,
    waited_s: f64,
}

/// What `etalon-cell extract` does.
///
/// # Errors
/// The experiment, the weights or a video is bad, or the disk refuses.
#[cfg(feature = "torch")]
pub fn make(request: &str, ui: &Ui) -> anyhow::Result<Exit> {
    use std::time::{Duration, Instant};

    use indicatif::{ProgressBar, ProgressStyle};

    use crate::detectors::extraction::{self, Request};
    use crate::event::Event;
    use crate::run::Prepared;

    let args: Args = serde_json::from_str(request).context("this is for `etalon extract` to call")?;
    let prepared = Prepared::open(&args.experiment)?;
    let request = Request {
        experiment: &prepared.experiment,
        corpus: &prepared.corpus,
        split: &prepared.split,
        model: args.model.as_deref(),
        weights: args.weights.as_deref(),
        seed: args.seed,
        threads: args.threads.unwrap_or(1),
        device: &args.device,
        out: &args.out,
    };
    let bar = if ui.live { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} videos, {eta} left").expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(250));
    let mut observer = super::ui::Observed(|event: &Event| {
        if let Event::Progress { done, total, .. } = event {
            bar.set_length(*total);
            bar.set_position(*done);
        }
    });
    let begun = Instant::now();
    let made = extraction::extract(&request, &mut observer);
    bar.finish_and_clear();
    let made = made?;
    let folder = args.out.join(extraction::FEATURES);
    let seconds = begun.elapsed().as_secs_f64();
    if ui.json {
        let extraction::Made { channels, extracted, found, waited_s, .. } = made;
        ui.json(&Summary { features: &folder, channels, extracted, found, seconds, waited_s })?;
    } else {
        made.notes.iter().for_each(|note| ui.remark(note));
        ui.line(format!(
            "{}: {} videos of {} values per snippet ({} were there already), {seconds:.1} s, {:.1} s of them waiting for frames",
            folder.display(),
            made.extracted + made.found,
            made.channels,
            made.found,
            made.waited_s,
        ));
        ui.line(format!("an experiment reads them with the table in {}", args.out.join(extraction::TABLE).display()));
    }
    Ok(Exit::Done)
}
