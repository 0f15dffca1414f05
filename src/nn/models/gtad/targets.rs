//! What a batch is trained towards: tIoU of every anchor, boundary curves, and the anchors the class head sees.

use tch::{Device, Tensor};

use crate::base::Stream;
use crate::data::windows::CellInstance;
use crate::nn::layers::boundaries::boundary_curve;

/// Targets of a batch, on the network's device.
pub struct Targets {
    /// Best tIoU of each anchor with an instance, `[B, D, T]`; 0 for anchors that end after the input.
    pub iou: Tensor,
    /// 1 for anchors that end inside of the input, `[D, T]`.
    pub valid: Tensor,
    /// Startness `[B, T]`.
    pub start: Tensor,
    /// Endness `[B, T]`.
    pub end: Tensor,
    /// Uniform draws for the anchors of middle and low tIoU, `[B, D, T]` each.
    pub draws: [Tensor; 2],
    /// Anchors that the class head is trained on, flat indices of `[B, D, T]`, and their classes; the last one is background.
    pub classes: Option<(Tensor, Tensor)>,
}

/// The map's size.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Longest anchor in cells (D).
    pub durations: usize,
    /// Cells of the input (T).
    pub time: usize,
}

/// tIoU above which an anchor is of its instance's class.
const OF_CLASS: f32 = 0.6;
/// tIoU below which it is background.
const BACKGROUND: f32 = 0.3;

impl Grid {
    /// Index (d, t): the anchor from t to t + d + 1.
    fn anchors(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.durations).flat_map(move |d| (0..self.time).map(move |t| (d, t)))
    }

    /// `[D, T]`: 1 for anchors that end inside of the input.
    pub fn valid(self) -> Tensor {
        let valid: Vec<f32> = self.anchors().map(|(d, t)| f32::from(t + d < self.time)).collect();
        Tensor::from_slice(&valid).view([self.durations as i64, self.time as i64])
    }

    /// Best tIoU of each valid anchor, and the label of the instance it is with.
    fn overlaps(self, truth: &[CellInstance]) -> (Vec<f32>, Vec<usize>) {
        let (mut best, mut labels) = (vec![0.0; self.durations * self.time], vec![0; self.durations * self.time]);
        for instance in truth {
            let length = instance.end - instance.start;
            for d in 0..self.durations.min(self.time) {
                // Only anchors that reach into the instance.
                let first = (instance.start - (d + 1) as f64).floor().max(0.0) as usize;
                let last = (instance.end.ceil().max(0.0) as usize).min(self.time - d);
                for t in first..last {
                    let (start, end) = (t as f64, (t + d + 1) as f64);
                    let shared = (end.min(instance.end) - start.max(instance.start)).max(0.0);
                    let overlap = (shared / (end - start + length - shared)) as f32;
                    let index = d * self.time + t;
                    if overlap > best[index] {
                        (best[index], labels[index]) = (overlap, instance.label);
                    }
                }
            }
        }
        (best, labels)
    }

    /// Targets of a batch; with `classes` also anchors for a class head over that many, as many background ones as others.
    pub fn targets(self, truth: &[Vec<CellInstance>], classes: Option<usize>, rng: &mut Stream, device: Device) -> Targets {
        let (mut iou, mut labels, mut start, mut end) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for instances in truth {
            let (overlap, label) = self.overlaps(instances);
            iou.extend(overlap);
            labels.extend(label);
            let curve =
                |boundary: fn(&CellInstance) -> f64| boundary_curve(instances.iter().map(|i| boundary(i) / self.time as f64), self.time);
            start.extend(curve(|i| i.start));
            end.extend(curve(|i| i.end));
        }
        let (batch, durations, time) = (truth.len() as i64, self.durations as i64, self.time as i64);
        let tensor = |values: &[f32], shape: &[i64]| Tensor::from_slice(values).view(shape).to_device(device);
        let mut draw = || tensor(&iou.iter().map(|_| rng.uniform_f32()).collect::<Vec<_>>(), &[batch, durations, time]);
        let draws = [draw(), draw()];
        let classes = classes
            .and_then(|n| self.class_sample(&iou, &labels, n, rng))
            .map(|(anchors, classes)| (Tensor::from_slice(&anchors).to_device(device), Tensor::from_slice(&classes).to_device(device)));
        Targets {
            iou: tensor(&iou, &[batch, durations, time]),
            valid: self.valid().to_device(device),
            start: tensor(&start, &[batch, time]),
            end: tensor(&end, &[batch, time]),
            draws,
            classes,
        }
    }

    /// `None` when no anchor is of a class.
    fn class_sample(self, iou: &[f32], labels: &[usize], background: usize, rng: &mut Stream) -> Option<(Vec<i64>, Vec<i64>)> {
        let inside = |index: usize| index % self.time + index / self.time % self.durations < self.time;
        let mut anchors: Vec<usize> = (0..iou.len()).filter(|&i| iou[i] > OF_CLASS).collect();
        let mut classes: Vec<i64> = anchors.iter().map(|&i| labels[i] as i64).collect();
        let others: Vec<usize> = (0..iou.len()).filter(|&i| iou[i] < BACKGROUND && inside(i)).collect();
        let wanted = anchors.len().min(others.len());
        if anchors.is_empty() {
            return None;
        }
        anchors.extend(rng.choose(others.len(), wanted).into_iter().map(|i| others[i]));
        classes.resize(anchors.len(), background as i64);
        Some((anchors.into_iter().map(|i| i as i64).collect(), classes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_that_is_an_instance_has_tiou_one() {
        let grid = Grid { durations: 4, time: 8 };
        let truth = [CellInstance { start: 2.0, end: 5.0, label: 3 }, CellInstance { start: 6.5, end: 7.5, label: 1 }];
        let (iou, labels) = grid.overlaps(&truth);
        let at = |d: usize, t: usize| d * 8 + t;
        assert_eq!((iou[at(2, 2)], labels[at(2, 2)]), (1.0, 3));
        assert_eq!((iou[at(1, 6)], labels[at(1, 6)]), (0.5, 1));
        assert_eq!((iou[at(0, 5)], iou[at(3, 5)]), (0.0, 0.0));
        assert!((iou[at(3, 1)] - 0.75).abs() < 1e-7);
    }

    #[test]
    fn the_class_head_sees_as_much_background_as_action() {
        let grid = Grid { durations: 8, time: 16 };
        let truth = [vec![CellInstance { start: 3.0, end: 8.0, label: 1 }]];
        let targets = grid.targets(&truth, Some(4), &mut Stream::new(0, "test"), Device::Cpu);
        let (anchors, classes) = targets.classes.unwrap();
        let classes = Vec::<i64>::try_from(classes).unwrap();
        let of = |label: i64| classes.iter().filter(|&&c| c == label).count();
        assert!(of(1) > 3 && of(1) == of(4) && of(1) + of(4) == classes.len());
        let overlap = Vec::<f32>::try_from(targets.iou.reshape([-1]).index_select(0, &anchors)).unwrap();
        assert!(overlap.iter().zip(&classes).all(|(o, &c)| if c == 1 { *o > 0.6 } else { *o < 0.3 }));
    }
}
