//! The fixtures of TadTR's windows: how videos are cut, and how the detections of the parts become those of the whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::Check;
use super::fixture::{Error, json};
use crate::base::Digest;
use crate::config::TadTrConfig;
use crate::config::settings::{Common, Preset};
use crate::data::dataset::Video;
use crate::data::windows::{CellInstance, instances_in_window, window_starts, window_starts_on_stride};
use crate::data::{Dataset, Instance, Segment};
use crate::eval::nms::{Fusion, hard_nms};
use crate::eval::{Detection, Detections, GroundTruth, Rules, evaluate};

const SECONDS: f64 = 1e-9;
const SCORE: f64 = 1e-9;

/// Recomputes a folder of windows and their fusion.
pub(super) fn check(folder: &Path) -> Result<Vec<Check>, Error> {
    let config = TadTrConfig::preset(Preset::Thumos14).expect("TadTR has a THUMOS14 preset");
    let file = |name: &str| json(&folder.join(name)).map(|value| File { path: folder.join(name), value });
    let annotations = dataset(&file("anno.json")?)?;
    let features: BTreeMap<String, FeatureInfo> = file("ft_info.json")?.get("")?;
    let windows = file("windows.json")?;
    let mut checks = cut(&config.common, &annotations, &features, &windows)?;
    checks.push(suppressed(&file("temporal_nms.json")?)?);
    checks.extend(fused(&config, &annotations, &features, &file("pred_in.json")?, &file("expected.json")?)?);
    Ok(checks)
}

/// A JSON file and where it is.
struct File {
    path: std::path::PathBuf,
    value: Value,
}

impl File {
    fn get<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, Error> {
        let value = if key.is_empty() { Some(&self.value) } else { self.value.get(key) };
        value.and_then(|v| T::deserialize(v).ok()).ok_or_else(|| Error::Missing { path: self.path.clone(), key: key.to_owned() })
    }
}

fn exact(name: &str, deviation: f64, tolerance: f64) -> Check {
    Check::new(name, deviation, tolerance, false)
}

#[derive(serde::Deserialize)]
struct Annotated {
    subset: String,
    annotations: Vec<Annotation>,
}

#[derive(serde::Deserialize)]
struct Annotation {
    segment: Segment,
    label: String,
}

/// The annotated videos; the file gives no durations, which nothing here asks for.
fn dataset(file: &File) -> Result<Dataset, Error> {
    let classes: Vec<String> = file.get("classes")?;
    let database: BTreeMap<String, Annotated> = file.get("database")?;
    let label = |name: &String| classes.iter().position(|class| class == name);
    let video = |v: Annotated| Video {
        subset: v.subset,
        duration: f64::INFINITY,
        fps: None,
        frames: None,
        instances: v.annotations.iter().filter_map(|a| Some(Instance { segment: a.segment, label: label(&a.label)? })).collect(),
    };
    let digest = Digest::of_json(&file.value);
    let videos = database.into_iter().map(|(id, v)| (id, video(v))).collect();
    Ok(Dataset { classes, videos, digest, notes: Vec::new() })
}

#[derive(serde::Deserialize)]
struct FeatureInfo {
    feature_length: usize,
    feature_fps: f64,
}

#[derive(serde::Deserialize)]
struct PublishedWindow {
    id: String,
    annotations: Vec<Annotation>,
    time_offset: f64,
    feature_second: f64,
}

