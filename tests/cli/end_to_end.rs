//! Models that look at the videos themselves: the built-in corpus rendered, and real clips.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etalon::data::video::Program;
use etalon::profile::process::{Stat, children};

use crate::recordings::snapshot;
use crate::{CliTest, files, results, wait_for};

/// Two cells of tiny networks behind tiny encoders: trained along, and trained before at low fidelity.
const EXPERIMENT: &str = r#"
schema = 1
name = "tiny"

[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 8, channels = 16, classes = 2, snippets = [64, 64] }
videos = { size = [32, 32], snippets = { stride = 4 }, clip = 2, cache = { path = "cache" } }

[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [100]
seeds = [0]
budget = "steps"

[model.sampled]
encoder = { network = "tsm-resnet18", width = 8, lr = 1e-3, training.sampled = { ratio = 0.3 } }
arch.etad = { preset = "laptop", window = 32, max_duration = 32, stride = 32, hidden = 32, roi_channels = 16, fc = 32, fc_inner = 16, batch = 2, epochs = 6, steps = 12 }

[model.lofi]
encoder = { network = "tsm-resnet18", width = 8, lr = 1e-3, training.lofi = { fidelity = "short-cycle", steps = 18 } }
arch.gtad = { preset = "laptop", window = 32, max_duration = 32, stride = 32, batch = 2, epochs = 6, steps = 12 }
"#;

/// One model on copies of real clips.
const CLIPS: &str = r#"
schema = 1
name = "clips"

[dataset]
format = "activitynet"
annotations = "annotations.json"
videos = { path = "videos", extension = "avi", size = [32, 32], snippets = { count = 16 }, clip = 2, cache = { path = "cache" } }

[protocol]
pool = ["training"]
split = { test = 0.34, seed = 0 }
fractions = [100]
seeds = [0]
budget = "steps"

[model.frozen]
encoder = { network = "tsm-resnet18", width = 8 }
arch.etad = { preset = "laptop", temporal = "rescale", window = 16, max_duration = 16, pool = 1, hidden = 32, roi_channels = 16, fc = 32, fc_inner = 16, batch = 2, steps = 4 }
"#;

/// A folder with the experiment on three clips, each with another pattern that moves.
fn clips(settings: &str) -> CliTest {
    let test = CliTest::new();
    test.file("clips.toml", settings);
    let mut videos = serde_json::Map::new();
    let ffmpeg = Program::find().expect("make setup installs an ffmpeg");
    for (id, pattern) in [("dunk_c01", "testsrc"), ("dunk_c02", "testsrc2"), ("dunk_c03", "mandelbrot")] {
        let path = put(&test, &format!("videos/{id}.avi"), b"");
        let source = format!("{pattern}=size=160x120:rate=25");
        let arguments =
            ["-y", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", &source, "-frames:v", "60", "-c:v", "mpeg4", "-g", "5"];
        assert!(Command::new(ffmpeg.path()).args(arguments).arg(path).status().unwrap().success());
        let instance = serde_json::json!({ "label": "dunk", "segment": [1.0, 2.0] });
        videos.insert(id.into(), serde_json::json!({ "subset": "training", "duration": 2.4, "fps": 25.0, "annotations": [instance] }));
    }
    test.file("annotations.json", serde_json::json!({ "database": videos }).to_string());
    test
}

#[expect(clippy::disallowed_methods, reason = "test input, not a result that must survive")]
fn put(test: &CliTest, name: &str, bytes: &[u8]) -> PathBuf {
    let path = test.dir.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// How many files below a folder have a path that ends like this.
fn count(folder: &Path, end: &str) -> usize {
    files(folder).filter(|path| path.to_string_lossy().ends_with(end)).count()
}

/// Content of the files below a folder by name.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let relative = |path: PathBuf| path.strip_prefix(folder).unwrap().to_owned();
    snapshot(folder).into_iter().map(|(path, bytes)| (relative(path), bytes)).collect()
}

/// Whether a record of a store holds this text.
fn a_record_says(store: &Path, text: &str) -> bool {
    let records = files(store).filter(|path| path.ends_with("record.json"));
    records.into_iter().any(|path| std::fs::read_to_string(path).unwrap().contains(text))
}

/// Starts `etalon` and kills it, with -9, as soon as `seen`. False when it ended before.
fn kill_when(test: &CliTest, arguments: &[&str], mut seen: impl FnMut() -> bool) -> bool {
    let mut run = Command::new(env!("CARGO_BIN_EXE_etalon"))
        .args(arguments)
        .current_dir(test.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command starts");
    let mut ended = false;
    wait_for(|| {
        ended = run.try_wait().unwrap().is_some();
        ended || seen()
    });
    let child = children(run.id()).into_iter().next();
    run.kill().expect("it is ours");
    run.wait().expect("it is ours");
    if let Some(pid) = child {
        wait_for(|| Stat::of(pid).is_none_or(|s| !s.alive));
    }
    !ended
}

#[test]
fn a_killed_training_from_frames_gives_what_an_undisturbed_one_gives() {
    let test = CliTest::new();
    test.file("tiny.toml", EXPERIMENT);
    let store = |name: &str| test.dir.path().join(name);
    let arguments = |store| ["run", "tiny.toml", "--store", store, "--jobs", "1", "--threads", "1", "--quiet"];
    for checkpoint in ["checkpoint/joint.safetensors", "checkpoint/state.safetensors"] {
        assert!(kill_when(&test, &arguments("S"), || count(&store("S"), checkpoint) > 0), "it ended before a {checkpoint}");
    }
    let ran = test.run(arguments("S"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(test.run(arguments("T")).code, Some(0));
    let (killed, undisturbed) = (results(&store("S")), results(&store("T")));
    assert_eq!(undisturbed.len(), 2);
    assert_eq!(killed, undisturbed);
    assert!(a_record_says(&store("S"), "resumed from attempt"), "no training went on from a checkpoint");
}

#[test]
fn a_killed_extraction_goes_on_and_a_detector_learns_from_its_features() {
    let test = CliTest::new();
    test.file("tiny.toml", EXPERIMENT);
    let features = |name: &str| test.dir.path().join(name).join("features");
    let arguments = |out| ["extract", "tiny.toml", "--model", "sampled", "--out", out, "--threads", "1", "--json"];
    assert!(kill_when(&test, &arguments("A"), || count(&features("A"), ".npy") >= 2), "it ended before two videos were done");
    let there = count(&features("A"), ".npy");
    let found = test.run(arguments("A")).json();
    assert_eq!((found["found"].as_u64(), found["extracted"].as_u64()), (Some(there as u64), Some(8 - there as u64)));
    assert_eq!(test.run(arguments("B")).json()["extracted"], 8);
    assert_eq!(content(&features("A")), content(&features("B")));
    assert_eq!(test.run(arguments("B")).json()["found"], 8);

    let dataset = String::from_utf8(std::fs::read(test.dir.path().join("A/dataset.toml")).unwrap()).unwrap();
    let (_, rest) = EXPERIMENT.split_once("[protocol]").unwrap();
    let (protocol, _) = rest.split_once("[model.sampled]").unwrap();
    let (_, arch) = rest.split_once("arch.etad").unwrap();
    let arch = arch.lines().next().unwrap();
    test.file("learn.toml", format!("schema = 1\nname = \"learn\"\n{dataset}\n[protocol]{protocol}\n[model.etad]\narch.etad{arch}\n"));
    let ran = test.run(["run", "learn.toml", "--store", "L", "--threads", "1"]);
    assert_eq!(ran.code, Some(0), "{}{dataset}", ran.stderr);

    test.run(["extract", "tiny.toml", "--model", "lofi", "--seed", "3", "--out", "A"]).fails_with(6, &["A holds what other", "--out"]);
    test.run(["extract", "tiny.toml", "--out", "C"]).fails_with(6, &["several models have an encoder", "--model"]);
}

#[test]
fn bad_videos_are_named_or_left_out_and_counted() {
    let test = clips(CLIPS);
    let clip = "videos/dunk_c02.avi";
    let whole = std::fs::read(test.dir.path().join(clip)).unwrap();
    let run = |test: &CliTest| test.run(["run", "clips.toml", "--store", "S", "--threads", "1"]);

    put(&test, clip, b"this is no video");
    run(&test).fails_with(6, &["dunk_c02.avi"]);
    put(&test, clip, &whole[..whole.len() / 3]);
    let ran = run(&test);
    assert!(matches!(ran.code, Some(6 | 7)) && ran.stderr.contains("dunk_c02.avi"), "{:?} {}", ran.code, ran.stderr);

    // The same, where the experiment allows to leave it out: with two of three videos left, the run ends well and says so.
    test.file("clips.toml", CLIPS.replace("clip = 2,", "clip = 2, damaged = \"skip\","));
    let ran = run(&test);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(a_record_says(&test.dir.path().join("S"), r#"dunk_c02\" is left out"#), "no record names the video");
}

#[test]
fn missing_ffmpeg_other_weights_and_contradicting_settings_are_refused_by_name() {
    let test = clips(CLIPS);
    let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
    command.args(["run", "clips.toml", "--store", "S"]).current_dir(test.dir.path()).env("ETALON_FFMPEG", "/no/such/ffmpeg");
    crate::Ran::of(command).fails_with(6, &["ffmpeg", "ETALON_FFMPEG"]);

    let extract = ["extract", "clips.toml", "--out", "F", "--threads", "1"];
    assert_eq!(test.run(extract).code, Some(0));
    assert_eq!(test.run(["run", "clips.toml", "--store", "S", "--threads", "1"]).code, Some(0));
    let weights = files(&test.dir.path().join("S")).find(|path| path.ends_with("encoder.safetensors"));
    put(&test, "encoder.safetensors", &std::fs::read(weights.expect("a cell leaves its encoder")).unwrap());
    let own = CLIPS.replace("width = 8", "width = 8, weights = \"encoder.safetensors\"");
    test.file("own.toml", &own);
    assert_eq!(test.run(["run", "own.toml", "--store", "S2", "--threads", "1"]).code, Some(0));
    test.file("other.toml", own.replace("width = 8", "width = 16"));
    let ran = test.run(["run", "other.toml", "--store", "S3", "--threads", "1"]);
    assert!(ran.stderr.contains("encoder.safetensors") && ran.stderr.contains("conv1.weight"), "{}", ran.stderr);

    for (from, to, parts) in [
        ("width = 8", "width = 9", ["model.frozen.encoder", "multiple of 8"]),
        ("width = 8", "width = 8, training = \"plain\", frozen_stages = 4", ["frozen_stages", "training = \"frozen\""]),
        ("width = 8", "width = 8, training.sampled = { ratio = 0.0 }", ["training.sampled.ratio", "(0, 1]"]),
        ("width = 8", "width = 8, frames = { crop = [64, 64] }", ["encoder.frames.crop", "32 x 32"]),
        ("snippets = { count = 16 }", "snippets = { count = 0 }", ["dataset.videos.snippets", "1 to 100000"]),
        ("path = \"videos\", ", "", ["dataset.videos.path", "missing"]),
    ] {
        assert!(CLIPS.contains(from));
        test.file("bad.toml", CLIPS.replace(from, to));
        test.run(["plan", "bad.toml"]).fails_with(6, &parts);
    }
    test.file("bad.toml", CLIPS.replace("width = 8", "width = 8, training = \"plain\"").replace("count = 16", "count = 20"));
    test.run(["plan", "bad.toml"]).fails_with(6, &["`window`", "count = 16"]);
}
