//! `etalon run`, `status` and `plan` with the floor baseline: results, resumption after kill -9, refusals.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{CliTest, results};

/// Three fractions and two seeds of the floor baseline on the built-in corpus.
const EXPERIMENT: &str = r#"
schema = 1
name = "small"

[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 40 }

[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [10, 50, 100]
seeds = [0, 1]

[model.prior]
arch.prior = {}
"#;

#[test]
fn a_run_fills_the_store_and_a_second_one_has_nothing_to_do() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    let first = test.run(["run", "small.toml", "--store", "S", "--jobs", "2", "--json", "--quiet"]).json();
    assert_eq!((&first["cells"], &first["done"], &first["found"]), (&6.into(), &6.into(), &0.into()));
    let again = test.run(["run", "S", "--json", "--quiet"]).json();
    assert_eq!((&again["done"], &again["found"], &again["experiment"]), (&0.into(), &6.into(), &first["experiment"]));

    let status = test.run(["status", "S", "--json"]).json();
    let rows = status[0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|r| r["done"] == 2 && r["failed"] == 0 && r["mean_map"].as_f64().is_some()));
}

#[test]
fn the_resolved_experiment_gives_the_same_cells_and_detections() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    test.run(["run", "small.toml", "--store", "S", "--quiet"]);
    let resolved = test.run(["plan", "small.toml", "--resolved"]).stdout;
    test.file("resolved.toml", &resolved);
    test.run(["run", "resolved.toml", "--store", "T", "--jobs", "1", "--quiet"]);
    let once = results(&test.dir.path().join("S"));
    assert_eq!((once.len(), &once), (6, &results(&test.dir.path().join("T"))));
}

#[test]
fn killed_five_times_every_cell_has_one_record_equal_to_an_undisturbed_run() {
    let test = CliTest::new();
    let many = EXPERIMENT.replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3]");
    test.file("small.toml", &many);
    for delay_ms in [40, 90, 150, 60, 110] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_etalon"))
            .args(["run", "small.toml", "--store", "S", "--jobs", "2", "--quiet"])
            .current_dir(test.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let last = test.run(["run", "small.toml", "--store", "S", "--json", "--quiet"]).json();
    assert_eq!(last["failed"].as_array().unwrap().len(), 0);
    test.run(["run", "small.toml", "--store", "T", "--quiet"]);
    let disturbed = results(&test.dir.path().join("S"));
    assert_eq!((disturbed.len(), &disturbed), (12, &results(&test.dir.path().join("T"))));
}

#[test]
fn two_runs_at_once_share_one_store() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_etalon"))
            .args(["run", "small.toml", "--store", "S", "--jobs", "1", "--json", "--quiet"])
            .current_dir(test.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let outputs = [start(), start()].map(|run| run.wait_with_output().unwrap());
    let summaries = outputs.map(|o| {
        assert!(o.status.success());
        serde_json::from_slice::<serde_json::Value>(&o.stdout).unwrap()
    });
    let done: u64 = summaries.iter().map(|s| s["done"].as_u64().unwrap()).sum();
    assert_eq!((done, results(&test.dir.path().join("S")).len()), (6, 6));
}

#[test]
fn an_interrupted_run_says_so_and_leaves_a_store_to_continue() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT.replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3]"));
    let run = Command::new(env!("CARGO_BIN_EXE_etalon"))
        .args(["run", "small.toml", "--store", "S", "--jobs", "1", "--json", "--quiet"])
        .current_dir(test.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The handlers are in place once the first cell has its folder.
    while !test.dir.path().join("S/cells").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let killed = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["interrupted"] == true && summary["left"].as_u64().unwrap() > 0);
    let rest = test.run(["run", "S", "--json", "--quiet"]).json();
    assert_eq!(rest["done"].as_u64().unwrap() + rest["found"].as_u64().unwrap(), 12);
}

