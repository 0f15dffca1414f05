//! `etalon plan-data`: rounds of a collection from a table or a store.

use std::fmt::Write;

use serde_json::Value;

use crate::CliTest;

/// Three seeds at six sizes of a curve that reaches 0.6 at 120 videos and 0.8 never.
fn table() -> CliTest {
    let test = CliTest::new();
    let mut rows = "n,score,seed\n".to_owned();
    for n in [5.0, 10.0, 20.0, 30.0, 40.0, 60.0f64] {
        for (seed, off) in [-0.01, 0.0, 0.01].into_iter().enumerate() {
            writeln!(rows, "{n},{:.4},{seed}", 0.75 * n / (n + 30.0) + off).unwrap();
        }
    }
    test.file("scores.csv", &rows);
    test
}

fn plan(test: &CliTest, more: &[&str]) -> Value {
    let arguments = [&["plan-data", "--curve", "scores.csv", "--cost", "10", "--json"], more].concat();
    test.run(arguments).json()["curves"][0].clone()
}

fn rounds(planned: &Value) -> &Vec<Value> {
    planned["plan"]["rounds"].as_array().unwrap_or_else(|| panic!("no plan in {planned}"))
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}

#[test]
fn a_confidence_is_reached_in_rounds_that_are_cheaper_than_one() {
    let test = table();
    let three = plan(&test, &["--target", "0.6"]);
    assert_eq!((number(&three, "have"), number(&three, "confidence"), number(&three, "cost_per_video")), (60.0, 0.9, 10.0));
    let (last, mut before) = (rounds(&three).last().unwrap(), 60.0);
    assert!(rounds(&three).len() > 1 && number(last, "probability_reached") >= 0.9, "{three}");
    for round in rounds(&three) {
        assert_eq!(number(round, "videos"), before + number(round, "add"));
        assert_eq!(number(round, "cost"), 10.0 * number(round, "add"));
        before = number(round, "videos");
    }
    let one = plan(&test, &["--target", "0.6", "--rounds", "1"]);
    assert_eq!(rounds(&one).len(), 1);
    assert!(number(&three["plan"], "expected_cost") < number(&one["plan"], "expected_cost"));
    let sure = plan(&test, &["--target", "0.6", "--confidence", "0.93"]);
    assert!(number(&sure["plan"], "failure_probability") <= 0.07, "{sure}");
    assert!(number(&sure["plan"], "worst_cost") >= number(&three["plan"], "worst_cost"));
    assert_eq!(number(&three["double_at_once"], "worst_cost"), 600.0);
    // The median of what is needed suffices half of the time.
    assert!((number(&three["median_at_once"], "failure_probability") - 0.5).abs() < 0.1, "{three}");
    assert!(three["advice"].as_str().unwrap().contains("only the first round"));
}

#[test]
fn the_price_of_failure_decides_how_much_is_collected() {
    let test = table();
    let videos = |cost: &str| {
        let planned = plan(&test, &["--target", "0.6", "--failure-cost", cost]);
        let last = rounds(&planned).last().map_or(60.0, |r| number(r, "videos"));
        // Neither nothing nor a naive plan is cheaper.
        let expected = number(&planned["plan"], "expected_cost");
        assert!(expected <= number(&planned["median_at_once"], "expected_cost") + 1e-6);
        assert!(expected <= number(&planned["double_at_once"], "expected_cost") + 1e-6);
        last
    };
    assert_eq!(videos("1"), 60.0);
    assert!(videos("1000") > 60.0 && videos("100000") > videos("1000"));
}

