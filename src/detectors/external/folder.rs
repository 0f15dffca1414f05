//! The folder that a trainer is handed: `job.json`, `annotations.json`, `classes.txt`, `features/`, `videos/` and `output/`.
//!
//! Annotations and links are of the sampled training videos and the test videos only, so that a trainer cannot learn from another
//! one by accident.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::{Error, Job};
use super::own_device;
use crate::base::fsio;
use crate::config::external::{ExternalConfig, GroundTruthRule};
use crate::data::features::Layout;
use crate::data::{FeatureSource, Video};

/// The trainer's folder.
pub struct Folder(PathBuf);

/// What `output/compute.json` may say.
#[derive(Deserialize)]
struct Compute {
    /// Multiply-accumulates of the detection in the test videos.
    macs: u64,
}

/// `job.json`.
#[derive(Serialize)]
struct Description<'a> {
    schema: u32,
    classes: &'a [String],
    training: &'a [String],
    test: &'a [String],
    videos: BTreeMap<&'a str, Times>,
    features: Option<Files>,
    seed: u64,
    /// Percent of the training part.
    fraction: f64,
    device: String,
    threads: usize,
    /// Seconds since 1970 by which the trainer is stopped.
    deadline: Option<f64>,
    annotations: PathBuf,
    class_list: PathBuf,
    output: PathBuf,
    detections: PathBuf,
    checkpoint: PathBuf,
}

#[derive(Serialize)]
struct Times {
    duration: f64,
    fps: Option<f64>,
}

/// Where the features are and how they are to be read.
#[derive(Serialize)]
struct Files {
    folder: PathBuf,
    dim: usize,
    layout: Layout,
    /// Name of each video's file.
    files: BTreeMap<String, String>,
    /// Seconds between snippets, per video.
    period: BTreeMap<String, f64>,
}

impl Folder {
    /// An existing one.
    pub fn at(path: &Path) -> Self {
        // A trainer runs elsewhere.
        Self(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
    }

    /// Makes it for one job.
    ///
    /// # Errors
    /// The disk refuses, or a feature file is missing.
    pub fn make(path: &Path, job: &Job<'_>, config: &ExternalConfig) -> Result<Self, Error> {
        let folder = Self::at(path);
        fsio::create_dir(&folder.output())?;
        let videos: Vec<&String> = job.train.iter().chain(job.test).collect();
        let description = Description {
            schema: 1,
            classes: &job.dataset.classes,
            training: job.train,
            test: job.test,
            videos: videos.iter().map(|id| (id.as_str(), Times::of(&job.dataset.videos[*id]))).collect(),
            features: folder.link_features(job, &videos, config.adapter.is_some())?,
            seed: job.seed,
            fraction: 100.0 * job.train.len() as f64 / job.pool_size as f64,
            device: own_device(job.device, None).0,
            threads: job.threads,
            deadline: job.deadline,
            annotations: folder.annotations(),
            class_list: folder.class_list(),
            output: folder.output(),
            detections: folder.output().join("detections.json"),
            checkpoint: folder.checkpoint(),
        };
        folder.link_videos(job, &videos)?;
        fsio::replace(&description.class_list, job.dataset.classes.iter().map(|c| format!("{c}\n")).collect::<String>().as_bytes())?;
        write(&folder.annotations(), &annotations(job, config.ground_truth))?;
        write(&folder.0.join("job.json"), &description)?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn output(&self) -> PathBuf {
        self.0.join("output")
    }

    /// Beside the folder, where a later attempt at the cell gets it back from.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.with_file_name("checkpoint")
    }

    pub fn features(&self) -> PathBuf {
        self.0.join("features")
    }

    pub fn annotations(&self) -> PathBuf {
        self.0.join("annotations.json")
    }

    pub fn class_list(&self) -> PathBuf {
        self.0.join("classes.txt")
    }

    /// The compute that the trainer says its detection took.
    ///
    /// # Errors
    /// It said something else.
    pub fn compute(&self) -> Result<Option<u64>, Error> {
        let path = self.output().join("compute.json");
        if !path.exists() {
            return Ok(None);
        }
        let compute: Compute = serde_json::from_slice(&fsio::read(&path)?)
            .map_err(|e| Error::Input(format!("{} is not {{\"macs\": NUMBER}}: {e}", path.display())))?;
        Ok(Some(compute.macs))
    }

    /// Links the files of exactly these videos; where they must be `plain`, what is not `VIDEO.npy` with time first becomes one.
    fn link_features(&self, job: &Job<'_>, videos: &[&String], plain: bool) -> Result<Option<Files>, Error> {
        let Some(source) = job.features else { return Ok(None) };
        fsio::create_dir(&self.features())?;
        let mut files = BTreeMap::new();
        for video in videos {
            let written = format!("{video}.npy");
            let is_plain = |name: &str| source.layout() == Layout::TimeChannels && name == written;
            let file = source.file(video).map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path));
            let name = match file.filter(|(name, _)| !plain || is_plain(name)) {
                Some((name, path)) => {
                    fsio::link(&path, &self.features().join(&name))?;
                    name
                }
                // The built-in corpus has no files.
                None => {
                    FeatureSource::write(&self.features().join(&written), &source.load(video)?)?;
                    written
                }
            };
            files.insert((*video).clone(), name);
        }
        let period = videos.iter().map(|video| ((*video).clone(), source.period(video))).collect();
        let layout = if plain { Layout::TimeChannels } else { source.layout() };
        Ok(Some(Files { folder: self.features(), dim: source.channels(), layout, files, period }))
    }

    fn link_videos(&self, job: &Job<'_>, videos: &[&String]) -> Result<(), Error> {
        let Some(source) = job.videos else { return Ok(()) };
        let folder = self.0.join("videos");
        fsio::create_dir(&folder)?;
        for video in videos {
            let path = source.file(video)?;
            fsio::link(&path, &folder.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }
}

impl Times {
    fn of(video: &Video) -> Self {
        Self { duration: video.duration, fps: video.fps }
    }
}

/// In ActivityNet's form: the sample is `training`, the test part `validation`.
fn annotations(job: &Job<'_>, rule: GroundTruthRule) -> serde_json::Value {
    let classes = &job.dataset.classes;
    let entry = |id: &String, subset: &str, shown: bool| {
        let video = &job.dataset.videos[id];
        let instances = video.instances.iter().filter(|_| shown);
        let rows: Vec<_> = instances
            .map(|i| json!({ "segment": [i.segment.start, i.segment.end], "label": classes[i.label], "label_id": i.label }))
            .collect();
        let mut value = json!({ "subset": subset, "duration": video.duration, "annotations": rows });
        for (key, known) in [("fps", video.fps.map(Into::into)), ("frame", video.frames.map(Into::into))] {
            let known: Option<serde_json::Value> = known;
            known.into_iter().for_each(|known| value[key] = known);
        }
        (id.clone(), value)
    };
    let exposed = rule == GroundTruthRule::Exposed;
    let training = job.train.iter().map(|id| entry(id, "training", true));
    let database: serde_json::Map<_, _> = training.chain(job.test.iter().map(|id| entry(id, "validation", exposed))).collect();
    let taxonomy: Vec<_> = classes.iter().enumerate().map(|(i, name)| json!({ "nodeId": i, "nodeName": name, "parentId": null })).collect();
    json!({ "version": "etalon", "classes": classes, "taxonomy": taxonomy, "database": database })
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    Ok(fsio::replace(path, &serde_json::to_vec(value).expect("a job is plain data"))?)
}
