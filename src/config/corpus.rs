//! The data an experiment names, opened.

use super::experiment::{DatasetConfig, Experiment, Format};
use super::load::Error;
use crate::base::Digest;
use crate::data::video::{Damaged, VideoSource};
use crate::data::{Dataset, FeatureSource, annotations, synthetic};
use crate::protocol::Split;

/// Annotations, features and videos of an experiment.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Videos and their instances.
    pub dataset: Dataset,
    /// Their features, where there are any; files are opened when asked for.
    pub features: Option<FeatureSource>,
    /// The videos, where there are any; files are opened when asked for.
    pub videos: Option<VideoSource>,
}

impl Corpus {
    /// Opens what `experiment` names.
    ///
    /// # Errors
    /// Bad annotations, or features whose time base is unknown.
    pub fn open(experiment: &Experiment) -> Result<Self, Error> {
        const CHECKED: &str = "checked when the experiment was loaded";
        experiment.expect_annotations()?;
        let DatasetConfig { format, annotations, outside, features, videos, synthetic } = &experiment.dataset;
        match format {
            Format::Synthetic => {
                let settings = synthetic.as_ref().expect(CHECKED);
                let (dataset, features) = synthetic::generate(settings);
                let rendered = |config| VideoSource::rendered(config, settings, &dataset);
                let videos = videos.as_ref().map(rendered).transpose()?;
                Ok(Self { dataset, features: Some(features), videos })
            }
            Format::Activitynet | Format::Tadtr => {
                let mut dataset = annotations::read(annotations.as_deref().expect(CHECKED), *outside)?;
                let features = features.as_ref().map(|config| FeatureSource::open(config, &dataset)).transpose()?;
                let source = videos.as_ref().map(|config| VideoSource::open(config, &dataset)).transpose()?;
                if let Some(source) = &source
                    && videos.as_ref().is_some_and(|config| config.damaged == Damaged::Skip)
                {
                    leave_out_damaged(&mut dataset, source, &experiment.protocol.pool);
                }
                Ok(Self { dataset, features, videos: source })
            }
        }
    }

    /// Digest of the annotations and of the features that the experiment's cells read: what a cell's key holds. Reads
    /// every feature file of both parts once.
    ///
    /// # Errors
    /// A feature file is missing or misshapen.
    pub fn digest(&self, split: &Split) -> Result<Digest, Error> {
        let mut videos = [split.train.as_slice(), &split.test].concat();
        videos.sort_unstable();
        let mut parts = vec![self.dataset.digest.clone()];
        if let Some(features) = &self.features {
            features.check(&videos)?;
            parts.push(features.digest(&videos)?);
        }
        if let Some(source) = &self.videos {
            parts.push(source.digest(&videos)?);
        }
        Ok(Digest::combine(&parts))
    }
}

/// Takes the videos that cannot be decoded out of the data set, and notes why. Decodes every video of `pool` that is not in
/// the cache.
fn leave_out_damaged(dataset: &mut Dataset, source: &VideoSource, pool: &[String]) {
    for (video, error) in source.survey(&dataset.in_subsets(pool), &|_, _| {}) {
        dataset.videos.remove(&video);
        dataset.notes.push(format!("video {video:?} is left out: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::testing::recordings;

    /// An experiment of the project whose data sets lie in `data`.
    fn experiment(name: &str, data: &Path) -> Experiment {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments").join(name);
        Experiment::load_with(&path, &|name| (name == "TAD_DATA").then(|| data.display().to_string())).unwrap()
    }

    fn open(name: &str, data: &Path) -> (Experiment, Corpus, Split) {
        let experiment = experiment(name, data);
        let corpus = Corpus::open(&experiment).unwrap();
        let split = Split::new(&corpus.dataset, &experiment.protocol).unwrap();
        (experiment, corpus, split)
    }

    #[test]
    fn the_built_in_experiments_have_all_their_cells() {
        let (experiment, corpus, split) = open("demo.toml", Path::new(""));
        let grid = experiment.grid(&corpus.digest(&split).unwrap()).unwrap();
        assert_eq!((split.train.len(), split.test.len(), grid.cells.len()), (80, 20, 4 * 10 * 5));
        assert_eq!(experiment.protocol.fractions.len(), 10);
        let (experiment, corpus, split) = open("end-to-end.toml", Path::new(""));
        let grid = experiment.grid(&corpus.digest(&split).unwrap()).unwrap();
        assert_eq!((grid.cells.len(), corpus.features.is_some(), corpus.videos.is_some()), (30, true, true));
    }

    #[test]
    fn the_shipped_experiments_load_wherever_their_data_lie() {
        for (name, models, cells) in [
            ("sbhar.toml", 7, 350),
            ("salads50.toml", 7, 350),
            ("sbhar-official.toml", 7, 42),
            ("salads50-official.toml", 7, 42),
            ("ucf24-end-to-end.toml", 7, 70),
            ("ucf24-ablations.toml", 8, 8),
            ("thumos14.toml", 7, 350),
        ] {
            let experiment = experiment(name, Path::new("/no/such folder"));
            assert_eq!(experiment.model.len(), models, "{name}");
            assert_eq!(experiment.grid(&Digest::of_bytes(b"data")).unwrap().cells.len(), cells, "{name}");
            assert!(experiment.dataset.annotations.as_ref().unwrap().starts_with("/no/such folder"), "{name}");
            assert!(matches!(Corpus::open(&experiment), Err(Error::NoData { .. })), "{name}");
            let text = experiment.resolved_toml();
            assert!(text.contains("${TAD_DATA}") && !text.contains("/no/such"), "{text}");
        }
    }

    #[test]
    #[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
    fn the_experiments_for_users_features_plan_from_annotations_alone() {
        for (name, models, parts, instances) in [("thumos14.toml", 7, (200, 212), 3003), ("activitynet13.toml", 6, (9641, 4726), 14_822)] {
            let (experiment, corpus, split) = open(name, &recordings("data"));
            assert_eq!((experiment.model.len(), split.train.len(), split.test.len()), (models, parts.0, parts.1), "{name}");
            assert_eq!(corpus.dataset.instance_count(&split.train), instances, "{name}");
            assert!(matches!(corpus.digest(&split), Err(Error::Features(crate::data::features::Error::Missing { .. }))));
        }
    }

    #[test]
    #[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
    fn the_shipped_experiments_on_videos_find_them() {
        for (name, cells) in [("ucf24-end-to-end.toml", 70), ("ucf24-ablations.toml", 8)] {
            let (experiment, corpus, split) = open(name, &recordings("data"));
            assert_eq!((split.train.len(), split.test.len()), (62, 15), "{name}");
            // Reads the header of every clip.
            assert_eq!(experiment.grid(&corpus.digest(&split).unwrap()).unwrap().cells.len(), cells, "{name}");
        }
    }

    #[test]
    #[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
    fn the_shipped_experiments_on_recordings_find_them() {
        for (name, parts) in
            [("sbhar.toml", (49, 12)), ("salads50.toml", (40, 10)), ("sbhar-official.toml", (42, 19)), ("salads50-official.toml", (40, 10))]
        {
            let (_, corpus, split) = open(name, &recordings("data"));
            assert_eq!((split.train.len(), split.test.len()), parts, "{name}");
            corpus.digest(&split).unwrap();
            let source = corpus.features.unwrap();
            let features = source.load(&split.test[0]).unwrap();
            let video = &corpus.dataset.videos[&split.test[0]];
            let covered = features.time as f64 * source.period(&split.test[0]);
            assert!((covered - video.duration).abs() < 1.0, "{name}: {covered} of {}", video.duration);
        }
    }
}
