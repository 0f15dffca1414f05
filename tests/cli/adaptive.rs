//! `etalon run --adaptive` with the floor baseline.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{CliTest, results};

/// Five fractions and three seeds: 30 training videos at most.
const EXPERIMENT: &str = r#"
schema = 1
name = "small"

[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 40 }

[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [10, 30, 50, 70, 100]
seeds = [0, 1, 2]

[model.prior]
arch.prior = {}

[model.second]
arch.prior = { per_video = 50 }
"#;

fn scene() -> CliTest {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    test
}

fn adaptive(test: &CliTest, more: &[&str]) -> Value {
    let all = [&["run", "small.toml", "--store", "S", "--adaptive", "--jobs", "1", "--json", "--quiet"], more].concat();
    test.run(all).json()
}

fn chosen(summary: &Value) -> Vec<(String, f64, u64)> {
    let cells = summary["adaptive"]["chosen"].as_array().unwrap();
    let cell = |c: &Value| (c["model"].as_str().unwrap().to_owned(), c["fraction"].as_f64().unwrap(), c["seed"].as_u64().unwrap());
    cells.iter().map(cell).collect()
}

#[test]
fn the_start_design_comes_first_and_a_large_budget_finishes_the_grid() {
    let test = scene();
    let summary = adaptive(&test, &["--budget", "1h", "--only", "prior"]);
    assert_eq!((&summary["cells"], &summary["done"], &summary["left"]), (&15.into(), &15.into(), &0.into()), "{summary}");
    let order = chosen(&summary);
    let start: Vec<_> = order[..3].iter().map(|c| (c.1, c.2)).collect();
    assert_eq!(start, [(10.0, 0), (50.0, 0), (100.0, 0)]);
    let mut distinct = order.clone();
    distinct.sort_by(|a, b| a.partial_cmp(b).unwrap());
    distinct.dedup();
    assert_eq!(distinct.len(), 15);
    let cells = summary["adaptive"]["chosen"].as_array().unwrap();
    assert!(cells[..3].iter().all(|c| c["expected_shrinkage"].is_null()) && cells[0]["predicted_s"].is_null());
    assert!(cells[3..].iter().all(|c| c["expected_shrinkage"].as_f64().unwrap() >= 0.0 && c["predicted_s"].as_f64().unwrap() > 0.0));
    assert!(cells.iter().all(|c| c["wall_s"].as_f64().unwrap() > 0.0));
    let forecast = &summary["adaptive"]["forecasts"][0];
    assert_eq!((&forecast["model"], &forecast["before"]["n"], &forecast["after"]["n"]), (&"prior".into(), &60.0.into(), &60.0.into()));
    let spent: f64 = cells.iter().map(|c| c["wall_s"].as_f64().unwrap()).sum();
    assert!((summary["adaptive"]["spent_s"].as_f64().unwrap() - spent).abs() < 1e-9);

    // The same cells as without choosing.
    test.run(["run", "small.toml", "--store", "T", "--only", "prior", "--quiet"]);
    assert_eq!(results(&test.dir.path().join("S")), results(&test.dir.path().join("T")));
}

#[test]
fn what_is_done_counts_as_known_and_as_spent() {
    let test = scene();
    test.run(["run", "small.toml", "--store", "S", "--fraction", "10", "--seed", "0", "--quiet"]);
    test.run(["run", "small.toml", "--store", "S", "--fraction", "50", "--only", "prior", "--quiet"]);
    let first = adaptive(&test, &["--budget", "1ms"]);
    assert_eq!((&first["found"], &first["done"], &first["left"]), (&5.into(), &0.into(), &25.into()), "{first}");
    assert!(first["adaptive"]["spent_s"].as_f64().unwrap() > 0.001);
    // Two sizes are there: a forecast is possible, and only the largest size is missing for the start.
    assert!(first["adaptive"]["forecasts"][0]["before"]["median"].is_number(), "{first}");
    let rest = adaptive(&test, &["--budget", "1h", "--adaptive-at", "100"]);
    assert_eq!((&rest["found"], &rest["done"], &rest["left"]), (&5.into(), &25.into(), &0.into()));
    assert_eq!(rest["adaptive"]["forecasts"][0]["after"]["n"], 100.0);
    let order = chosen(&rest);
    assert!(order.iter().all(|c| !(c.1 == 50.0 && c.0 == "prior" || c.1 == 10.0 && c.2 == 0)), "{order:?}");
    let starts = rest["adaptive"]["chosen"].as_array().unwrap().iter().filter(|c| c["expected_shrinkage"].is_null());
    assert_eq!(starts.count(), 3, "the largest of the one, the middle and the largest of the other");
    let again = adaptive(&test, &["--budget", "1h"]);
    assert_eq!((&again["found"], &again["done"]), (&30.into(), &0.into()));
}

#[test]
fn killed_and_run_again_it_goes_on_and_no_cell_is_lost() {
    let test = scene();
    for delay_ms in [120, 300, 200] {
        let mut run = Command::new(env!("CARGO_BIN_EXE_etalon"))
            .args(["run", "small.toml", "--store", "S", "--adaptive", "--budget", "1h", "--jobs", "2", "--quiet"])
            .current_dir(test.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        run.kill().unwrap();
        run.wait().unwrap();
    }
    let last = adaptive(&test, &["--budget", "1h"]);
    assert_eq!(last["done"].as_u64().unwrap() + last["found"].as_u64().unwrap(), 30, "{last}");
    test.run(["run", "small.toml", "--store", "T", "--quiet"]);
    assert_eq!(results(&test.dir.path().join("S")), results(&test.dir.path().join("T")));
}

#[test]
fn two_adaptive_runs_share_one_store() {
    let test = scene();
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_etalon"))
            .args(["run", "small.toml", "--store", "S", "--adaptive", "--budget", "1h", "--jobs", "2", "--json", "--quiet"])
            .current_dir(test.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let summaries = [start(), start()].map(|run| {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    });
    let done: u64 = summaries.iter().map(|s| s["done"].as_u64().unwrap()).sum();
    assert_eq!((done, results(&test.dir.path().join("S")).len()), (30, 30));
}

#[test]
fn choices_and_widths_are_told_in_words() {
    let test = scene();
    let arguments = ["run", "small.toml", "--store", "S", "--only", "prior", "--seed", "0", "--jobs", "1", "--quiet"];
    let text = test.run([&arguments[..], &["--adaptive", "--budget", "1h"]].concat()).stdout;
    for part in [
        "prior 10 % (3 videos) seed 0: start of the curve, for a time not known yet",
        "narrows the interval at 60 videos by",
        "width before",
        "of the budget of 1 h 00 min are spent",
        "5 of 5 cells are done (5 by this run), 0 failed",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_budget_that_covers_little_leaves_cells_and_says_so() {
    let test = scene();
    let ran = test.run(["run", "small.toml", "--store", "S", "--adaptive", "--budget", "1ms", "--jobs", "1", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("29 left that the budget does not cover"), "{}", ran.stdout);
    assert_eq!(results(&test.dir.path().join("S")).len(), 1);
}

#[test]
fn a_choice_that_makes_no_sense_is_refused() {
    let test = scene();
    let refuse = |more: &[&str], code, parts: &[&str]| {
        test.run([&["run", "small.toml", "--store", "S", "--adaptive"], more].concat()).fails_with(code, parts);
    };
    refuse(&[], 2, &["--budget"]);
    refuse(&["--budget", "2"], 2, &["length of time"]);
    refuse(&["--budget", "0s"], 2, &["above 0"]);
    refuse(&["--budget", "1h", "--dry-run"], 2, &["--dry-run"]);
    refuse(&["--budget", "1h", "--adaptive-at", "0x"], 2, &["is no size"]);
    refuse(&["--budget", "1h", "--fraction", "100"], 6, &["\"prior\"", "at least two", "30"]);
    test.run(["run", "small.toml", "--budget", "1h"]).fails_with(2, &["--adaptive"]);
}
