//! A data set in memory: videos, their annotated instances and the list of classes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::Digest;

/// A temporal segment [start, end] in seconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Segment {
    /// Seconds from the beginning of the video.
    pub start: f64,
    /// Seconds from the beginning of the video.
    pub end: f64,
}

impl Segment {
    /// Length in seconds; negative for an inverted segment.
    pub fn length(self) -> f64 {
        self.end - self.start
    }
}

impl From<[f64; 2]> for Segment {
    fn from([start, end]: [f64; 2]) -> Self {
        Self { start, end }
    }
}

impl From<Segment> for [f64; 2] {
    fn from(s: Segment) -> Self {
        [s.start, s.end]
    }
}

/// One annotated action.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Where it happens.
    pub segment: Segment,
    /// Index into [`Dataset::classes`].
    pub label: usize,
}

/// One untrimmed video and its instances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Video {
    /// Subset as the annotation file spells it, such as "training".
    pub subset: String,
    /// Seconds.
    pub duration: f64,
    /// Frames per second of the video the annotations refer to, where the file says.
    pub fps: Option<f64>,
    /// Number of frames, where the file says.
    pub frames: Option<u64>,
    /// Annotated actions in file order ("Ambiguous" ones are not here).
    pub instances: Vec<Instance>,
}

/// Videos by identifier, and the classes in index order.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Class names; an [`Instance::label`] is an index into this list.
    pub classes: Vec<String>,
    /// By video identifier; ordered, so every walk over the videos is reproducible.
    pub videos: BTreeMap<String, Video>,
    /// Digest of the annotations (content, not path).
    pub digest: Digest,
    /// What was repaired or dropped while reading, one sentence each, for the record and the report.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Identifiers of the videos in any of `subsets` (compared without case), in ascending order.
    pub fn in_subsets(&self, subsets: &[String]) -> Vec<String> {
        let wanted = |v: &Video| subsets.iter().any(|s| s.eq_ignore_ascii_case(&v.subset));
        self.videos.iter().filter(|(_, v)| wanted(v)).map(|(id, _)| id.clone()).collect()
    }

    /// Number of annotated instances in the given videos.
    pub fn instance_count(&self, videos: &[String]) -> usize {
        videos.iter().map(|id| self.videos[id].instances.len()).sum()
    }
}
