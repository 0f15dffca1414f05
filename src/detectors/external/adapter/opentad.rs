//! OpenTAD (sming256/OpenTAD): a Python configuration that inherits the user's, `tools/train.py` without any evaluation, then
//! `tools/test.py` on the weights of the last epoch.
//!
//! What it would do against the protocol is switched off: the validation part is the sample, nothing is evaluated while it trains and
//! no best epoch is chosen; names of parts are such that no test of a substring takes one for another.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::super::Error;
use super::{Known, Work, annotations, last_checkpoint, put, text};

pub struct OpenTad;

/// Frames that the annotations give a snippet: it rounds instances to frames.
const FRAMES: f64 = 64.0;

impl Known for OpenTad {
    fn files(&self, work: &Work<'_>) -> Result<Vec<(PathBuf, String)>, Error> {
        let annotations = work.timed(annotations(work.folder)?, |period, duration| json!({ "frame": duration / period * FRAMES }))?;
        Ok(vec![(config_path(work), config(work)?), (work.annotations(), annotations.to_string())])
    }

    fn train(&self, work: &Work<'_>) -> Result<Vec<String>, Error> {
        let mut command = launched(work, "tools/train.py");
        command.push("--not_eval".to_owned());
        if let Some((_, checkpoint)) = last_checkpoint(&run(work).join("checkpoint"), epoch)? {
            command.extend(["--resume".to_owned(), text(&checkpoint)]);
        }
        Ok(command)
    }

    fn detect(&self, work: &Work<'_>) -> Result<Vec<String>, Error> {
        let folder = run(work).join("checkpoint");
        let last = last_checkpoint(&folder, epoch)?;
        let (_, checkpoint) = last.ok_or_else(|| Error::Input(format!("tools/train.py left no epoch_*.pth in {}", folder.display())))?;
        let mut command = launched(work, "tools/test.py");
        command.extend(["--not_eval".to_owned(), "--checkpoint".to_owned(), text(&checkpoint)]);
        Ok(command)
    }

    fn detections(&self, work: &Work<'_>) -> PathBuf {
        run(work).join("result_detection.json")
    }

    fn loads(&self) -> &'static str {
        "import sys; from mmengine.config import Config\nConfig.fromfile(sys.argv[1])"
    }
}

/// Where it writes: WORK_DIR/gpu<number of GPUs>_id<number of the run>.
fn run(work: &Work<'_>) -> PathBuf {
    work.folder.checkpoint().join("gpu1_id0")
}

fn config_path(work: &Work<'_>) -> PathBuf {
    work.place().join("config.py")
}

/// One process on the one GPU that the cell sees.
fn launched(work: &Work<'_>, script: &str) -> Vec<String> {
    let fixed = ["{python}", "-m", "torch.distributed.run", "--nnodes=1", "--nproc_per_node=1", "--rdzv_backend=c10d"];
    let mut command: Vec<String> = fixed.map(str::to_owned).into();
    command.extend(["--rdzv_endpoint=localhost:0".to_owned(), script.to_owned(), text(&config_path(work))]);
    command.extend(["--seed".to_owned(), work.job.seed.to_string(), "--id".to_owned(), "0".to_owned()]);
    command
}

/// The configuration as Python: tables are put over those of the base, key by key.
fn config(work: &Work<'_>) -> Result<String, Error> {
    let features = work.features()?;
    let base = work.config.config_file().expect("it is checked when the experiment is read");
    let (set, classes) = (&work.config.set, work.job.dataset.classes.len());
    let part = |subset: &str| {
        json!({
            "ann_file": text(&work.annotations()), "subset_name": subset, "class_map": text(&work.folder.class_list()),
            "data_path": text(&work.folder.features()), "block_list": null,
        })
    };
    let mut config = json!({
        "dataset": { "train": part("training"), "val": part("training"), "test": part("validation") },
        "evaluation": { "subset": "validation", "ground_truth_filename": text(&work.annotations()) },
        "post_processing": { "save_dict": true },
        "inference": { "load_from_raw_predictions": false, "save_raw_prediction": false },
        "workflow": { "val_loss_interval": -1, "val_eval_interval": -1 },
        "work_dir": text(&work.folder.checkpoint()),
    });
    // A class of data sets that resizes features takes no time base; who uses one names its length.
    let resized = set.keys().any(|name| name.ends_with("resize_length"));
    for part in ["train", "val", "test"].into_iter().filter(|_| !resized) {
        put(&mut config, &format!("dataset.{part}.feature_stride"), json!(FRAMES));
        put(&mut config, &format!("dataset.{part}.offset_frames"), json!(features.snippet_span() * FRAMES / 2.0));
    }
    put(&mut config, "model.projection.in_channels", json!(features.channels()));
    // Whoever names the number of classes knows where this model has it.
    if !set.keys().any(|name| name.ends_with("num_classes")) {
        put(&mut config, "model.rpn_head.num_classes", json!(classes));
    }
    for (name, value) in set {
        put(&mut config, name, value.clone());
    }
    let mut lines = vec![format!("_base_ = [{}]", Value::from(text(&base)))];
    lines.extend(config.as_object().into_iter().flatten().map(|(key, value)| format!("{key} = {}", text::python(value))));
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// The number in `epoch_34.pth`.
fn epoch(name: &str) -> Option<u64> {
    name.strip_prefix("epoch_")?.strip_suffix(".pth")?.parse().ok()
}
