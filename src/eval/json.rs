//! The JSON files that evaluators exchange, read into typed rows that borrow their strings from the text.
//!
//! Ground truth: `{"database": {VIDEO: {"subset": …, "annotations": [{"segment": [s, e], "label": …, "label_id": …}]}}}`.
//! Detections: `{"results": {VIDEO: [{"label": …, "score": …, "segment": [s, e]}]}}`, the same without the wrapper, or a
//! table of columns `video-id`, `t-start`, `t-end`, `label`, `score`. A label is a name, or the number that the ground
//! truth gives it as `label_id`; a detection may have that number under `label_id` too.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Detection, Error, GroundTruth, Result};
use crate::data::Instance;

/// Detections in file order, which decides between equal scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectionFile {
    videos: Vec<String>,
    /// (index into `videos`, detection).
    rows: Vec<(usize, Detection)>,
    /// Labels that the ground truth lacks, with their number of detections; those are not among the rows.
    pub unknown_labels: BTreeMap<String, usize>,
}

impl DetectionFile {
    /// Of detections with their videos.
    pub fn of(rows: Vec<(String, Detection)>) -> Self {
        let (videos, detections): (Vec<String>, Vec<Detection>) = rows.into_iter().unzip();
        Self { videos, rows: detections.into_iter().enumerate().collect(), unknown_labels: BTreeMap::new() }
    }

    /// Video and detection, row by row.
    pub fn rows(&self) -> impl Iterator<Item = (&str, Detection)> {
        self.rows.iter().map(|(video, detection)| (self.videos[*video].as_str(), *detection))
    }

    /// Number of detections.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Reads detections, with the labels of `truth`. `file` is named in errors.
    ///
    /// # Errors
    /// No JSON of one of the three forms, a video listed twice, columns of different length, a detection that ends before it starts
    /// or has no class.
    pub fn parse(text: &str, file: &Path, truth: &GroundTruth) -> Result<Self> {
        // Skipping through the values first is cheap and tells which form this is.
        let Entries(outline) = from_str::<Entries<IgnoredAny>>(text, file, "detections")?;
        let has = |wanted: &str| outline.iter().any(|(key, _)| key == wanted);
        let mut collected = Collector::new(truth);
        if has("video-id") {
            let columns: Columns = from_str(text, file, "detections")?;
            return columns.read(file, truth);
        }
        let Entries(videos) =
            if has("results") { from_str::<Wrapped>(text, file, "detections")?.results } else { from_str(text, file, "detections")? };
        let mut seen = BTreeSet::new();
        for (index, (video, rows)) in videos.iter().enumerate() {
            if !seen.insert(video) {
                return Err(Error::Repeated { file: file.to_owned(), video: video.to_string() });
            }
            for (at, row) in rows.iter().enumerate() {
                possible(file, video, at, row.segment)?;
                let (file, video, row_number) = (|| file.to_owned(), || video.to_string(), at + 1);
                match (&row.label, row.label_id) {
                    (Some(label), _) => collected.push(index, label, row.segment, row.score),
                    (None, None) => return Err(Error::Unlabelled { file: file(), video: video(), row: row_number }),
                    (None, Some(_)) if truth.numbers.is_empty() => {
                        return Err(Error::Unnumbered { file: file(), video: video(), row: row_number });
                    }
                    (None, Some(number)) => collected.push(index, &Label::Number(number), row.segment, row.score),
                }
            }
        }
        Ok(collected.finish(videos.into_iter().map(|(video, _)| video.into_owned()).collect()))
    }
}

/// Refuses a segment that ends before it starts. `row` counts from 0.
fn possible(file: &Path, video: &str, row: usize, [start, end]: [f64; 2]) -> Result<()> {
    if end < start {
        return Err(Error::Inverted { file: file.to_owned(), video: video.to_owned(), row: row + 1, start, end });
    }
    Ok(())
}

/// Resolves labels while rows come in.
struct Collector<'a> {
    truth: &'a GroundTruth,
    names: BTreeMap<&'a str, usize>,
    file: DetectionFile,
}

impl<'a> Collector<'a> {
    fn new(truth: &'a GroundTruth) -> Self {
        Self { truth, names: truth.classes.iter().map(String::as_str).zip(0..).collect(), file: DetectionFile::default() }
    }

    fn push(&mut self, video: usize, label: &Label, segment: [f64; 2], score: f64) {
        let class = match label {
            Label::Name(name) => self.names.get(name.as_ref()),
            Label::Number(number) => self.truth.numbers.get(number),
        };
        match class {
            Some(&label) => self.file.rows.push((video, Detection { segment: segment.into(), label, score })),
            None => *self.file.unknown_labels.entry(label.to_string()).or_default() += 1,
        }
    }

    fn finish(self, videos: Vec<String>) -> DetectionFile {
        DetectionFile { videos, ..self.file }
    }
}

