//! From an experiment file to what its cells share: data, split and grid.

use std::path::Path;

use super::error::{Error, Result};
use crate::base::Percent;
use crate::config::{Corpus, Experiment, ModelConfig};
use crate::detectors;
use crate::eval::{self, Detections, GroundTruth, Scores};
use crate::protocol::{Grid, ProtocolConfig, Sample, Split};

/// An experiment with its annotations read and split. Feature files are opened when they are needed.
pub struct Prepared {
    /// Resolved settings.
    pub experiment: Experiment,
    /// Annotations and features.
    pub corpus: Corpus,
    /// Who trains and who tests.
    pub split: Split,
}

impl Prepared {
    /// Reads the experiment and its annotations, and splits the videos.
    ///
    /// # Errors
    /// The experiment or its annotations are wrong, or a fraction rounds to no video.
    pub fn open(path: &Path) -> Result<Self> {
        let experiment = Experiment::load(path).map_err(Error::input)?;
        let corpus = Corpus::open(&experiment).map_err(Error::input)?;
        let split = Split::new(&corpus.dataset, &experiment.protocol).map_err(Error::input)?;
        let prepared = Self { experiment, corpus, split };
        // The smallest fraction is the one that may round to no video: better said now than by every such cell.
        let ProtocolConfig { fractions, seeds, .. } = &prepared.experiment.protocol;
        prepared.sample(fractions[0], seeds[0])?;
        Ok(prepared)
    }

    /// The cells in running order. Their keys hold a digest of the features, so every feature file is read.
    ///
    /// # Errors
    /// A feature file is missing or wrong.
    pub fn grid(&self) -> Result<Grid> {
        self.experiment.expect_inputs().map_err(Error::input)?;
        let digest = self.corpus.digest(&self.split).map_err(Error::input)?;
        self.experiment.grid(&digest).map_err(Error::input)
    }

    /// The videos a cell trains on.
    ///
    /// # Errors
    /// The fraction rounds to no video.
    pub fn sample(&self, fraction: Percent, seed: u64) -> Result<Sample> {
        Sample::draw(&self.corpus.dataset, &self.split.train, &self.experiment.protocol, fraction, seed).map_err(Error::input)
    }

    /// What a detector is given: `train` to learn from and the test part: with one thread on the CPU and without a deadline, unless the
    /// caller says otherwise.
    pub fn work<'a>(&'a self, train: &'a [String], seed: u64, dir: &'a Path) -> detectors::Job<'a> {
        let Self { experiment, corpus, split } = self;
        detectors::Job {
            dataset: &corpus.dataset,
            features: corpus.features.as_ref(),
            videos: corpus.videos.as_ref(),
            train,
            test: &split.test,
            pool_size: split.train.len(),
            budget: experiment.protocol.budget,
            seed,
            dir,
            threads: 1,
            device: "cpu",
            deadline: None,
        }
    }

    /// A model of the experiment by its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn model(&self, name: &str) -> Result<&ModelConfig> {
        let known = || self.experiment.model.keys().cloned().collect();
        self.experiment.model.get(name).ok_or_else(|| Error::NoModel { name: name.to_owned(), known: known() })
    }

    /// The annotated instances of the test videos.
    pub fn truth(&self) -> GroundTruth {
        GroundTruth::of(&self.corpus.dataset, &self.split.test)
    }

    /// Scores detections on the test videos by the experiment's rules.
    ///
    /// # Errors
    /// No test video has an instance, or a detection is not finite.
    pub fn evaluate(&self, detections: &Detections) -> Result<Scores> {
        let settings = &self.experiment.evaluate;
        eval::evaluate(&self.truth(), detections, &settings.tiou, settings.rules, &[]).map_err(Error::input)
    }
}
