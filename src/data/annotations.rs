//! Reads annotation files: JSON with a `database` of videos, as ActivityNet and OpenTAD write it and as TadTR writes
//! THUMOS14 (the same form with a `classes` list and shorter subset names). Sources: ActivityNet 1.3 download format;
//! OpenTAD `docs/dataset.md`; TadTR `data/thumos14/th14_annotations_with_fps_duration.json`.
//!
//! What real files get slightly wrong is repaired and counted in [`Dataset::notes`]; what would change the meaning of a
//! result is an [`Error`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Instance, Segment, Video};
use crate::base::{Digest, fsio};

/// Label of instances that no evaluator counts.
const AMBIGUOUS: &str = "Ambiguous";

/// Segments may leave the video by this many seconds, or this share of its duration, before they count as outside:
/// durations are rounded to whole frames or seconds in the files in circulation.
const SLACK_SECONDS: f64 = 1.0;
const SLACK_SHARE: f64 = 0.01;

/// What to do with an instance that lies outside its video by more than the slack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// Refuse the file.
    #[default]
    Refuse,
    /// Leave the instance out and note it (THUMOS14 as published has 30 such instances in 5 videos).
    Drop,
}

/// Why annotations cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened.
    #[error("{0}; check the path of the annotations (`dataset.annotations`)")]
    File(#[from] fsio::Error),
    /// The text is no JSON of the expected form.
    #[error("{} is not a usable annotation file at line {line}, column {column}: {problem}", path.display())]
    Json {
        /// The annotation file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser expected.
        problem: String,
    },
    /// One video or instance is wrong.
    #[error("{}: video {video:?}, {key}: {problem}", path.display())]
    Value {
        /// The annotation file.
        path: PathBuf,
        /// Its identifier.
        video: String,
        /// Such as `annotations[3].segment`.
        key: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The file as a whole is wrong.
    #[error("{}: `{key}` {problem}", path.display())]
    Whole {
        /// The annotation file.
        path: PathBuf,
        /// Top-level key.
        key: &'static str,
        /// What is wrong and how to mend it.
        problem: &'static str,
    },
}

/// Reads an annotation file.
///
/// "Ambiguous" instances, exact duplicates and instances of no length are left out, ends within the slack are clipped;
/// each kind gives one note with its count. Classes come from `classes` where the file has that list, else they are the
/// sorted labels.
///
/// # Errors
/// A missing, truncated or malformed file; a video without subset or duration; an instance that ends before it starts,
/// lies outside its video (see [`Outside`]) or has a label that is not in `classes`.
pub fn read(path: &Path, outside: Outside) -> Result<Dataset, Error> {
    let bytes = fsio::read(path)?;
    let file: File = serde_json::from_slice(&bytes).map_err(|e| json_error(path, &bytes, &e))?;
    let Some(database) = file.database else {
        return Err(Error::Whole { path: path.to_owned(), key: "database", problem: "is missing; it maps each video to its annotations" });
    };
    if database.0.is_empty() {
        return Err(Error::Whole { path: path.to_owned(), key: "database", problem: "is empty; it needs at least one video" });
    }
    let classes = match file.classes {
        Some(classes) => classes,
        None => sorted_labels(&database),
    };
    let index: BTreeMap<&str, usize> = classes.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    if index.len() != classes.len() {
        return Err(Error::Whole { path: path.to_owned(), key: "classes", problem: "names a class twice; name each once" });
    }
    let mut repairs = Repairs::default();
    let mut videos = BTreeMap::new();
    for (id, raw) in &database.0 {
        let place = Place { path, video: id };
        let video = place.video(raw, &index, outside, &mut repairs)?;
        if videos.insert(id.clone(), video).is_some() {
            return Err(place.wrong("database", "is there twice; keep one entry per video".into()));
        }
    }
    let digest = Digest::of_json(&(&classes, &videos));
    Ok(Dataset { classes, videos, digest, notes: repairs.notes() })
}

fn sorted_labels(database: &Database) -> Vec<String> {
    let annotations = database.0.iter().flat_map(|(_, video)| &video.annotations);
    let labels: BTreeSet<&String> = annotations.filter_map(|a| a.label.as_ref()).filter(|label| *label != AMBIGUOUS).collect();
    labels.into_iter().cloned().collect()
}

/// The file as written. Optional where [`Place`] can give a better message than the parser.
#[derive(Deserialize)]
struct File {
    database: Option<Database>,
    classes: Option<Vec<String>>,
}

/// Videos in file order, repeated identifiers included.
struct Database(Vec<(String, RawVideo)>);

impl<'de> Deserialize<'de> for Database {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Database;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that maps each video to its annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Database, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Database(pairs))
            }
        }
        d.deserialize_map(Pairs)
    }
}