#[test]
fn what_is_out_of_reach_and_what_is_there_are_said_plainly() {
    let test = table();
    let never = plan(&test, &["--target", "0.98"]);
    assert_eq!(never["plan"], Value::Null);
    assert!(never["unreachable"].as_str().unwrap().starts_with("not reachable with a confidence of 0.9"), "{never}");
    let text = test.run(["plan-data", "--curve", "scores.csv", "--cost", "10", "--target", "0.98"]);
    assert!(text.code == Some(0) && text.stdout.contains("not reachable") && text.stdout.contains("2x at once (120)"), "{}", text.stdout);
    let there = plan(&test, &["--target", "0.2"]);
    assert_eq!((rounds(&there).len(), number(&there["plan"], "expected_cost")), (0, 0.0));
    assert!(there["advice"].as_str().unwrap().starts_with("collect nothing: what is there suffices"), "{there}");
    let text = test.run(["plan-data", "--curve", "scores.csv", "--cost", "10", "--target", "0.6", "--failure-cost", "5000"]).stdout;
    for part in ["60 videos are there", "reached by then", "the median at once", "expected cost with failure", "collect "] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn losses_and_several_curves_are_planned_for() {
    let test = CliTest::new();
    let mut rows = "model,n,score\n".to_owned();
    for n in [10.0, 20.0, 40.0, 80.0f64] {
        writeln!(rows, "a,{n},{:.4}\nb,{n},{:.4}", 0.5 + 20.0 / n, 0.9 + 20.0 / n).unwrap();
    }
    test.file("losses.csv", &rows);
    let losses = ["plan-data", "--curve", "losses.csv", "--by", "model", "--decreasing", "--cost", "1", "--target", "0.68", "--json"];
    let both = test.run(losses).json();
    let [a, b] = [0, 1].map(|i| &both["curves"][i]);
    assert_eq!((&a["name"], &b["name"]), (&"a".into(), &"b".into()));
    let reachable = |planned: &Value| number(&planned["needed"], "probability_reachable");
    assert!(reachable(a) > 0.8 && reachable(b) < reachable(a), "{both}");
    let one = test.run([&losses[..], &["--only", "b"]].concat()).json();
    assert_eq!((one["curves"].as_array().unwrap().len(), &one["curves"][0]["name"]), (1, &"b".into()));
    test.run([&losses[..], &["--model", "c"]].concat()).fails_with(6, &["losses.csv", "\"c\"", "a, b"]);
}

#[test]
fn a_price_per_hour_or_instance_is_turned_into_one_per_video() {
    let test = crate::report::finished();
    let per = |arguments: &[&str]| {
        let all = [&["plan-data", "S", "--target", "0.01", "--cost", "6", "--json"], arguments].concat();
        test.run(all).json()["curves"][0].clone()
    };
    let records = crate::results(&test.dir.path().join("S"));
    let sum = |field: &str| records.values().map(|r| r[0][field].as_f64().unwrap()).sum::<f64>();
    let hours = sum("seconds") / 3600.0 / sum("videos");
    assert!((number(&per(&["--per", "hour"]), "units_per_video") - hours).abs() < 1e-12);
    assert!(
        (number(&per(&["--per", "instance", "--only", "prior"]), "cost_per_video") - 6.0 * sum("instances") / sum("videos")).abs() < 1e-9
    );
    assert_eq!(number(&per(&["--per", "hour", "--hours-per-video", "0.5"]), "cost_per_video"), 3.0);
    assert_eq!(number(&per(&[]), "cost_per_video"), 6.0);
}

#[test]
fn what_cannot_be_planned_is_refused_with_what_to_write() {
    let test = table();
    let refuse = |more: &[&str], code, parts: &[&str]| {
        test.run([&["plan-data", "--curve", "scores.csv"], more].concat()).fails_with(code, parts);
    };
    refuse(&["--cost", "1"], 2, &["--target"]);
    refuse(&["--target", "0.6"], 2, &["--cost"]);
    refuse(&["--target", "0.6", "--cost", "0"], 2, &["--cost", "above 0"]);
    refuse(&["--target", "0.6", "--cost", "-3"], 2, &["--cost"]);
    refuse(&["--target", "0.6", "--cost", "1", "--rounds", "0"], 2, &["--rounds", "from 1"]);
    refuse(&["--target", "0.6", "--cost", "1", "--failure-cost", "9", "--confidence", "0.9"], 2, &["--failure-cost", "--confidence"]);
    refuse(&["--target", "60", "--cost", "1"], 6, &["60", "divide percentages"]);
    refuse(&["--target", "nan", "--cost", "1"], 6, &["NaN"]);
    refuse(&["--target", "0", "--cost", "1"], 6, &["above 0"]);
    refuse(&["--target", "0.6", "--cost", "1", "--per", "hour"], 6, &["scores.csv", "--hours-per-video"]);
    refuse(&["--target", "0.6", "--cost", "1", "--instances-per-video", "9"], 6, &["--per instance"]);
    test.file("one.csv", "n,score\n10,0.5\n");
    test.run(["plan-data", "--curve", "one.csv", "--target", "0.6", "--cost", "1"]).fails_with(6, &["one.csv", "two different numbers"]);
    test.run(["plan-data", "nowhere", "--target", "0.6", "--cost", "1"]).fails_with(8, &["nowhere"]);
}
