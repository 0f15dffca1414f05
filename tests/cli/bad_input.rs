//! What users get wrong: each case is refused in one paragraph that names the place and the remedy, with its exit code, and
//! the store stays as it was.

use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;

use crate::Ran;
use crate::recordings::{CHANNELS, DURATION, EXPERIMENT, Recordings, npy, snapshot};

impl Recordings {
    fn run(&self) -> Ran {
        self.test.run(["run", EXPERIMENT, "--store", "S", "--jobs", "2", "--quiet"])
    }

    /// Runs with something spoilt: refused with `code` and every part in one paragraph, nothing written; when restored, the
    /// same command completes the grid.
    fn refuses(&self, code: i32, parts: &[&str]) {
        // Part of the grid is there, so there is something to damage.
        let spoilt = std::fs::read_to_string(self.path(EXPERIMENT)).expect("written before");
        let annotations = std::fs::read_to_string(self.path("annotations.json")).unwrap_or_default();
        let before = snapshot(&self.path("S"));
        assert!(before.keys().any(|path| path.ends_with("record.json")));
        let ran = self.run();
        ran.fails_with(code, parts);
        one_paragraph(&ran);
        assert!(before == snapshot(&self.path("S")), "the store changed with {spoilt}\n{annotations}");
    }
}

fn one_paragraph(ran: &Ran) {
    let text = ran.stderr.trim_end();
    assert!(text.starts_with("error: ") && text.matches("error: ").count() == 1, "{text}");
    for sign in ["panicked", "backtrace", "\n\n", "unwrap"] {
        assert!(!text.contains(sign), "{sign:?} in {text}");
    }
}