/// Training and test windows with their instances. Windows are compared by identifier (which names their cells), the
/// instances of a window as a set.
fn cut(common: &Common, dataset: &Dataset, features: &BTreeMap<String, FeatureInfo>, windows: &File) -> Result<Vec<Check>, Error> {
    let mut checks = Vec::new();
    for (set, training) in [("train", true), ("val", false)] {
        let published: Vec<PublishedWindow> = windows.get(set)?;
        let (mut ours, mut other, mut deviation) = (0, 0, 0.0f64);
        for (id, info) in features {
            let FeatureInfo { feature_length: total, feature_fps: fps } = *info;
            let length = common.window.min(total);
            let starts = if training {
                window_starts(total, common.window, common.stride)
            } else {
                window_starts_on_stride(total, common.window, common.test_stride)
            };
            let in_cells = |i: &Instance| CellInstance { start: i.segment.start * fps, end: i.segment.end * fps, label: i.label };
            let truth: Vec<CellInstance> = dataset.videos.get(id).map(|v| v.instances.iter().map(in_cells).collect()).unwrap_or_default();
            for start in starts {
                let end = (start + length).min(total);
                let mut kept = instances_in_window(&truth, start, end - start, 0.0, common.keep_share);
                if training && kept.is_empty() {
                    continue;
                }
                ours += 1;
                let name = format!("{id}_window_{start}_{end}");
                let Some(wanted) = published.iter().find(|w| w.id == name) else {
                    other += 1;
                    continue;
                };
                let key = |s: &Segment, label: usize| (label, (s.start * 1e6) as i64, (s.end * 1e6) as i64);
                let seconds = |i: &CellInstance| Segment { start: i.start / fps, end: i.end / fps };
                kept.sort_by_key(|i| key(&seconds(i), i.label));
                let label = |a: &Annotation| dataset.classes.iter().position(|class| *class == a.label).unwrap_or(usize::MAX);
                let mut annotations: Vec<&Annotation> = wanted.annotations.iter().collect();
                annotations.sort_by_key(|a| key(&a.segment, label(a)));
                other += usize::from(kept.len() != annotations.len());
                for (got, wanted) in kept.iter().zip(annotations) {
                    other += usize::from(got.label != label(wanted));
                    let got = seconds(got);
                    deviation = deviation.max((got.start - wanted.segment.start).abs()).max((got.end - wanted.segment.end).abs());
                }
                let placed = (start as f64 / fps - wanted.time_offset).abs();
                deviation = deviation.max(placed).max(((end - start) as f64 / fps - wanted.feature_second).abs());
            }
        }
        other += published.len().abs_diff(ours);
        checks.push(exact(&format!("windows/{set} (other windows or instances)"), other as f64, 0.0));
        checks.push(exact(&format!("windows/{set} (seconds)"), deviation, SECONDS));
    }
    Ok(checks)
}

type Row = (f64, f64, f64);

fn suppressed(file: &File) -> Result<Check, Error> {
    let (input, threshold, wanted): (Vec<Row>, f64, Vec<Row>) = (file.get("inp")?, file.get("thresh")?, file.get("out")?);
    let detection = |&(start, end, score): &Row| Detection { segment: Segment { start, end }, label: 0, score };
    let kept = hard_nms(&input.iter().map(detection).collect::<Vec<_>>(), threshold);
    let wanted: Vec<Detection> = wanted.iter().map(detection).collect();
    Ok(exact("temporal_nms/out", if kept == wanted { 0.0 } else { f64::INFINITY }, 0.0))
}

#[derive(serde::Deserialize)]
struct WindowDetections {
    window: String,
    time_offset: f64,
    segments: Vec<Segment>,
    scores: Vec<f64>,
    labels: Vec<usize>,
}

#[derive(serde::Deserialize)]
struct Expected {
    n_before: usize,
    n_after: usize,
    n_exact_duplicates_after_fusion: usize,
    fused: Vec<(String, String, f64, f64, f64, f64)>,
    ap_per_class: BTreeMap<String, Vec<f64>>,
    #[serde(rename = "mAP")]
    map: Vec<f64>,
}

/// Detections in an order that does not depend on near-ties.
fn ordered(detections: &[Detection]) -> Vec<Detection> {
    let mut sorted = detections.to_vec();
    let by = |d: &Detection| (d.label, d.segment.start, d.segment.end, d.score);
    sorted.sort_by(|a, b| by(a).partial_cmp(&by(b)).expect("fixtures hold numbers"));
    sorted
}

