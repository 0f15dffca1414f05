//! `etalon doctor`.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::{Exit, Ui};
use crate::base::units;
use crate::profile::sensors::{ProcessTree, gpu};
use crate::profile::{Machine, Reading, Sensor, machine};
use crate::run::cell_program;

/// Free disk space below which a run is likely to fail.
const LITTLE_SPACE: u64 = 2 << 30;

/// Check that this machine can run experiments, and say what to do where it cannot.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  etalon doctor
  etalon doctor --json

Exit codes: 0 cells can run here, 1 they cannot.")]
pub struct Args {}

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
    what: &'static str,
    verdict: Verdict,
    /// What was found, or why not and what to do.
    detail: String,
}

impl Check {
    fn new(what: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { what, verdict, detail: detail.into() }
    }
}

pub fn run(_args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let machine = Machine::here();
    let checks = [libtorch(), gpus(), cores(&machine), memory(&machine), disk(), sensors()];
    if ui.json {
        ui.json(&serde_json::json!({ "machine": machine, "checks": checks }))?;
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

fn sensors() -> Check {
    let (mut sensor, mut reading) = (ProcessTree::new(std::process::id()), Reading::default());
    sensor.read(&mut reading);
    let names: Vec<_> = sensor.channels().iter().map(|c| c.name.as_ref()).collect();
    match reading.values.iter().find_map(|v| v.as_ref().err()) {
        None => Check::new("sensors", Verdict::Good, names.join(", ")),
        Some(reason) => Check::new("sensors", Verdict::Absent, reason.to_string()),
    }
}
