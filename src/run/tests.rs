//! The worker with a scripted child: a shell script in place of `etalon-cell`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::trainer::Trainer;
use super::{Happening, Stop, Tally, Watch, Worker};
use crate::base::{Digest, Percent, Span, fsio};
use crate::config::experiment::{CellLimits, ProfileConfig};
use crate::event::Phase;
use crate::profile::Machine;
use crate::protocol::{Cell, CellSpec};
use crate::store::{Outcome, State, Store};

/// What a child that succeeds leaves behind.
const MADE: &str = r#"{"sample": {"videos": 1, "instances": 1, "seconds": 1.0, "classes": 1, "draws": 1, "digest": "aa",
  "test_videos": 1, "test_instances": 1}, "scores": {"tiou": [0.5], "map": [0.5], "average_map": 0.5, "per_class": {},
  "evaluator": "test"}, "training": {"steps": 1, "epochs": 1.0, "parameters": null, "final_loss": null},
  "detection": { "macs": null, "seconds": 60.0 }, "detections": "bb", "libtorch": null, "notes": []}"#;

/// A store, one experiment, and a child that runs a script in the attempt's folder.
struct Scene {
    dir: tempfile::TempDir,
    store: Store,
    experiment: Digest,
    limits: CellLimits,
    trainers: BTreeMap<String, Trainer>,
    profile: ProfileConfig,
    stop: Stop,
}

impl Scene {
    /// `script` sees `$attempt` (the folder's number) and `finish` (a function that leaves a result).
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store")).unwrap();
        let experiment = store.add_experiment("name = \"scripted\"\n", Path::new(""), &[]).unwrap();
        fsio::replace(&dir.path().join("made.json"), MADE.as_bytes()).unwrap();
        let made = dir.path().join("made.json");
        let head = format!("#!/bin/sh\ncd \"${{2%/*}}\"\nattempt=${{PWD##*/}}\nfinish() {{ cp {} result.json; }}\n", made.display());
        let source = dir.path().join("child.sh");
        fsio::replace(&source, format!("{head}{script}\n").as_bytes()).unwrap();
        // By another process: a descriptor of ours that is open for writing while another test forks makes the program busy.
        let installed = Command::new("install").args(["-m", "755"]).arg(&source).arg(dir.path().join("child")).status();
        assert!(installed.unwrap().success());
        let (limits, profile) = (CellLimits { time: Span(Duration::from_secs(60)), attempts: 3 }, ProfileConfig::default());
        Self { dir, store, experiment, limits, trainers: BTreeMap::new(), profile, stop: Stop::default() }
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("child")
    }

    fn run(&self, cells: &[Cell], jobs: usize, watch: &dyn Watch) -> Tally {
        let machine = Machine::here();
        let worker = Worker {
            store: &self.store,
            experiment: &self.experiment,
            limits: &self.limits,
            trainers: &self.trainers,
            profile: &self.profile,
            machine: &machine,
            program: self.program(),
            jobs,
            threads: 1,
            devices: &["cpu".to_owned()],
            stop: &self.stop,
            watch,
        };
        worker.run(cells).unwrap()
    }

    fn outcomes(&self, cell: &Cell) -> Vec<Outcome> {
        let attempts = self.store.attempts(&cell.key).unwrap();
        attempts.into_iter().filter_map(|a| if let State::Ended(outcome) = a.state { Some(outcome) } else { None }).collect()
    }
}

fn cells(n: u64) -> Vec<Cell> {
    let spec = |seed| CellSpec {
        schema: 1,
        dataset: Digest::of_bytes(b"data"),
        protocol: serde_json::Value::Null,
        fraction: Percent::FULL,
        seed,
        model: serde_json::Value::Null,
        recipe: 1,
    };
    (0..n).map(|seed| Cell::new("scripted", spec(seed))).collect()
}

#[test]
fn events_become_phases_and_stray_output_is_kept() {
    let scene = Scene::new(
        r#"echo '{"event":"phase","phase":"load"}'; echo 'a library says hello'; sleep 0.5
           echo '{"event":"phase","phase":"train"}'; sleep 0.5; finish"#,
    );
    let cells = cells(1);
    assert_eq!(scene.run(&cells, 1, &()), Tally { done: 1, ..Tally::default() });
    let record = scene.store.record(&cells[0].key).unwrap().unwrap();
    let phases: Vec<Phase> = record.usage.phases.iter().map(|p| p.0).collect();
    assert_eq!(phases, [Phase::Load, Phase::Train]);
    assert!(record.usage.phases.iter().all(|p| p.1 >= 0.09) && record.usage.wall_s >= 0.2);
    let dir = &scene.store.attempts(&cells[0].key).unwrap()[0].dir;
    assert_eq!(fsio::read_text(&dir.join("stdout.log")).unwrap(), "a library says hello\n");
    assert_eq!(crate::store::journal::read(&dir.join("events.jsonl")).unwrap().entries.len(), 2);
}

#[test]
fn a_cell_that_fails_twice_succeeds_at_the_third_attempt_and_resumes() {
    let scene = Scene::new(
        r#"[ -d checkpoint ] && cat checkpoint/state >&2
           mkdir -p checkpoint; echo "from $attempt" > checkpoint/state
           [ "$attempt" = 3 ] && finish && exit 0
           echo "error: attempt $attempt is unlucky" >&2; exit 1"#,
    );
    let cells = cells(1);
    assert_eq!(scene.run(&cells, 1, &()).done, 1);
    let outcomes = scene.outcomes(&cells[0]);
    assert_eq!(outcomes[0], Outcome::Failed { stage: None, code: 1, message: "attempt 1 is unlucky".into() });
    assert_eq!(outcomes[2], Outcome::Completed);
    let record = scene.store.record(&cells[0].key).unwrap().unwrap();
    assert_eq!(record.attempt, 3);
    assert!(record.notes[0].contains("resumed from attempt 2"));
    let dir = &scene.store.attempts(&cells[0].key).unwrap()[2].dir;
    assert_eq!(fsio::read_text(&dir.join("stderr.log")).unwrap(), "from 2\n");
}

