//! Pretrained weights and bad settings with a network: what starts, what is refused and how, what a record says.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use safetensors::SafeTensors;
use serde_json::Value;
use zip::write::SimpleFileOptions;

use crate::CliTest;
use crate::recordings::{EXPERIMENT, Recordings, snapshot};

/// One cell of a tiny network.
const TINY: &str = r#"
schema = 1
name = "tiny"

[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 12, channels = 16, classes = 3, snippets = [80, 120] }

[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [100]
seeds = [0]
budget = "steps"

[model.etad]
arch.etad = { preset = "laptop", window = 64, max_duration = 32, stride = 32, hidden = 32, roi_channels = 16, fc = 32, fc_inner = 16, batch = 4, epochs = 6, steps = 12 }
"#;

/// Shape and values by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn write(test: &CliTest, name: &str, bytes: &[u8]) -> PathBuf {
    let path = test.dir.path().join(name);
    std::fs::File::options().create(true).truncate(true).write(true).open(&path).unwrap().write_all(bytes).unwrap();
    path
}

/// The weights that the only cell of store `S` has left.
fn trained(test: &CliTest) -> Tensors {
    let files = snapshot(&test.dir.path().join("S"));
    let (_, bytes) = files.iter().find(|(path, _)| path.ends_with("model.safetensors")).expect("a cell leaves its weights");
    let floats = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), floats(view.data())))).collect()
}

