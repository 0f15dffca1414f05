//! `etalon evaluate` against the recorded figures of the published evaluators, and on bad input.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{CliTest, Ran, fixture, recordings_folder};

const TRUTH: &str = r#"{"database": {
    "a": {"subset": "test", "annotations": [{"segment": [1.0, 3.0], "label": "jump"}]},
    "b": {"subset": "train", "annotations": []}}}"#;
const DETECTIONS: &str = r#"{"results": {"a": [{"label": "jump", "score": 0.5, "segment": [1.0, 3.0]}]}}"#;

fn evaluate(test: &CliTest, truth: &Path, detections: &Path, more: &[&str]) -> Ran {
    let files = [Path::new("--ground-truth"), truth, Path::new("--detections"), detections];
    test.run([Path::new("evaluate")].into_iter().chain(files).chain(more.iter().map(Path::new)))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-9, "{what}: {found} for {expected}");
    }
}

fn reference(set: &str) -> (PathBuf, Value) {
    let folder = recordings_folder().join("data/detections").join(set);
    let text = std::fs::read_to_string(folder.join("reference.json")).expect("recorded figures");
    (folder, serde_json::from_str(&text).expect("JSON"))
}

/// Compares mAP, AP per class and recall with `recorded`, one of the evaluators of a reference file.
fn assert_equals_recorded(found: &Value, recorded: &Value, what: &str) {
    assert_close(&numbers(&found["map"]), &numbers(&recorded["mAP"]), what);
    assert_close(&[found["average_map"].as_f64().expect("a number")], &[recorded["average_mAP"].as_f64().expect("a number")], what);
    let Some(per_level) = recorded["AP_tiou_by_class"].as_array() else {
        return;
    };
    for (level, per_class) in per_level.iter().enumerate() {
        for (class, expected) in recorded["class_order"].as_array().expect("classes").iter().zip(numbers(per_class)) {
            let class = class.as_str().expect("a name");
            assert_close(&[found["per_class"][class][level].as_f64().expect("a number")], &[expected], class);
        }
        let recall = numbers(&recorded["recall_at_1x_5x"][level]);
        let at = |k: &str| found["recall"][k][level].as_f64().expect("a number");
        assert_close(&[at("1"), at("5")], &recall, "recall");
    }
}

#[test]
#[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
fn thumos_detections_score_as_published_under_both_rules() {
    let (folder, recorded) = reference("a2net_thumos14");
    for rules in ["activitynet", "actionformer"] {
        let options = ["--subset", "test", "--tiou", "0.1:0.7:0.1", "--rules", rules, "--recall", "1,5", "--json"];
        let found = evaluate(&CliTest::new(), &folder.join("gt.json"), &folder.join("results.json"), &options).json();
        assert_equals_recorded(&found, &recorded[format!("{rules}_evaluator")], rules);
    }
}

#[test]
#[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
fn activitynet_detections_score_as_published_under_each_rule_set() {
    let (folder, recorded) = reference("activitynet_sample");
    for rules in ["activitynet", "actionformer"] {
        let options = ["--subset", "validation", "--tiou", "0.5:0.95:0.05", "--rules", rules, "--recall", "1,5", "--json"];
        let found = evaluate(&CliTest::new(), &folder.join("gt.json"), &folder.join("results.json"), &options).json();
        let recorded = &recorded[format!("{rules}_evaluator")];
        assert_equals_recorded(&found, recorded, rules);
        assert_eq!(found["instances"], recorded["gt_segments"], "{rules}");
    }
}

