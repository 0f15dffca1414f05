//! The limited-data protocol: split, sample, cells and what is left to run. Pure functions of (data set, settings).

pub mod cell;
pub mod grid;
pub mod sample;
pub mod settings;
pub mod split;

pub use cell::{Cell, CellKey, CellSpec};
pub use grid::Grid;
pub use sample::Sample;
pub use settings::ProtocolConfig;
pub use split::Split;

use crate::base::Percent;

/// Settings that ask for something the data set cannot give.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A subset without videos.
    #[error("no video is in subset {subset:?}; the annotations have {present:?}: correct `protocol.pool`")]
    EmptySubset {
        /// As in the experiment.
        subset: String,
        /// As in the annotations.
        present: Vec<String>,
    },
    /// An official split of other than two subsets.
    #[error(
        "`protocol.split = \"official\"` needs two subsets in `protocol.pool`, first the training one, then the test one; it has {0:?}"
    )]
    OfficialPool(Vec<String>),
    /// Nothing to train or to test on.
    #[error(
        "the {part} part is empty: {videos} videos of the pool have annotations and {left_out} have none; widen `protocol.pool` or change `protocol.split`"
    )]
    EmptyPart {
        /// "training" or "test".
        part: &'static str,
        /// Videos with instances.
        videos: usize,
        /// Videos without.
        left_out: usize,
    },
    /// A fraction of less than half a video.
    #[error(
        "{fraction} % of {videos} training videos rounds to zero; use at least {} % in `protocol.fractions`",
        smallest(*videos)
    )]
    NoVideos {
        /// As in the experiment.
        fraction: Percent,
        /// Videos in the training part.
        videos: usize,
    },
}

/// The smallest percentage of `videos` that rounds to one, to a hundredth and rounded up.
fn smallest(videos: usize) -> f64 {
    (50.0 * 100.0 / videos.max(1) as f64).ceil() / 100.0
}

#[cfg(test)]
mod testing {
    //! A small data set and the usual protocol.

    use super::settings::{Budget, ProtocolConfig, Sampling, SplitRule};
    use crate::base::{Digest, Percent, Stream};
    use crate::data::{Dataset, Instance, Segment, Video};

    /// `v000`, `v001`, … with 1 to 6 instances each; later classes are rarer; every fifth video is for validation.
    pub fn corpus(videos: usize, classes: usize) -> Dataset {
        let mut stream = Stream::new(7, "test corpus");
        let videos = (0..videos).map(|i| {
            let count = 1 + stream.below(6);
            let instances = (0..count).map(|j| {
                let label = (classes as f64 * stream.uniform().powi(2)) as usize;
                Instance { segment: Segment { start: j as f64, end: j as f64 + 0.5 }, label }
            });
            let subset = if i % 5 == 4 { "validation" } else { "training" };
            (format!("v{i:03}"), Video { subset: subset.into(), duration: 10.0, fps: None, frames: None, instances: instances.collect() })
        });
        Dataset {
            classes: (0..classes).map(|c| format!("class {c}")).collect(),
            videos: videos.collect(),
            digest: Digest::of_bytes(b"test corpus"),
            notes: Vec::new(),
        }
    }

    pub fn settings() -> ProtocolConfig {
        ProtocolConfig {
            pool: vec!["training".into(), "validation".into()],
            split: SplitRule::Random { test: 0.2, seed: 2023 },
            fractions: [10.0, 50.0, 100.0].map(|p| Percent::new(p).unwrap()).to_vec(),
            seeds: vec![0, 1],
            sampling: Sampling::Independent,
            coverage: None,
            budget: Budget::Epochs,
        }
    }
}
