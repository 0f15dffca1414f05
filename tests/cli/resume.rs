//! ETAD on the built-in corpus, killed again and again: every cell has one record, equal to that of an undisturbed run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etalon::profile::process::{Stat, children};

use crate::recordings::snapshot;
use crate::{CliTest, files, results, wait_for};

/// Four cells of a tiny network, with six checkpoints in each training.
const EXPERIMENT: &str = r#"
schema = 1
name = "tiny"

[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 16, channels = 16, classes = 3, snippets = [80, 120] }

[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [50, 100]
seeds = [0, 1]
budget = "steps"

[model.etad.arch.etad]
preset = "laptop"
window = 64
max_duration = 32
stride = 32
hidden = 32
roi_channels = 16
fc = 32
fc_inner = 16
batch = 4
epochs = 6
steps = 24
"#;

const SIGKILL: &str = "-9";

struct Killed {
    test: CliTest,
}

impl Killed {
    fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_etalon"))
            .args(["run", "tiny.toml", "--store", "S", "--jobs", "2", "--threads", "1", "--quiet"])
            .current_dir(self.test.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts")
    }

    fn store(&self) -> PathBuf {
        self.test.dir.path().join("S")
    }
}

/// Kills the run; its children die with it.
fn kill(mut run: Child) {
    run.kill().expect("it is ours");
    run.wait().expect("it is ours");
}

/// Kills a cell's process but not the run. False when there is none.
fn kill_a_child(run: &Child) -> bool {
    let Some(child) = children(run.id()).into_iter().filter_map(Stat::of).find(|s| s.alive) else { return false };
    Command::new("kill").args([SIGKILL, &child.pid.to_string()]).status().expect("kill exists").success()
}

fn has_checkpoint(store: &Path) -> bool {
    let cells = store.join("cells");
    cells.exists() && files(&cells).any(|path| path.ends_with("checkpoint/state.safetensors"))
}

#[test]
fn etad_killed_again_and_again_gives_what_an_undisturbed_run_gives() {
    let killed = Killed { test: CliTest::new() };
    killed.test.file("tiny.toml", EXPERIMENT);

    let run = killed.start();
    wait_for(|| has_checkpoint(&killed.store()));
    kill(run);
    // From a tenth of a second, when children have hardly begun, to the middle of their training.
    for delay_ms in [100, 700, 350] {
        let run = killed.start();
        std::thread::sleep(Duration::from_millis(delay_ms));
        kill(run);
    }
    let mut run = killed.start();
    let mut ended = false;
    wait_for(|| {
        ended = run.try_wait().expect("it is ours").is_some();
        ended || kill_a_child(&run)
    });
    assert!(!ended, "the run was over before a child could be killed");
    assert!(run.wait().expect("it is ours").success(), "a run survives the death of a child");

    let last = killed.test.run(["run", "S", "--json", "--quiet"]).json();
    assert_eq!((&last["found"], &last["done"]), (&4.into(), &0.into()));
    let disturbed = results(&killed.store());
    let resumed = |name: &str, words: &str| {
        snapshot(&killed.store()).iter().any(|(path, content)| path.ends_with(name) && String::from_utf8_lossy(content).contains(words))
    };
    assert!(resumed("events.jsonl", "resumed after") && resumed("record.json", "resumed from attempt"));

    // The experiment as the store keeps it, undisturbed and in another store.
    let resolved = files(&killed.store().join("experiments")).find(|p| p.extension().is_some_and(|e| e == "toml")).expect("it was run");
    let arguments = ["run", resolved.to_str().expect("UTF-8"), "--store", "T", "--threads", "1", "--quiet"];
    assert_eq!(killed.test.run(arguments).code, Some(0));
    let undisturbed = results(&killed.test.dir.path().join("T"));
    assert_eq!((disturbed.len(), &disturbed), (4, &undisturbed));
}
