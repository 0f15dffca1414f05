//! Snippet features of a video: where they come from and how a step maps to seconds.

use crate::base::Digest;

/// Features of one video, row-major `[time, channels]`, single precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Number of snippets (steps).
    pub time: usize,
    /// Values per snippet.
    pub channels: usize,
    /// `time * channels` values.
    pub data: Vec<f32>,
}

/// A place features are read from. Cheap to share between threads.
pub struct FeatureSource {
    // helper: private fields (enum of Files / Synthetic)
}

/// placeholder
#[derive(Debug, thiserror::Error)]
#[error("placeholder")]
pub struct Error;

impl FeatureSource {
    /// Values per snippet.
    pub fn channels(&self) -> usize {
        todo!()
    }

    /// Seconds between the beginnings of two consecutive snippets of `video`.
    /// Step `i` covers `[i * period, (i + 1) * period)` seconds.
    pub fn period(&self, _video: &str) -> f64 {
        todo!()
    }

    /// Number of snippets of a video, read from the header alone.
    ///
    /// # Errors
    /// Missing or unreadable feature file.
    pub fn time(&self, _video: &str) -> Result<usize, Error> {
        todo!()
    }

    /// All snippets of a video.
    ///
    /// # Errors
    /// Missing, truncated or short file, wrong dimension, a value that is not finite: each names the file.
    pub fn load(&self, _video: &str) -> Result<Features, Error> {
        todo!()
    }

    /// Digest of the features of the given videos (content).
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn digest(&self, _videos: &[String]) -> Result<Digest, Error> {
        todo!()
    }
}

/// File form of the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One `.npy` per video.
    Npy,
    /// One `.safetensors` per video.
    Safetensors,
}

/// Order of the two dimensions in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `[T, C]`.
    #[default]
    TimeChannels,
    /// `[C, T]`.
    ChannelsTime,
}
