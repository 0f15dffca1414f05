//! The fixtures that no model owns: suppression, score voting, and mean average precision.

use std::path::Path;

use serde_json::Value;
use tch::Tensor;

use super::Check;
use super::fixture::{self, Error, Fixture};
use crate::base::fsio;
use crate::data::Segment;
use crate::eval::json::DetectionFile;
use crate::eval::nms::{self, Method, Suppression, Vote, Voting};
use crate::eval::{self, Detection, GroundTruth, Rules};

/// tIoU of the recorded votes; the manifest says it in words only.
const VOTE_TIOU: f32 = 0.75;
/// Suppression works in single precision: some ulps of the seconds it is given.
const SCORE: f64 = 1e-6;
const SECOND: f64 = 1e-4;
const DOUBLE: f64 = 1e-12;

/// Recomputes the fixtures of a folder; also names the cases that this version does not know.
pub(super) fn check(folder: &Path) -> Result<(Vec<Check>, Vec<String>), Error> {
    let (mut checks, mut not_covered) = (Vec::new(), Vec::new());
    let manifest = folder.join("nms_manifest.json");
    if manifest.is_file() {
        let mut arrays = Fixture::open(folder, "nms")?;
        for case in fixture::json(&manifest)?["cases"].as_array().into_iter().flatten() {
            if !suppression(&mut arrays, case)? {
                not_covered.push(format!("nms/{}", case["key"].as_str().unwrap_or("?")));
            }
        }
        checks.extend(arrays.checks);
    }
    if folder.join("eval_expected.json").is_file() {
        checks.extend(evaluation(folder)?);
    }
    Ok((checks, not_covered))
}

/// Recomputes one case; `false` for an unknown one.
fn suppression(f: &mut Fixture, case: &Value) -> Result<bool, Error> {
    let key = case["key"].as_str().unwrap_or_default();
    let operation = case["op"].as_str().unwrap_or_default();
    let number = |name: &str| case[name].as_f64().unwrap_or_default() as f32;
    let suppression = if operation.starts_with("softnms") {
        let tiou = number("iou_threshold");
        let method = match case["method"].as_u64() {
            // Weight 0 from the threshold on is hard suppression.
            Some(0) => Method::Hard { tiou },
            Some(1) => Method::Linear { tiou },
            Some(2) => Method::Gaussian { sigma: number("sigma") },
            _ => return Ok(false),
        };
        Suppression { method, class_wise: false, min_score: number("min_score"), keep: usize::MAX, voting: None }
    } else if operation.starts_with("hard nms") {
        let method = Method::Hard { tiou: number("iou_threshold") };
        Suppression { method, class_wise: false, min_score: 0.0, keep: usize::MAX, voting: None }
    } else if operation.starts_with("batched_nms") {
        let (class_wise, tiou) = (case["multiclass"] == true, number("voting_thresh"));
        Suppression {
            method: if case["use_soft_nms"] == true {
                Method::Gaussian { sigma: number("sigma") }
            } else {
                Method::Hard { tiou: number("iou_threshold") }
            },
            class_wise,
            min_score: number("min_score"),
            keep: case["max_seg_num"].as_u64().unwrap_or_default() as usize,
            voting: (!class_wise && tiou > 0.0).then_some(Voting { tiou, vote: Vote::ScoreTimesOverlap }),
        }
    } else if operation.starts_with("seg_voting") {
        return voting(f, key, operation).map(|()| true);
    } else {
        return Ok(false);
    };
    let with_labels = f.has(&format!("{key}labels"));
    // Without labels a candidate's position rides along as its label.
    let n = f.get(&format!("{key}scores"))?.numel();
    let labels = if with_labels { indices(f, &format!("{key}labels"))? } else { (0..n).collect() };
    let mut candidates = segments(f, &format!("{key}segs"))?;
    for ((candidate, score), label) in candidates.iter_mut().zip(f.doubles(&format!("{key}scores"))?).zip(labels) {
        (candidate.score, candidate.label) = (score, label);
    }
    let kept = suppression.apply(&candidates);
    let labels: Vec<i64> = kept.iter().map(|d| d.label as i64).collect();
    let ends = |d: &Detection| [d.segment.start, d.segment.end];
    if with_labels {
        f.compare(&format!("{key}out_labels"), &Tensor::from_slice(&labels), 0.0)?;
        f.compare(&format!("{key}out_segs"), &Tensor::from_slice(&kept.iter().flat_map(ends).collect::<Vec<_>>()), SECOND)?;
        f.compare(&format!("{key}out_scores"), &Tensor::from_slice(&kept.iter().map(|d| d.score).collect::<Vec<_>>()), SCORE)?;
    } else {
        f.compare(&format!("{key}out_inds"), &Tensor::from_slice(&labels), 0.0)?;
        let dets = format!("{key}out_dets");
        if f.has(&dets) {
            let rows: Vec<f64> = kept.iter().flat_map(|d| [d.segment.start, d.segment.end, d.score]).collect();
            f.compare(&dets, &Tensor::from_slice(&rows), SECOND)?;
        }
    }
    Ok(true)
}

