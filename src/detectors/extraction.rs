//! Feature files of whole videos, and the table with which an experiment reads them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::Error;
use super::end_to_end::Eye;
use super::native::guarded;
use crate::base::{Digest, fsio};
use crate::config::experiment::{DatasetConfig, Experiment, Format};
use crate::config::{Corpus, EncoderConfig};
use crate::data::features::{FeatureSource, FeaturesConfig, Kind, Layout};
use crate::data::video::{Snippets, VideoSource};
use crate::data::{Dataset, Instance, Video};
use crate::event::Observer;
use crate::nn::runtime;
use crate::protocol::Split;

/// Folder of the feature files in the folder asked for.
pub const FEATURES: &str = "features";

/// The `[dataset]` table beside it.
pub const TABLE: &str = "dataset.toml";

/// Annotations of the built-in corpus, which has no file of them.
const ANNOTATIONS: &str = "annotations.json";

/// What the files were made from, so that other features are never mixed with them.
const ORIGIN: &str = "extraction.json";

/// What is asked for.
pub struct Request<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Its videos.
    pub corpus: &'a Corpus,
    /// Its two parts; features are made of both.
    pub split: &'a Split,
    /// Model whose encoder is used; the only one with an encoder without it.
    pub model: Option<&'a str>,
    /// Weights in place of those that the experiment names.
    pub weights: Option<&'a Path>,
    /// Seed of an untrained encoder.
    pub seed: u64,
    /// Compute threads.
    pub threads: usize,
    /// "cpu" or "cuda:N".
    pub device: &'a str,
    /// Where the features go.
    pub out: &'a Path,
}

/// What came of it.
pub struct Made {
    /// Values per snippet.
    pub channels: usize,
    /// Videos done now.
    pub extracted: usize,
    /// Videos that were done already.
    pub found: usize,
    /// Seconds that the encoder waited for frames.
    pub waited_s: f64,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Writes the features of the videos that have none yet.
///
/// # Errors
/// No such model, bad weights or videos, a folder with other features, a full disk.
pub fn extract(request: &Request<'_>, observer: &mut dyn Observer) -> Result<Made, Error> {
    let Request { experiment, corpus, split, seed, threads, device, out, .. } = *request;
    let mut config = request.encoder()?.clone();
    if let Some(weights) = request.weights {
        config.weights = Some(weights.to_owned());
    }
    let source = corpus.videos.as_ref().ok_or_else(|| Error::Input("the experiment has no `dataset.videos` to extract from".into()))?;
    let mut videos = [split.train.as_slice(), &split.test].concat();
    videos.sort_unstable();
    let origin = origin(&config, &source.digest(&videos)?, seed)?;
    let at = out.join(ORIGIN);
    if at.exists() && fsio::read(&at)? != origin {
        let reason = "holds what other videos, settings or weights gave; give another --out, or remove the folder";
        return Err(Error::Input(format!("{} {reason}", out.display())));
    }
    let features = out.join(FEATURES);
    fsio::create_dir(&features)?;
    fsio::replace(&at, &origin)?;
    let file = |video: &str| features.join(format!("{video}.npy"));
    let (done, missing): (Vec<String>, Vec<String>) = videos.into_iter().partition(|video| file(video).exists());

    runtime::prepare(threads);
    let (channels, waited_s, note) = guarded(|| {
        let (eye, note) = Eye::open(&config, source, (seed, device), &split.train)?;
        let waited_s = eye.extract(&missing, observer, |video, features| Ok(FeatureSource::write(&file(video), features)?))?;
        Ok((eye.channels(), waited_s, note))
    })?;
    if experiment.dataset.format == Format::Synthetic {
        fsio::replace(&out.join(ANNOTATIONS), &annotations(&corpus.dataset))?;
    }
    fsio::replace(&out.join(TABLE), table(request, source, channels).as_bytes())?;
    Ok(Made { channels, extracted: missing.len(), found: done.len(), waited_s, notes: vec![note] })
}

impl Request<'_> {
    fn encoder(&self) -> Result<&EncoderConfig, Error> {
        let models = &self.experiment.model;
        let named = |name: &str| models.get(name).ok_or_else(|| format!("the experiment has no model {name:?}"));
        let found = match self.model {
            Some(name) => named(name)
                .and_then(|m| m.encoder.as_ref().ok_or_else(|| format!("model {name:?} has no encoder; name one that has, with --model"))),
            None => {
                let mut encoders: Vec<(&String, &EncoderConfig)> =
                    models.iter().filter_map(|(name, model)| Some((name, model.encoder.as_ref()?))).collect();
                let names = encoders.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                match (encoders.pop(), encoders.is_empty()) {
                    (Some((_, only)), true) => Ok(only),
                    (Some(_), false) => Err(format!("several models have an encoder ({names}); choose one with --model")),
                    (None, _) => Err("no model of the experiment has an encoder; give one a table such as [model.NAME.encoder]".into()),
                }
            }
        };
        found.map_err(Error::Input)
    }
}