fn text(s: &str) -> Vec<u8> {
    [b"X".as_slice(), &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat()
}

fn number(n: usize) -> Vec<u8> {
    [b"J".as_slice(), &(n as u32).to_le_bytes()].concat()
}

fn tuple(items: impl Iterator<Item = usize>) -> Vec<u8> {
    [b"(".to_vec(), items.flat_map(number).collect(), b"t".to_vec()].concat()
}

/// A checkpoint as `torch.save` writes it: state dicts by key, beside an object of an unknown class.
fn torch_save(dicts: &[(&str, &Tensors)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let mut pickle = b"\x80\x02}(".to_vec();
    pickle.extend([text("args"), b"cargparse\nNamespace\n)\x81}b".to_vec()].concat());
    let mut count = 0;
    for (key, tensors) in dicts {
        pickle.extend([text(key), b"ccollections\nOrderedDict\n)R(".to_vec()].concat());
        for (name, (shape, values)) in *tensors {
            let strides = (0..shape.len()).map(|d| shape[d + 1..].iter().product());
            pickle.extend([text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(), text("storage")].concat());
            pickle.extend([b"ctorch\nFloatStorage\n".to_vec(), text(&count.to_string()), text("cuda:0"), number(values.len())].concat());
            pickle.extend([b"tQK\x00".to_vec(), tuple(shape.iter().copied()), tuple(strides)].concat());
            pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
            zip.start_file(format!("archive/data/{count}"), SimpleFileOptions::default()).unwrap();
            values.iter().for_each(|v| zip.write_all(&v.to_le_bytes()).unwrap());
            count += 1;
        }
        pickle.push(b'u');
    }
    pickle.extend(b"u.");
    zip.start_file("archive/data.pkl", SimpleFileOptions::default()).unwrap();
    zip.write_all(&pickle).unwrap();
    zip.finish().unwrap().into_inner()
}

fn parallel(tensors: &Tensors) -> Tensors {
    tensors.iter().map(|(name, tensor)| (format!("module.{name}"), tensor.clone())).collect()
}

/// Runs one experiment in store `S`; its records by number of updates.
fn records(test: &CliTest, experiment: &str) -> BTreeMap<u64, Value> {
    test.file("tiny.toml", experiment);
    let ran = test.run(["run", "tiny.toml", "--store", "S", "--threads", "1", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let records = snapshot(&test.dir.path().join("S")).into_iter().filter(|(path, _)| path.ends_with("record.json"));
    let records = records.map(|(_, content)| serde_json::from_slice::<Value>(&content).unwrap());
    records.map(|record| (record["training"]["steps"].as_u64().unwrap(), record)).collect()
}

/// Runs and expects the only cell to fail at its first attempt with every part in the message; no record is left.
fn fails(test: &CliTest, store: &str, parts: &[&str]) {
    let ran = test.run(["run", "tiny.toml", "--store", store, "--threads", "1", "--json", "--quiet"]);
    assert_eq!(ran.code, Some(7), "{}{}", ran.stdout, ran.stderr);
    let summary: Value = serde_json::from_str(&ran.stdout).unwrap();
    let failed = &summary["failed"][0];
    assert_eq!((failed["attempts"].as_u64(), &summary["done"]), (Some(1), &0.into()), "{failed}");
    let message = failed["message"].as_str().unwrap();
    for part in parts {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    for sign in ["panicked", "backtrace"] {
        assert!(!message.contains(sign), "{message}");
    }
}

fn with_init(name: &str, settings: &str) -> String {
    TINY.replace("arch.etad", &format!("init = \"{name}\"\narch.etad")).replace("steps = 12", settings)
}

fn notes(record: &Value) -> String {
    record["notes"].to_string()
}

#[test]
fn released_weights_are_scored_as_they_are_and_start_a_training() {
    let test = CliTest::new();
    let first = records(&test, TINY);
    let weights = trained(&test);
    let silent: Tensors = weights.iter().map(|(name, (shape, values))| (name.clone(), (shape.clone(), vec![0.0; values.len()]))).collect();
    let checkpoint = torch_save(&[("state_dict", &parallel(&silent)), ("state_dict_ema", &parallel(&weights))]);
    write(&test, "released.pth.tar", &checkpoint);

    let second = records(&test, &with_init("released.pth.tar", "steps = 0"));
    let (trained_here, released) = (&first[&12], &second[&0]);
    assert_eq!(released["detections"], trained_here["detections"]);
    assert_eq!(released["scores"], trained_here["scores"]);
    assert_eq!((&released["training"]["final_loss"], &released["training"]["epochs"]), (&Value::Null, &0.0.into()));
    let notes_of = notes(released);
    for part in ["released.pth.tar", "`state_dict_ema` of the checkpoint", "used as they are", "class i"] {
        assert!(notes_of.contains(part), "no {part:?} in {notes_of}");
    }

    // Known by content: the same file under another name is the same cell.
    write(&test, "copy.pt", &checkpoint);
    test.file("tiny.toml", with_init("copy.pt", "steps = 0"));
    let summary = test.run(["run", "tiny.toml", "--store", "S", "--json", "--quiet"]).json();
    assert_eq!((&summary["found"], &summary["done"]), (&1.into(), &0.into()));

    let third = records(&test, &with_init("released.pth.tar", "steps = 2"));
    assert!(third[&2]["detections"] != trained_here["detections"] && !notes(&third[&2]).contains("used as they are"));
}

#[test]
fn safetensors_start_a_training_too() {
    let test = CliTest::new();
    let first = records(&test, TINY);
    let files = snapshot(&test.dir.path().join("S"));
    let (_, bytes) = files.iter().find(|(path, _)| path.ends_with("model.safetensors")).unwrap();
    write(&test, "w.safetensors", bytes);
    let second = records(&test, &with_init("w.safetensors", "steps = 0"));
    assert_eq!(second[&0]["detections"], first[&12]["detections"]);
}

#[test]
fn weights_that_do_not_fit_fail_the_cell_once_and_say_why() {
    let test = CliTest::new();
    records(&test, TINY);
    let weights = trained(&test);
    let whole = torch_save(&[("state_dict", &weights)]);
    write(&test, "w.pth", &whole);
    let zero_updates = with_init("w.pth", "steps = 0");

    test.file("tiny.toml", zero_updates.replace("classes = 3", "classes = 4"));
    fails(&test, "A", &["w.pth", "for 3 classes, the data set has 4", "class_head"]);
    test.file("tiny.toml", zero_updates.replace("fc_inner = 16", "fc_inner = 24"));
    fails(&test, "A", &["w.pth", "have another shape", "[16, 32] in the file and [24, 32] in the model"]);
    test.file("tiny.toml", zero_updates.replace("channels = 16", "channels = 20"));
    fails(&test, "A", &["w.pth", "have another shape", "temporal_enhance"]);

    test.file("tiny.toml", &zero_updates);
    let row = |n: usize| (vec![n], vec![0.0; n]);
    let other: Tensors = ["backbone.embd.0.conv.weight", "cls_head.head.0.conv.weight", "start_head.head.0.conv.weight"]
        .map(|name| (format!("module.{name}"), row(4)))
        .into();
    write(&test, "w.pth", &torch_save(&[("state_dict_ema", &other)]));
    fails(
        &test,
        "A",
        &["do not fit", "not in the file (", "3 tensors are not in the model (backbone.embd.0.conv.weight", "weights of TriDet"],
    );
    let headless: Tensors =
        weights.iter().filter(|(name, _)| !name.starts_with("class_head")).map(|(n, t)| (n.clone(), t.clone())).collect();
    write(&test, "w.pth", &torch_save(&[("state_dict", &headless)]));
    fails(&test, "A", &["class_head", "class-agnostic detector", "labels = \"external\""]);
    let mut bad = weights;
    bad.values_mut().next().unwrap().1[0] = f32::NAN;
    write(&test, "w.pth", &torch_save(&[("state_dict", &bad)]));
    fails(&test, "A", &["w.pth", "NaN or infinity"]);
    write(&test, "w.pth", &whole[..whole.len() / 2]);
    fails(&test, "A", &["w.pth", "truncated or damaged zip file"]);
    write(&test, "w.pth", &torch_save(&[("optimizer", &Tensors::new())]));
    fails(&test, "A", &["w.pth", "no weights under state_dict_ema, state_dict, model", "its keys are: args, optimizer"]);
    write(&test, "w.pth", b"<html>404</html>");
    fails(&test, "A", &["w.pth", "neither a checkpoint of torch.save nor a safetensors file"]);
    std::fs::remove_file(test.dir.path().join("w.pth")).unwrap();
    test.run(["run", "tiny.toml", "--store", "A", "--quiet"]).fails_with(6, &["w.pth"]);
    assert!(snapshot(&test.dir.path().join("A")).keys().all(|path| !path.ends_with("record.json")));
}

#[test]
fn a_training_that_diverges_fails_once_with_the_update_and_the_term() {
    let test = CliTest::new();
    test.file("tiny.toml", TINY.replace("steps = 12", "steps = 12, lr = 1e30"));
    fails(&test, "A", &["training diverged at step 2", "loss term `", "lower `lr`"]);
    // The only update spoils the weights, and no loss sees them.
    test.file("tiny.toml", TINY.replace("steps = 12", "steps = 1, lr = 1e300, schedule = \"step\""));
    fails(&test, "A", &["training diverged at step 1", "loss term `weight "]);
    assert!(snapshot(&test.dir.path().join("A")).keys().all(|path| !path.ends_with("record.json")));
}

const SMALL: &str = "[model.etad]\narch.etad = { preset = \"laptop\", window = 16, max_duration = 8, stride = 8, hidden = 32, roi_channels = 16, fc = 32, fc_inner = 16, ratio = 0.5, batch = 4, epochs = 2 }";

#[test]
fn a_video_without_instances_is_noted_and_a_sample_without_a_class_has_a_score() {
    let recordings = Recordings::new();
    recordings.annotate("/database/v3/annotations", serde_json::json!([]));
    recordings.configure("[model.prior]\narch.prior = {}", SMALL);
    let experiment = std::fs::read_to_string(recordings.path(EXPERIMENT)).unwrap();
    recordings.test.file(EXPERIMENT, experiment.replace("[50, 100]", "[12.5, 100]"));
    let ran = recordings.test.run(["run", EXPERIMENT, "--store", "S", "--seed", "0", "--threads", "1", "--quiet"]);
    let records: Vec<Value> = snapshot(&recordings.path("S"))
        .into_iter()
        .filter(|(path, _)| path.ends_with("record.json"))
        .map(|(_, content)| serde_json::from_slice(&content).unwrap())
        .collect();
    assert_eq!((ran.code, records.len()), (Some(0), 2), "{}{}", ran.stdout, ran.stderr);
    for record in records {
        let all = record["fraction"] == 100.0;
        assert_eq!(record["sample"]["classes"], if all { 2 } else { 1 });
        assert_eq!(record["sample"]["videos"], if all { 7 } else { 1 });
        assert!(notes(&record).contains("1 video has no annotated instance and takes no part"), "{record}");
        let classes = record["scores"]["per_class"].as_object().unwrap();
        assert!(classes.len() == 2 && record["scores"]["average_map"].as_f64().is_some(), "{record}");
    }
}