#[test]
fn a_table_of_columns_with_numbered_labels_scores_as_recorded() {
    let folder = fixture("parity/common");
    let text = std::fs::read_to_string(folder.join("eval_expected.json")).expect("recorded figures");
    let recorded: Value = serde_json::from_str(&text).expect("JSON");
    for (grid, part) in [("0.3:0.7:0.1", "thumos_0.3_0.7"), ("0.5:0.95:0.05", "anet_0.5_0.95")] {
        let options = ["--subset", "test", "--tiou", grid, "--rules", "actionformer", "--recall", "1,5", "--json"];
        let found = evaluate(&CliTest::new(), &folder.join("eval_gt.json"), &folder.join("eval_preds.json"), &options).json();
        let recorded = &recorded[part];
        assert_close(&numbers(&found["map"]), &numbers(&recorded["mAP"]), part);
        assert_eq!(found["instances"], recorded["n_gt"]);
        for level in 0..numbers(&recorded["tiou"]).len() {
            for (class, expected) in numbers(&recorded["ap_per_class"][level]).into_iter().enumerate() {
                assert_close(&[found["per_class"][format!("class{class}")][level].as_f64().expect("a number")], &[expected], part);
            }
            let at = |k: &str| found["recall"][k][level].as_f64().expect("a number");
            assert_close(&[at("1"), at("5")], &numbers(&recorded["recall_top1x_5x"][level]), part);
        }
    }
}

#[test]
fn the_wrapper_of_detections_is_optional() {
    let test = CliTest::new();
    let truth = test.file("gt.json", TRUTH);
    let bare = test.file("bare.json", r#"{"a": [{"label": "jump", "score": 0.5, "segment": [1.0, 3.0]}]}"#);
    assert_eq!(evaluate(&test, &truth, &bare, &["--subset", "TEST", "--json"]).json()["average_map"], 1.0);
}

#[test]
fn text_output_ends_with_the_average() {
    let test = CliTest::new();
    let (truth, detections) = (test.file("gt.json", TRUTH), test.file("d.json", DETECTIONS));
    let ran = evaluate(&test, &truth, &detections, &["--subset", "test"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.trim_end().lines().last().expect("a line").starts_with("average mAP 100.00 %"), "{}", ran.stdout);
}

#[test]
fn detections_of_unknown_labels_are_counted_and_named() {
    let test = CliTest::new();
    let truth = test.file("gt.json", TRUTH);
    let detections = test.file("d.json", r#"{"results": {"a": [{"label": "fly", "score": 0.5, "segment": [1.0, 3.0]}]}}"#);
    let ran = evaluate(&test, &truth, &detections, &["--subset", "test", "--json"]);
    assert_eq!(ran.json()["ignored"], 1);
    assert!(ran.stderr.contains("fly"), "{}", ran.stderr);
}

#[test]
fn bad_input_is_named_with_its_remedy() {
    let test = CliTest::new();
    let (truth, detections) = (test.file("gt.json", TRUTH), test.file("d.json", DETECTIONS));
    let subset = ["--subset", "test"];
    let missing = test.dir.path().join("missing.json");
    evaluate(&test, &truth, &missing, &subset).fails_with(6, &["--detections", "missing.json"]);
    let torn = test.file("torn.json", &DETECTIONS[..40]);
    evaluate(&test, &truth, &torn, &subset).fails_with(6, &["torn.json", "line 1 column 40", "copy it again"]);
    evaluate(&test, &truth, &detections, &["--subset", "val"]).fails_with(6, &["gt.json", "\"val\"", "\"test\", \"train\""]);
    evaluate(&test, &truth, &detections, &["--subset", "train"]).fails_with(6, &["no annotated instance"]);
    evaluate(&test, &truth, &detections, &["--subset", "test", "--tiou", "0.7:0.3:0.1"]).fails_with(6, &["0.7:0.3:0.1", "start:end:step"]);
    for score in ["NaN", "-Infinity"] {
        let not_a_number = test.file("nan.json", DETECTIONS.replace("0.5", score));
        evaluate(&test, &truth, &not_a_number, &subset).fails_with(6, &["nan.json", "line 1", "NaN and Infinity are no JSON"]);
    }
    let keyless = test.file("keyless.json", DETECTIONS.replace("score", "confidence"));
    evaluate(&test, &truth, &keyless, &subset).fails_with(6, &["keyless.json", "score"]);
    let twice = test.file("twice.json", r#"{"results": {"a": [], "a": []}}"#);
    evaluate(&test, &truth, &twice, &subset).fails_with(6, &["twice.json", "\"a\" appears twice"]);
    let ragged = test.file("ragged.json", r#"{"video-id": ["a"], "t-start": [1], "t-end": [], "label": [0], "score": [1]}"#);
    evaluate(&test, &truth, &ragged, &subset).fails_with(6, &["ragged.json", "t-end"]);
}
