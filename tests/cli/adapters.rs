//! `adapter`: code that is known, here played by programs of a few lines that keep its command line and files.

use std::path::PathBuf;

use serde_json::Value;

use crate::{CliTest, files};

/// Trains "epochs" by writing checkpoints; refuses what the authors' code would stop at.
const TRAIN: &str = r#"
import json, os, sys, zipfile
config = dict(line.strip().split(": ", 1) for line in open(sys.argv[1]) if ": " in line)
value = {key: json.loads(text) for key, text in config.items()}
database = json.load(open(value["json_file"]))["database"]
labels = {a["label"]: a["label_id"] for v in database.values() for a in v["annotations"]}
assert len(labels) == value["num_classes"], "a class is missing from the file"
assert value["val_split"] == ["training"], "training is shown the test part"
for video, entry in database.items():
    if entry["subset"] != "none":
        assert os.path.exists(os.path.join(value["feat_folder"], video + value["file_ext"])), video
run = os.path.join(value["output_folder"], "train_" + sys.argv[3])
os.makedirs(run, exist_ok=True)
begin = 0
if "--resume" in sys.argv:
    begin = int(os.path.basename(sys.argv[sys.argv.index("--resume") + 1])[6:9])
    open(os.path.join(run, "resumed"), "w").write(str(begin))
for epoch in range(begin, value["epochs"] + value["warmup_epochs"] - STOPS):
    print(f"[Train]: Epoch {epoch} started", flush=True)
    with zipfile.ZipFile(os.path.join(run, f"epoch_{epoch + 1:03d}.pth.tar"), "w") as archive:
        archive.writestr("data", str(value["init_rand_seed"]))
    FAILS
"#;

/// Detects an instance of the first class in every test video.
const EVAL: &str = r#"
import json, os, pickle, sys
config = dict(line.strip().split(": ", 1) for line in open(sys.argv[1]) if ": " in line)
value = {key: json.loads(text) for key, text in config.items()}
assert value["val_split"] == ["validation"] and sys.argv[2].endswith("epoch_006.pth.tar") and sys.argv[3] == "--saveonly"
videos = [v for v, e in json.load(open(value["json_file"]))["database"].items() if e["subset"] == "validation"]
columns = {"video-id": videos, "t-start": [1.0] * len(videos), "t-end": [2.5] * len(videos), "label": [0] * len(videos)}
columns["score"] = [0.5] * len(videos)
pickle.dump(columns, open(os.path.join(os.path.dirname(sys.argv[2]), "eval_results.pkl"), "wb"))
"#;

const EXPERIMENT: &str = r#"
schema = 1
name = "known"

[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 24 }

[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [10, 100]
seeds = [0]

[model.theirs.arch.external]
adapter = "actionformer"
directory = "code"
inputs = ["*.py", "configs"]
config = "configs/base.yaml"
set = { "opt.epochs" = 4, "train_cfg.droppath" = 1e-7 }
"#;

fn family(stops: &str, fails: &str) -> CliTest {
    let test = CliTest::new();
    test.file("code/train.py", TRAIN.replace("STOPS", stops).replace("FAILS", fails));
    test.file("code/eval.py", EVAL);
    test.file("code/configs/base.yaml", "dataset_name: thumos\nopt: {\n  epochs: 30,\n  warmup_epochs: 2,\n}\n");
    test.file("e.toml", EXPERIMENT);
    test
}

fn failed(test: &CliTest) -> String {
    let ran = test.run(["run", "e.toml", "--store", "S", "--json", "--quiet"]);
    let tally: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr));
    tally["failed"][0]["message"].as_str().unwrap_or_else(|| panic!("{tally}")).to_owned()
}

fn find(test: &CliTest, end: &str) -> Option<PathBuf> {
    files(&test.dir.path().join("S")).find(|path| path.ends_with(end))
}