/// Both ways of voting are recorded for the same segments, which lie under the first one's key.
fn voting(f: &mut Fixture, key: &str, operation: &str) -> Result<(), Error> {
    let own = f.has(&format!("{key}all_segs"));
    let input = if own { key } else { "voting/" };
    let vote = if operation.contains("score*iou") { Vote::ScoreTimesOverlap } else { Vote::Score };
    let mut candidates = segments(f, &format!("{input}all_segs"))?;
    for (candidate, score) in candidates.iter_mut().zip(f.doubles(&format!("{input}all_scores"))?) {
        candidate.score = score;
    }
    let mut kept = segments(f, &format!("{input}nms_segs"))?;
    nms::refine(&mut kept, &candidates, Voting { tiou: VOTE_TIOU, vote });
    let flat: Vec<f64> = kept.iter().flat_map(|d| [d.segment.start, d.segment.end]).collect();
    f.compare(&format!("{key}out"), &Tensor::from_slice(&flat), SECOND)
}

/// Segments `[N, 2]` without a score or label.
fn segments(f: &Fixture, key: &str) -> Result<Vec<Detection>, Error> {
    let of = |row: &[f64]| Detection { segment: Segment { start: row[0], end: row[1] }, label: 0, score: 0.0 };
    Ok(f.doubles(key)?.chunks_exact(2).map(of).collect())
}

fn indices(f: &Fixture, key: &str) -> Result<Vec<usize>, Error> {
    Ok(f.doubles(key)?.into_iter().map(|index| index as usize).collect())
}

/// The recorded detections scored against the recorded ground truth, at every recorded grid of thresholds.
fn evaluation(folder: &Path) -> Result<Vec<Check>, Error> {
    let path = |name: &str| folder.join(name);
    let read = |name: &str| fsio::read_text(&path(name));
    let (truth, found, expected) = (read("eval_gt.json")?, read("eval_preds.json")?, fixture::json(&path("eval_expected.json"))?);
    let truth = GroundTruth::parse(&truth, &path("eval_gt.json"), "test")?;
    let found = DetectionFile::parse(&found, &path("eval_preds.json"), &truth)?;
    let mut checks = Vec::new();
    for (grid, expected) in expected.as_object().into_iter().flatten().filter(|(_, e)| e["tiou"].is_array()) {
        let floats = |value: &Value| -> Vec<f64> { value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect() };
        let scores = eval::evaluate_rows(&truth, found.rows(), &floats(&expected["tiou"]), Rules::Actionformer, &[1, 5])?;
        let mut compare = |what: String, wanted: &[f64], got: &[f64]| {
            let deviation = if wanted.len() != got.len() || wanted.is_empty() {
                f64::INFINITY
            } else {
                wanted.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            let name = format!("eval/{grid}/{what}");
            checks.push(Check::new(name, deviation, DOUBLE, false));
        };
        compare("mAP".into(), &floats(&expected["mAP"]), &scores.map);
        compare("average_mAP".into(), &expected["average_mAP"].as_f64().map_or(vec![], |v| vec![v]), &[scores.average_map]);
        let levels = |rows: &Value, column: usize| -> Vec<f64> {
            rows.as_array().into_iter().flatten().filter_map(|row| row[column].as_f64()).collect()
        };
        for (column, number) in expected["class_order"].as_array().into_iter().flatten().enumerate() {
            let class = number.as_i64().and_then(|n| truth.class_numbered(n)).unwrap_or_default();
            let got = scores.per_class.get(class).map_or(&[][..], Vec::as_slice);
            compare(format!("ap_per_class.{number}"), &levels(&expected["ap_per_class"], column), got);
        }
        for (column, k) in [1, 5].into_iter().enumerate() {
            compare(format!("recall_top{k}x"), &levels(&expected["recall_top1x_5x"], column), &scores.recall[&k]);
        }
    }
    Ok(checks)
}
