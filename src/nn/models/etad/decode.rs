//! From scored proposals to detections (authors' `post_process.py`, and our class head).

use crate::data::Segment;
use crate::eval::Detection;
use crate::eval::nms;
use crate::nn::layers::boundaries::boundary_mask;

/// Scored proposals of one input, all of one length N; segments in 0..1 of the input.
pub struct Scored {
    /// Mean refined proposals.
    pub segments: Vec<(f32, f32)>,
    /// Mean (classified, regressed) tIoU.
    pub iou: Vec<(f32, f32)>,
    /// Startness and endness per cell.
    pub boundaries: (Vec<f32>, Vec<f32>),
    /// Class probabilities `[N * classes]`, where there is a class head.
    pub classes: Option<Vec<f32>>,
}

/// Candidates of one class in one input that enter suppression, the surest first.
const PER_CLASS: usize = 200;
/// Scores below this never enter suppression.
const FLOOR: f32 = 1e-4;

impl Scored {
    /// Keeps the proposals that start on a start mask cell and end on an end mask cell. The first cell may always start
    /// and the last always end.
    fn on_boundaries(&self) -> Vec<bool> {
        let (mut starts, mut ends) = (boundary_mask(&self.boundaries.0), boundary_mask(&self.boundaries.1));
        let time = starts.len();
        starts[0] = true;
        ends[time - 1] = true;
        let cell = |x: f32| ((x * time as f32) as i64).clamp(0, time as i64 - 1) as usize;
        self.segments.iter().map(|&(s, e)| starts[cell(s)] && ends[cell(e)]).collect()
    }

    /// Candidates with the score the release gives: the product of the two tIoU predictions in single precision. Segments
    /// in 0..1, label 0.
    fn candidates(&self, boundary_filter: bool) -> Vec<(usize, Detection)> {
        let kept = if boundary_filter { self.on_boundaries() } else { vec![true; self.segments.len()] };
        let rows = self.segments.iter().zip(&self.iou).enumerate().filter(|(i, _)| kept[*i]);
        rows.map(|(i, (&(start, end), &(classified, regressed)))| {
            let segment = Segment { start: f64::from(start), end: f64::from(end) };
            (i, Detection { segment, label: 0, score: f64::from(classified * regressed) })
        })
        .collect()
    }

    /// The release's post-processing of one input: class-agnostic soft-NMS, best first. Segments stay in 0..1, label 0.
    pub fn class_agnostic(&self, boundary_filter: bool, sigma: f64, keep: usize) -> Vec<Detection> {
        let candidates: Vec<Detection> = self.candidates(boundary_filter).into_iter().map(|(_, d)| d).collect();
        let mut best = nms::soft_nms(&candidates, sigma, keep);
        best.sort_by(|a, b| b.score.total_cmp(&a.score));
        best
    }

    /// Every proposal with every class it may be: score × class probability; the surest of each class. Segments stay in
    /// 0..1. Empty without a class head.
    pub fn class_aware(&self, boundary_filter: bool) -> Vec<Detection> {
        let Some(probabilities) = &self.classes else { return Vec::new() };
        let classes = probabilities.len() / self.segments.len().max(1);
        let candidates = self.candidates(boundary_filter);
        let mut all = Vec::new();
        for label in 0..classes {
            let scored = |(i, d): &(usize, Detection)| {
                let p = probabilities[i * classes + label];
                (p * d.score as f32 > FLOOR).then_some(Detection { label, score: d.score * f64::from(p), ..*d })
            };
            let mut of_class: Vec<Detection> = candidates.iter().filter_map(scored).collect();
            of_class.sort_by(|a, b| b.score.total_cmp(&a.score));
            of_class.truncate(PER_CLASS);
            all.extend(of_class);
        }
        all
    }
}

/// From 0..1 of an input that begins at `start` and spans `length` seconds to seconds of a video of `duration`: the start is
/// clipped below, the end above, as in the release. A segment refined to outside of the input comes out empty or inverted.
pub fn to_seconds(detections: &mut [Detection], start: f64, length: f64, duration: f64) {
    for d in detections {
        d.segment.start = start + d.segment.start.max(0.0) * length;
        d.segment.end = (start + d.segment.end.min(1.0) * length).min(duration);
    }
}
