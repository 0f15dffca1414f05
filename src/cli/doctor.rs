//! `etalon doctor`.

mod models;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use super::{Exit, Ui};
use crate::base::units;
use crate::data::video::Program;
use crate::profile::metric::Origin;
use crate::profile::sensors::survey::{Surveyed, survey};
use crate::profile::sensors::{BETWEEN, gpu};
use crate::profile::{Limits, Machine, machine};
use crate::run::cell_program;

/// Free disk space below which a run is likely to fail.
const LITTLE_SPACE: u64 = 2 << 30;

/// Check that this machine can run experiments and which sensors answer, and say what to do where they do not; with an experiment,
/// that its trainers can start too.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  etalon doctor
  etalon doctor --json
  etalon doctor experiment.toml

Exit codes: 0 cells can run here, 1 they cannot.")]
pub struct Args {
    /// Experiment whose trainers (`arch.external`) are checked: code, interpreter, and what they would be handed
    experiment: Option<PathBuf>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    Good,
    /// Something is not available; what does not need it works.
    Absent,
    /// Nothing can run.
    Bad,
}

#[derive(Serialize)]
struct Check {
    what: Cow<'static, str>,
    verdict: Verdict,
    /// What was found, or why not and what to do.
    detail: String,
}

impl Check {
    fn new(what: impl Into<Cow<'static, str>>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { what: what.into(), verdict, detail: detail.into() }
    }
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let machine = Machine::here();
    let surveyed = survey();
    let mut checks = vec![libtorch(), ffmpeg(), gpus(), cores(&machine), memory(&machine), limits(), disk(), sensors(&surveyed)];
    if let Some(experiment) = &args.experiment {
        checks.extend(models::checks(experiment)?);
    }
    if ui.json {
        ui.json(&serde_json::json!({ "machine": machine, "limits": Limits::here(), "checks": checks, "sensors": surveyed }))?;
    } else {
        ui.line(format!("{}: {}, {}", machine.host, machine.os, machine.cpu));
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Good => "ok    ",
                Verdict::Absent => "absent",
                Verdict::Bad => "BAD   ",
            };
            ui.line(format!("{mark}  {:<9} {}", check.what, check.detail));
        }
        sensor_lines(&surveyed).iter().for_each(|line| ui.line(line));
    }
    let bad = checks.iter().any(|c| c.verdict == Verdict::Bad);
    Ok(if bad { Exit::Unexpected } else { Exit::Done })
}

/// Asks the child's program, the only one that loads libtorch.
fn libtorch() -> Check {
    const WHAT: &str = "libtorch";
    let program = cell_program();
    let output = match Command::new(&program).arg("probe").output() {
        Ok(output) => output,
        Err(e) => {
            return Check::new(WHAT, Verdict::Bad, format!("cannot start {}: {e}; build it with `make build`", program.display()));
        }
    };
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let advice = "run `make setup`, or set LIBTORCH to the folder of a libtorch and build again";
        return Check::new(WHAT, Verdict::Bad, format!("{} does not start: {words}; {advice}", program.display()));
    }
    let probe: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    match probe["libtorch"].as_str() {
        Some(version) => Check::new(WHAT, Verdict::Good, version),
        None => Check::new(WHAT, Verdict::Absent, "this build leaves it out: only `prior` runs; build with the default features"),
    }
}

/// Only experiments on videos need it.
fn ffmpeg() -> Check {
    match Program::find() {
        Ok(program) => Check::new("ffmpeg", Verdict::Good, format!("{} ({})", program.version(), program.path().display())),
        Err(missing) => Check::new("ffmpeg", Verdict::Absent, missing.to_string()),
    }
}

fn gpus() -> Check {
    match gpu::list() {
        Ok(gpus) if gpus.is_empty() => Check::new("gpu", Verdict::Absent, "the NVIDIA driver sees no GPU"),
        Ok(gpus) => {
            let describe = |g: &gpu::Gpu| format!("{} ({}, driver {})", g.name, units::bytes(g.memory_bytes), g.driver);
            Check::new("gpu", Verdict::Good, gpus.iter().map(describe).collect::<Vec<_>>().join(", "))
        }
        Err(absent) => Check::new("gpu", Verdict::Absent, absent.to_string()),
    }
}

fn cores(machine: &Machine) -> Check {
    let Machine { cores, usable_cores, .. } = machine;
    let limited = if usable_cores < cores { " (affinity or the control group's quota)" } else { "" };
    Check::new("cores", Verdict::Good, format!("{usable_cores} of {cores} usable{limited}"))
}

fn memory(machine: &Machine) -> Check {
    let (available, all) = (units::bytes(machine.available_bytes), units::bytes(machine.memory_bytes));
    Check::new("memory", Verdict::Good, format!("{available} of {all} available"))
}

fn disk() -> Check {
    match machine::disk_free(Path::new(".")) {
        Ok(free) if free < LITTLE_SPACE => {
            Check::new("disk", Verdict::Absent, format!("only {} free here; free some, or put --store elsewhere", units::bytes(free)))
        }
        Ok(free) => Check::new("disk", Verdict::Good, format!("{} free here", units::bytes(free))),
        Err(e) => Check::new("disk", Verdict::Absent, e.to_string()),
    }
}

fn limits() -> Check {
    let Limits { cores, memory_bytes } = Limits::here();
    let memory = memory_bytes.map_or_else(|| "no limit on memory".to_owned(), |bytes| format!("{} of memory", units::bytes(bytes)));
    Check::new("limits", Verdict::Good, format!("{cores} cores' worth of time, {memory} (affinity and control groups)"))
}

fn sensors(surveyed: &[Surveyed]) -> Check {
    let answering = surveyed.iter().filter(|s| s.absent.is_none()).count();
    let verdict = if answering == surveyed.len() { Verdict::Good } else { Verdict::Absent };
    Check::new("sensors", verdict, format!("{answering} of {} channels answer", surveyed.len()))
}

/// The channels of each group, those of one source or one reason together.
fn sensor_lines(surveyed: &[Surveyed]) -> Vec<String> {
    let mut lines = Vec::new();
    for group in surveyed.chunk_by(|a, b| a.group == b.group) {
        let explain = |s: &Surveyed| match &s.absent {
            // Each source that was tried on a line of its own.
            Some(reason) => ("absent", reason.0.split(BETWEEN).collect::<Vec<_>>().join(&format!("\n{:WIDTH$}", ""))),
            None if s.channel.origin == Origin::Measured => ("ok    ", s.channel.source.to_string()),
            None => ("ok    ", format!("{} ({})", s.channel.source, s.channel.origin.name())),
        };
        lines.push(format!("\n{}", group[0].group.name()));
        for alike in group.chunk_by(|a, b| explain(a) == explain(b)) {
            let (mark, explanation) = explain(&alike[0]);
            lines.push(format!("  {mark}  {:<NAMES$}  {explanation}", names(alike)));
        }
    }
    lines
}

/// Width of the column of names, and of all that is left of the explanations.
const NAMES: usize = 42;
const WIDTH: usize = 2 + 6 + 2 + NAMES + 2;

/// As many names as fit, and how many more there are.
fn names(alike: &[Surveyed]) -> String {
    let mut text = String::new();
    for (at, surveyed) in alike.iter().enumerate() {
        let name = surveyed.channel.name.as_ref();
        let left = alike.len() - at;
        let more = if left > 1 { format!(", … {left} more") } else { String::new() };
        if at > 0 && text.len() + name.len() + more.len() > NAMES {
            return format!("{text}, … {left} more");
        }
        text += if at > 0 { ", " } else { "" };
        text += name;
    }
    text
}
