//! Mean average precision over classes, videos and thresholds.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::class::{Candidate, Class};
use super::recall::recall_at;
use super::truth::counted;
use super::{Detection, Detections, Error, GroundTruth, Result, Rules, Scores, Thresholds};
use crate::data::Segment;

/// Scores detections: mAP at each threshold of `tiou`, and recall for each k of `recall` (none when empty).
///
/// Classes without an instance are left out of every mean; a class without detections has average precision 0; detections
/// in other videos are wrong; detections of labels that the ground truth lacks are ignored. Equal scores rank as if the
/// detections were listed by ascending video identifier.
///
/// # Errors
/// A threshold outside 0..1, a score or boundary that is not finite, a segment that ends before it starts, or no instance at all.
pub fn evaluate(truth: &GroundTruth, detections: &Detections, tiou: &[f64], rules: Rules, recall: &[u32]) -> Result<Scores> {
    let rows = detections.iter().flat_map(|(video, list)| list.iter().map(move |detection| (video.as_str(), *detection)));
    evaluate_rows(truth, rows, tiou, rules, recall)
}

/// [`evaluate`] for detections in the order of a file, which decides between equal scores.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_rows<'a>(
    truth: &GroundTruth,
    rows: impl IntoIterator<Item = (&'a str, Detection)>,
    tiou: &[f64],
    rules: Rules,
    recall: &[u32],
) -> Result<Scores> {
    Thresholds::check(tiou)?;
    let mut classes = vec![Class::default(); truth.classes.len()];
    for (video, instances) in truth.videos.values().enumerate() {
        for instance in counted(instances, rules) {
            classes[instance.label].add_instance(video, instance.segment);
        }
    }
    place(truth, rows, &mut classes)?;
    let present: Vec<(&String, &Class)> = truth.classes.iter().zip(&classes).filter(|(_, class)| !class.instances.is_empty()).collect();
    if present.is_empty() {
        return Err(Error::NoInstances { videos: truth.videos.len() });
    }
    let per_class: Vec<Vec<f64>> = present.par_iter().map(|(_, class)| class.average_precisions(tiou)).collect();
    let per_class = present.iter().map(|(name, _)| (*name).clone()).zip(per_class).collect();
    let recall = recall.iter().map(|&k| (k, mean_recall(&present, k, tiou))).collect();
    Scores::new(tiou, per_class, recall, rules)
}

/// Hands every detection to its class.
fn place<'a>(truth: &GroundTruth, rows: impl IntoIterator<Item = (&'a str, Detection)>, classes: &mut [Class]) -> Result<()> {
    let index: BTreeMap<&str, usize> = truth.videos.keys().map(String::as_str).zip(0..).collect();
    // Rows of a video stand together as a rule, so one look-up serves them all.
    let mut last: Option<(&str, Option<usize>)> = None;
    for (name, detection) in rows {
        let video = match last {
            Some((known, video)) if known == name => video,
            _ => index.get(name).copied(),
        };
        last = Some((name, video));
        let values = [("score", detection.score), ("segment", detection.segment.start), ("segment", detection.segment.end)];
        if let Some(&(key, value)) = values.iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::NotFinite { video: name.to_owned(), key, value });
        }
        if detection.segment.end < detection.segment.start {
            let Segment { start, end } = detection.segment;
            return Err(Error::Impossible { video: name.to_owned(), start, end });
        }
        if let Some(class) = classes.get_mut(detection.label) {
            class.candidates.push(Candidate { video, segment: detection.segment, score: detection.score });
        }
    }
    Ok(())
}

fn mean_recall(classes: &[(&String, &Class)], k: u32, tiou: &[f64]) -> Vec<f64> {
    let recalls: Vec<Vec<f64>> = classes.par_iter().map(|(_, class)| recall_at(class, k, tiou)).collect();
    (0..tiou.len()).map(|level| recalls.iter().map(|recall| recall[level]).sum::<f64>() / recalls.len() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Instance;

    fn truth() -> GroundTruth {
        let instance = |label, start| Instance { segment: Segment { start, end: start + 2.0 }, label };
        GroundTruth {
            classes: vec!["jump".into(), "fly".into(), "swim".into()],
            videos: [("a".into(), vec![instance(0, 1.0), instance(1, 5.0)]), ("b".into(), vec![instance(0, 9.0)])].into(),
            ..GroundTruth::default()
        }
    }

    fn detection(label: usize, start: f64, score: f64) -> Detection {
        Detection { segment: Segment { start, end: start + 2.0 }, label, score }
    }

    #[test]
    fn means_leave_out_classes_without_instances_only() {
        let found = [("a".to_owned(), vec![detection(0, 1.0, 0.9), detection(2, 1.0, 0.9), detection(7, 1.0, 0.9)])].into();
        let scores = evaluate(&truth(), &found, &[0.5], Rules::Activitynet, &[1]).unwrap();
        assert_eq!(scores.per_class, [("fly".to_owned(), vec![0.0]), ("jump".to_owned(), vec![0.5])].into());
        assert_eq!((scores.map, scores.average_map), (vec![0.25], 0.25));
        assert_eq!(scores.recall, [(1, vec![0.25])].into());
        assert_eq!(scores.evaluator, "activitynet/1");
    }

    #[test]
    fn recall_counts_k_detections_per_instance() {
        let found = [("a".to_owned(), vec![detection(0, 40.0, 0.9), detection(0, 1.0, 0.8), detection(1, 5.0, 0.7)])].into();
        let scores = evaluate(&truth(), &found, &[0.5], Rules::Activitynet, &[1, 2]).unwrap();
        assert_eq!(scores.recall, [(1, vec![0.5]), (2, vec![0.75])].into());
    }

    #[test]
    fn the_order_of_rows_decides_between_equal_scores() {
        let rows = [("a", detection(0, 1.0, 0.5)), ("a", detection(0, 40.0, 0.5))];
        let score = |rows: &[(&'static str, Detection)]| {
            evaluate_rows(&truth(), rows.iter().copied(), &[0.5], Rules::Activitynet, &[]).unwrap().per_class["jump"][0]
        };
        assert_eq!(score(&rows), 0.25);
        assert_eq!(score(&[rows[1], rows[0]]), 0.5);
    }

    #[test]
    fn what_cannot_be_ranked_or_placed_is_refused() {
        let refusal = |detection: Detection, tiou: f64| {
            let found = [("a".to_owned(), vec![detection])].into();
            evaluate(&truth(), &found, &[tiou], Rules::Activitynet, &[]).unwrap_err().to_string()
        };
        assert!(refusal(detection(0, 1.0, f64::NAN), 0.5).contains("score = NaN"));
        assert!(refusal(detection(0, f64::INFINITY, 0.5), 0.5).contains("segment = inf"));
        assert!(refusal(detection(0, 1.0, 0.5), 1.5).contains("leaves the range"));
        let nothing = evaluate(&GroundTruth::default(), &Detections::new(), &[0.5], Rules::Activitynet, &[]);
        assert!(matches!(nothing, Err(Error::NoInstances { videos: 0 })));
    }
}