#[derive(Deserialize)]
struct RawVideo {
    subset: Option<String>,
    duration: Option<f64>,
    fps: Option<f64>,
    #[serde(alias = "frames")]
    frame: Option<f64>,
    #[serde(default)]
    annotations: Vec<RawInstance>,
}

#[derive(Deserialize)]
struct RawInstance {
    segment: Option<Vec<f64>>,
    label: Option<String>,
}

/// Where the reader is, for messages.
struct Place<'a> {
    path: &'a Path,
    video: &'a str,
}

impl Place<'_> {
    fn wrong(&self, key: impl Into<String>, problem: String) -> Error {
        Error::Value { path: self.path.to_owned(), video: self.video.to_owned(), key: key.into(), problem }
    }

    fn missing(&self, key: impl Into<String>) -> Error {
        self.wrong(key, "is missing; add it".into())
    }

    fn positive(&self, key: &str, value: f64) -> Result<f64, Error> {
        if value > 0.0 && value.is_finite() { Ok(value) } else { Err(self.wrong(key, format!("{value} must be a positive number"))) }
    }

    fn video(&self, raw: &RawVideo, index: &BTreeMap<&str, usize>, outside: Outside, repairs: &mut Repairs) -> Result<Video, Error> {
        let subset = raw.subset.clone().ok_or_else(|| self.missing("subset"))?;
        let duration = self.positive("duration", raw.duration.ok_or_else(|| self.missing("duration"))?)?;
        let fps = raw.fps.map(|fps| self.positive("fps", fps)).transpose()?;
        let mut video = Video {
            subset,
            duration,
            fps,
            frames: raw.frame.map(|n| n.round() as u64),
            instances: Vec::with_capacity(raw.annotations.len()),
        };
        for (i, raw) in raw.annotations.iter().enumerate() {
            if let Some(instance) = self.instance(i, raw, duration, index, outside, repairs)? {
                if video.instances.contains(&instance) {
                    repairs.duplicate += 1;
                } else {
                    video.instances.push(instance);
                }
            }
        }
        Ok(video)
    }

    /// `None`: left out, and counted.
    fn instance(
        &self,
        i: usize,
        raw: &RawInstance,
        duration: f64,
        index: &BTreeMap<&str, usize>,
        outside: Outside,
        repairs: &mut Repairs,
    ) -> Result<Option<Instance>, Error> {
        let key = |name: &str| format!("annotations[{i}].{name}");
        let label = raw.label.as_deref().ok_or_else(|| self.missing(key("label")))?;
        let segment = raw.segment.as_deref().ok_or_else(|| self.missing(key("segment")))?;
        let &[start, end] = segment else {
            return Err(self.wrong(key("segment"), format!("has {} numbers; write [start, end] in seconds", segment.len())));
        };
        if label == AMBIGUOUS {
            repairs.ambiguous += 1;
            return Ok(None);
        }
        let Some(&label) = index.get(label) else {
            return Err(self.wrong(key("label"), format!("{label:?} is not in `classes`; correct the label or add the class")));
        };
        if end < start {
            return Err(self.wrong(key("segment"), format!("[{start}, {end}] ends before it starts; swap or correct the two")));
        }
        if end == start {
            repairs.no_length += 1;
            return Ok(None);
        }
        let slack = SLACK_SECONDS.max(SLACK_SHARE * duration);
        if start < -slack || start >= duration || end > duration + slack {
            return match outside {
                Outside::Refuse => Err(self.wrong(
                    key("segment"),
                    format!(
                        "[{start}, {end}] lies outside the video of {duration} s; correct the segment (seconds, not frames) or the duration, or \
                         set `dataset.outside = \"drop\"` to leave such instances out"
                    ),
                )),
                Outside::Drop => {
                    repairs.outside.insert(self.video.to_owned());
                    repairs.outside_count += 1;
                    Ok(None)
                }
            };
        }
        let clipped = Segment { start: start.max(0.0), end: end.min(duration) };
        if clipped != (Segment { start, end }) {
            repairs.clipped += 1;
        }
        Ok(Some(Instance { segment: clipped, label }))
    }
}