impl GroundTruth {
    /// Reads the annotations of one subset (compared without case). `file` is named in errors.
    ///
    /// # Errors
    /// Not the expected JSON, a video listed twice, an instance that ends before it starts, or no video in the subset.
    pub fn parse(text: &str, file: &Path, subset: &str) -> Result<Self> {
        let document: TruthDocument = from_str(text, file, "ground truth")?;
        let mut truth = Self::default();
        let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut subsets = BTreeSet::new();
        for (id, video) in &document.database.0 {
            subsets.insert(video.subset.as_ref());
            if !video.subset.eq_ignore_ascii_case(subset) {
                truth.elsewhere.insert(id.to_string());
                continue;
            }
            let mut instances = Vec::with_capacity(video.annotations.len());
            for (row, annotation) in video.annotations.iter().enumerate() {
                possible(file, id, row, annotation.segment)?;
                let label = *classes.entry(annotation.label.as_ref()).or_insert_with(|| {
                    truth.classes.push(annotation.label.to_string());
                    truth.classes.len() - 1
                });
                if let Some(number) = annotation.label_id {
                    truth.numbers.insert(number, label);
                }
                instances.push(Instance { segment: annotation.segment.into(), label });
            }
            if truth.videos.insert(id.to_string(), instances).is_some() {
                return Err(Error::Repeated { file: file.to_owned(), video: id.to_string() });
            }
        }
        if truth.videos.is_empty() {
            let available = subsets.into_iter().map(|subset| format!("{subset:?}")).collect();
            return Err(Error::UnknownSubset { file: file.to_owned(), wanted: subset.to_owned(), available });
        }
        Ok(truth)
    }
}

fn from_str<'de, T: Deserialize<'de>>(text: &'de str, file: &Path, wanted: &'static str) -> Result<T> {
    serde_json::from_str(text).map_err(|source| {
        let hint = match () {
            () if source.is_eof() => ": the file ends too early, copy it again",
            () if !starts_no_number(text, &source) => "",
            () => ": NaN and Infinity are no JSON, leave such rows out",
        };
        Error::Json { file: file.to_owned(), wanted, hint, source }
    })
}

/// Whether the error stands at a NaN or Infinity, which Python writes without complaint.
fn starts_no_number(text: &str, error: &serde_json::Error) -> bool {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = line.as_bytes().get(error.column().saturating_sub(2)..).unwrap_or_default();
    at.iter().take(2).any(|byte| matches!(byte, b'N' | b'I'))
}

/// A JSON object as a list of its entries in file order.
struct Entries<'a, T>(Vec<(Cow<'a, str>, T)>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Entries<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct InOrder<'a, T>(PhantomData<(&'a (), T)>);
        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for InOrder<'a, T> {
            type Value = Entries<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one entry per video")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Text(key), value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// A string borrowed from the file unless it holds an escape.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(serde::Deserialize)]
struct TruthDocument<'a> {
    #[serde(borrow)]
    database: Entries<'a, TruthVideo<'a>>,
}

#[derive(serde::Deserialize)]
struct TruthVideo<'a> {
    #[serde(borrow)]
    subset: Cow<'a, str>,
    #[serde(borrow, default)]
    annotations: Vec<Annotation<'a>>,
}

#[derive(serde::Deserialize)]
struct Annotation<'a> {
    segment: [f64; 2],
    #[serde(borrow)]
    label: Cow<'a, str>,
    #[serde(default)]
    label_id: Option<i64>,
}

#[derive(serde::Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    label: Option<Label<'a>>,
    #[serde(default)]
    label_id: Option<i64>,
    score: f64,
    segment: [f64; 2],
}

/// A class as detections name it.
pub(super) enum Label<'a> {
    Name(Cow<'a, str>),
    Number(i64),
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Label<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Label<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a class name or number")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> std::result::Result<Self::Value, E> {
                Ok(Label::Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> std::result::Result<Self::Value, E> {
                Ok(Label::Name(Cow::Owned(name.to_owned())))
            }

            fn visit_u64<E>(self, number: u64) -> std::result::Result<Self::Value, E> {
                // A number that large names no class, which is what -1 says.
                Ok(Label::Number(i64::try_from(number).unwrap_or(-1)))
            }

            fn visit_i64<E>(self, number: i64) -> std::result::Result<Self::Value, E> {
                Ok(Label::Number(number))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(serde::Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    results: Entries<'a, Vec<Row<'a>>>,
}

/// The table that ActionFormer's evaluator exchanges, column by column.
#[derive(serde::Deserialize)]
pub(super) struct Columns<'a> {
    #[serde(rename = "video-id")]
    pub video: Vec<String>,
    #[serde(rename = "t-start")]
    pub start: Vec<f64>,
    #[serde(rename = "t-end")]
    pub end: Vec<f64>,
    #[serde(borrow)]
    pub label: Vec<Label<'a>>,
    pub score: Vec<f64>,
}

impl Columns<'_> {
    /// The rows, with the labels of `truth`.
    pub fn read(self, file: &Path, truth: &GroundTruth) -> Result<DetectionFile> {
        self.check(file)?;
        let mut collected = Collector::new(truth);
        for (row, label) in self.label.iter().enumerate() {
            let segment = [self.start[row], self.end[row]];
            possible(file, &self.video[row], row, segment)?;
            collected.push(row, label, segment, self.score[row]);
        }
        Ok(collected.finish(self.video))
    }

    fn check(&self, file: &Path) -> Result<()> {
        let lengths = [("t-start", self.start.len()), ("t-end", self.end.len()), ("label", self.label.len()), ("score", self.score.len())];
        let expected = self.video.len();
        match lengths.into_iter().find(|(_, found)| *found != expected) {
            Some((column, found)) => Err(Error::Ragged { file: file.to_owned(), column, found, expected }),
            None => Ok(()),
        }
    }
}
