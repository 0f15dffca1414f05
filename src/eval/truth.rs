//! What detections are scored against: classes and the annotated instances of the evaluated videos.

use std::collections::{BTreeMap, BTreeSet};

use super::scores::Rules;
use crate::data::{Dataset, Instance};

/// ActionFormer's loader treats boundaries this close (in seconds) as equal, and anything shorter as no action.
const TOLERANCE: f64 = 1e-3;

/// Annotated instances by video.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroundTruth {
    /// Class names; an [`Instance::label`] is an index into this list.
    pub(super) classes: Vec<String>,
    /// Class index by the number the annotation file gives it (`label_id`), where it does.
    pub(super) numbers: BTreeMap<i64, usize>,
    /// Every evaluated video, also one without instances; instances in file order.
    pub(super) videos: BTreeMap<String, Vec<Instance>>,
    /// Videos of the annotation file that belong to other subsets.
    pub(super) elsewhere: BTreeSet<String>,
}

impl GroundTruth {
    /// The instances of `videos` in a data set. Identifiers that the data set lacks are ignored.
    pub fn of(dataset: &Dataset, videos: &[String]) -> Self {
        let instances = |id: &String| dataset.videos.get(id).map(|video| (id.clone(), video.instances.clone()));
        Self { classes: dataset.classes.clone(), videos: videos.iter().filter_map(instances).collect(), ..Self::default() }
    }

    /// The same with each class's index as its number, by which detections may name it.
    #[must_use]
    pub fn numbered(self) -> Self {
        Self { numbers: (0..).zip(0..self.classes.len()).collect(), ..self }
    }

    /// Class names in index order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class that the annotation file numbers so.
    pub fn class_numbered(&self, number: i64) -> Option<&str> {
        self.numbers.get(&number).map(|&label| self.classes[label].as_str())
    }

    /// Number of evaluated videos.
    pub fn video_count(&self) -> usize {
        self.videos.len()
    }

    /// Number of instances that count under `rules`.
    pub fn instance_count(&self, rules: Rules) -> usize {
        self.videos.values().map(|instances| counted(instances, rules).len()).sum()
    }
}

/// The instances of one video that count: all of them for ActivityNet; for ActionFormer neither those under a millisecond
/// nor a repetition of an earlier one (same class, both boundaries within a millisecond).
pub(super) fn counted(instances: &[Instance], rules: Rules) -> Vec<Instance> {
    let mut kept: Vec<Instance> = Vec::with_capacity(instances.len());
    for &candidate in instances {
        let repeats = |earlier: &Instance| {
            earlier.label == candidate.label
                && (earlier.segment.start - candidate.segment.start).abs() <= TOLERANCE
                && (earlier.segment.end - candidate.segment.end).abs() <= TOLERANCE
        };
        let counts = match rules {
            Rules::Activitynet => true,
            Rules::Actionformer => candidate.segment.length() >= TOLERANCE && !kept.iter().any(repeats),
        };
        if counts {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Segment;

    fn instance(label: usize, start: f64, end: f64) -> Instance {
        Instance { segment: Segment { start, end }, label }
    }

    #[test]
    fn only_actionformer_drops_repetitions_and_blinks() {
        let all = [instance(0, 1.0, 2.0), instance(0, 1.0005, 2.0005), instance(1, 1.0, 2.0), instance(0, 3.0, 3.0005)];
        assert_eq!(counted(&all, Rules::Activitynet), all);
        assert_eq!(counted(&all, Rules::Actionformer), [all[0], all[2]]);
    }
}
