//! What a trainer detected, checked before it is scored: a wrong file is refused with the reason, never repaired into a number.

use std::path::{Path, PathBuf};

use super::super::Error;
use crate::base::fsio;
use crate::config::external::Form;
use crate::data::Dataset;
use crate::eval::json::DetectionFile;
use crate::eval::{self, Detection, Detections, GroundTruth};

/// Names that detections may have, the first found counts.
const NAMES: [&str; 4] = ["detections.json", "result_detection.json", "detections.csv", "eval_results.pkl"];
/// A segment may end this many seconds past its video; it is cut off there.
const PAST: f64 = 1.0;

/// Checked detections of every test video.
#[derive(Debug)]
pub struct Results {
    pub detections: Detections,
    /// What was cut off.
    pub notes: Vec<String>,
}

/// The file of detections in `output`.
///
/// # Errors
/// There is none.
pub fn find(output: &Path) -> Result<PathBuf, Error> {
    let path = NAMES.map(|name| output.join(name)).into_iter().find(|path| path.exists());
    path.ok_or_else(|| Error::Input(format!("the trainer ended well, but wrote no {}", output.join(NAMES[0]).display())))
}

/// Reads the detections in `path`, of the test `videos` alone; without a `form`, the file's name and content tell it.
///
/// # Errors
/// No table of detections, or one of a video outside the test part, of an unknown class, not finite, inverted or past the end.
pub fn read(path: &Path, form: Option<Form>, dataset: &Dataset, videos: &[String]) -> Result<Results, Error> {
    let truth = GroundTruth::of(dataset, videos).numbered();
    let bad = |e: eval::Error| Error::Input(e.to_string());
    let form = form.unwrap_or_else(|| match path.extension().and_then(|e| e.to_str()) {
        Some("csv") => Form::Csv,
        Some("pkl") => Form::Actionformer,
        _ => Form::Activitynet,
    });
    let file = match form {
        Form::Csv => table(&fsio::read_text(path)?, path, dataset)?,
        Form::Actionformer => DetectionFile::unpickle(&fsio::read(path)?, path, &truth).map_err(bad)?,
        Form::Activitynet | Form::Opentad => DetectionFile::parse(&fsio::read_text(path)?, path, &truth).map_err(bad)?,
    };
    check(&file, path, dataset, videos)
}

fn check(file: &DetectionFile, path: &Path, dataset: &Dataset, videos: &[String]) -> Result<Results, Error> {
    let refuse = |problem: String| Err(Error::Input(format!("{}: {problem}", path.display())));
    if let Some((label, count)) = file.unknown_labels.first_key_value() {
        return refuse(format!(
            "{count} detection(s) are of class {label:?}, which the data set does not have; use the names or the numbers of classes.txt"
        ));
    }
    let mut detections: Detections = videos.iter().map(|id| (id.clone(), Vec::new())).collect();
    let mut cut = 0;
    for (index, (video, detection)) in file.rows().enumerate() {
        let Some(known) = detections.get_mut(video) else {
            return refuse(format!(
                "a detection is of video {video:?}, which is not in the test part; detect in the videos of `test` in job.json alone"
            ));
        };
        let Detection { mut segment, score, .. } = detection;
        if !(segment.start.is_finite() && segment.end.is_finite() && score.is_finite()) {
            return refuse(format!(
                "row {} of video {video:?} is not finite: [{}, {}] with score {score}",
                index + 1,
                segment.start,
                segment.end
            ));
        }
        if segment.end < segment.start {
            return refuse(format!("a detection of video {video:?} ends at {} s, before it starts at {} s", segment.end, segment.start));
        }
        let duration = dataset.videos[video].duration;
        if segment.end > duration + PAST || segment.start < -PAST {
            return refuse(format!(
                "a detection of video {video:?}, [{}, {}], lies outside its {duration} s; write seconds",
                segment.start, segment.end
            ));
        }
        if segment.end > duration || segment.start < 0.0 {
            segment.end = segment.end.min(duration);
            segment.start = segment.start.clamp(0.0, segment.end);
            cut += 1;
        }
        known.push(Detection { segment, ..detection });
    }
    if file.is_empty() {
        return refuse("holds no detection, though the trainer ended well".to_owned());
    }
    let notes = (cut > 0).then(|| format!("{cut} detections were cut off at an end of their video"));
    Ok(Results { detections, notes: notes.into_iter().collect() })
}

/// Columns `video`, `start`, `end`, `label` and `score`.
fn table(text: &str, path: &Path, dataset: &Dataset) -> Result<DetectionFile, Error> {
    let bad = |problem: String| Error::Input(format!("{}: {problem}", path.display()));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| bad(e.to_string()))?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|h| h.trim() == name)
            .ok_or_else(|| bad(format!("has no column {name:?}; write video, start, end, label, score")))
    };
    let columns = [column("video")?, column("start")?, column("end")?, column("label")?, column("score")?];
    let mut rows = Vec::new();
    for (line, row) in reader.records().enumerate() {
        let row = row.map_err(|e| bad(e.to_string()))?;
        let [video, start, end, label, score] = columns.map(|i| row.get(i).unwrap_or_default().trim());
        let number = |text: &str| text.parse::<f64>().map_err(|_| bad(format!("line {} holds {text:?}, which is no number", line + 2)));
        let class = dataset.classes.iter().position(|c| c == label).or_else(|| label.parse().ok().filter(|i| *i < dataset.classes.len()));
        let label = class.ok_or_else(|| bad(format!("line {}: the data set has no class {label:?}", line + 2)))?;
        let segment = [number(start)?, number(end)?].into();
        rows.push((video.to_owned(), Detection { segment, label, score: number(score)? }));
    }
    Ok(DetectionFile::of(rows))
}