#[test]
fn the_family_of_actionformer_is_started_and_its_pickle_read() {
    let test = family("0", "");
    let ran = test.run(["run", "e.toml", "--store", "S", "--json", "--quiet"]);
    let tally: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&tally["cells"], &tally["done"]), (&2.into(), &2.into()), "{tally} {}", ran.stderr);
    let record: Value = serde_json::from_slice(&std::fs::read(find(&test, "record.json").unwrap()).unwrap()).unwrap();
    assert_eq!(record["provenance"]["trainer"]["command"], serde_json::json!(["adapter", "actionformer", "configs/base.yaml"]));
    let journal = std::fs::read_to_string(find(&test, "events.jsonl").unwrap()).unwrap();
    assert!(journal.contains(r#""event":"progress","done":5,"total":6"#), "{journal}");
}

#[test]
fn a_training_that_chose_its_last_epoch_is_refused() {
    let message = failed(&family("2", ""));
    assert!(message.contains("stopped after epoch 4 of 6") && message.contains("protocol"), "{message}");
}

#[test]
fn the_next_attempt_begins_at_the_last_whole_checkpoint() {
    let fails = "if epoch == 2 and not begin: open(os.path.join(run, 'epoch_004.pth.tar'), 'wb').write(b'PK cut off'); sys.exit(75)";
    let test = family("0", fails);
    test.file("e.toml", EXPERIMENT.replace("set = {", "keep = true\nset = {"));
    assert_eq!(test.run(["run", "e.toml", "--store", "S", "--json", "--quiet"]).json()["done"], 2);
    assert_eq!(std::fs::read_to_string(find(&test, "resumed").unwrap()).unwrap(), "3");
}

#[test]
fn the_plan_shows_what_is_generated() {
    let test = family("0", "");
    let shown = test.run(["plan", "e.toml", "--show", "theirs", "--json"]).json();
    assert_eq!(shown["command"][1], "train.py");
    let yaml = shown["files"]["{job}/adapter/train.yaml"].as_str().unwrap();
    for line in [
        "dataset_name: \"thumos\"",
        "opt:\n  epochs: 4\n  warmup_epochs: 2",
        "  droppath: 1.0e-7",
        "num_frames: 1.0",
        "val_split: [\"training\"]",
    ] {
        assert!(yaml.contains(line), "no {line:?} in {yaml}");
    }
    let opentad = EXPERIMENT.replace("\"actionformer\"", "\"opentad\"").replace("base.yaml", "base.py");
    test.file(
        "e.toml",
        opentad.replace("\"opt.epochs\" = 4, \"train_cfg.droppath\" = 1e-7", "\"workflow.end_epoch\" = 4, \"solver.amp\" = true"),
    );
    test.file("code/configs/base.py", "");
    let shown = test.run(["plan", "e.toml", "--show", "theirs", "--json"]).json();
    let config = shown["files"]["{job}/adapter/config.py"].as_str().unwrap();
    for part in [
        "_base_ = [\"",
        "\"val\": {\"ann_file\": \"{job}/adapter/annotations.json\", \"subset_name\": \"training\"",
        "\"test\": {\"ann_file\": \"{job}/adapter/annotations.json\", \"subset_name\": \"validation\"",
        "\"val_eval_interval\": -1, \"end_epoch\": 4",
        "solver = {\"amp\": True}",
        "\"block_list\": None",
    ] {
        assert!(config.contains(part), "no {part:?} in {config}");
    }
    assert!(shown["command"].as_array().unwrap().iter().any(|a| a == "tools/train.py"), "{shown}");
}

#[test]
fn what_an_adapter_cannot_use_is_named() {
    let test = family("0", "");
    test.file("code/configs/base.yaml", "opt: {epochs: 30");
    assert!(failed(&test).contains("base.yaml"));
    test.file("e.toml", EXPERIMENT.replace("config = \"configs/base.yaml\"\n", ""));
    test.run(["plan", "e.toml"]).fails_with(6, &["model.theirs.arch.external.config", "is missing"]);
    test.file("e.toml", EXPERIMENT.replace("adapter = \"actionformer\"\n", "train = [\"true\"]\n"));
    test.run(["plan", "e.toml"]).fails_with(6, &["model.theirs.arch.external.config", "is only read with `adapter`"]);
    test.file("e.toml", EXPERIMENT.replace("\"actionformer\"", "\"tadtr\""));
    test.run(["plan", "e.toml"]).fails_with(6, &["unknown variant `tadtr`", "actionformer", "opentad"]);
}
