//! The command line from outside: one binary, a module per verb.

mod adapters;
mod adaptive;
mod bad_input;
mod cases;
mod compare;
mod data_sets;
#[cfg(feature = "torch")]
mod end_to_end;
mod evaluate;
mod external;
#[cfg(feature = "torch")]
mod guide;
mod init;
mod layers;
#[cfg(feature = "torch")]
mod parity;
mod plan_data;
mod profile;
mod recordings;
mod report;
#[cfg(feature = "torch")]
mod resume;
mod run;
#[cfg(feature = "torch")]
mod start;
mod surroundings;
#[cfg(feature = "torch")]
mod weights;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The command in a temporary folder of its own.
struct CliTest {
    dir: tempfile::TempDir,
}

/// What a run of the command left.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl CliTest {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Writes a file into the folder and returns its path.
    #[expect(clippy::disallowed_methods, reason = "test input, not a result that must survive")]
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the temporary folder is writable");
        std::fs::write(&path, content).expect("the temporary folder is writable");
        path
    }

    /// Runs `etalon` with the folder as working directory.
    fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
        command.args(arguments).current_dir(self.dir.path());
        Ran::of(command)
    }
}

impl Ran {
    fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the command starts");
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The document on standard output of a run that succeeded.
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).expect("one JSON document")
    }

    /// Checks for a failure of `code` whose message holds every part.
    fn fails_with(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {}", self.stderr);
        }
    }
}

/// A file of the repository that tests compare with.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The folder of real recordings that tests of the second tier read.
fn recordings_folder() -> PathBuf {
    let folder = PathBuf::from(std::env::var_os("ETALON_SHARED").expect("set ETALON_SHARED to the folder of recordings"));
    assert!(folder.is_dir(), "no folder {}: ETALON_SHARED names another", folder.display());
    folder
}

/// Waits until `seen`, five minutes at most.
fn wait_for(mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < Duration::from_secs(300), "it never happened");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Files below a folder that changes meanwhile.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let mut folders = vec![folder.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.into_iter()
}

/// Key of each record and what must not depend on how the run went: sample, scores, detections.
fn results(store: &Path) -> BTreeMap<String, [serde_json::Value; 3]> {
    let mut found = BTreeMap::new();
    let mut folders = vec![store.join("cells")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.file_name().is_some_and(|n| n == "record.json") {
                let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let facts = ["sample", "scores", "detections"].map(|field| record[field].clone());
                assert_eq!(found.insert(record["key"].as_str().unwrap().to_owned(), facts), None);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}
