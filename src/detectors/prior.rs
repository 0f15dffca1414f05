//! The floor baseline: knows how often each class occurs and how long it lasts, and nothing of the video it looks at. A
//! learning curve means something only above it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Detected, Detector, Error, Job, Trained};
use crate::base::fsio;
use crate::config::experiment::PriorConfig;
use crate::data::Segment;
use crate::eval::Detection;
use crate::event::{Event, Observer};

/// Quantiles of the lengths that segments are tried with.
const QUANTILES: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];

/// Lengths within this factor of a tried one count as near it: centred on each other, their tIoU is 2/3 or more.
const NEAR: f64 = 1.5;

/// Tiles every video with segments of typical lengths, scored by class frequency times length density.
pub struct Prior {
    per_video: usize,
}

/// What training leaves in `prior.json`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Table {
    guesses: Vec<Guess>,
}

/// One class at one length.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Guess {
    label: usize,
    /// Seconds.
    length: f64,
    /// Share of all instances that are of this class and about this length (class frequency times length density).
    score: f64,
}

impl Prior {
    /// The baseline with these settings.
    pub fn new(config: &PriorConfig) -> Self {
        Self { per_video: config.per_video }
    }
}

impl Table {
    /// From the lengths (seconds) of each class's instances; guesses in descending order of score.
    fn learn(mut lengths: Vec<Vec<f64>>) -> Self {
        let total = lengths.iter().map(Vec::len).sum::<usize>() as f64;
        let mut guesses = Vec::new();
        for (label, lengths) in lengths.iter_mut().enumerate().filter(|(_, lengths)| !lengths.is_empty()) {
            lengths.sort_by(f64::total_cmp);
            let count = lengths.len() as f64;
            let mut tried: Vec<f64> = QUANTILES.iter().map(|q| lengths[(q * count) as usize]).collect();
            tried.dedup();
            for length in tried {
                let near = lengths.iter().filter(|&&l| l <= length * NEAR && l * NEAR >= length).count() as f64;
                guesses.push(Guess { label, length, score: near / total });
            }
        }
        guesses.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.label.cmp(&b.label)));
        Self { guesses }
    }

    /// At most `limit` segments of a video of `duration` seconds, the most likely guesses first.
    fn tile(&self, duration: f64, limit: usize) -> Vec<Detection> {
        let positions = |guess: &Guess| {
            let length = guess.length.min(duration);
            // Half a length apart, spread so that both ends of the video are reached.
            let steps = (2.0 * (duration - length) / length).ceil().min(limit as f64);
            let (label, score) = (guess.label, guess.score);
            (0..=steps as usize).map(move |i| {
                let start = if steps > 0.0 { (duration - length) * i as f64 / steps } else { 0.0 };
                Detection { segment: Segment { start, end: start + length }, label, score }
            })
        };
        self.guesses.iter().flat_map(positions).take(limit).collect()
    }
}

impl Detector for Prior {
    fn train(&self, job: &Job<'_>, observer: &mut dyn Observer) -> Result<Trained, Error> {
        let mut lengths = vec![Vec::new(); job.dataset.classes.len()];
        for id in job.train {
            for instance in &job.dataset.videos[id].instances {
                lengths[instance.label].push(instance.segment.length());
            }
        }
        let table = Table::learn(lengths);
        let artifact: PathBuf = job.dir.join("prior.json");
        fsio::replace(&artifact, &serde_json::to_vec_pretty(&table).expect("a table serialises"))?;
        observer.observe(&Event::Progress { done: 1, total: 1, loss: None });
        Ok(Trained { artifact, epochs: 1.0, ..Trained::default() })
    }

    fn detect(&self, job: &Job<'_>, trained: &Trained, videos: &[String], observer: &mut dyn Observer) -> Result<Detected, Error> {
        let bytes = fsio::read(&trained.artifact)?;
        let table: Table = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Model(format!("{} is no table of the prior ({e}); train this cell again", trained.artifact.display())))?;
        let detections = videos.iter().map(|id| (id.clone(), table.tile(job.dataset.videos[id].duration, self.per_video))).collect();
        observer.observe(&Event::Progress { done: videos.len() as u64, total: videos.len() as u64, loss: None });
        Ok(Detected { detections, ..Detected::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic::{SyntheticConfig, generate};
    use crate::protocol::settings::Budget;

    #[test]
    fn the_frequent_class_at_its_usual_length_scores_highest() {
        let table = Table::learn(vec![vec![2.0, 2.0, 2.0, 9.0], vec![], vec![5.0]]);
        assert_eq!(table.guesses[0], Guess { label: 0, length: 2.0, score: 0.6 });
        let mut labels: Vec<usize> = table.guesses.iter().map(|g| g.label).collect();
        labels.dedup();
        assert_eq!(labels.len(), 2, "{table:?}");
    }

    #[test]
    fn a_video_is_covered_from_end_to_end() {
        let table = Table { guesses: vec![Guess { label: 0, length: 4.0, score: 1.0 }] };
        let tiles = table.tile(10.0, 100);
        let spans: Vec<[f64; 2]> = tiles.iter().map(|d| d.segment.into()).collect();
        assert_eq!(spans, [[0.0, 4.0], [2.0, 6.0], [4.0, 8.0], [6.0, 10.0]]);
        assert_eq!(table.tile(10.0, 3).len(), 3);
        assert_eq!(table.tile(1.0, 3)[0].segment, Segment { start: 0.0, end: 1.0 });
    }

    #[test]
    fn it_learns_from_the_sample_alone_and_repeats() {
        let (dataset, features) = generate(&SyntheticConfig { videos: 10, ..SyntheticConfig::default() });
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<String> = dataset.videos.keys().cloned().collect();
        let (train, test) = ids.split_at(6);
        let detect = |dataset: &crate::data::Dataset| {
            let job = Job {
                dataset,
                features: Some(&features),
                videos: None,
                train,
                test,
                pool_size: 6,
                budget: Budget::Epochs,
                seed: 0,
                dir: dir.path(),
                threads: 1,
                device: "cpu",
                deadline: None,
            };
            let prior = Prior::new(&PriorConfig { per_video: 50 });
            let trained = prior.train(&job, &mut ()).unwrap();
            prior.detect(&job, &trained, test, &mut ()).unwrap().detections
        };
        let found = detect(&dataset);
        assert_eq!(found.keys().cloned().collect::<Vec<_>>(), test);
        assert!(found.values().all(|d| d.len() == 50 && d.iter().all(|d| d.score > 0.0 && d.segment.length() > 0.0)));
        let mut blind = dataset.clone();
        for id in test {
            blind.videos.get_mut(id).unwrap().instances.clear();
        }
        assert_eq!(detect(&blind), found);
    }
}
