//! The child process of every cell, and of what else needs a network: the only program that loads libtorch.
//!
//! `etalon-cell run JOB.json` runs one attempt, `etalon-cell measure JOB.json` does the same under `etalon profile`,
//! `etalon-cell profile JOB.json` measures what a native model costs,
//! `etalon-cell peaks THREADS DEVICE` what the machine can do at most, `etalon-cell parity FOLDER json|text` compares a model with
//! its authors' arrays, `etalon-cell extract REQUEST json|- quiet|-` makes feature files, `etalon-cell probe` says which libtorch it found.

use std::panic::{catch_unwind, resume_unwind};
use std::path::Path;
use std::process::ExitCode;

use etalon::cli::cell::{self, Verb};
use etalon::cli::{self, Exit};
use etalon::detectors::build;
use etalon::profile::machine;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // A job has a log for what goes wrong; elsewhere it is said once, by the error.
    let has_log = matches!(arguments.as_slice(), ["run" | "measure" | "profile", _]);
    if !has_log {
        std::panic::set_hook(Box::new(|_| ()));
    }
    let result = catch_unwind(|| run(&arguments)).unwrap_or_else(|panic| {
        if has_log {
            resume_unwind(panic);
        }
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow::anyhow!("etalon-cell failed: {}; report it", text.and_then(|text| text.lines().next()).unwrap_or("it said nothing")))
    });
    result
        .unwrap_or_else(|error| {
            cli::ui::report_error(&error);
            Exit::of(&error)
        })
        .into()
}

fn run(arguments: &[&str]) -> anyhow::Result<Exit> {
    match arguments {
        ["run", job] => cell::attempt(Verb::Run, Path::new(job), build),
        ["measure", job] => cell::attempt(Verb::Measure, Path::new(job), build),
        ["probe"] => probe(),
        #[cfg(feature = "torch")]
        ["peaks", threads, device] => peaks(threads, device),
        #[cfg(feature = "torch")]
        ["profile", job] => etalon::run::native::run(Path::new(job), &mut *cell::phases()).map(|()| Exit::Done).map_err(Into::into),
        #[cfg(feature = "torch")]
        ["parity", folder, form, device] => cli::parity::check(Path::new(folder), device, &cli::Ui::new(*form == "json", false)),
        #[cfg(feature = "torch")]
        ["extract", request, json, quiet] => cli::extract::make(request, &cli::Ui::new(*json == "json", *quiet == "quiet")),
        #[cfg(not(feature = "torch"))]
        ["profile" | "peaks" | "parity" | "extract", ..] => {
            Err(anyhow::anyhow!("this build leaves out libtorch; build with the default features"))
        }
        _ => Err(anyhow::anyhow!("this program is started by `etalon`; by hand: etalon-cell run STORE/cells/…/attempts/N/job.json")),
    }
}

/// What the machine can do at most, in a process of its own: the arrays of the triad are large.
#[cfg(feature = "torch")]
fn peaks(threads: &str, device: &str) -> anyhow::Result<Exit> {
    let peaks = etalon::detectors::native::peaks(threads.parse()?, device)?;
    cli::Ui::new(true, true).json(&peaks)?;
    Ok(Exit::Done)
}

/// That this line is reached says that libtorch was found.
fn probe() -> anyhow::Result<Exit> {
    cli::Ui::new(true, true).json(&serde_json::json!({ "libtorch": machine::libtorch() }))?;
    Ok(Exit::Done)
}
