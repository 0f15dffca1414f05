//! `arch.external`: a trainer in a language of its own, beside the floor baseline; and all that such a trainer can do wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etalon::profile::process::{Stat, descendants};
use serde_json::Value;

use crate::{CliTest, files, results, wait_for};

/// The trainer that `etalon init --external` writes.
const TRAINER: &str = include_str!("../../src/cli/init/trainer.py");

const DATA: &str = r#"
schema = 1
name = "external"

[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 24 }

[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [50, 100]
seeds = [0, 1]

[model.prior]
arch.prior = {}
"#;

struct Trainers {
    test: CliTest,
}

impl Trainers {
    /// An experiment with one model whose trainer is `name` with this text; `more` are further settings of it.
    fn with(name: &str, text: &str, command: &str, more: &str) -> Self {
        let test = CliTest::new();
        test.file(&format!("trainer/{name}"), text);
        let model = format!("[model.mine.arch.external]\ndirectory = \"trainer\"\ninputs = [\"{name}\"]\ntrain = {command}\n{more}\n");
        test.file("e.toml", format!("{DATA}{model}"));
        Self { test }
    }

    fn template(more: &str) -> Self {
        Self::with("trainer.py", TRAINER, r#"["{python}", "trainer.py", "--job", "{job}"]"#, more)
    }

    /// A shell script that finds the job's folder in `$1`.
    fn script(text: &str, more: &str) -> Self {
        Self::with("trainer.sh", text, r#"["sh", "trainer.sh", "{job}"]"#, more)
    }

    fn store(&self) -> PathBuf {
        self.test.dir.path().join("S")
    }

    /// Runs the grid; gives how the model's first failed cell ended, and checks that the other model's cells are done.
    fn fails(&self) -> String {
        let ran = self.test.run(["run", "e.toml", "--store", "S", "--json", "--quiet", "--jobs", "2"]);
        assert_ne!(ran.code, Some(0), "{}", ran.stdout);
        let tally: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr));
        assert_eq!(tally["done"], 4, "the cells of the prior: {tally}");
        let failed = tally["failed"].as_array().unwrap();
        assert!(failed.len() == 4 && failed.iter().all(|f| f["model"] == "mine"), "{tally}");
        failed[0]["message"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_template_is_measured_like_a_detector_and_learns() {
    let trainers = Trainers::template("");
    let test = &trainers.test;
    let ran = test.run(["run", "e.toml", "--store", "S", "--json", "--quiet"]).json();
    assert_eq!((&ran["cells"], &ran["done"]), (&8.into(), &8.into()));
    let records: Vec<Value> = files(&trainers.store().join("cells"))
        .filter(|path| path.ends_with("record.json"))
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect();
    let of = |model: &str| records.iter().filter(|r| r["model"] == model).collect::<Vec<_>>();
    let score = |record: &&Value| record["scores"]["average_map"].as_f64().unwrap();
    let mean = |model: &str| of(model).iter().map(score).sum::<f64>() / 4.0;
    assert!(mean("mine") > 2.0 * mean("prior") && mean("mine") > 0.1, "{} {}", mean("mine"), mean("prior"));
    for record in of("mine") {
        let phases: Vec<&str> = record["usage"]["phases"].as_array().unwrap().iter().map(|p| p[0].as_str().unwrap()).collect();
        assert_eq!(phases, ["load", "train", "detect", "evaluate"]);
        let trainer = &record["provenance"]["trainer"];
        assert!(trainer["environment"]["words"].as_str().unwrap().starts_with("Python 3"), "{trainer}");
        let kept = trainers.store().join("environments").join(format!("{}.json", trainer["environment"]["digest"].as_str().unwrap()));
        assert!(kept.exists());
        assert!(trainer["directory"] == "trainer" && trainer["code"].is_string() && trainer["commit"].is_null(), "{trainer}");
    }
    assert!(!files(&trainers.store()).any(|path| path.ends_with("annotations.json")), "a job's folder stayed");
    let report = test.run(["report", "S", "--out", "R", "--json", "--quiet"]);
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    assert_eq!(test.run(["run", "e.toml", "--store", "S", "--json", "--quiet"]).json()["found"], 8);
}

#[test]
fn a_trainer_sees_its_sample_and_the_test_videos_and_nothing_of_the_others() {
    let trainers = Trainers::template("keep = true");
    trainers.test.run(["run", "e.toml", "--store", "S", "--quiet"]);
    let job = files(&trainers.store()).find(|path| path.ends_with("job/job.json")).expect("the folder is kept");
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let (folder, job) = (job.parent().unwrap().to_owned(), read(&job));
    let names = |list: &Value| list.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let (training, test) = (names(&job["training"]), names(&job["test"]));
    let database = read(&folder.join("annotations.json"))["database"].as_object().unwrap().clone();
    assert_eq!(database.len(), training.len() + test.len());
    assert!(training.iter().all(|id| database[id]["subset"] == "training" && !database[id]["annotations"].as_array().unwrap().is_empty()));
    assert!(test.iter().all(|id| database[id]["subset"] == "validation" && database[id]["annotations"].as_array().unwrap().is_empty()));
    assert_eq!(files(&folder.join("features")).count(), database.len());
    assert_eq!(std::fs::read_to_string(folder.join("classes.txt")).unwrap().lines().count(), job["classes"].as_array().unwrap().len());
    assert!(job["deadline"].as_f64().unwrap() > 1.7e9);
}

#[test]
fn exposed_ground_truth_is_said_in_every_record() {
    let trainers = Trainers::template("ground_truth = \"exposed\"");
    trainers.test.run(["run", "e.toml", "--store", "S", "--quiet"]);
    let exposed = files(&trainers.store().join("cells"))
        .filter(|path| path.ends_with("record.json"))
        .filter(|path| std::fs::read_to_string(path).unwrap().contains("was given the instances of the test videos"));
    assert_eq!(exposed.count(), 4);
}

#[test]
fn killed_again_and_again_every_cell_has_one_record() {
    let slow = TRAINER.replace("phase(\"detect\")", "import time; time.sleep(0.25)\nphase(\"detect\")");
    let trainers = Trainers::with("trainer.py", &slow, r#"["{python}", "trainer.py", "--job", "{job}"]"#, "");
    for delay_ms in [150, 350, 500] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_etalon"))
            .args(["run", "e.toml", "--store", "S", "--jobs", "2", "--quiet"])
            .current_dir(trainers.test.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command starts");
        std::thread::sleep(Duration::from_millis(delay_ms));
        run.kill().expect("it is ours");
        run.wait().expect("it is ours");
    }
    trainers.test.run(["run", "e.toml", "--store", "S", "--quiet"]);
    trainers.test.run(["run", "e.toml", "--store", "T", "--quiet"]);
    let once = results(&trainers.store());
    assert_eq!((once.len(), &once), (8, &results(&trainers.test.dir.path().join("T"))));
}

#[test]
fn what_a_trainer_leaves_wrong_fails_its_cells_with_the_reason_and_no_other() {
    let wrote = |text: &str| format!("cat > $1/output/detections.json <<'END'\n{text}\nEND\n");
    let of_test = |row: &str| {
        format!(
            "v=$(grep -o '\"test\":\\[\"[^\"]*' $1/job.json | sed 's/.*\"//')\nc=$(head -1 $1/classes.txt)\nprintf '{{\"results\": {{\"%s\": [{row}]}}}}' \"$v\" \"$c\" > $1/output/detections.json\n"
        )
    };
    for (script, parts) in [
        ("true".to_owned(), vec!["ended well, but wrote no", "detections.json"]),
        ("printf '{\"results\": {\"vid' > $1/output/detections.json".to_owned(), vec!["detections.json", "ends too early"]),
        (wrote("{\"results\": {}}"), vec!["holds no detection"]),
        (
            wrote("{\"results\": {\"stranger\": [{\"segment\": [0, 1], \"label\": 0, \"score\": 1}]}}"),
            vec!["\"stranger\"", "not in the test part"],
        ),
        (wrote("{\"results\": {\"a\": [{\"segment\": [0, 1], \"label\": \"flying\", \"score\": 1}]}}"), vec!["\"flying\"", "classes.txt"]),
        (of_test(r#"{"segment": [0, 1], "label": "%s", "score": NaN}"#), vec!["NaN and Infinity are no JSON"]),
        (of_test(r#"{"segment": [3, 1], "label": "%s", "score": 1}"#), vec!["before it starts"]),
        (of_test(r#"{"segment": [0, 1e5], "label": "%s", "score": 1}"#), vec!["lies outside its"]),
        ("echo 'no module named torch' >&2; exit 3".to_owned(), vec!["failed with exit 3", "no module named torch"]),
    ] {
        let trainers = Trainers::script(&script, "");
        let message = trainers.fails();
        for part in parts {
            assert!(message.contains(part), "no {part:?} in {message:?} of {script}");
        }
        // Its own fault: once is enough.
        assert!(
            !trainers
                .store()
                .join("cells")
                .read_dir()
                .unwrap()
                .any(|d| files(&d.unwrap().path()).any(|p| p.ends_with("attempts/2/job.json")))
        );
    }
}

#[test]
fn a_command_that_is_missing_and_a_folder_that_is_dirty_are_told() {
    let missing = Trainers::with("x.py", "", r#"["no-such-program"]"#, "");
    assert!(missing.fails().contains("cannot start \"no-such-program\""));
    let test = Trainers::with("x.py", "", r#"["true"]"#, "").test;
    let run = || test.run(["run", "e.toml", "--store", "S", "--quiet"]);
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(test.dir.path().join("trainer")).args(["-c", "user.name=x", "-c", "user.email=x@x"]).args(arguments);
        assert!(git.output().expect("git is there").status.success(), "{arguments:?}");
    };
    let text = std::fs::read_to_string(test.dir.path().join("e.toml")).unwrap().replace("inputs = [\"x.py\"]\n", "");
    test.file("e.toml", &text);
    run().fails_with(6, &["model.mine.arch.external", "is no git tree", "list them in `inputs`"]);
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "x"]);
    // A clean tree is taken, and `true` detects nothing.
    assert_ne!(run().code, Some(6));
    test.file("trainer/y.py", "");
    run().fails_with(6, &["1 uncommitted change(s)", "y.py", "commit them"]);
    test.file("e.toml", text.replace("[\"true\"]", "[\"true\", \"{sead}\"]"));
    run().fails_with(6, &["model.mine.arch.external.train", "{sead}", "{seed}"]);
}

#[test]
fn cells_are_spread_over_devices_and_each_trainer_sees_its_own() {
    let trainers = Trainers::script("echo \"$CUDA_VISIBLE_DEVICES $2\" > $1/../device; sleep 0.3; exit 1", "");
    let text = std::fs::read_to_string(trainers.test.dir.path().join("e.toml")).unwrap();
    trainers.test.file("e.toml", text.replace("\"{job}\"]", "\"{job}\", \"{device}\"]"));
    trainers.test.run(["run", "e.toml", "--store", "S", "--quiet", "--only", "mine", "--device", "cuda:0,cuda:1", "--jobs", "1"]);
    let mut seen: Vec<String> =
        files(&trainers.store()).filter(|p| p.ends_with("device")).map(|p| std::fs::read_to_string(p).unwrap().trim().to_owned()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["0 cuda:0", "1 cuda:0"]);
}

#[test]
fn the_doctor_says_whether_a_trainer_can_start() {
    let trainers = Trainers::template("");
    let test = &trainers.test;
    let check = || {
        let ran = test.run(["doctor", "e.toml", "--json"]);
        let said: Value = serde_json::from_str(&ran.stdout).unwrap();
        said["checks"].as_array().unwrap().iter().find(|check| check["what"] == "mine").unwrap().clone()
    };
    let good = check();
    assert!(good["verdict"] == "good" && good["detail"].as_str().unwrap().contains("Python 3"), "{good}");
    let text = std::fs::read_to_string(test.dir.path().join("e.toml")).unwrap();
    test.file("e.toml", text.replace("directory", "python = \"./no-such-python\"\ndirectory"));
    let bad = check();
    assert!(bad["verdict"] == "bad" && bad["detail"].as_str().unwrap().contains("no-such-python does not answer"), "{bad}");
}

#[test]
fn code_that_changes_while_it_runs_makes_no_record() {
    let trainers = Trainers::template("");
    let edits = format!("{TRAINER}\nopen(__file__, 'a').write('#')\n");
    trainers.test.file("trainer/trainer.py", edits);
    assert!(trainers.fails().contains("code changed while it ran"));
}

#[test]
fn a_trainer_that_asks_for_it_is_tried_again() {
    let script = "if [ -e $1/../checkpoint/seen ]; then echo 'still not' >&2; exit 4; fi; touch $1/../checkpoint/seen; exit 75";
    let trainers = Trainers::script(script, "");
    let message = trainers.fails();
    assert!(
        message.contains("failed with exit 4") && message.contains("still not"),
        "the second attempt saw the first one's checkpoint: {message}"
    );
}

#[test]
fn a_flood_of_output_is_read_and_not_kept() {
    let trainers =
        Trainers::script("head -c 100000000 /dev/zero | tr '\\0' x; head -c 100000000 /dev/zero >&2; echo last words >&2; exit 1", "");
    let message = trainers.fails();
    assert!(message.contains("last words"), "{message}");
    let kept: u64 = files(&trainers.store()).filter(|p| p.ends_with("stderr.log")).map(|p| p.metadata().unwrap().len()).max().unwrap();
    assert!(kept < 40 << 20, "{kept} bytes");
}

#[test]
fn a_trainer_that_hangs_ends_with_its_whole_tree() {
    // The grandchild leaves the group and the session, and loses its parent.
    let script =
        "setsid sh -c 'trap \"\" TERM; echo $$ > '$1'/../stray; while true; do sleep 1; done' & sleep 0.3; while true; do sleep 1; done";
    let trainers = Trainers::script(script, "");
    let limited = format!(
        "{}\n[limits]\ncell = {{ time = \"2s\", attempts = 1 }}\n",
        std::fs::read_to_string(trainers.test.dir.path().join("e.toml")).unwrap()
    );
    trainers.test.file("e.toml", limited);
    let begun = Instant::now();
    let message = trainers.fails();
    assert!(message.contains("limits.cell.time"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(60));
    let strays: Vec<u32> = files(&trainers.store())
        .filter(|p| p.ends_with("stray"))
        .map(|p| std::fs::read_to_string(p).unwrap().trim().parse().unwrap())
        .collect();
    assert_eq!(strays.len(), 4);
    wait_for(|| strays.iter().all(|pid| Stat::of(*pid).is_none_or(|s| !s.alive)));
}

#[test]
fn a_trainer_that_was_asked_to_end_has_time_to_do_so() {
    let script = "trap 'sleep 0.5; touch '$1'/../ended-well; exit 1' TERM; touch $1/../begun; while true; do sleep 0.1; done";
    let trainers = Trainers::script(script, "");
    let mut run = Command::new(env!("CARGO_BIN_EXE_etalon"))
        .args(["run", "e.toml", "--store", "S", "--jobs", "1", "--quiet"])
        .current_dir(trainers.test.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    wait_for(|| files(&trainers.store()).any(|p| p.ends_with("begun")));
    let below = descendants(run.id());
    Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill exists");
    run.wait().expect("it is ours");
    assert!(files(&trainers.store()).any(|p| p.ends_with("ended-well")));
    assert!(below.iter().all(|pid| Stat::of(*pid).is_none_or(|s| !s.alive)), "something still runs");
}

#[test]
fn time_and_memory_count_the_whole_tree() {
    // Two children that burn time and hold memory, each in a session of its own; the second loses its parent.
    let burn = "import time; held = bytearray(80_000_000)\nwhile time.process_time() < 0.6: pass";
    let script = format!(
        "{TRAINER}\nimport subprocess, sys, time\nburn = ['setsid', sys.executable, '-c', {burn:?}]\nsubprocess.run(burn)\n\
         subprocess.run(['sh', '-c', '\"$@\" & ', 'sh', *burn])\ntime.sleep(2)\n"
    );
    let trainers = Trainers::with("trainer.py", &script, r#"["{python}", "trainer.py", "--job", "{job}"]"#, "");
    let ran = trainers.test.run(["run", "e.toml", "--store", "S", "--json", "--quiet", "--jobs", "1"]);
    assert_eq!(ran.json()["done"], 8);
    let record = files(&trainers.store().join("cells"))
        .filter(|path| path.ends_with("record.json"))
        .map(|path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap())
        .find(|record| record["model"] == "mine")
        .unwrap();
    let cpu = record["usage"]["cpu_s"].as_f64().unwrap();
    assert!(cpu > 1.2, "{cpu} s of two children that took 0.6 s each");
    assert!(record["usage"]["peak_rss_bytes"].as_f64().unwrap() > 80e6);
}

/// Burns 2 s and lets a child burn 2 s more, then says what the kernel counted: for itself, its child, and the process that started it.
const ACCOUNTED: &str = r#"
import os, resource, subprocess, sys, time
while time.process_time() < 2.0: pass
subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 2.0: pass"], start_new_session=True)
used = sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
parent = open(f"/proc/{os.getppid()}/stat").read().rsplit(")", 1)[1].split()
open("account", "w").write(str(used + (int(parent[11]) + int(parent[12])) / os.sysconf("SC_CLK_TCK")))
"#;

#[test]
fn a_profile_of_a_trainer_is_one_cell_of_it_and_agrees_with_the_kernel() {
    let trainers = Trainers::with("trainer.py", &format!("{TRAINER}{ACCOUNTED}"), r#"["{python}", "trainer.py", "--job", "{job}"]"#, "");
    let test = &trainers.test;
    let profile = test.run(["profile", "e.toml", "--model", "mine", "--threads", "1", "--json", "--quiet"]).json();
    let account: f64 = std::fs::read_to_string(test.dir.path().join("trainer/account")).unwrap().parse().unwrap();
    let cpu = profile["metrics"]["cpu.time"]["value"].as_f64().unwrap_or_else(|| panic!("{profile}"));
    assert!((cpu / account - 1.0).abs() < 0.02, "{cpu} s against the kernel's {account} s");
    let phases: Vec<&str> = profile["phases"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(phases, ["load", "train", "detect", "evaluate"], "{profile}");
    assert_eq!(profile["subject"]["model"]["model"], "mine");
    assert!(profile["steps"].is_null() && profile["roofline"].is_null());
    let broken = Trainers::script("echo 'no module named torch' >&2; exit 3", "").test;
    broken
        .run(["profile", "e.toml", "--model", "mine", "--quiet"])
        .fails_with(6, &["cannot profile mine", "failed with exit 3", "no module named torch"]);
}