#[test]
fn a_changed_experiment_adds_its_cells_to_the_store() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    test.run(["run", "small.toml", "--store", "S", "--quiet"]);
    test.file("small.toml", EXPERIMENT.replace("seeds = [0, 1]", "seeds = [1, 2]"));
    let ran = test.run(["run", "small.toml", "--store", "S"]);
    assert!(ran.stderr.contains("3 of its cells are done already, 3 are added"), "{}", ran.stderr);
    assert_eq!(results(&test.dir.path().join("S")).len(), 9);
    // Two experiments: the store alone no longer says which one is meant.
    test.run(["run", "S"]).fails_with(6, &["2 experiments", "experiments/"]);
}

#[test]
fn bad_input_and_unusable_stores_have_their_own_exit_codes() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    test.run(["run", "missing.toml"]).fails_with(6, &["missing.toml"]);
    test.file("bad.toml", EXPERIMENT.replace("seeds", "sedes"));
    test.run(["run", "bad.toml"]).fails_with(6, &["bad.toml", "sedes"]);
    test.run(["run", "small.toml", "--only", "tridet"]).fails_with(6, &["tridet", "prior"]);
    test.run(["run", "small.toml", "--store", "."]).fails_with(8, &["is not a store"]);
    test.run(["status", "nowhere"]).fails_with(8, &["nowhere"]);
    std::fs::create_dir(test.dir.path().join("S")).unwrap();
    test.file("S/store.toml", "format = \"7.0\"\n");
    test.run(["run", "small.toml", "--store", "S"]).fails_with(8, &["format 7.0", "newer etalon"]);
    assert!(!test.dir.path().join("results").exists());
}

#[test]
fn a_dry_run_and_a_plan_write_nothing() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    let listed = test.run(["run", "small.toml", "--store", "S", "--dry-run", "--only", "fraction=10%", "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let plan = test.run(["plan", "small.toml", "--store", "S", "--json"]).json();
    assert_eq!((&plan["cells"], &plan["progress"]["done"], &plan["fractions"][0]["videos"]), (&6.into(), &0.into(), &3.into()));
    assert!(!test.dir.path().join("S").exists());
}

#[test]
fn a_plan_without_the_features_says_what_it_cannot_tell() {
    let test = CliTest::new();
    let subset = |i: usize| if i < 15 { "training" } else { "validation" };
    let annotated = |i: usize| serde_json::json!({ "subset": subset(i), "duration": 20.0, "annotations": [{ "segment": [1.0, 2.0 + i as f64], "label": "jump" }] });
    let database: serde_json::Map<_, _> = (0..20).map(|i| (format!("v{i}"), annotated(i))).collect();
    test.file("annotations.json", serde_json::json!({ "classes": ["jump"], "database": database }).to_string());
    let files = "format = \"activitynet\"\nannotations = \"annotations.json\"\nfeatures = { path = \"no/such/folder\", kind = \"npy\", rate = 1.0, dim = 4 }";
    let built_in = "format = \"synthetic\"\nsynthetic = { seed = 1, videos = 40 }";
    assert!(EXPERIMENT.contains(built_in));
    test.file("small.toml", EXPERIMENT.replace(built_in, files));
    assert_eq!(test.run(["plan", "small.toml", "--json"]).json()["cells"], 6);
    let plan = test.run(["plan", "small.toml", "--store", "S", "--json"]).json();
    assert_eq!((&plan["cells"], &plan["fractions"][2]["videos"], plan.get("progress")), (&6.into(), &15.into(), None));
    assert!(plan["progress_unknown"].as_str().unwrap().contains("no/such/folder/v0.npy does not exist"), "{plan}");
    assert!(test.run(["plan", "small.toml", "--store", "S"]).stdout.contains("what is done cannot be told"));
    test.run(["run", "small.toml", "--store", "S"]).fails_with(6, &["no/such/folder", "dataset.features.path"]);
    assert!(!test.dir.path().join("S").exists());
}
