//! `etalon parity` against the authors' arrays.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{CliTest, Ran, fixture, recordings_folder};

/// What `etalon parity` says of a folder that must agree, computed as a formulation has it, and how many arrays of each model it
/// compared.
fn agreement(folder: &Path, formulation: &str) -> (Vec<String>, impl Fn(&str) -> u64 + use<>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
    command.args(["parity", folder.to_str().unwrap(), "--json"]).env("ETALON_FORMULATION", formulation);
    let report = Ran::of(command).json();
    let checks = report["checks"].as_array().unwrap();
    let deviating: Vec<&Value> = checks.iter().filter(|check| check["passed"] != true).collect();
    assert!(deviating.is_empty() && report["passed"] == true, "{deviating:#?}");
    assert_eq!(report["not_covered"], serde_json::json!([]));
    let names = checks.iter().map(|check| check["name"].as_str().unwrap().to_owned()).collect();
    let folders = report["folders"].as_array().unwrap().clone();
    let compared = move |model: &str| {
        let folders = folders.iter().filter(|folder| folder["model"] == model);
        folders.map(|folder| folder["compared"].as_u64().unwrap()).sum()
    };
    (names, compared)
}

/// A part of the name of a check of every kind: outputs, losses, gradients, norms, weights after a training, along it, gradient
/// sampling, encoders, alignment, labels, suppression, windows, evaluators.
const KINDS: [&str; 13] = [
    "detector_small/out.s2.iou",
    "detector_small/loss.cost",
    "small_thumos/train/grad/",
    "detector_small/gradnorm.",
    "train_steps/final.",
    "after12steps/",
    "sgs/encgrad.",
    "r2plus1d_parts/layer2",
    "roi_align/case3.grad_feature",
    "labels/d64.",
    "postprocess/nms.",
    "post/",
    "common/",
];

#[test]
fn every_model_agrees_with_its_authors_arrays_on_the_host_and_as_on_a_device() {
    for formulation in ["host", "device"] {
        let (names, compared) = agreement(&fixture("parity"), formulation);
        for (model, arrays) in [
            ("etad", 1400),
            ("actionformer", 1700),
            ("temporalmaxer", 300),
            ("tridet", 1700),
            ("tadtr", 950),
            ("gtad", 150),
            ("common", 50),
        ] {
            assert!(compared(model) >= arrays, "{model}: {}", compared(model));
        }
        // Of every kind: outputs, losses, gradients, weights after a training, encoders, gradient sampling, suppression, evaluators.
        for part in KINDS {
            assert!(names.iter().any(|name| name.contains(part)), "no {part}");
        }
    }
}

#[test]
#[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
fn every_model_agrees_with_the_larger_arrays() {
    for formulation in ["host", "device"] {
        let (names, compared) = agreement(&recordings_folder().join("fixtures"), formulation);
        for (model, arrays) in [
            ("etad", 1000),
            ("actionformer", 2000),
            ("temporalmaxer", 300),
            ("tridet", 1900),
            ("tadtr", 1200),
            ("gtad", 70),
            ("common", 50),
        ] {
            assert!(compared(model) >= arrays, "{model}: {}", compared(model));
        }
        assert!(names.iter().any(|name| name.ends_with("r2plus1d_parts/layer2")));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "test input, not a result that must survive")]
fn an_array_that_differs_is_found() {
    let test = CliTest::new();
    let source = fixture("parity/etad");
    let whole: Value = serde_json::from_slice(&std::fs::read(source.join("manifest.json")).unwrap()).unwrap();
    let two = ["detector_small", "losses"].map(|name| (name.to_owned(), whole["fixtures"][name].clone()));
    let two = serde_json::json!({ "fixtures": serde_json::Map::from_iter(two) });
    let manifest = test.file("manifest.json", two.to_string());
    let folder = manifest.parent().unwrap();
    std::fs::copy(source.join("detector_small.safetensors"), folder.join("detector_small.safetensors")).unwrap();
    let mut bytes = std::fs::read(source.join("losses.safetensors")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 0x40; // the exponent of the last number
    std::fs::write(folder.join("losses.safetensors"), bytes).unwrap();
    let ran = test.run(["parity", folder.to_str().unwrap()]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
}

#[test]
fn a_folder_without_a_manifest_is_bad_input() {
    CliTest::new().run(["parity", "."]).fails_with(6, &["manifest.json"]);
}

#[test]
fn a_model_that_this_version_does_not_have_stops_nothing_but_itself() {
    let test = CliTest::new();
    test.file("all/bmn/manifest.json", r#"{"model": "bmn"}"#);
    test.run(["parity", "all/bmn"]).fails_with(6, &["bmn", "actionformer"]);
    test.run(["parity", "all"]).fails_with(6, &["holds no fixtures"]);
}

/// A copy of a fixture's manifest and arrays with one option changed.
fn with_option(test: &CliTest, variant: &str, pointer: &str, value: Value) -> String {
    let source = fixture("parity").join(variant);
    for entry in std::fs::read_dir(&source).unwrap() {
        let path = entry.unwrap().path();
        test.file(&format!("changed/{}", path.file_name().unwrap().to_str().unwrap()), std::fs::read(&path).unwrap());
    }
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(source.join("manifest.json")).unwrap()).unwrap();
    *manifest.pointer_mut(pointer).unwrap() = value;
    test.file("changed/manifest.json", manifest.to_string());
    "changed".into()
}

#[test]
fn an_option_of_which_no_network_is_built_is_refused_by_its_name() {
    for (variant, pointer, value, parts) in [
        ("tadtr/small", "/config/act_reg", Value::from(false), ["`config.act_reg` = false", "it builds true"]),
        ("tadtr/small", "/config/seg_refine", Value::from(false), ["`config.seg_refine` = false", "it builds true"]),
        (
            "tridet/small_anet",
            "/config/model/use_trident_head",
            false.into(),
            ["`config.model.use_trident_head` = false", "it builds true"],
        ),
        ("tridet/small_anet", "/config/model/downsample_type", "avg".into(), ["`config.model.downsample_type` = \"avg\"", "\"max\""]),
        (
            "temporalmaxer/small_thumos",
            "/config/model/head_with_ln",
            false.into(),
            ["`config.model.head_with_ln` = false", "it builds true"],
        ),
        ("actionformer/small_thumos", "/config/model/backbone_type", "conv".into(), ["backbone_type` = \"conv\"", "\"convTransformer\""]),
        ("gtad/narrow", "/config/goi_style", 2.into(), ["`config.goi_style` = 2", "it builds 1"]),
        ("etad", "/fixtures/detector_small/config/roi_size", 6.into(), ["detector_small.config", "roi_bins"]),
    ] {
        let test = CliTest::new();
        let folder = with_option(&test, variant, pointer, value);
        test.run(["parity", &folder]).fails_with(6, &[&["changed/manifest.json"], &parts[..]].concat());
    }
}
