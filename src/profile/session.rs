//! A program under the recorder: started here, or running already.
//!
//! A program that wants its phases told apart writes their names, a line each, to the file descriptor that the environment
//! variable `ETALON_PHASES` names: `os.write(int(os.environ["ETALON_PHASES"]), b"train\n")`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::process::{self, Ended, Stat};
use super::recorder::{self, Recorder, Watch};
use super::sensors::{self, Group};
use super::summary::Summary;
use crate::event::{Event, Observer};

/// Name of the variable that tells a program where to write the names of its phases.
pub const PHASES: &str = "ETALON_PHASES";

/// How often the wish to stop is looked at.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is measured, and where it goes.
pub struct Plan {
    /// Groups of sensors.
    pub groups: Vec<Group>,
    /// Time between samples.
    pub period: Duration,
    /// File of the trace.
    pub trace: Option<PathBuf>,
    /// Who looks on.
    pub watch: Option<Watch>,
    /// Count what processes use whose parent ended before them: this process becomes their parent. Only for one that has no
    /// other children, since they could not be told apart.
    pub orphans: bool,
}

/// What a program used.
#[derive(Debug)]
pub struct Finished {
    /// How it ended; `None` for one that was attached to.
    pub status: Option<ExitStatus>,
    /// Seconds by the monotonic clock.
    pub wall_s: f64,
    /// What it used.
    pub usage: Summary,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be started.
    #[error("cannot start {program:?}: check its name and the PATH, and that it may be executed")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is nothing to attach to.
    #[error("there is no process {0} to attach to")]
    NoProcess(u32),
    /// The child cannot be watched.
    #[error("cannot wait for process {pid}")]
    Wait {
        /// The child.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Runs `command` to its end, or asks it to end when `stop` says so. Processes that outlive it are named in a warning and
/// left alone.
///
/// # Errors
/// The command cannot be started or waited for.
pub fn run(mut command: Command, plan: Plan, stop: &dyn Fn() -> bool) -> Result<Finished, Error> {
    let orphans = plan.orphans;
    if orphans {
        process::adopt_orphans();
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| Error::Start { program: program.clone(), source };
    let marks = offer_phases(&mut command).map_err(failed)?;
    let begun = Instant::now();
    let child = command.spawn().map_err(failed)?;
    // The command holds the writing end of the pipe until here.
    drop(command);
    let pid = child.id();
    let recorder = start(pid, plan);
    follow_phases(marks, &recorder);
    let mut asked = false;
    while !process::wait_for_exit(pid, PATIENCE).map_err(|source| Error::Wait { pid, source })? {
        if stop() && !asked {
            // SAFETY: kill takes numbers only.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
            asked = true;
        }
    }
    let wall_s = begun.elapsed().as_secs_f64();
    // The child is not reaped yet: its last readings are still there.
    let mut usage = recorder.finish();
    let ended = process::try_wait(pid).map_err(|source| Error::Wait { pid, source })?;
    let mut ended = ended.expect("it has ended");
    let status = ended.status;
    if orphans {
        usage.warnings.extend(adopt(&mut ended));
    }
    usage.settle(&ended, wall_s);
    Ok(Finished { status: Some(status), wall_s, usage })
}

/// Follows a running process and its descendants until it ends or `stop` says so.
///
/// # Errors
/// There is no such process.
pub fn attach(pid: u32, plan: Plan, stop: &dyn Fn() -> bool) -> Result<Finished, Error> {
    let Stat { started, .. } = Stat::of(pid).filter(|s| s.alive).ok_or(Error::NoProcess(pid))?;
    let begun = Instant::now();
    let recorder = start(pid, plan);
    while Stat::of(pid).is_some_and(|s| s.alive && s.started == started) && !stop() {
        std::thread::sleep(PATIENCE / 4);
    }
    Ok(Finished { status: None, wall_s: begun.elapsed().as_secs_f64(), usage: recorder.finish() })
}

fn start(pid: u32, plan: Plan) -> Recorder {
    let (sensors, missing) = sensors::open(pid, &plan.groups);
    Recorder::start(recorder::Options { sensors, missing, period: plan.period, trace: plan.trace, watch: plan.watch })
}

/// A pipe whose writing end the child inherits, and its number in the child's environment ([`PHASES`]). Returns the reading end.
///
/// # Errors
/// There can be no pipe.
pub fn offer_phases(command: &mut Command) -> io::Result<File> {
    let mut ends = [0; 2];
    // SAFETY: the pointer is to a live array of two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both were just opened and belong to nobody else.
    let (reading, writing) = unsafe { (File::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    command.env(PHASES, writing.as_raw_fd().to_string());
    // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || match libc::fcntl(writing.as_raw_fd(), libc::F_SETFD, 0) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    Ok(reading)
}

/// Not joined: a process left behind could hold the pipe open.
fn follow_phases(marks: File, recorder: &Recorder) {
    let marker = recorder.marker();
    std::thread::spawn(move || {
        for line in BufReader::new(marks).lines().map_while(Result::ok) {
            marker.phase(line.trim());
        }
    });
}

/// Adds what ended orphans used; names those that still run.
fn adopt(ended: &mut Ended) -> Option<String> {
    let mut left: Vec<u32> = Vec::new();
    for pid in process::children(std::process::id()) {
        match process::try_wait(pid) {
            Ok(Some(orphan)) => ended.absorb(&orphan),
            Ok(None) => left.push(pid),
            Err(_) => {}
        }
    }
    let count = left.len();
    let pids = left.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    (count > 0).then(|| format!("it left {count} processes running ({pids}); what they use from now on is not in this profile"))
}

/// Hands the phases of this program to the session it runs in.
pub struct Phases(File);

impl Phases {
    /// `None` when no session offered a pipe.
    pub fn offered() -> Option<Self> {
        let descriptor = std::env::var(PHASES).ok()?.parse().ok()?;
        // SAFETY: the session opened it for this program, and nothing else here uses it.
        Some(Self(unsafe { File::from_raw_fd(descriptor) }))
    }
}

impl Observer for Phases {
    fn observe(&mut self, event: &Event) {
        if let Event::Phase { phase } = event {
            // A session that is gone is no reason to fail.
            let _ = self.0.write_all(format!("{}\n", phase.name()).as_bytes());
        }
    }
}

/// "exit 0" or "signal 9".
pub fn describe(status: Option<ExitStatus>) -> String {
    match status.map(|s| (s.code(), s.signal())) {
        Some((Some(code), _)) => format!("exit {code}"),
        Some((_, Some(signal))) => format!("signal {signal}"),
        _ => "still running or unknown: it was attached to".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { groups: vec![Group::Process], period: Duration::from_millis(20), trace: None, watch: None, orphans: false }
    }

    fn shell(script: &str) -> Finished {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, plan(), &|| false).unwrap()
    }

    #[test]
    fn a_program_names_its_phases_and_each_gets_its_share() {
        let burn = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        let finished = shell(&format!("echo load >&$ETALON_PHASES; sleep 0.1; echo train >&$ETALON_PHASES; {burn}"));
        let names: Vec<&str> = finished.usage.phases.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["load", "train"]);
        let cpu = |name: &str| finished.usage.phase(name).unwrap().metrics["cpu.time"].value().unwrap();
        assert!(cpu("train") > cpu("load") && finished.usage.value("cpu.time").unwrap() >= cpu("train"));
    }

    #[test]
    fn an_ending_by_a_signal_and_a_missing_program_are_told_apart() {
        assert_eq!(describe(shell("kill -9 $$").status), "signal 9");
        let error = run(Command::new("no-such-program"), plan(), &|| false).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
        assert!(matches!(attach(u32::MAX, plan(), &|| true), Err(Error::NoProcess(_))));
    }
}
