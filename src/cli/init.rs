//! `etalon init`: a first experiment for one's own data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::exit::Exit;
use super::ui::Ui;
use crate::base::fsio;
use crate::config::Experiment;
use crate::data::features::{FeaturesConfig, Layout};
use crate::data::{Dataset, Outside, annotations, discover};
use crate::run::{Error, Prepared};

/// Write a first experiment for your own data: what can be found out from the files is filled in.
#[derive(clap::Args)]
pub struct Args {
    /// Folder that the experiment is written into
    folder: PathBuf,
    /// Annotation file: `database` of videos with subset, duration and annotations (ActivityNet's form)
    #[arg(long, value_name = "FILE")]
    annotations: PathBuf,
    /// Folder with one feature file per video (.npy, .npz or .safetensors)
    #[arg(long, value_name = "FOLDER")]
    features: PathBuf,
    /// Add a trainer in plain Python beside the detectors, as the start of your own
    #[arg(long)]
    external: bool,
}

/// The trainer of `--external`.
const TRAINER: &str = include_str!("init/trainer.py");
const EXPERIMENT: &str = "experiment.toml";

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let path = args.folder.join(EXPERIMENT);
    if path.exists() {
        return Err(Error::Request(format!("{} is there already; give another folder, or remove it", path.display())).into());
    }
    let dataset = annotations::read(&args.annotations, Outside::Refuse).map_err(Error::input)?;
    let features = discover::features(&args.features, &dataset).map_err(Error::Request)?;
    let found = Found { dataset: &dataset, features: &features };
    fsio::create_dir(&args.folder)?;
    fsio::replace(&path, found.experiment(args)?.as_bytes())?;
    if args.external {
        fsio::replace(&args.folder.join("trainer/trainer.py"), TRAINER.as_bytes())?;
    }
    // What was written has to run as it is.
    let prepared = Prepared::open(&path).with_context(|| format!("{} does not run as it was written", path.display()))?;
    let Experiment { model, protocol, .. } = &prepared.experiment;
    let (train, test) = (prepared.split.train.len(), prepared.split.test.len());
    let cells = model.len() * protocol.fractions.len() * protocol.seeds.len();
    if ui.json {
        let document = serde_json::json!({ "experiment": path, "training_videos": train, "test_videos": test, "cells": cells });
        ui.json(&document)?;
        return Ok(Exit::Done);
    }
    ui.line(format!("{}: {train} training and {test} test videos, {} classes, {cells} cells", path.display(), dataset.classes.len()));
    ui.line(format!("next: etalon run {} --store {}", path.display(), args.folder.join("store").display()));
    Ok(Exit::Done)
}

/// What the files say.
struct Found<'a> {
    dataset: &'a Dataset,
    features: &'a FeaturesConfig,
}

impl Found<'_> {
    fn experiment(&self, args: &Args) -> anyhow::Result<String> {
        let name = args.folder.file_name().map_or("mine".into(), |name| name.to_string_lossy());
        let (annotations, features) = (toml_path(&args.annotations)?, toml_path(&args.features)?);
        let FeaturesConfig { dim, stride, rate, count, layout, prefix, .. } = self.features;
        let kind = serde_json::to_value(self.features.kind)?;
        let base = match (stride, rate, count) {
            (Some(stride), ..) => format!("stride = {stride}"),
            (_, Some(rate), _) => format!("rate = {rate}"),
            (.., count) => format!("count = {}", count.unwrap_or_default()),
        };
        let mut more = String::new();
        if *layout == Layout::ChannelsTime {
            more += ", layout = \"channels-time\"";
        }
        if !prefix.is_empty() {
            more += &format!(", prefix = {}", serde_json::to_string(prefix)?);
        }
        let pool = serde_json::to_string(&self.pool())?;
        let mut text = format!(
            "# Written by `etalon init` from the files named below. `etalon plan {EXPERIMENT}` shows what it would run.\n\
             schema = 1\nname = {}\n\n[dataset]\nformat = \"activitynet\"\nannotations = {annotations}\n\
             # dim: values per snippet; stride: frames between snippets (or rate: snippets per second, or count: snippets per video).\n\
             features = {{ path = {features}, kind = {kind}, dim = {dim}, {base}{more} }}\n\n\
             [protocol]\n# Subsets that are pooled and split anew; for the split of the annotations write split = \"official\" and\n\
             # the training subset first, then the test one.\npool = {pool}\nsplit = {{ test = 0.20, seed = 2023 }}\n\
             # Percent of the training part, and how often each is repeated with another sample and another start.\n\
             fractions = [10, 20, 40, 60, 80, 100]\nseeds = [0, 1, 2]\nbudget = \"steps\"\n\n\
             # The floor: class and length frequencies.\n[model.prior]\narch.prior = {{}}\n\n\
             # A detector that trains in seconds; etad, actionformer, tridet, tadtr and gtad go here likewise.\n\
             [model.temporalmaxer]\narch.temporalmaxer = {{ preset = \"laptop\" }}\n",
            serde_json::to_string(&name)?
        );
        if args.external {
            text += "\n# A trainer of your own: replace trainer/trainer.py. A cell's identity holds the content of `inputs`.\n\
                     [model.mine.arch.external]\ntrain = [\"{python}\", \"trainer.py\", \"--job\", \"{job}\"]\n\
                     directory = \"trainer\"\npython = \"python3\"\ninputs = [\"*.py\"]\n";
        }
        Ok(text)
    }

    /// Subsets whose videos have instances, the largest first.
    fn pool(&self) -> Vec<&str> {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for video in self.dataset.videos.values().filter(|video| !video.instances.is_empty()) {
            *sizes.entry(&video.subset).or_default() += 1;
        }
        let mut pool: Vec<(&str, usize)> = sizes.into_iter().collect();
        pool.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        pool.into_iter().map(|(subset, _)| subset).collect()
    }
}

/// An absolute path as a TOML string.
fn toml_path(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    let text = path.to_str().ok_or_else(|| Error::Request(format!("{} is not UTF-8", path.display())))?;
    Ok(serde_json::to_string(text)?)
}
