//! The data an experiment names, opened.

use super::experiment::{DatasetConfig, Experiment, Format};
use super::load::Error;
use crate::base::Digest;
use crate::data::{Dataset, FeatureSource, annotations, synthetic};
use crate::protocol::Split;

/// Annotations and features of an experiment.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Videos and their instances.
    pub dataset: Dataset,
    /// Their features; files are opened when asked for.
    pub features: FeatureSource,
}

impl Corpus {
    /// Opens what `experiment` names.
    ///
    /// # Errors
    /// Bad annotations, or features whose time base is unknown.
    pub fn open(experiment: &Experiment) -> Result<Self, Error> {
        let DatasetConfig { format, annotations, outside, features, synthetic } = &experiment.dataset;
        let (dataset, features) = match format {
            Format::Synthetic => synthetic::generate(synthetic.as_ref().expect("checked when the experiment was loaded")),
            Format::Activitynet | Format::Tadtr => {
                let expected = "checked when the experiment was loaded";
                let dataset = annotations::read(annotations.as_deref().expect(expected), *outside)?;
                let features = FeatureSource::open(features.as_ref().expect(expected), &dataset)?;
                (dataset, features)
            }
        };
        Ok(Self { dataset, features })
    }

    /// Digest of the annotations and of the features that the experiment's cells read: what a cell's key holds. Reads
    /// every feature file of both parts once.
    ///
    /// # Errors
    /// A feature file is missing or misshapen.
    pub fn digest(&self, split: &Split) -> Result<Digest, Error> {
        let mut videos = [split.train.as_slice(), &split.test].concat();
        videos.sort_unstable();
        self.features.check(&videos)?;
        Ok(Digest::combine([&self.dataset.digest, &self.features.digest(&videos)?]))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn experiment(name: &str) -> Experiment {
        Experiment::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name)).unwrap()
    }

    fn open(name: &str) -> (Experiment, Corpus, Split) {
        let experiment = experiment(name);
        let corpus = Corpus::open(&experiment).unwrap();
        let split = Split::new(&corpus.dataset, &experiment.protocol).unwrap();
        (experiment, corpus, split)
    }

    #[test]
    fn the_demo_has_all_cells_of_the_protocol() {
        let (experiment, corpus, split) = open("demo.toml");
        let grid = experiment.grid(&corpus.digest(&split).unwrap()).unwrap();
        assert_eq!((split.train.len(), split.test.len(), grid.cells.len()), (80, 20, 4 * 10 * 5));
        assert_eq!(experiment.protocol.fractions.len(), 10);
    }

    #[test]
    fn the_experiments_for_users_features_plan_from_annotations_alone() {
        for (name, models, parts, instances) in [("thumos14.toml", 7, (200, 212), 3003), ("activitynet13.toml", 6, (9641, 4726), 14_822)] {
            let mut experiment = experiment(name);
            let folder = crate::data::testing::shared(&format!("data/{}", name.trim_end_matches(".toml")));
            experiment.dataset.annotations = Some(folder.join("annotations.json"));
            let corpus = Corpus::open(&experiment).unwrap();
            let split = Split::new(&corpus.dataset, &experiment.protocol).unwrap();
            assert_eq!((experiment.model.len(), split.train.len(), split.test.len()), (models, parts.0, parts.1), "{name}");
            assert_eq!(corpus.dataset.instance_count(&split.train), instances, "{name}");
            assert!(matches!(corpus.digest(&split), Err(Error::Features(crate::data::features::Error::Missing { .. }))));
        }
    }

    #[test]
    fn the_shipped_experiments_on_real_recordings_load() {
        for (name, cells, parts) in [
            ("sbhar.toml", 350, (49, 12)),
            ("salads50.toml", 350, (40, 10)),
            ("sbhar-official.toml", 42, (42, 19)),
            ("salads50-official.toml", 42, (40, 10)),
        ] {
            let experiment = experiment(name);
            let data = crate::base::Digest::of_bytes(b"data");
            assert_eq!(experiment.grid(&data).unwrap().cells.len(), cells, "{name}");
            let mut moved = experiment.clone();
            let folder = if name.starts_with("sbhar") { "data/sbhar" } else { "data/salads50" };
            moved.dataset.annotations = Some(crate::data::testing::shared(folder).join("annotations.json"));
            moved.dataset.features.as_mut().unwrap().path = crate::data::testing::shared(folder).join("features");
            let corpus = Corpus::open(&moved).unwrap();
            let split = Split::new(&corpus.dataset, &moved.protocol).unwrap();
            assert_eq!((split.train.len(), split.test.len()), parts, "{name}");
            corpus.digest(&split).unwrap();
            let features = corpus.features.load(&split.test[0]).unwrap();
            let video = &corpus.dataset.videos[&split.test[0]];
            let covered = features.time as f64 * corpus.features.period(&split.test[0]);
            assert!((covered - video.duration).abs() < 1.0, "{name}: {covered} of {}", video.duration);
        }
    }
}
