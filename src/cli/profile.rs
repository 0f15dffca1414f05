//! `etalon profile`.

mod job;
mod live;
mod native;
mod show;
mod trainer;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use jiff::Timestamp;

use super::{Exit, Ui};
use crate::base::{Span, fsio};
use crate::profile::document::{SCHEMA, Subject};
use crate::profile::limits::Limits;
use crate::profile::sensors::Group;
use crate::profile::session::{self, Finished, Plan, describe};
use crate::profile::{Fingerprint, Profile, Verdict, machine, recorder};
use crate::run::{Prepared, Stop};

/// Measure what a program, a running process or a model of an experiment uses: CPU, memory, bandwidth, disk, GPU, energy.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  etalon profile -- python3 train.py --epochs 1
  etalon profile --out p.json --period 50ms -- make -j2
  etalon profile --pid 4711 --duration 30s --out p.json
  etalon profile experiments/salads50.toml --model actionformer --out p.json

A program that wants its phases told apart writes their names, a line each, to the file descriptor in ETALON_PHASES:
  os.write(int(os.environ[\"ETALON_PHASES\"]), b\"train\\n\")

Beside --out P.json every reading is kept as P.trace.jsonl.zst. `etalon report P.json` draws both; `etalon compare` compares.

Exit codes: that of the command (128 + the signal that ended it), 0 for a process attached to and for a model, 2 wrong usage,
6 the command, process or experiment is not there.")]
pub struct Args {
    /// Experiment whose model is profiled (with --model).
    #[arg(value_name = "EXPERIMENT", requires = "model", conflicts_with_all = ["pid", "command"])]
    experiment: Option<PathBuf>,
    /// Model of the experiment.
    #[arg(long, requires = "experiment")]
    model: Option<String>,
    #[command(flatten)]
    work: native::Work,
    /// Running process to follow, with its descendants, until it ends or Ctrl-C.
    #[arg(long, conflicts_with = "command")]
    pid: Option<u32>,
    /// Follow it for so long at most.
    #[arg(long, requires = "pid")]
    duration: Option<Span>,
    /// File of the profile (JSON).
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// Time between samples.
    #[arg(long, default_value_t = Span(recorder::PERIOD))]
    period: Span,
    /// Groups of sensors, separated by commas; all by default.
    #[arg(long, value_delimiter = ',', value_parser = group)]
    sensors: Option<Vec<Group>>,
    /// Command and its arguments.
    #[arg(last = true)]
    command: Vec<OsString>,
}

fn group(text: &str) -> Result<Group, String> {
    let known = || Group::ALL.map(Group::name).join(", ");
    Group::ALL.into_iter().find(|g| g.name() == text).ok_or_else(|| format!("there is no group {text:?}; there are: {}", known()))
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let stop = Stop::on_signals()?;
    let started = Timestamp::now().to_string();
    // Before anything runs: a GPU's driver is asked, and the child shall not be disturbed.
    let fingerprint = Fingerprint::here();
    let panel = live::Panel::new(ui);
    let plan = Plan {
        groups: args.sensors.clone().unwrap_or_else(|| Group::ALL.to_vec()),
        period: args.period.0,
        trace: args.out.as_deref().map(Profile::trace_path),
        watch: panel.watch(),
        orphans: true,
    };
    let (subject, finished, native) = match (&args.experiment, args.pid, args.command.as_slice()) {
        (Some(experiment), ..) => {
            let model = args.model.as_deref().expect("clap asks for it");
            let prepared = Prepared::open(experiment)?;
            let stop = || stop.requested();
            let (finished, result) = match prepared.model(model)?.arch.external() {
                Some(_) => (trainer::profile(experiment, &prepared, model, &args.work, plan, &stop)?, None),
                None => {
                    let (finished, found) = native::profile(experiment, &prepared, model, &args.work, plan, &stop)?;
                    (finished, Some(found))
                }
            };
            let subject = Subject::Model { experiment: prepared.experiment.name.clone(), model: model.to_owned() };
            (subject, finished, result)
        }
        (None, Some(pid), _) => {
            let (command, begun) = (command_line(pid), std::time::Instant::now());
            let over = || stop.requested() || args.duration.is_some_and(|d| begun.elapsed() >= d.0);
            (Subject::Attached { pid, command }, session::attach(pid, plan, &over)?, None)
        }
        (None, None, [program, arguments @ ..]) => {
            let mut command = Command::new(program);
            command.args(arguments);
            panel.capture(&mut command, ui);
            let words = args.command.iter().map(|w| w.to_string_lossy().into_owned()).collect();
            (Subject::Command(words), session::run(command, plan, &|| stop.requested())?, None)
        }
        (None, None, []) => {
            ui.remark("nothing to profile: give a command after `--`, a process with --pid, or EXPERIMENT --model NAME");
            return Ok(Exit::Usage);
        }
    };
    panel.finish();
    let Finished { status, wall_s, usage } = finished;
    let cores = Limits::here().cores;
    let (steps, compute, roofline) = native.map_or((None, Vec::new(), None), native::Findings::parts);
    let profile = Profile {
        schema: SCHEMA,
        subject,
        fingerprint,
        etalon: machine::etalon().to_owned(),
        started,
        wall_s,
        ended: describe(status),
        verdict: Verdict::of(&usage, cores, roofline.as_ref()),
        usage,
        steps,
        compute,
        roofline,
    };
    if let Some(path) = &args.out {
        fsio::replace(path, &serde_json::to_vec_pretty(&profile)?)?;
    }
    if ui.json {
        ui.json(&profile)?;
    } else {
        show::show(&profile, ui);
        if let Some(path) = &args.out {
            ui.remark(format!("the profile is in {}", path.display()));
        }
    }
    Ok(status.map_or(Exit::Done, Exit::of_command))
}

fn command_line(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).filter(|w| !w.is_empty()).map(|w| String::from_utf8_lossy(w).into_owned()).collect()
}

/// Where the command's output goes when standard output belongs to the JSON document.
fn to_stderr() -> Stdio {
    use std::os::fd::AsFd;
    std::io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from)
}
