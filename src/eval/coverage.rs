//! How a file of detections and the ground truth fit together: what was not found in the other, and counted for nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::GroundTruth;
use super::json::DetectionFile;

/// Spellings further apart than this many edits are different names.
const NEAR: usize = 2;
/// Names that a sentence lists.
const LISTED: usize = 5;

/// What of the input does not take part in the score, or is suspicious. All counts are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Evaluated videos.
    pub videos: usize,
    /// Those among them that have no detection at all.
    pub videos_without_detections: Vec<String>,
    /// Detections of videos that the ground truth does not have, by video.
    pub unknown_videos: BTreeMap<String, usize>,
    /// Detections of videos of other subsets.
    pub of_other_subsets: usize,
    /// Detections of labels that no evaluated instance has, by label.
    pub unknown_labels: BTreeMap<String, usize>,
    /// Detections that last no time: they overlap with nothing.
    pub empty_segments: usize,
    /// Spellings of the ground truth that come nearest to unknown videos and labels.
    pub nearest: BTreeMap<String, String>,
}

impl Coverage {
    /// Compares a file of detections with the videos and classes they are scored against.
    pub fn of(truth: &GroundTruth, detections: &DetectionFile) -> Self {
        let mut coverage = Self { videos: truth.videos.len(), unknown_labels: detections.unknown_labels.clone(), ..Self::default() };
        let mut seen = BTreeSet::new();
        for (video, detection) in detections.rows() {
            coverage.empty_segments += usize::from(detection.segment.length() <= 0.0);
            if truth.videos.contains_key(video) {
                seen.insert(video);
            } else if truth.elsewhere.contains(video) {
                coverage.of_other_subsets += 1;
            } else {
                *coverage.unknown_videos.entry(video.to_owned()).or_default() += 1;
            }
        }
        coverage.videos_without_detections = truth.videos.keys().filter(|id| !seen.contains(id.as_str())).cloned().collect();
        let known: Vec<&str> = truth.videos.keys().map(String::as_str).collect();
        let classes: Vec<&str> = truth.classes().iter().map(String::as_str).collect();
        let videos = coverage.unknown_videos.keys().map(|name| (name, &known));
        let labels = coverage.unknown_labels.keys().map(|name| (name, &classes));
        // A handful says which mistake it is; a file may hold thousands.
        let near = |(name, among): (&String, &Vec<&str>)| Some((name.clone(), nearest(name, among)?.to_owned()));
        coverage.nearest = videos.take(LISTED).chain(labels.take(LISTED)).filter_map(near).collect();
        coverage
    }

    /// What a reader must know before the score, in sentences; none when everything fits.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let none = self.videos_without_detections.len();
        if none > 0 {
            let which = if none == self.videos { "none".to_owned() } else { format!("only {}", self.videos - none) };
            notes.push(format!(
                "{which} of the {} videos of the subset has a detection; without: {}",
                self.videos,
                list(self.videos_without_detections.iter().map(String::as_str), none)
            ));
        }
        let count: usize = self.unknown_videos.values().sum();
        if count > 0 {
            let names = self.unknown_videos.keys().map(|name| self.spelt(name));
            notes.push(format!(
                "{count} detections are of {} videos that the ground truth does not have, and are not scored: {}",
                self.unknown_videos.len(),
                list(names, self.unknown_videos.len())
            ));
        }
        if self.of_other_subsets > 0 {
            notes.push(format!("{} detections are of videos of other subsets, and are not scored", self.of_other_subsets));
        }
        let count: usize = self.unknown_labels.values().sum();
        if count > 0 {
            let names = self.unknown_labels.keys().map(|name| self.spelt(name));
            notes.push(format!(
                "{count} detections have a label that no evaluated instance has and are not scored: {}",
                list(names, self.unknown_labels.len())
            ));
        }
        if self.empty_segments > 0 {
            notes.push(format!("{} detections last no time, and can match nothing", self.empty_segments));
        }
        notes
    }

    fn spelt(&self, name: &str) -> String {
        self.nearest.get(name).map_or_else(|| name.to_owned(), |near| format!("{name} (nearest: {near})"))
    }
}

fn list(names: impl Iterator<Item = impl AsRef<str>>, count: usize) -> String {
    let some: Vec<String> = names.take(LISTED).map(|name| name.as_ref().to_owned()).collect();
    let more = if count > some.len() { ", …" } else { "" };
    format!("{}{more}", some.join(", "))
}

/// The known name that `name` most likely means: the same but for case, one that it contains or that contains it (a prefix such as
/// `v_`, an extension), or one few edits away.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let same = known.iter().find(|k| k.to_lowercase() == lower);
    let contained = || known.iter().filter(|k| !k.is_empty() && (name.contains(**k) || k.contains(name))).max_by_key(|k| k.len());
    let near = || {
        let edits = known.iter().map(|k| (strsim::levenshtein(&lower, &k.to_lowercase()), k));
        edits.filter(|(edits, _)| *edits <= NEAR).min_by_key(|(edits, _)| *edits).map(|(_, k)| k)
    };
    same.or_else(contained).or_else(near).copied()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TRUTH: &str = r#"{"database": {
        "vid16": {"subset": "validation", "annotations": [{"segment": [1, 2], "label": "jump", "label_id": 0}]},
        "vid17": {"subset": "validation", "annotations": []},
        "vid00": {"subset": "training", "annotations": []}}}"#;

    fn coverage(rows: &str) -> Coverage {
        let truth = GroundTruth::parse(TRUTH, Path::new("gt.json"), "validation").unwrap();
        Coverage::of(&truth, &DetectionFile::parse(&format!("{{\"results\": {{{rows}}}}}"), Path::new("d.json"), &truth).unwrap())
    }

    #[test]
    fn what_fits_gives_no_note() {
        let row = r#"[{"label": "jump", "score": 0.5, "segment": [1, 2]}]"#;
        let found = coverage(&format!(r#""vid16": {row}, "vid17": {row}"#));
        assert_eq!((found.notes(), found.videos), (vec![], 2));
    }

    #[test]
    fn everything_that_counts_for_nothing_is_counted_and_named() {
        let row = |label: &str| format!(r#"{{"label": "{label}", "score": 0.5, "segment": [1, 1]}}"#);
        let found = coverage(&format!(r#""v_vid16": [{}], "vid00": [{}], "vid17": [{}]"#, row("jump"), row("jump"), row("Jump")));
        assert_eq!(found.videos_without_detections, ["vid16", "vid17"]);
        assert_eq!(
            (found.unknown_videos["v_vid16"], found.of_other_subsets, found.unknown_labels["Jump"], found.empty_segments),
            (1, 1, 1, 2)
        );
        assert_eq!((found.nearest["v_vid16"].as_str(), found.nearest["Jump"].as_str()), ("vid16", "jump"));
        let notes = found.notes().join("\n");
        for part in ["none of the 2 videos", "v_vid16 (nearest: vid16)", "other subsets", "Jump (nearest: jump)", "last no time"] {
            assert!(notes.contains(part), "no {part:?} in {notes}");
        }
    }

    #[test]
    fn a_name_is_recognised_despite_prefix_extension_case_and_typing() {
        let known = ["video_test_0001", "video_test_0002"];
        for name in ["v_video_test_0001", "video_test_0001.mp4", "VIDEO_TEST_0001", "vdeo_test_0001"] {
            assert_eq!(nearest(name, &known), Some("video_test_0001"), "{name}");
        }
        assert_eq!(nearest("something else", &known), None);
    }
}