#[test]
fn bad_input_is_not_tried_again_but_another_run_tries() {
    let scene = Scene::new("echo 'error: no such file' >&2; exit 6");
    let cells = cells(2);
    let tally = scene.run(&cells, 2, &());
    assert_eq!((tally.done, tally.failed.len(), scene.outcomes(&cells[0]).len()), (0, 2, 1));
    assert_eq!(tally.failed[0].message, "no such file");
    scene.run(&cells, 1, &());
    assert_eq!(scene.outcomes(&cells[0]).len(), 2);
}

#[test]
fn a_killed_child_and_a_missing_result_are_failures_that_stop_at_the_limit() {
    let mut scene = Scene::new("[ \"$attempt\" = 1 ] && kill -9 $$; exit 0");
    scene.limits.attempts = 2;
    let cells = cells(1);
    let tally = scene.run(&cells, 1, &());
    assert_eq!((tally.failed.len(), tally.failed[0].attempts), (1, 2));
    let outcomes = scene.outcomes(&cells[0]);
    assert_eq!(outcomes[0], Outcome::Killed { signal: 9, stage: None });
    assert!(matches!(&outcomes[1], Outcome::Failed { message, .. } if message.contains("result.json")));
}

#[test]
fn a_cell_that_takes_too_long_is_stopped_with_its_descendants() {
    let mut scene = Scene::new("sleep 60");
    scene.limits = CellLimits { time: Span(Duration::from_millis(200)), attempts: 1 };
    let begun = Instant::now();
    let cells = cells(1);
    assert_eq!(scene.run(&cells, 1, &()).failed.len(), 1);
    assert_eq!(scene.outcomes(&cells[0]), [Outcome::TimedOut { limit_s: 0.2 }]);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// Asks to stop as soon as a cell has finished.
struct StopAfterOne<'a>(&'a Stop);

impl Watch for StopAfterOne<'_> {
    fn watch(&self, _: &Cell, happening: Happening<'_>) {
        if matches!(happening, Happening::Finished(_)) {
            self.0.request();
        }
    }
}

#[test]
fn an_interrupted_run_keeps_what_is_finished_and_the_next_one_does_the_rest() {
    let mut scene = Scene::new("[ -f ../../../../../slow ] && sleep 60; finish");
    let cells = cells(4);
    // One slot finishes a cell, the other is stopped in the middle of one.
    let slow = scene.dir.path().join("store/slow");
    let tally = scene.run(&cells[..1], 2, &StopAfterOne(&scene.stop.clone()));
    assert_eq!((tally.done, tally.left), (1, 0));
    fsio::replace(&slow, b"").unwrap();
    scene.stop = Stop::default();
    let stop = scene.stop.clone();
    let timer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        stop.request();
    });
    let tally = scene.run(&cells, 2, &());
    timer.join().unwrap();
    assert_eq!((tally.found, tally.done, tally.left), (1, 0, 3));
    assert_eq!(scene.outcomes(&cells[1]), [Outcome::Interrupted]);

    std::fs::remove_file(&slow).unwrap();
    scene.stop = Stop::default();
    let tally = scene.run(&cells, 2, &());
    assert_eq!((tally.found, tally.done, tally.failed.len(), tally.left), (1, 3, 0, 0));
}

/// Which cells a worker has finished.
#[derive(Default)]
struct Finished(Mutex<Vec<u64>>);

impl Watch for Finished {
    fn watch(&self, cell: &Cell, happening: Happening<'_>) {
        if matches!(happening, Happening::Finished(_)) {
            self.0.lock().unwrap().push(cell.spec.seed);
        }
    }
}

#[test]
fn two_workers_do_every_cell_once_and_both_wait_for_the_last() {
    let scene = Scene::new("sleep 0.05; finish");
    let cells = cells(12);
    let (one, other) = (Finished::default(), Finished::default());
    let tallies = std::thread::scope(|scope| {
        let threads = [&one, &other].map(|watch| scope.spawn(|| scene.run(&cells, 2, watch)));
        threads.map(|t| t.join().unwrap())
    });
    let (one, other) = (one.0.into_inner().unwrap(), other.0.into_inner().unwrap());
    let mut all = [one, other].concat();
    all.sort_unstable();
    assert_eq!(all, (0..12).collect::<Vec<_>>());
    assert!(tallies.iter().all(|t| t.done + t.found == 12 && t.failed.is_empty()));
}

#[test]
fn a_child_that_cannot_be_started_stops_the_run_and_is_named() {
    let scene = Scene::new("");
    std::fs::remove_file(scene.program()).unwrap();
    let machine = Machine::here();
    let worker = Worker {
        store: &scene.store,
        experiment: &scene.experiment,
        limits: &scene.limits,
        trainers: &scene.trainers,
        profile: &scene.profile,
        machine: &machine,
        program: scene.program(),
        jobs: 1,
        threads: 1,
        devices: &["cpu".to_owned()],
        stop: &scene.stop,
        watch: &(),
    };
    let error = worker.run(&cells(1)).unwrap_err().to_string();
    assert!(error.contains("/child") && error.contains("make build"), "{error}");
}
