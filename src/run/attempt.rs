//! One attempt seen from the parent: start the child, journal its events, keep the lease alive, enforce the time limit, and
//! turn the way it ends into a record or an outcome.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::error::{Error, Result};
use super::job::{Job, Made};
use super::process::{Next, Process};
use super::trainer::Trainer;
use super::watch::Happening;
use super::worker::{BAD_INPUT, THREAD_VARIABLES, Worker, own_cell};
use crate::base::fsio;
use crate::event::{Event, Phase};
use crate::profile::process::Ended;
use crate::profile::{Recorder, Summary, machine, recorder, sensors};
use crate::protocol::Cell;
use crate::store::journal::{Entry, Journal};
use crate::store::lease::HEARTBEAT;
use crate::store::record::{Provenance, Usage};
use crate::store::{Lease, Outcome, Record, TRACE};

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// How often the clock, the lease and the wish to stop are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Characters kept of a child's last words.
const LAST_WORDS: usize = 2000;

/// Makes one attempt and ends the lease. Failure of the attempt is a value; an error means that the run cannot go on.
pub(super) fn run(worker: &Worker<'_>, cell: &Cell, device: &str, lease: Lease) -> Result<Outcome> {
    let dir = lease.dir();
    let resumed_from = lease.prepare()?;
    let job = Job {
        schema: 1,
        experiment: worker.store.experiment(worker.experiment.as_str())?,
        model: cell.model.clone(),
        fraction: cell.spec.fraction,
        seed: cell.spec.seed,
        threads: worker.threads,
        device: device.to_owned(),
        deadline: Some(Timestamp::now().as_millisecond() as f64 / 1e3 + worker.limits.time.0.as_secs_f64()),
    };
    let command = command(worker, &job, &dir)?;
    let mut journal = Journal::create(&dir.join("events.jsonl"))?;
    worker.watch.watch(cell, Happening::Started { attempt: lease.attempt() });

    let mut timeline = Timeline::start();
    let program = command.get_program().into();
    let mut process = Process::spawn(command).map_err(|source| Error::Spawn { program, source })?;
    let (sensors, missing) = sensors::open(process.pid(), &worker.profile.sensors);
    let (period, trace) = (worker.profile.period.0, Some(dir.join(TRACE)));
    let recorder = Recorder::start(recorder::Options { sensors, missing, period, trace, watch: None });
    let mut ending = Ending::default();
    let ended = loop {
        match process.next(TICK).map_err(|source| Error::Wait { pid: process.pid(), source })? {
            Next::Ended(ended) => break ended,
            Next::Quiet => {}
            Next::Line(line) => match serde_json::from_slice::<Event>(&line) {
                Ok(event) => {
                    let (at_s, begins) = timeline.observe(&event);
                    begins.into_iter().for_each(|phase| recorder.phase(phase.name()));
                    journal.append(&Entry { at_s, event: event.clone() })?;
                    worker.watch.watch(cell, Happening::Event(&event));
                }
                Err(_) => keep_stray_output(&dir, &line)?,
            },
        }
        if timeline.heartbeat_due() {
            lease.heartbeat()?;
        }
        ending.look(worker, timeline.begun.elapsed(), &process);
    };

    let mut profile = recorder.finish();
    let usage = timeline.usage(&ended, worker.threads);
    profile.settle(&ended, usage.wall_s);
    if let Some(outcome) = ending.judge(worker, &ended, &timeline, &dir) {
        lease.end(&outcome)?;
        return Ok(outcome);
    }
    let made = match Made::read(&dir) {
        Ok(made) => made,
        Err(error) => {
            let outcome = Outcome::Failed { stage: timeline.stage(), code: 0, message: format!("it ended without a result: {error}") };
            lease.end(&outcome)?;
            return Ok(outcome);
        }
    };
    if let Some(message) = worker.trainers.get(&cell.model).and_then(Trainer::changed) {
        let outcome = Outcome::Failed { stage: timeline.stage(), code: BAD_INPUT, message };
        lease.end(&outcome)?;
        return Ok(outcome);
    }
    let mut record = compose(worker, (cell, device), &lease, made, usage, profile);
    if let Some(earlier) = resumed_from {
        record.notes.push(format!("resumed from attempt {earlier}; the cost is that of attempt {} alone", lease.attempt()));
    }
    let _ = lease.complete(&record)?;
    worker.watch.watch(cell, Happening::Finished(&record));
    Ok(Outcome::Completed)
}

