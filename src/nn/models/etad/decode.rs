//! From scored proposals to detections (authors' `post_process.py`).

use crate::data::Segment;
use crate::eval::nms::{self, Candidate};
use crate::eval::Detection;

/// Cells that may hold a boundary: above half of the curve's maximum or a strict local maximum (outside counts as 0).
pub fn boundary_mask(p: &[f32]) -> Vec<bool> {
    let half = 0.5 * p.iter().copied().fold(0.0, f32::max);
    let at = |j: isize| usize::try_from(j).ok().and_then(|j| p.get(j)).copied().unwrap_or(0.0);
    (0..p.len()).map(|j| p[j] > half || (p[j] > at(j as isize - 1) && p[j] > at(j as isize + 1))).collect()
}

/// Keeps a proposal when it starts on a start mask cell and ends on an end mask cell. The first cell may always start and
/// the last always end. `segments` in 0..1.
pub fn on_boundaries(segments: &[(f32, f32)], start: &[f32], end: &[f32]) -> Vec<bool> {
    let (mut starts, mut ends) = (boundary_mask(start), boundary_mask(end));
    let time = starts.len();
    starts[0] = true;
    ends[time - 1] = true;
    let cell = |x: f32| ((x * time as f32) as i64).clamp(0, time as i64 - 1) as usize;
    segments.iter().map(|&(s, e)| starts[cell(s)] && ends[cell(e)]).collect()
}

/// The release's post-processing of one video: boundary filter (with `(startness, endness)`), score = product of the two
/// tIoU predictions in single precision, class-agnostic soft-NMS, best first. Segments stay in 0..1.
pub fn class_agnostic(
    segments: &[(f32, f32)],
    iou: &[(f32, f32)],
    boundaries: Option<(&[f32], &[f32])>,
    sigma: f64,
    keep: usize,
) -> Vec<Candidate> {
    let kept = boundaries.map(|(start, end)| on_boundaries(segments, start, end));
    let candidates: Vec<Candidate> = segments
        .iter()
        .zip(iou)
        .enumerate()
        .filter(|(i, _)| kept.as_ref().is_none_or(|k| k[*i]))
        .map(|(_, (&(s, e), &(class, regressed)))| Candidate { start: f64::from(s), end: f64::from(e), score: f64::from(class * regressed) })
        .collect();
    let mut best: Vec<Candidate> = nms::etad_soft_nms(&candidates, sigma, keep).into_iter().map(|(_, c)| c).collect();
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    best
}

/// Each proposal with each of the `top` classes of the video-level scores: score × class score, clipped to the video.
pub fn with_video_scores(proposals: &[Candidate], class_scores: &[f64], top: usize, duration: f64) -> Vec<Detection> {
    let mut classes: Vec<usize> = (0..class_scores.len()).collect();
    classes.sort_by(|&a, &b| class_scores[b].total_cmp(&class_scores[a]));
    classes.truncate(top);
    let labelled = |p: &Candidate| {
        let segment = Segment { start: p.start.max(0.0) * duration, end: p.end.min(1.0) * duration };
        let score = p.score;
        classes.iter().map(move |&label| (label, segment, score)).collect::<Vec<_>>()
    };
    let all = proposals.iter().flat_map(labelled);
    all.map(|(label, segment, score)| Detection { segment, label, score: score * class_scores[label] }).collect()
}