fn fused(
    config: &TadTrConfig,
    dataset: &Dataset,
    features: &BTreeMap<String, FeatureInfo>,
    input: &File,
    expected: &File,
) -> Result<Vec<Check>, Error> {
    let (windows, expected): (Vec<WindowDetections>, Expected) = (input.get("")?, expected.get("")?);
    let mut videos: BTreeMap<&str, (Vec<Detection>, Vec<Segment>)> = BTreeMap::new();
    for window in &windows {
        let malformed = || Error::Missing { path: input.path.clone(), key: format!("cells in the name of {}", window.window) };
        let (video, cells) = window.window.rsplit_once("_window_").ok_or_else(malformed)?;
        let (first, end) =
            cells.split_once('_').and_then(|(a, b)| Some((a.parse::<f64>().ok()?, b.parse::<f64>().ok()?))).ok_or_else(malformed)?;
        let second = 1.0 / features.get(video).ok_or_else(malformed)?.feature_fps;
        let (found, spans) = videos.entry(video).or_default();
        let rows = window.segments.iter().zip(&window.scores).zip(&window.labels);
        let placed = |s: &Segment| Segment { start: s.start + window.time_offset, end: s.end + window.time_offset };
        found.extend(rows.map(|((segment, &score), &label)| Detection { segment: placed(segment), label, score }));
        spans.push(Segment { start: first * second, end: end * second });
    }
    let before: usize = videos.values().map(|(found, _)| found.len()).sum();
    let fusion = Fusion { tiou: config.fusion_tiou };
    let ours: Detections = videos
        .iter()
        .map(|(video, (found, spans))| {
            let common: Vec<Segment> = spans.windows(2).map(|w| Segment { start: w[1].start, end: w[0].end }).collect();
            ((*video).to_owned(), fusion.apply(found, &common))
        })
        .collect();
    let mut wanted = Detections::new();
    for (video, _, start, end, score, label) in &expected.fused {
        let detection = Detection { segment: Segment { start: *start, end: *end }, label: *label as usize, score: *score };
        wanted.entry(video.clone()).or_default().push(detection);
    }
    let after: usize = ours.values().map(Vec::len).sum();
    let (mut other, mut deviation, mut repeated) = (0, 0.0f64, 0);
    for (video, wanted) in &wanted {
        let (got, wanted) = (ordered(ours.get(video).map_or(&[], Vec::as_slice)), ordered(wanted));
        other += got.len().abs_diff(wanted.len());
        repeated += got.windows(2).filter(|pair| pair[0] == pair[1]).count();
        for (got, wanted) in got.iter().zip(&wanted) {
            other += usize::from(got.label != wanted.label);
            let pairs = [(got.segment.start, wanted.segment.start), (got.segment.end, wanted.segment.end), (got.score, wanted.score)];
            deviation = pairs.iter().map(|(a, b)| (a - b).abs()).fold(deviation, f64::max);
        }
    }
    let mut checks = vec![
        exact("expected/n_before", before.abs_diff(expected.n_before) as f64, 0.0),
        exact("expected/n_after", after.abs_diff(expected.n_after) as f64, 0.0),
        exact("expected/n_exact_duplicates_after_fusion", repeated.abs_diff(expected.n_exact_duplicates_after_fusion) as f64, 0.0),
        exact("expected/fused (other detections)", other as f64, 0.0),
        exact("expected/fused", deviation, SECONDS),
    ];
    let truth = GroundTruth::of(dataset, &dataset.videos.keys().cloned().collect::<Vec<_>>());
    let tiou: Vec<f64> = (0..expected.map.len()).map(|i| 0.3 + 0.1 * i as f64).collect();
    // An evaluation that fails leaves every score infinitely far off.
    let scores = evaluate(&truth, &ours, &tiou, Rules::Activitynet, &[]).ok();
    let off = |got: Option<&Vec<f64>>, wanted: &[f64]| {
        got.map_or(f64::INFINITY, |got| got.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
    };
    checks.push(exact("expected/mAP", off(scores.as_ref().map(|s| &s.map), &expected.map), SCORE));
    for (class, wanted) in &expected.ap_per_class {
        let name = class.parse::<usize>().ok().and_then(|i| dataset.classes.get(i));
        let got = name.and_then(|name| scores.as_ref()?.per_class.get(name));
        checks.push(exact(&format!("expected/ap_per_class.{class}"), off(got, wanted), SCORE));
    }
    Ok(checks)
}