/// The child's command line and surroundings.
fn command(worker: &Worker<'_>, job: &Job, dir: &Path) -> Result<Command> {
    let stderr = dir.join("stderr.log");
    // Whoever trains elsewhere needs no libtorch here.
    let mut command = if worker.trainers.contains_key(&job.model) { own_cell() } else { Command::new(&worker.program) };
    command.arg("run").arg(job.write(dir)?).stderr(fsio::open_append(&stderr)?);
    for name in THREAD_VARIABLES {
        command.env(name, worker.threads.to_string());
    }
    Ok(command)
}

fn compose(worker: &Worker<'_>, (cell, device): (&Cell, &str), lease: &Lease, made: Made, usage: Usage, profile: Summary) -> Record {
    Record {
        schema: 1,
        key: cell.key.clone(),
        model: cell.model.clone(),
        fraction: cell.spec.fraction,
        seed: cell.spec.seed,
        attempt: lease.attempt(),
        sample: made.sample,
        scores: made.scores,
        detections: made.detections,
        training: made.training,
        detection: made.detection,
        usage,
        profile: Some(profile),
        provenance: Provenance {
            etalon: machine::etalon().to_owned(),
            crates: machine::crates().to_owned(),
            libtorch: made.libtorch,
            trainer: worker.trainers.get(&cell.model).map(|trainer| trainer.facts().clone()),
            device: device.to_owned(),
            host: worker.machine.host.clone(),
            cpu: worker.machine.cpu.clone(),
            started: lease.claim().started.to_string(),
            finished: Timestamp::now().to_string(),
            experiment: worker.experiment.to_string(),
        },
        notes: made.notes,
    }
}

/// Output that is no event (a library that prints) goes beside the other logs.
fn keep_stray_output(dir: &Path, line: &[u8]) -> Result<()> {
    use std::io::Write;
    let path = dir.join("stdout.log");
    let mut file = fsio::open_append(&path)?;
    Ok(file.write_all(&[line, b"\n"].concat()).map_err(fsio::Error::wrap("write", &path))?)
}

/// When phases began and the claim was last touched.
struct Timeline {
    begun: Instant,
    beat: Instant,
    phases: Vec<(Phase, f64)>,
}

impl Timeline {
    fn start() -> Self {
        let now = Instant::now();
        Self { begun: now, beat: now, phases: Vec::new() }
    }

    /// Seconds since the start, and the phase if the event begins one: a trainer of the user names some that have begun already.
    fn observe(&mut self, event: &Event) -> (f64, Option<Phase>) {
        let at = self.begun.elapsed().as_secs_f64();
        let begins = if let Event::Phase { phase } = event { Some(*phase).filter(|_| self.stage() != Some(*phase)) } else { None };
        self.phases.extend(begins.map(|phase| (phase, at)));
        (at, begins)
    }

    fn stage(&self) -> Option<Phase> {
        self.phases.last().map(|(phase, _)| *phase)
    }

    fn heartbeat_due(&mut self) -> bool {
        let due = self.beat.elapsed() >= HEARTBEAT;
        if due {
            self.beat = Instant::now();
        }
        due
    }

