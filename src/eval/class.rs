//! One class of an evaluation: its instances by video and its detections in file order.

use std::ops::Range;

use super::ap::average_precision;
use super::iou::match_quality;
use super::ties;
use crate::data::Segment;

/// A detection of the class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Index of its video among the evaluated ones; `None` elsewhere, where it can only be wrong.
    pub video: Option<usize>,
    /// Where.
    pub segment: Segment,
    /// Confidence.
    pub score: f64,
}

/// Everything that decides the scores of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    /// Instances grouped by ascending video index, in file order inside a video.
    pub instances: Vec<Segment>,
    /// (video index, its range in `instances`), ascending.
    pub groups: Vec<(usize, Range<usize>)>,
    /// Detections in file order.
    pub candidates: Vec<Candidate>,
}

impl Class {
    /// Adds an instance. Videos must come in ascending order.
    pub fn add_instance(&mut self, video: usize, segment: Segment) {
        let at = self.instances.len();
        self.instances.push(segment);
        match self.groups.last_mut() {
            Some((last, range)) if *last == video => range.end = at + 1,
            _ => self.groups.push((video, at..at + 1)),
        }
    }

    /// Positions in `instances` of a video's instances.
    pub fn instances_of(&self, video: Option<usize>) -> Range<usize> {
        let found = video.and_then(|video| self.groups.binary_search_by_key(&video, |(id, _)| *id).ok());
        found.map_or(0..0, |group| self.groups[group].1.clone())
    }

    /// Average precision at each threshold.
    ///
    /// From the surest detection down, each takes the instance of its video that it overlaps most among those that are
    /// still free and reach the threshold; it may fall back on its second choice. Every instance is taken once.
    pub fn average_precisions(&self, tiou: &[f64]) -> Vec<f64> {
        let scores: Vec<f64> = self.candidates.iter().map(|candidate| candidate.score).collect();
        let lowest = tiou.iter().copied().fold(f64::INFINITY, f64::min);
        let mut taken = vec![false; tiou.len() * self.instances.len()];
        let mut hits = vec![Vec::new(); tiou.len()];
        let mut choices = Vec::new();
        for (rank, at) in (1..).zip(ties::descending(&scores)) {
            let candidate = &self.candidates[at];
            let range = self.instances_of(candidate.video);
            rank_choices(candidate.segment, &self.instances[range.clone()], lowest, &mut choices);
            for (level, &threshold) in tiou.iter().enumerate() {
                let taken = &mut taken[level * self.instances.len()..][range.clone()];
                let reaching = choices.iter().take_while(|(overlap, _)| *overlap >= threshold);
                if let Some(&(_, free)) = reaching.clone().find(|(_, instance)| !taken[*instance]) {
                    taken[free] = true;
                    hits[level].push(rank);
                }
            }
        }
        hits.iter().map(|hits| average_precision(hits, self.instances.len())).collect()
    }
}

/// Fills `choices` with (overlap, index) of the `instances` that reach `lowest`, best first, ties in the evaluators' order.
fn rank_choices(segment: Segment, instances: &[Segment], lowest: f64, choices: &mut Vec<(f64, usize)>) {
    let overlaps = instances.iter().map(|&instance| match_quality(segment, instance));
    choices.clear();
    choices.extend(overlaps.clone().zip(0..).filter(|(overlap, _)| *overlap >= lowest));
    // A reversed stable sort; exact unless the list is long enough for an unstable one and has a tie that matters.
    choices.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    if instances.len() > ties::SMALL && choices.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        let overlaps: Vec<f64> = overlaps.collect();
        let reaching = choices.len();
        choices.clear();
        choices.extend(ties::descending(&overlaps).into_iter().take(reaching).map(|at| (overlaps[at], at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment((start, length): (u8, u8)) -> Segment {
        Segment { start: start.into(), end: f64::from(start) + f64::from(length) }
    }

    fn class(instances: &[(usize, u8, u8)], candidates: &[(usize, u8, u8, f64)]) -> Class {
        let mut class = Class::default();
        for &(video, start, length) in instances {
            class.add_instance(video, segment((start, length)));
        }
        let placed = candidates.iter();
        class.candidates = placed
            .map(|&(video, start, length, score)| Candidate { video: Some(video), segment: segment((start, length)), score })
            .collect();
        class
    }

    #[test]
    fn an_instance_is_found_once() {
        let twice = class(&[(0, 10, 4), (0, 50, 4)], &[(0, 10, 4, 0.9), (0, 10, 4, 0.8), (0, 50, 4, 0.7)]);
        // Hits at ranks 1 and 3 of two instances: (1 + 2/3) / 2.
        assert!((twice.average_precisions(&[0.5])[0] - 5.0 / 6.0).abs() < 1e-15);
    }

    #[test]
    fn a_detection_falls_back_on_its_second_choice() {
        let neighbours = class(&[(0, 10, 10), (0, 12, 10)], &[(0, 10, 10, 0.9), (0, 10, 10, 0.8)]);
        assert_eq!(neighbours.average_precisions(&[0.5, 0.9]), [1.0, 0.5]);
    }

    #[test]
    fn a_detection_in_another_video_is_wrong() {
        let mut misplaced = class(&[(1, 10, 4)], &[(0, 10, 4, 0.9), (1, 10, 4, 0.8)]);
        assert_eq!(misplaced.average_precisions(&[0.5]), [0.5]);
        misplaced.candidates[0].video = None;
        assert_eq!(misplaced.average_precisions(&[0.5]), [0.5]);
    }

    #[test]
    fn a_class_without_detections_has_precision_zero() {
        assert_eq!(class(&[(0, 10, 4)], &[]).average_precisions(&[0.3, 0.5]), [0.0, 0.0]);
    }

    proptest! {
        /// The short cuts of `rank_choices` against sorting every overlap.
        #[test]
        fn choices_come_in_the_order_of_a_full_sort(
            instances in proptest::collection::vec((0_u8..12, 0_u8..6), 0..60),
            detection in (0_u8..12, 0_u8..6),
            lowest in 0.05_f64..1.0,
        ) {
            let instances: Vec<Segment> = instances.into_iter().map(segment).collect();
            let overlaps: Vec<f64> = instances.iter().map(|&instance| match_quality(segment(detection), instance)).collect();
            let expected: Vec<usize> = ties::descending(&overlaps).into_iter().filter(|&at| overlaps[at] >= lowest).collect();
            let mut choices = Vec::new();
            rank_choices(segment(detection), &instances, lowest, &mut choices);
            prop_assert_eq!(choices.into_iter().map(|(_, at)| at).collect::<Vec<_>>(), expected);
        }
    }
}
