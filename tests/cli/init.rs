//! `etalon init`: an experiment from the files alone, which runs as it was written.

use serde_json::json;

use crate::CliTest;
use crate::recordings::npy;

/// Twenty videos of two classes with their features: five snippets of four values per second, `[C, T]`, with a prefix.
fn data() -> CliTest {
    let test = CliTest::new();
    let video = |i: usize| {
        let duration = 30.0 + i as f64;
        let instances = [2.0, 15.0].map(|start| json!({ "segment": [start, start + 6.0], "label": (["cut", "mix"][i % 2]) }));
        let subset = if i < 15 { "train" } else { "test" };
        (format!("v{i:02}"), json!({ "subset": subset, "duration": duration, "annotations": instances }))
    };
    let database: serde_json::Map<_, _> = (0..20).map(video).collect();
    test.file("my data/annotations.json", json!({ "database": database }).to_string());
    for i in 0..20 {
        let time = 5 * (30 + i);
        let inside = |at: usize| [2.0..8.0, 15.0..21.0].iter().any(|part| part.contains(&(at as f64 / 5.0)));
        let value = |channel: usize, at: usize| if inside(at) && channel == i % 2 { 5.0 } else { ((at * 7 + channel) % 3) as f32 };
        let values: Vec<f32> = (0..4).flat_map(|channel| (0..time).map(move |at| value(channel, at))).collect();
        test.file(&format!("my data/features/f_v{i:02}.npy"), npy([4, time], &values));
    }
    test
}

#[test]
fn what_the_files_say_is_filled_in_and_the_experiment_runs() {
    let test = data();
    let init = ["init", "first", "--annotations", "my data/annotations.json", "--features", "my data/features", "--external", "--json"];
    let said = test.run(init).json();
    assert_eq!((&said["training_videos"], &said["test_videos"], &said["cells"]), (&16.into(), &4.into(), &54.into()));
    let text = std::fs::read_to_string(test.dir.path().join("first/experiment.toml")).unwrap();
    for part in
        ["dim = 4, rate = 5, layout = \"channels-time\", prefix = \"f_\"", "pool = [\"train\",\"test\"]", "[model.mine.arch.external]"]
    {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    // Two models that need no libtorch, and fewer cells.
    let (before, after) = text.split_once("# A detector that trains in seconds").unwrap();
    let mine = after.split_once("# A trainer of your own").unwrap().1;
    test.file("first/experiment.toml", format!("{before}# {mine}").replace("[10, 20, 40, 60, 80, 100]", "[50, 100]"));
    let ran = test.run(["run", "first/experiment.toml", "--store", "S", "--json", "--quiet"]).json();
    assert_eq!((&ran["cells"], &ran["done"]), (&12.into(), &12.into()));
    let status = test.run(["status", "S", "--json"]).json();
    let of = |model: &str| {
        let row = |r: &&serde_json::Value| r["model"] == model && r["fraction"] == 100.0;
        status[0]["rows"].as_array().unwrap().iter().find(row).unwrap()["mean_map"].as_f64().unwrap()
    };
    assert!(of("mine") > 0.5 && of("mine") > of("prior"), "{} {}", of("mine"), of("prior"));
    let report = test.run(["report", "S", "--out", "R", "--json", "--quiet"]);
    assert_eq!(report.code, Some(0), "{}", report.stderr);
    let page = std::fs::read_to_string(test.dir.path().join("R/report.md")).unwrap();
    assert!(page.contains("mine: {python} trainer.py --job {job} in trainer (no clean commit, digest "), "{page}");
}

#[test]
fn files_that_do_not_meet_are_told() {
    let test = data();
    let init =
        |folder: &str, features: &str| test.run(["init", folder, "--annotations", "my data/annotations.json", "--features", features]);
    test.file("other/x.npy", npy([4, 2], &[0.0; 8]));
    init("a", "other").fails_with(6, &["other has no feature file of any video", "\"x.npy\"", "\"v00\""]);
    init("a", "nowhere").fails_with(6, &["nowhere"]);
    assert_eq!(init("a", "my data/features").code, Some(0));
    init("a", "my data/features").fails_with(6, &["a/experiment.toml is there already"]);
}
