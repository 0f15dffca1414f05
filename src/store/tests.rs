//! The store under contention, crashes and damage.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::lease::STALE_AFTER;
use super::record::{DetectionFacts, Provenance, SampleFacts, TrainingFacts, Usage};
use super::{Error, Granted, Lease, Outcome, Record, State, Store};
use crate::base::fsio::{self, Published};
use crate::base::{Digest, Percent, Stream};
use crate::eval::{Detection, Scores};
use crate::protocol::{Cell, CellSpec};

pub(super) fn cell(seed: u64) -> Cell {
    let spec = CellSpec {
        schema: 1,
        dataset: Digest::of_bytes(b"data"),
        protocol: serde_json::Value::Null,
        fraction: Percent::FULL,
        seed,
        model: serde_json::Value::Null,
        recipe: 1,
    };
    Cell::new("prior", spec)
}

pub(super) fn record(cell: &Cell, attempt: u32, detections: Digest) -> Record {
    let sample = SampleFacts {
        videos: 1,
        instances: 1,
        seconds: 1.0,
        classes: 1,
        draws: 1,
        digest: Digest::of_bytes(b""),
        test_videos: 1,
        test_instances: 1,
    };
    let scores = Scores {
        tiou: vec![0.5],
        map: vec![0.5],
        average_map: 0.5,
        per_class: Default::default(),
        recall: Default::default(),
        evaluator: "test".into(),
    };
    Record {
        schema: 1,
        key: cell.key.clone(),
        model: cell.model.clone(),
        fraction: cell.spec.fraction,
        seed: cell.spec.seed,
        attempt,
        sample,
        scores,
        detections,
        training: TrainingFacts::default(),
        detection: DetectionFacts::default(),
        usage: Usage::default(),
        profile: None,
        provenance: Provenance::default(),
        notes: Vec::new(),
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("results")).unwrap();
    (dir, store)
}

fn leased(granted: Granted) -> Lease {
    match granted {
        Granted::Lease(lease) => lease,
        other => panic!("expected a lease, got {other:?}"),
    }
}

/// Makes the holder of a lease look like a process that is gone, and gives back the lease as that of a zombie.
fn kill(lease: Lease) -> Lease {
    let path = claim_path(&lease);
    let mut claim = lease.claim().clone();
    claim.pid_started += 1;
    fsio::replace(&path, &serde_json::to_vec(&claim).unwrap()).unwrap();
    lease
}

fn claim_path(lease: &Lease) -> std::path::PathBuf {
    lease.dir().join(format!("../../claims/{}.json", lease.attempt()))
}

#[test]
fn a_held_cell_is_busy_and_a_done_one_is_done() {
    let (_dir, store) = store();
    let cell = cell(0);
    let lease = leased(store.claim(&cell).unwrap());
    assert!(matches!(store.claim(&cell).unwrap(), Granted::Busy(claim) if claim.pid == std::process::id()));
    assert_eq!(lease.complete(&record(&cell, 1, Digest::of_bytes(b"x"))).unwrap(), Published::New);
    assert!(matches!(store.claim(&cell).unwrap(), Granted::Done));
    assert_eq!(store.records().unwrap().len(), 1);
    assert_eq!(store.attempts(&cell.key).unwrap()[0].state, State::Ended(Outcome::Completed));
}

#[test]
fn a_failed_attempt_is_kept_and_the_next_one_gets_the_next_number() {
    let (_dir, store) = store();
    let cell = cell(0);
    let failed = Outcome::Failed { stage: None, code: 1, message: "no".into() };
    leased(store.claim(&cell).unwrap()).end(&failed).unwrap();
    assert_eq!(leased(store.claim(&cell).unwrap()).attempt(), 2);
    let states: Vec<State> = store.attempts(&cell.key).unwrap().into_iter().map(|a| a.state).collect();
    assert_eq!(states, [State::Ended(failed), State::Running]);
}

#[test]
fn the_cell_of_a_dead_process_is_taken_over_at_once_with_its_checkpoint() {
    let (_dir, store) = store();
    let cell = cell(0);
    let first = kill(leased(store.claim(&cell).unwrap()));
    assert_eq!(first.prepare().unwrap(), None);
    fsio::replace(&first.dir().join("checkpoint/state"), b"epoch 3").unwrap();
    // The second one dies before it has copied anything.
    kill(leased(store.claim(&cell).unwrap()));
    let third = leased(store.claim(&cell).unwrap());
    assert_eq!((third.attempt(), third.prepare().unwrap()), (3, Some(1)));
    assert_eq!(fsio::read(&third.dir().join("checkpoint/state")).unwrap(), b"epoch 3");
    assert_eq!(store.attempts(&cell.key).unwrap()[0].state, State::Lost);
    let earlier = first.dir();
    third.complete(&record(&cell, 3, Digest::of_bytes(b"x"))).map(drop).unwrap();
    assert!(!earlier.join("checkpoint").exists() && earlier.exists());
}

#[test]
fn a_holder_on_another_machine_is_judged_by_its_heartbeat() {
    let (_dir, store) = store();
    let cell = cell(0);
    let lease = leased(store.claim(&cell).unwrap());
    let mut claim = lease.claim().clone();
    claim.namespace = "another machine".into();
    fsio::replace(&claim_path(&lease), &serde_json::to_vec(&claim).unwrap()).unwrap();
    assert!(matches!(store.claim(&cell).unwrap(), Granted::Busy(_)));

    let old = SystemTime::now() - STALE_AFTER - Duration::from_secs(1);
    std::fs::File::options().write(true).open(claim_path(&lease)).unwrap().set_modified(old).unwrap();
    assert_eq!(store.attempts(&cell.key).unwrap()[0].state, State::Lost);
    lease.heartbeat().unwrap();
    assert_eq!(store.attempts(&cell.key).unwrap()[0].state, State::Running);
}

