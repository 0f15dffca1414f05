//! `etalon parity`: proof that a model computes what its authors' code computes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::{Exit, Ui};
use crate::run::cell_program;

/// Compare a model with arrays that its authors' code made, and print every deviation beside its tolerance.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  etalon parity fixtures/etad
  etalon parity fixtures/etad --json
  etalon parity fixtures/etad --device cuda:0

Exit codes: 0 every array agrees, 3 one deviates, 6 the folder is unreadable or of no known model.")]
pub struct Args {
    /// Folder with manifest.json and the arrays as safetensors.
    folder: PathBuf,
    /// "cpu" or "cuda:N", which may deviate ten times as much.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// The network lives in the cells' program, which prints and decides.
pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let program = cell_program();
    let form = if ui.json { "json" } else { "text" };
    let status = Command::new(&program)
        .arg("parity")
        .arg(&args.folder)
        .arg(form)
        .arg(&args.device)
        .status()
        .with_context(|| format!("cannot start {}; it belongs beside `etalon`: build both with `make build`", program.display()))?;
    Ok(match status.code() {
        Some(0) => Exit::Done,
        Some(3) => Exit::Regression,
        Some(6) => Exit::BadInput,
        _ => Exit::Unexpected,
    })
}

/// What `etalon-cell parity` does.
///
/// # Errors
/// The folder cannot be checked.
#[cfg(feature = "torch")]
pub fn check(folder: &std::path::Path, device: &str, ui: &Ui) -> anyhow::Result<Exit> {
    // One thread: the fixtures' training steps amplify the rounding that another division of the work causes.
    crate::nn::runtime::prepare(1);
    let device = crate::nn::runtime::device(device).map_err(|message| crate::run::Error::Input(message.into()))?;
    let parity = crate::detectors::native::guarded(|| Ok(crate::nn::parity::run(folder, device)))??;
    if ui.json {
        ui.json(&parity)?;
    } else {
        let mut table = super::ui::table(&["array", "deviation", "tolerance", "", ""]);
        for check in &parity.checks {
            let kind = if check.relative { "relative" } else { "absolute" };
            let verdict = if check.passed { "ok" } else { "DEVIATES" };
            let number = |x: f64| format!("{x:.2e}");
            table.add_row([check.name.clone(), number(check.deviation), number(check.tolerance), kind.to_owned(), verdict.to_owned()]);
        }
        ui.line(table.to_string());
        for check in &parity.checks {
            if let Some(note) = &check.note {
                ui.line(format!("{}: {:.2e} is allowed: {note}", check.name, check.tolerance));
            }
        }
        for folder in &parity.folders {
            ui.line(format!("{}: {} arrays compared, {} deviate ({})", folder.model, folder.compared, folder.deviating, folder.folder));
        }
        if !parity.not_covered.is_empty() {
            ui.line(format!("not covered by this version: {}", parity.not_covered.join(", ")));
        }
    }
    Ok(if parity.passed { Exit::Done } else { Exit::Regression })
}