/// What was mended, by kind.
#[derive(Default)]
struct Repairs {
    ambiguous: usize,
    duplicate: usize,
    no_length: usize,
    clipped: usize,
    outside_count: usize,
    outside: BTreeSet<String>,
}

impl Repairs {
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mut note = |count: usize, what: &str| {
            if count > 0 {
                notes.push(format!("annotations: {count} {} {what}", if count == 1 { "instance" } else { "instances" }));
            }
        };
        note(self.ambiguous, "labelled \"Ambiguous\" left out");
        note(self.duplicate, "left out as exact repetitions of another in the same video");
        note(self.no_length, "left out for having no length");
        note(self.clipped, "clipped to the video");
        let videos: Vec<&str> = self.outside.iter().map(String::as_str).collect();
        note(self.outside_count, &format!("left out for lying outside the video ({})", videos.join(", ")));
        notes
    }
}

fn json_error(path: &Path, bytes: &[u8], error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let at_fault = bytes.split(|&b| b == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    // The parser stops one or a few characters into the word.
    let around = &at_fault[column.saturating_sub(4).min(at_fault.len())..(column + 8).min(at_fault.len())];
    let around = String::from_utf8_lossy(around);
    let not_a_number = around.contains("NaN") || around.contains("Infinity");
    let problem = if error.is_eof() {
        "the file ends in the middle, it was truncated; copy or download it again".to_owned()
    } else if not_a_number {
        "NaN and Infinity are not numbers in JSON; write the real value or remove the instance".to_owned()
    } else {
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or(&text).to_owned()
    };
    Error::Json { path: path.to_owned(), line, column, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::recordings;

    fn read_text(text: &str, outside: Outside) -> Result<Dataset, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("annotations.json");
        fsio::replace(&path, text.as_bytes()).unwrap();
        read(&path, outside)
    }

    fn with_annotations(annotations: &str) -> Result<Dataset, Error> {
        read_text(&one_video(annotations), Outside::Refuse)
    }

    fn one_video(annotations: &str) -> String {
        format!(r#"{{"database":{{"a":{{"subset":"training","duration":10.0,"fps":25,"annotations":[{annotations}]}}}}}}"#)
    }

    fn message(result: Result<Dataset, Error>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    #[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
    fn real_files_are_read_whole() {
        let count = |name: &str, outside| {
            let dataset = read(&recordings(name), outside).unwrap();
            let all: Vec<String> = dataset.videos.keys().cloned().collect();
            (dataset.videos.len(), dataset.classes.len(), dataset.instance_count(&all))
        };
        assert_eq!(count("data/sbhar/annotations.json", Outside::Refuse), (61, 12, 1214));
        assert_eq!(count("data/salads50/annotations.json", Outside::Refuse), (50, 17, 898));
        assert_eq!(count("data/ucf24/annotations.json", Outside::Refuse), (77, 1, 78));
        assert_eq!(count("data/activitynet13/annotations.json", Outside::Refuse), (19_228, 200, 22_152 - 12 - 45));
        assert_eq!(count("data/thumos14/annotations.json", Outside::Drop), (412, 20, 6365 - 30));
    }

    #[test]
    #[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
    fn both_forms_of_thumos14_hold_the_same_instances() {
        let a = read(&recordings("data/thumos14/annotations.json"), Outside::Drop).unwrap();
        let b = read(&recordings("data/thumos14/annotations_tadtr_form.json"), Outside::Drop).unwrap();
        assert_eq!(a.classes, b.classes);
        for (id, video) in &a.videos {
            assert_eq!(video.instances, b.videos[id].instances, "{id}");
        }
        assert!(a.notes.iter().any(|n| n.contains("30 instances") && n.contains("video_test_0000270")), "{:?}", a.notes);
    }

    #[test]
    fn an_instance_outside_the_video_is_refused_with_its_place_and_a_fix() {
        let text = message(with_annotations(r#"{"segment":[1,2],"label":"x"},{"segment":[50,60],"label":"x"}"#));
        for part in ["annotations.json", "\"a\"", "annotations[1].segment", "outside", "dataset.outside"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn small_flaws_are_mended_and_counted() {
        let dataset = with_annotations(
            r#"{"segment":[9,10.4],"label":"x"},{"segment":[9,10.4],"label":"x"},{"segment":[1,1],"label":"x"},{"segment":[1,2],"label":"Ambiguous"}"#,
        )
        .unwrap();
        assert_eq!(dataset.videos["a"].instances, [Instance { segment: Segment { start: 9.0, end: 10.0 }, label: 0 }]);
        assert_eq!(dataset.classes, ["x"]);
        assert_eq!(dataset.notes.len(), 4, "{:?}", dataset.notes);
    }

    #[test]
    fn wrong_instances_are_refused_by_key() {
        assert!(message(with_annotations(r#"{"segment":[3,2],"label":"x"}"#)).contains("ends before it starts"));
        assert!(message(with_annotations(r#"{"segment":[3],"label":"x"}"#)).contains("has 1 numbers"));
        assert!(message(with_annotations(r#"{"label":"x"}"#)).contains("annotations[0].segment: is missing"));
        assert!(message(with_annotations(r#"{"segment":[1,2]}"#)).contains("annotations[0].label: is missing"));
    }

    #[test]
    fn labels_must_be_in_the_class_list_where_there_is_one() {
        let text = one_video(r#"{"segment":[1,2],"label":"jump"}"#).replacen('{', r#"{"classes":["run"],"#, 1);
        let text = message(read_text(&text, Outside::Refuse));
        assert!(text.contains("\"jump\" is not in `classes`"), "{text}");
    }

    #[test]
    fn broken_json_is_refused_with_line_and_column() {
        let whole = one_video(r#"{"segment":[1,2],"label":"x"}"#);
        assert!(message(read_text(&whole[..60], Outside::Refuse)).contains("truncated"));
        let text = message(read_text("{\"database\":\n{\"a\": 3}}", Outside::Refuse));
        assert!(text.contains("line 2, column"), "{text}");
        let text = message(with_annotations(r#"{"segment":[NaN,2],"label":"x"}"#));
        assert!(text.contains("NaN and Infinity"), "{text}");
        assert!(message(read_text("{}", Outside::Refuse)).contains("`database` is missing"));
    }

    #[test]
    fn videos_must_be_complete_and_unique() {
        let video = |body: &str| message(read_text(&format!(r#"{{"database":{{{body}}}}}"#), Outside::Refuse));
        assert!(video(r#""a":{"duration":3}"#).contains("subset: is missing"));
        assert!(video(r#""a":{"subset":"t"}"#).contains("duration: is missing"));
        assert!(video(r#""a":{"subset":"t","duration":0}"#).contains("must be a positive number"));
        assert!(video(r#""a":{"subset":"t","duration":3},"a":{"subset":"t","duration":3}"#).contains("is there twice"));
    }

    #[test]
    fn the_digest_ignores_order_and_spaces_but_not_content() {
        let a = r#"{"database":{"a":{"subset":"t","duration":3},"b":{"subset":"t","duration":4}}}"#;
        let b = r#"{ "database": {"b":{"duration":4.0,"subset":"t"}, "a":{"subset":"t","duration":3}}, "version": 1 }"#;
        let digest = |text: &str| read_text(text, Outside::Refuse).unwrap().digest;
        assert_eq!(digest(a), digest(b));
        assert_ne!(digest(a), digest(&a.replace("4}", "5}")));
    }
}