#[test]
fn a_late_zombie_cannot_change_the_record() {
    let (_dir, store) = store();
    let cell = cell(0);
    let zombie = kill(leased(store.claim(&cell).unwrap()));
    let heir = leased(store.claim(&cell).unwrap());
    let (mine, theirs) = (record(&cell, 2, Digest::of_bytes(b"heir")), record(&cell, 1, Digest::of_bytes(b"zombie")));
    assert_eq!(heir.complete(&mine).unwrap(), Published::New);
    assert_eq!(zombie.complete(&theirs).unwrap(), Published::AlreadyThere);
    assert_eq!(store.record(&cell.key).unwrap(), Some(mine));
}

#[test]
fn workers_that_crash_and_come_back_leave_one_record_per_cell() {
    const CELLS: u64 = 60;
    let (_dir, store) = store();
    let cells: Vec<Cell> = (0..CELLS).map(cell).collect();
    let published = AtomicUsize::new(0);
    let publish = |lease: Lease, cell: &Cell| {
        let record = record(cell, lease.attempt(), Digest::of_bytes(&lease.attempt().to_le_bytes()));
        if lease.complete(&record).unwrap() == Published::New {
            published.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (cells, store, publish) = (&cells, &store, &publish);
            scope.spawn(move || {
                let mut stream = Stream::new(worker, "contention");
                let mut order: Vec<&Cell> = cells.iter().collect();
                stream.shuffle(&mut order);
                while !order.is_empty() {
                    order.retain(|cell| match store.claim(cell).unwrap() {
                        Granted::Done => false,
                        Granted::Busy(_) => true,
                        Granted::Lease(lease) => match stream.uniform() {
                            // Crashes.
                            x if x < 0.15 => {
                                kill(lease);
                                true
                            }
                            // Is taken for dead and finishes all the same.
                            x if x < 0.25 => {
                                let zombie = kill(lease);
                                std::thread::sleep(Duration::from_millis(2));
                                publish(zombie, cell);
                                false
                            }
                            _ => {
                                publish(lease, cell);
                                false
                            }
                        },
                    });
                }
            });
        }
    });
    assert_eq!(published.into_inner(), CELLS as usize);
    let records = store.records().unwrap();
    assert_eq!(records.len(), CELLS as usize);
    assert!(cells.iter().all(|c| store.record(&c.key).unwrap().is_some_and(|r| r.key == c.key)));
}

#[test]
fn detections_read_back_as_written() {
    let (_dir, store) = store();
    let cell = cell(0);
    let lease = leased(store.claim(&cell).unwrap());
    let detection = Detection { segment: [0.1, 1.0 / 3.0].into(), label: 2, score: 0.7 };
    let detections = [("v".to_owned(), vec![detection])].into();
    let digest = super::layout::write_detections(&lease.dir(), &detections).unwrap();
    let record = record(&cell, 1, digest);
    let _ = lease.complete(&record).unwrap();
    assert_eq!(store.detections(&record).unwrap(), detections);
}

#[test]
fn an_experiment_is_found_by_its_digest() {
    let (_dir, store) = store();
    let cells = [(&cell(0)).into(), (&cell(1)).into()];
    let digest = store.add_experiment("name = \"x\"\n", Path::new(""), &cells).unwrap();
    assert_eq!(store.add_experiment("name = \"x\"\n", Path::new(""), &cells).unwrap(), digest);
    assert_eq!(store.experiments().unwrap(), [digest.to_string()]);
    assert_eq!(store.planned(digest.as_str()).unwrap(), cells);
    let error = store.experiment("feed").unwrap_err().to_string();
    assert!(error.contains("feed") && error.contains(digest.as_str()), "{error}");
}

#[test]
fn other_folders_and_newer_stores_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let marker = dir.path().join("store.toml");
    assert!(matches!(Store::open(dir.path()), Err(Error::NotAStore { .. })));
    fsio::replace(&dir.path().join("thesis.tex"), b"").unwrap();
    assert!(matches!(Store::create(dir.path()), Err(Error::NotAStore { .. })));
    for (format, fine) in [("1.0", true), ("1.9", true), ("2.0", false), ("new", false)] {
        let text = format!("format = \"{format}\"\n");
        fsio::replace(&marker, text.as_bytes()).unwrap();
        assert_eq!(Store::create(dir.path()).is_ok(), fine, "{format}");
        assert_eq!(fsio::read_text(&marker).unwrap(), text);
    }
    let refusal = |root: &Path| Store::open(root).unwrap_err().to_string();
    assert!(refusal(dir.path()).contains("not a version"));
    fsio::replace(&marker, b"format = \"2.0\"\n").unwrap();
    assert!(refusal(dir.path()).contains("newer etalon"));
}

#[test]
fn many_workers_may_create_one_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("S");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = Store::create(&root).unwrap();
                store.add_experiment("name = \"x\"\n", Path::new(""), &[]).unwrap();
            });
        }
    });
    assert_eq!(Store::open(&root).unwrap().experiments().unwrap().len(), 1);
}

#[test]
fn a_damaged_record_is_named() {
    let (_dir, store) = store();
    let cell = cell(0);
    let _ = leased(store.claim(&cell).unwrap()).complete(&record(&cell, 1, Digest::of_bytes(b"x"))).unwrap();
    let path = store.root().join("cells").join(&cell.key.as_str()[..2]).join(cell.key.as_str()).join("record.json");
    fsio::replace(&path, b"{").unwrap();
    assert!(store.records().unwrap_err().to_string().contains(path.to_str().unwrap()));
}
