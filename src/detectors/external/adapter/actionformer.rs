//! The family of ActionFormer (happyharrycn/actionformer_release): `train.py CONFIG.yaml --output NAME` and
//! `eval.py CONFIG.yaml CHECKPOINT --saveonly`, kept by TriDet, TemporalMaxer and most of their heirs.
//!
//! What they do against the protocol is switched off: training is given no test video at all, so that a script which evaluates while
//! it trains does so on the sample; the last epoch's weights detect, and a training that stopped before it is refused; every class
//! has an instance in a video of no part, since they count the classes of the file.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::super::Error;
use super::{Known, Work, annotations, last_checkpoint, put, text};
use crate::base::fsio;

pub struct ActionFormer;

/// Name that the run is given.
const RUN: &str = "cell";
/// Epochs, and those of the warm-up, where the configuration names none.
const DEFAULT_EPOCHS: (u64, u64) = (30, 5);

impl Known for ActionFormer {
    fn files(&self, work: &Work<'_>) -> Result<Vec<(PathBuf, String)>, Error> {
        let config = config(work)?;
        let phase = |name: &str, splits: [&str; 2]| {
            let mut config = config.clone();
            put(&mut config, "train_split", json!([splits[0]]));
            put(&mut config, "val_split", json!([splits[1]]));
            (work.place().join(name), text::yaml(&config))
        };
        let annotations = instances_of_every_class(work)?.to_string();
        Ok(vec![
            phase("train.yaml", ["training", "training"]),
            phase("detect.yaml", ["training", "validation"]),
            (work.annotations(), annotations),
        ])
    }

    fn train(&self, work: &Work<'_>) -> Result<Vec<String>, Error> {
        let config = text(&work.place().join("train.yaml"));
        let mut command = vec!["{python}".to_owned(), "train.py".to_owned(), config, "--output".to_owned(), RUN.to_owned()];
        let script = fsio::read_text(&work.config.directory.join("train.py"))?;
        // TemporalMaxer's.
        if script.contains("--save_ckpt_dir") {
            command.extend(["--save_ckpt_dir".to_owned(), text(&run(work))]);
        }
        if let Some((_, checkpoint)) = last_checkpoint(&run(work), epoch)? {
            command.extend(["--resume".to_owned(), text(&checkpoint)]);
        }
        Ok(command)
    }

    fn detect(&self, work: &Work<'_>) -> Result<Vec<String>, Error> {
        let epochs = epochs(&config(work)?);
        let last = last_checkpoint(&run(work), epoch)?;
        let (number, checkpoint) =
            last.ok_or_else(|| Error::Input(format!("train.py left no epoch_*.pth.tar in {}", run(work).display())))?;
        // TriDet counts from 0.
        if number + 1 < epochs {
            let problem = format!(
                "train.py stopped after epoch {number} of {epochs}: it ends where its own evaluation no longer improves, and the protocol \
                 reports the last epoch; take that out of train.py"
            );
            return Err(Error::Input(problem));
        }
        let config = text(&work.place().join("detect.yaml"));
        Ok(vec!["{python}".to_owned(), "eval.py".to_owned(), config, text(&checkpoint), "--saveonly".to_owned()])
    }

    fn detections(&self, work: &Work<'_>) -> PathBuf {
        run(work).join("eval_results.pkl")
    }

    fn epochs(&self, work: &Work<'_>) -> Result<Option<u64>, Error> {
        config(work).map(|config| Some(epochs(&config)))
    }

    fn loads(&self) -> &'static str {
        "import sys; sys.path.insert(0, '.')\nfrom libs.core import load_config\nload_config(sys.argv[1])"
    }
}

/// Where the code writes: OUTPUT_FOLDER/CONFIG_NAME.
fn run(work: &Work<'_>) -> PathBuf {
    work.folder.checkpoint().join(format!("train_{RUN}"))
}

/// The user's configuration, with `set` over it, and over that what a cell decides.
fn config(work: &Work<'_>) -> Result<Value, Error> {
    let path = work.config.config_file().expect("it is checked when the experiment is read");
    let bad = |problem: String| Error::Input(format!("{}: {problem}", path.display()));
    let mut config: Value = serde_saphyr::from_str(&fsio::read_text(&path)?).map_err(|e| bad(e.to_string()))?;
    if !config.is_object() {
        return Err(bad("holds no table of settings".to_owned()));
    }
    for (name, value) in &work.config.set {
        put(&mut config, name, value.clone());
    }
    let features = work.features()?;
    for (name, value) in [
        ("init_rand_seed", json!(work.job.seed)),
        ("devices", json!([work.device])),
        ("output_folder", json!(text(&work.folder.checkpoint()))),
        ("dataset.json_file", json!(text(&work.annotations()))),
        ("dataset.feat_folder", json!(text(&work.folder.features()))),
        ("dataset.file_prefix", Value::Null),
        ("dataset.file_ext", json!(".npy")),
        ("dataset.num_classes", json!(work.job.dataset.classes.len())),
        ("dataset.input_dim", json!(features.channels())),
        // A frame of the annotations is a snippet.
        ("dataset.feat_stride", json!(1)),
        ("dataset.num_frames", json!(features.snippet_span())),
        ("dataset.default_fps", Value::Null),
    ] {
        put(&mut config, name, value);
    }
    Ok(config)
}

/// Epochs that a whole training has.
fn epochs(config: &Value) -> u64 {
    let of = |name: &str| config["opt"][name].as_u64();
    of("early_stop_epochs").unwrap_or_else(|| of("epochs").unwrap_or(DEFAULT_EPOCHS.0) + of("warmup_epochs").unwrap_or(DEFAULT_EPOCHS.1))
}

/// The job's annotations with snippets for frames, and a video of no part that has an instance of each class.
fn instances_of_every_class(work: &Work<'_>) -> Result<Value, Error> {
    let mut annotations = work.timed(annotations(work.folder)?, |period, _| json!({ "fps": 1.0 / period }))?;
    let instance = |(number, name): (usize, &String)| json!({ "segment": [0.0, 1.0], "label": name, "label_id": number });
    let every: Vec<Value> = work.job.dataset.classes.iter().enumerate().map(instance).collect();
    annotations["database"]["every class"] = json!({ "subset": "none", "duration": 1.0, "fps": 1.0, "annotations": every });
    Ok(annotations)
}

/// The number in `epoch_035.pth.tar`.
pub fn epoch(name: &str) -> Option<u64> {
    name.strip_prefix("epoch_")?.strip_suffix(".pth.tar")?.parse().ok()
}
