//! Which videos train and which test.

use super::Error;
use super::settings::{ProtocolConfig, SplitRule};
use crate::base::Stream;
use crate::data::Dataset;

/// Identifiers of the two parts, each in ascending order; disjoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Videos that may be sampled for training.
    pub train: Vec<String>,
    /// Videos that every cell is tested on.
    pub test: Vec<String>,
    /// Videos of the pool in neither part, since they have no instance. An unlabelled video cannot be told from one
    /// without actions, and would count every detection in it as false.
    pub left_out: Vec<String>,
}

impl Split {
    /// Splits the pool of `settings`. A random split depends on the pool's identifiers and the split's seed alone.
    ///
    /// # Errors
    /// A subset of the pool that the data set does not have, an official split of other than two subsets, or a part
    /// that would be empty.
    pub fn new(dataset: &Dataset, settings: &ProtocolConfig) -> Result<Self, Error> {
        for subset in &settings.pool {
            if dataset.in_subsets(std::slice::from_ref(subset)).is_empty() {
                return Err(Error::EmptySubset { subset: subset.clone(), present: subsets(dataset) });
            }
        }
        let mut left_out = Vec::new();
        let mut annotated = |subsets: &[String]| {
            let (with, without) = dataset.in_subsets(subsets).into_iter().partition(|id| !dataset.videos[id].instances.is_empty());
            left_out.extend::<Vec<String>>(without);
            with
        };
        let (train, test): (Vec<String>, Vec<String>) = match settings.split {
            SplitRule::Official => match settings.pool.as_slice() {
                [training, testing] if !training.eq_ignore_ascii_case(testing) => {
                    (annotated(std::slice::from_ref(training)), annotated(std::slice::from_ref(testing)))
                }
                _ => return Err(Error::OfficialPool(settings.pool.clone())),
            },
            SplitRule::Random { test, seed } => {
                let pool = annotated(&settings.pool);
                let count = (test * pool.len() as f64).round() as usize;
                let mut testing = vec![false; pool.len()];
                for i in Stream::new(seed, "split").choose(pool.len(), count) {
                    testing[i] = true;
                }
                let (test, train): (Vec<_>, Vec<_>) = pool.into_iter().zip(testing).partition(|(_, testing)| *testing);
                (ids(train), ids(test))
            }
        };
        left_out.sort_unstable();
        for (part, videos) in [("training", &train), ("test", &test)] {
            if videos.is_empty() {
                return Err(Error::EmptyPart { part, videos: train.len() + test.len(), left_out: left_out.len() });
            }
        }
        Ok(Self { train, test, left_out })
    }

    /// A sentence for the record when videos were left out.
    pub fn note(&self) -> Option<String> {
        let (count, one) = (self.left_out.len(), self.left_out.len() == 1);
        let verbs = if one { "video has no annotated instance and takes" } else { "videos have no annotated instance and take" };
        (count > 0).then(|| format!("{count} {verbs} no part, neither in training nor in the test"))
    }
}

fn ids(part: Vec<(String, bool)>) -> Vec<String> {
    part.into_iter().map(|(id, _)| id).collect()
}

fn subsets(dataset: &Dataset) -> Vec<String> {
    let mut names: Vec<String> = dataset.videos.values().map(|v| v.subset.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::testing::{corpus, settings};

    #[test]
    fn a_random_split_is_disjoint_complete_and_repeats() {
        let dataset = corpus(50, 4);
        let split = Split::new(&dataset, &settings()).unwrap();
        assert_eq!((split.train.len(), split.test.len()), (40, 10));
        let mut all = [split.train.clone(), split.test.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, dataset.videos.keys().cloned().collect::<Vec<_>>());
        assert_eq!(split, Split::new(&dataset, &settings()).unwrap());
        let other = ProtocolConfig { split: SplitRule::Random { test: 0.2, seed: 1 }, ..settings() };
        assert_ne!(split, Split::new(&dataset, &other).unwrap());
    }

    #[test]
    fn the_official_split_follows_the_subsets() {
        let dataset = corpus(10, 2);
        let split = Split::new(&dataset, &ProtocolConfig { split: SplitRule::Official, ..settings() }).unwrap();
        assert!(split.train.iter().all(|id| dataset.videos[id].subset == "training"));
        assert!(split.test.iter().all(|id| dataset.videos[id].subset == "validation"));
        assert_eq!(split.train.len() + split.test.len(), 10);
    }

    #[test]
    fn videos_without_instances_are_in_neither_part() {
        let mut dataset = corpus(10, 2);
        dataset.videos.get_mut("v003").unwrap().instances.clear();
        let split = Split::new(&dataset, &settings()).unwrap();
        assert_eq!(split.left_out, ["v003"]);
        assert!(![split.train, split.test].concat().contains(&"v003".to_owned()));
    }

    #[test]
    fn an_impossible_split_is_refused_with_what_there_is() {
        let dataset = corpus(5, 2);
        let refuse = |change: fn(&mut ProtocolConfig)| {
            let mut settings = settings();
            change(&mut settings);
            Split::new(&dataset, &settings).unwrap_err().to_string()
        };
        assert!(refuse(|s| s.pool = vec!["train".into()]).contains("[\"training\", \"validation\"]"));
        assert!(refuse(|s| s.split = SplitRule::Random { test: 0.05, seed: 0 }).contains("test part"));
        assert!(refuse(|s| (s.pool, s.split) = (vec!["training".into()], SplitRule::Official)).contains("two subsets"));
    }
}