    /// The price of the attempt; a phase lasts until the next one begins, the last one until the end.
    fn usage(&self, ended: &Ended, threads: usize) -> Usage {
        let wall_s = self.begun.elapsed().as_secs_f64();
        let ends = self.phases.iter().skip(1).map(|(_, at)| *at).chain([wall_s]);
        let phases = self.phases.iter().zip(ends).map(|((phase, from), to)| (*phase, to - from)).collect();
        Usage { wall_s, cpu_s: ended.cpu_s, peak_rss_bytes: ended.peak_rss_bytes, threads, phases }
    }
}

/// Why and when the child was asked to end.
#[derive(Default)]
struct Ending {
    asked: Option<(Outcome, Instant)>,
    forced: bool,
}

impl Ending {
    /// Asks the child to end when it is time, and makes it end when it does not.
    fn look(&mut self, worker: &Worker<'_>, elapsed: Duration, process: &Process) {
        let limit = worker.limits.time.0;
        match &self.asked {
            None => {
                let outcome = match () {
                    () if worker.stop.requested() => Outcome::Interrupted,
                    () if elapsed > limit => Outcome::TimedOut { limit_s: limit.as_secs_f64() },
                    () => return,
                };
                process.signal(libc::SIGTERM);
                self.asked = Some((outcome, Instant::now()));
            }
            Some((_, when)) if !self.forced && when.elapsed() > GRACE => {
                process.signal(libc::SIGKILL);
                self.forced = true;
            }
            Some(_) => {}
        }
    }

    /// How the attempt ended; `None` when the child succeeded (even if it was asked to end a moment before).
    fn judge(self, worker: &Worker<'_>, ended: &Ended, timeline: &Timeline, dir: &Path) -> Option<Outcome> {
        if ended.status.success() {
            return None;
        }
        if let Some((outcome, _)) = self.asked {
            return Some(outcome);
        }
        // Ctrl-C may reach the child by other ways before we have seen it.
        if worker.stop.requested() {
            return Some(Outcome::Interrupted);
        }
        let stage = timeline.stage();
        Some(match ended.status.signal() {
            Some(signal) => Outcome::Killed { signal, stage },
            None => Outcome::Failed { stage, code: ended.status.code().unwrap_or(-1), message: last_words(&dir.join("stderr.log")) },
        })
    }
}

/// The child's error message: what follows the last `error: `, or else its last lines.
pub fn last_words(stderr: &Path) -> String {
    let text = String::from_utf8_lossy(&fsio::read(stderr).unwrap_or_default()).trim().to_owned();
    // Only at the beginning of a line: messages of libraries hold the word too.
    let begin = text.rfind("\nerror: ").map(|at| at + "\nerror: ".len()).or_else(|| text.starts_with("error: ").then_some("error: ".len()));
    let message = match begin {
        Some(at) => text[at..].to_owned(),
        None => {
            let lines: VecDeque<&str> = text.lines().rev().take(10).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        }
    };
    let kept: String = message.chars().take(LAST_WORDS).collect();
    if kept.is_empty() { "it said nothing".to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_error_or_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stderr.log");
        assert_eq!(last_words(&path), "it said nothing");
        fsio::replace(&path, b"warning: x\nerror: old\nerror: cannot read a.npy\n  caused by: no such file\n").unwrap();
        assert_eq!(last_words(&path), "cannot read a.npy\n  caused by: no such file");
        fsio::replace(&path, b"one\nthread 'main' panicked\n").unwrap();
        assert_eq!(last_words(&path), "one\nthread 'main' panicked");
    }

    #[test]
    fn phases_last_until_the_next_one() {
        let mut timeline = Timeline::start();
        timeline.phases = vec![(Phase::Load, 0.25), (Phase::Train, 1.0)];
        timeline.begun = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
        let ended = Ended { cpu_s: 1.5, ..Ended::of(std::process::ExitStatus::from_raw(0)) };
        let usage = timeline.usage(&ended, 2);
        assert_eq!(usage.phases[0], (Phase::Load, 0.75));
        assert!((usage.phases[1].1 - 2.0).abs() < 0.5 && usage.wall_s >= 3.0);
    }
}