/// What decides the content of the features, as JSON.
fn origin(config: &EncoderConfig, videos: &Digest, seed: u64) -> Result<Vec<u8>, Error> {
    let weights = config.weights.as_deref().map(Digest::of_file).transpose()?;
    let EncoderConfig { network, width, frames, autocast, .. } = config;
    let start = match &weights {
        Some(digest) => json!({ "weights": digest }),
        None => json!({ "seed": seed }),
    };
    let value = json!({
        "schema": 1, "recipe": EncoderConfig::RECIPE, "videos": videos, "network": network, "width": width, "frames": frames,
        "autocast": autocast, "start": start,
    });
    Ok(serde_json::to_vec_pretty(&value).expect("settings are plain data"))
}

/// The `[dataset]` table of an experiment on the features.
fn table(request: &Request<'_>, source: &VideoSource, channels: usize) -> String {
    let Request { experiment, corpus, out, .. } = *request;
    let absolute = |name: &str| std::path::absolute(out.join(name)).unwrap_or_else(|_| out.join(name));
    let DatasetConfig { format, annotations, outside, videos, .. } = &experiment.dataset;
    let built_in = *format == Format::Synthetic;
    let (mut stride, mut rate, mut count) = (None, None, None);
    match videos.as_ref().map(|v| (v.snippets, v.fps)) {
        Some((Snippets::Count(n), _)) => count = Some(n),
        Some((Snippets::Stride(n), Some(fps))) => rate = Some(fps / n as f64),
        // Its annotations know no frames.
        Some((Snippets::Stride(_), None)) if built_in => rate = corpus.dataset.videos.keys().next().map(|video| 1.0 / source.period(video)),
        Some((Snippets::Stride(n), None)) => stride = Some(n as f64),
        None => {}
    }
    let path = absolute(FEATURES);
    let (kind, layout, prefix) = (Kind::Npy, Layout::TimeChannels, String::new());
    let features = FeaturesConfig { path, kind, dim: channels, stride, clip: None, rate, count, layout, prefix, array: None };
    let dataset = DatasetConfig {
        format: if built_in { Format::Activitynet } else { *format },
        annotations: if built_in { Some(absolute(ANNOTATIONS)) } else { annotations.clone() },
        outside: *outside,
        features: Some(features),
        videos: None,
        synthetic: None,
    };
    let toml = toml::to_string(&BTreeMap::from([("dataset", dataset)])).expect("settings are what TOML can write");
    format!("# Features made by `etalon extract`. Add a protocol and models.\n{toml}")
}

/// The annotations of a corpus that is no file, in ActivityNet's form.
fn annotations(dataset: &Dataset) -> Vec<u8> {
    let instance = |i: &Instance| json!({ "label": dataset.classes[i.label], "segment": i.segment });
    let video = |video: &Video| {
        let instances: Vec<_> = video.instances.iter().map(instance).collect();
        json!({ "subset": video.subset, "duration": video.duration, "fps": video.fps, "annotations": instances })
    };
    let database: BTreeMap<&String, _> = dataset.videos.iter().map(|(id, v)| (id, video(v))).collect();
    serde_json::to_vec_pretty(&json!({ "database": database })).expect("annotations are plain data")
}
