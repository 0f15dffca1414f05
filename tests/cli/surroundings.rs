//! Where a program may find itself: odd paths, no HOME, disks that take nothing, no git.

use std::path::Path;
use std::process::Command;

use crate::recordings::{EXPERIMENT, Recordings};
use crate::{CliTest, Ran};

const BUILT_IN: &str = r#"
schema = 1
name = "small"
dataset = { format = "synthetic", synthetic = { seed = 1, videos = 10 } }
protocol = { split = { test = 0.2, seed = 2023 }, fractions = [100], seeds = [0] }
model.prior.arch.prior = {}
"#;

#[test]
#[expect(clippy::disallowed_methods, reason = "test input, not a result that must survive")]
fn folders_with_spaces_and_letters_of_any_script_work() {
    let recordings = Recordings::new();
    let folder = recordings.path("Übung 1, Küche (数据)");
    std::fs::create_dir(&folder).unwrap();
    for name in ["annotations.json", "features", EXPERIMENT] {
        std::fs::rename(recordings.path(name), folder.join(name)).unwrap();
    }
    let etalon = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
        command.args(arguments).current_dir(&folder);
        Ran::of(command)
    };
    let ran = etalon(&["run", EXPERIMENT, "--store", "Läufe 1", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(etalon(&["run", "Läufe 1", "--json"]).json()["found"], 4);
    assert_eq!(etalon(&["report", "Läufe 1", "--out", "Bericht 1", "--quiet"]).code, Some(0));
    assert!(folder.join("Bericht 1/report.html").is_file());
}

#[test]
fn no_home_and_one_that_takes_nothing_are_no_hindrance() {
    for home in [None, Some("/proc/none")] {
        let test = CliTest::new();
        test.file("small.toml", BUILT_IN);
        let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
        command.args(["run", "small.toml", "--store", "S", "--quiet"]).current_dir(test.dir.path());
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME").envs(home.map(|home| ("HOME", home)));
        let ran = Ran::of(command);
        assert_eq!(ran.code, Some(0), "{home:?}: {}", ran.stderr);
    }
}

#[test]
fn a_place_that_takes_nothing_is_named() {
    let test = CliTest::new();
    test.file("small.toml", BUILT_IN);
    let place = Path::new("/proc/none");
    test.run(["run", "small.toml", "--store", place.join("S").to_str().unwrap(), "--quiet"]).fails_with(8, &["/proc/none/S"]);
    assert_eq!(test.run(["run", "small.toml", "--store", "S", "--quiet"]).code, Some(0));
    test.run(["report", "S", "--out", place.join("R").to_str().unwrap()]).fails_with(8, &["/proc/none/R"]);
}

#[test]
fn git_is_not_needed() {
    let test = CliTest::new();
    test.file("small.toml", BUILT_IN);
    let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
    command.args(["run", "small.toml", "--store", "S", "--quiet"]).current_dir(test.dir.path()).env("PATH", "");
    let ran = Ran::of(command);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[cfg(feature = "torch")]
#[test]
fn what_fails_in_every_cell_is_told_once_without_frames() {
    let test = CliTest::new();
    let model = "model.etad.arch.etad = { preset = \"laptop\", steps = 1 }\n";
    test.file("small.toml", BUILT_IN.replace("model.prior.arch.prior = {}\n", model).replace("seeds = [0]", "seeds = [0, 1]"));
    let ran = test.run(["run", "small.toml", "--store", "S", "--device", "cuda:7", "--jobs", "1"]);
    assert_eq!(ran.code, Some(7), "{}", ran.stderr);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(said.matches("\"cuda:7\" is not available").count(), 1, "{said}");
    for part in ["failed in the same way", "failed: etad 100 % seed 0, etad 100 % seed 1: as said above", "stderr.log", "2 failed"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("frame #") && !said.contains("panicked"), "{said}");
    // Where nothing was said before, the end says it.
    let quiet = test.run(["run", "small.toml", "--store", "S", "--device", "cuda:7", "--jobs", "1", "--quiet"]);
    assert_eq!(quiet.stdout.matches("\"cuda:7\" is not available").count(), 1, "{}", quiet.stdout);
}