/// A spoilt copy of the recordings over a store that holds half of the grid.
fn half_done() -> Recordings {
    let recordings = Recordings::new();
    let ran = recordings.test.run(["run", EXPERIMENT, "--store", "S", "--seed", "0", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    recordings
}

fn completes(recordings: &Recordings) {
    recordings.restore();
    let summary = recordings.test.run(["run", EXPERIMENT, "--store", "S", "--json", "--quiet"]).json();
    assert_eq!((&summary["found"], &summary["done"]), (&json!(2), &json!(2)));
}

#[test]
fn features_that_cannot_be_used_are_refused_before_anything_runs() {
    let recordings = half_done();
    let snippets = |count: usize| npy([count, CHANNELS], &vec![0.5; count * CHANNELS]);

    std::fs::remove_file(recordings.path("features/v3.npy")).expect("written before");
    recordings.refuses(6, &["features/v3.npy does not exist", "\"v3\"", "dataset.features.path"]);
    recordings.write("features/v3.npy", &snippets(5));
    recordings.refuses(6, &["features/v3.npy", "5 snippets cover 5.0 s of the 20.0 s", "the file is short", "dataset.features.stride"]);
    let mut values = vec![0.5; DURATION * CHANNELS];
    values[6 * CHANNELS + 1] = f32::NAN;
    recordings.write("features/v3.npy", &npy([DURATION, CHANNELS], &values));
    recordings.refuses(6, &["features/v3.npy", "NaN at snippet 6, channel 1", "\"v3\"", "extract this file again"]);
    recordings.write("features/v3.npy", &npy([DURATION, 3], &vec![0.5; DURATION * 3]));
    recordings.refuses(6, &["features/v3.npy", "expected 4 values", "dataset.features.dim", "[20, 3]"]);
    recordings.write("features/v3.npy", &npy([CHANNELS, DURATION], &vec![0.5; DURATION * CHANNELS]));
    recordings.refuses(6, &["features/v3.npy", "layout = \"channels-time\""]);
    recordings.write("features/v3.npy", &snippets(DURATION)[..200]);
    recordings.refuses(6, &["features/v3.npy", "truncated", "[20, 4]", "copy or extract it again"]);
    recordings.write("features/v3.npy", &snippets(DURATION)[..40]);
    recordings.refuses(6, &["features/v3.npy", "not a readable .npy file"]);
    recordings.write("features/v3.npy", b"");
    recordings.refuses(6, &["features/v3.npy"]);
    completes(&recordings);
}

#[test]
fn annotations_that_make_no_sense_are_refused_by_video_and_key() {
    let recordings = half_done();
    for (place, value, parts) in [
        ("/database/v3/annotations/1/segment", json!([9.0, 25.0]), &["lies outside the video of 20 s", "outside = \"drop\""][..]),
        ("/database/v3/annotations/1/segment", json!([9.0, 4.0]), &["[9, 4] ends before it starts", "swap or correct"]),
        ("/database/v3/annotations/1/label", json!("swim"), &["\"swim\" is not in `classes`", "add the class"]),
        ("/database/v3/annotations/1/segment", json!([9.0]), &["has 1 numbers", "[start, end]"]),
        ("/database/v3/duration", json!(-1.0), &["duration", "positive"]),
    ] {
        recordings.annotate(place, value);
        recordings.refuses(6, &[&["annotations.json", "video \"v3\""], parts].concat());
    }
    recordings.annotate("/database", json!({}));
    recordings.refuses(6, &["annotations.json", "`database` is empty"]);
    let whole = std::fs::read(recordings.path("annotations.json")).expect("written before");
    recordings.restore();
    recordings.write("annotations.json", &whole[..whole.len() / 2]);
    recordings.refuses(6, &["annotations.json", "line 1"]);
    std::fs::remove_file(recordings.path("annotations.json")).expect("written before");
    recordings.refuses(6, &["annotations.json", "dataset.annotations"]);
    completes(&recordings);
}

#[test]
fn experiments_that_ask_for_the_impossible_are_refused_by_key() {
    let recordings = half_done();
    for (from, to, parts) in [
        ("\"validation\"]", "\"testing\"]", &["subset \"testing\"", "\"validation\"", "protocol.pool"][..]),
        ("[50, 100]", "[5, 100]", &["5 % of 8 training videos rounds to zero", "at least 6.25 %", "protocol.fractions"]),
        ("seeds = ", "sedes = ", &["recordings.toml", "unknown field `sedes`", "line"]),
        ("arch.prior", "arch.slowfast", &["recordings.toml", "unknown variant `slowfast`"]),
        ("dim = 4", "dim = \"4\"", &["recordings.toml", "line", "dim"]),
        ("annotations.json", "${NO_SUCH_FOLDER}/a.json", &["recordings.toml", "NO_SUCH_FOLDER", "dataset.annotations"]),
        ("rate = 1.0, ", "", &["dataset.features", "`rate`"]),
    ] {
        recordings.configure(from, to);
        recordings.refuses(6, parts);
    }
    completes(&recordings);
}

#[test]
fn a_store_of_a_newer_version_is_refused_by_every_verb_and_not_touched() {
    let recordings = half_done();
    let format = std::fs::read_to_string(recordings.path("S/store.toml")).expect("a store has its marker");
    recordings.test.file("S/store.toml", "format = \"2.0\"\n");
    recordings.refuses(8, &["store format 2.0", "up to 1.0", "newer etalon"]);
    let before = snapshot(&recordings.path("S"));
    let verbs: [&[&str]; 6] = [
        &["run", "S"],
        &["status", "S"],
        &["report", "S"],
        &["fit", "S"],
        &["evaluate", "--store", "S"],
        &["plan", EXPERIMENT, "--store", "S"],
    ];
    for verb in verbs {
        let ran = recordings.test.run(verb);
        ran.fails_with(8, &["store format 2.0", "newer etalon"]);
        one_paragraph(&ran);
    }
    assert!(before == snapshot(&recordings.path("S")));
    recordings.test.file("S/store.toml", &format);
    completes(&recordings);
}

#[test]
fn a_damaged_record_is_named_and_never_overwritten() {
    let recordings = half_done();
    let store = snapshot(&recordings.path("S"));
    let (record, content) = store.iter().find(|(path, _)| path.ends_with("record.json")).expect("half of the grid is done");
    let name = record.strip_prefix(recordings.test.dir.path()).expect("inside").to_str().expect("UTF-8").to_owned();
    recordings.write(&name, &content[..content.len() / 2]);
    for verb in [&["status", "S"][..], &["report", "S"], &["fit", "S"]] {
        let ran = recordings.test.run(verb);
        ran.fails_with(8, &[&name, "is damaged", "run again"]);
        one_paragraph(&ran);
    }
    recordings.write(&name, content);
    completes(&recordings);
}

/// Runs with files limited to `bytes`: what a write then meets is a refusal by the system, as on a full disk.
fn run_with_files_limited_to(recordings: &Recordings, bytes: u64) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
    command.args(["run", EXPERIMENT, "--store", "S", "--jobs", "1", "--quiet"]).current_dir(recordings.test.dir.path());
    // SAFETY: both calls are async-signal-safe and allocate nothing. Without the ignored signal the kernel would kill the
    // writer; with it, the write fails.
    unsafe {
        command.pre_exec(move || {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    Ran::of(command)
}

#[test]
fn a_disk_that_takes_no_more_stops_the_run_and_keeps_what_is_done() {
    let recordings = half_done();
    // The claim, the child's table, the detections, the record: each is refused at its own limit.
    for limit in [0, 150, 400, 700, 1100, 1600] {
        let records =
            |store: &std::path::Path| snapshot(store).into_iter().filter(|(path, _)| path.ends_with("record.json")).collect::<Vec<_>>();
        let before = records(&recordings.path("S"));
        let ran = run_with_files_limited_to(&recordings, limit);
        ran.fails_with(8, &["cannot write", "ulimit -f"]);
        one_paragraph(&ran);
        assert!(before == records(&recordings.path("S")), "limit {limit}");
        assert_eq!(recordings.test.run(["status", "S"]).code, Some(0), "limit {limit}");
    }
    completes(&recordings);
}
