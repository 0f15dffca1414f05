//! What a batch is trained towards: tIoU of every anchor, boundary curves, and the anchors the class head sees.

use tch::{Device, Tensor};

use crate::base::Stream;
use crate::data::windows::CellInstance;
use crate::nn::layers::boundaries::boundary_curve;
use crate::nn::transfer;

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
    /// With balancing, weights of the anchors by which every instance counts alike, `[B, D, T]`.
    pub weights: Option<Tensor>,
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

/// What targets are to be made.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Classes of the class head.
    pub classes: Option<usize>,
    /// With balancing, the tIoU above which an anchor is positive.
    pub balance: Option<f64>,
}

/// The best instance of every anchor of an input, `[D, T]`.
struct Overlaps {
    /// tIoU.
    best: Vec<f32>,
    /// Which instance, where the tIoU is above 0.
    owner: Vec<usize>,
}

/// tIoU above which an anchor is of its instance's class.
const OF_CLASS: f32 = 0.6;
/// tIoU below which it is background.
const BACKGROUND: f32 = 0.3;
/// With balancing, anchors per instance that the class head sees, and as many of the background.
const PER_INSTANCE: usize = 16;

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

    fn overlaps(self, truth: &[CellInstance]) -> Overlaps {
        let (mut best, mut owner) = (vec![0.0; self.durations * self.time], vec![0; self.durations * self.time]);
        for (which, instance) in truth.iter().enumerate() {
            let length = instance.end - instance.start;
            for d in 0..self.durations.min(self.time) {
                // Only anchors that reach into the instance.
                let first = (instance.start - (d + 1) as f64).floor().max(0.0) as usize;
                let last = (instance.end.ceil().max(0.0) as usize).min(self.time - d);
                for t in first..last {
                    let (start, end) = (t as f64, (t + d + 1) as f64);
                    let common = (end.min(instance.end) - start.max(instance.start)).max(0.0);
                    let overlap = (common / (end - start + length - common)) as f32;
                    let index = d * self.time + t;
                    if overlap > best[index] {
                        (best[index], owner[index]) = (overlap, which);
                    }
                }
            }
        }
        Overlaps { best, owner }
    }

    /// Targets of a batch.
    pub fn targets(self, truth: &[Vec<CellInstance>], wanted: Wanted, rng: &mut Stream, device: Device) -> Targets {
        let overlaps: Vec<Overlaps> = truth.iter().map(|instances| self.overlaps(instances)).collect();
        let (mut start, mut end) = (Vec::new(), Vec::new());
        for instances in truth {
            let curve =
                |boundary: fn(&CellInstance) -> f64| boundary_curve(instances.iter().map(|i| boundary(i) / self.time as f64), self.time);
            start.extend(curve(|i| i.start));
            end.extend(curve(|i| i.end));
        }
        let classes = wanted.classes.and_then(|n| {
            let (anchors, classes) = match wanted.balance {
                Some(_) => self.class_sample_by_instance(truth, &overlaps, n, rng),
                None => self.class_sample(truth, &overlaps, n, rng),
            };
            let tensor = |list: Vec<usize>| transfer::send_slice(&list.into_iter().map(|i| i as i64).collect::<Vec<_>>(), &[-1], device);
            (!anchors.is_empty()).then(|| (tensor(anchors), tensor(classes)))
        });
        let (batch, durations, time) = (truth.len() as i64, self.durations as i64, self.time as i64);
        let tensor = |values: &[f32], shape: &[i64]| transfer::send_slice(values, shape, device);
        let map = [batch, durations, time];
        let iou: Vec<f32> = overlaps.iter().flat_map(|o| o.best.iter().copied()).collect();
        let mut draw = || tensor(&iou.iter().map(|_| rng.uniform_f32()).collect::<Vec<_>>(), &map);
        Targets {
            draws: [draw(), draw()],
            weights: wanted.balance.map(|high| {
                let of_input = |(o, instances): (&Overlaps, &Vec<CellInstance>)| self.weights(o, instances.len(), high as f32);
                tensor(&overlaps.iter().zip(truth).flat_map(of_input).collect::<Vec<_>>(), &map)
            }),
            classes,
            valid: transfer::send(&self.valid(), device),
            start: tensor(&start, &[batch, time]),
            end: tensor(&end, &[batch, time]),
            iou: tensor(&iou, &map),
        }
    }

    fn inside(self, index: usize) -> bool {
        index % self.time + index / self.time < self.time
    }

    /// Weights by which an instance counts 1 among the anchors of high, of middle and of low tIoU, and those without any together
    /// at most 1 per instance, every length alike. By number, the few anchors near a short instance
    /// would be lost among the many near a long one.
    fn weights(self, overlaps: &Overlaps, instances: usize, high: f32) -> Vec<f32> {
        let band = |tiou: f32| [BACKGROUND, high].iter().filter(|&&edge| tiou > edge).count();
        let mut members = vec![[0usize; 3]; instances];
        for (&tiou, &owner) in overlaps.best.iter().zip(&overlaps.owner).filter(|(tiou, _)| **tiou > 0.0) {
            members[owner][band(tiou)] += 1;
        }
        let of_length: Vec<f32> = (0..self.durations)
            .map(|d| {
                let row = d * self.time..(d + 1) * self.time;
                let free = row.filter(|&i| self.inside(i) && overlaps.best[i] == 0.0).count();
                // Lengths are equally likely on a logarithmic scale.
                if free == 0 { 0.0 } else { (1.0 + 1.0 / (d + 1) as f32).ln() / free as f32 }
            })
            .collect();
        let scale = instances as f32 / (self.durations as f32 + 1.0).ln();
        let weight = |index: usize| match overlaps.best[index] {
            0.0 if self.inside(index) => scale * of_length[index / self.time],
            0.0 => 0.0,
            tiou => 1.0 / members[overlaps.owner[index]][band(tiou)] as f32,
        };
        (0..overlaps.best.len()).map(weight).collect()
    }

    /// All anchors that are of a class, and as many of the background: flat indices of `[B, D, T]` and labels.
    fn class_sample(
        self,
        truth: &[Vec<CellInstance>],
        overlaps: &[Overlaps],
        background: usize,
        rng: &mut Stream,
    ) -> (Vec<usize>, Vec<usize>) {
        let (mut anchors, mut classes, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (input, (instances, o)) in truth.iter().zip(overlaps).enumerate() {
            let first = input * self.durations * self.time;
            for (index, (&tiou, &owner)) in o.best.iter().zip(&o.owner).enumerate() {
                if tiou > OF_CLASS {
                    anchors.push(first + index);
                    classes.push(instances[owner].label);
                } else if tiou < BACKGROUND && self.inside(index) {
                    others.push(first + index);
                }
            }
        }
        let wanted = anchors.len().min(others.len());
        anchors.extend(rng.choose(others.len(), wanted).into_iter().map(|i| others[i]));
        classes.resize(anchors.len(), background);
        (anchors, classes)
    }

    /// The same number of anchors for every instance, and as many of the background, whose lengths are equally likely on a
    /// logarithmic scale.
    fn class_sample_by_instance(
        self,
        truth: &[Vec<CellInstance>],
        overlaps: &[Overlaps],
        background: usize,
        rng: &mut Stream,
    ) -> (Vec<usize>, Vec<usize>) {
        let (mut anchors, mut classes) = (Vec::new(), Vec::new());
        for (input, (instances, o)) in truth.iter().zip(overlaps).enumerate() {
            let first = input * self.durations * self.time;
            let mut of_instance = vec![Vec::new(); instances.len()];
            for (index, &owner) in o.owner.iter().enumerate().filter(|(index, _)| o.best[*index] > OF_CLASS) {
                of_instance[owner].push(index);
            }
            for (list, instance) in of_instance.iter().zip(instances).filter(|(list, _)| !list.is_empty()) {
                for _ in 0..PER_INSTANCE {
                    anchors.push(first + list[rng.below(list.len())]);
                    classes.push(instance.label);
                    let length = (self.durations as f64 + 1.0).powf(rng.uniform()).floor().clamp(1.0, self.durations as f64) as usize;
                    let index = (length - 1) * self.time + rng.below(self.time - length + 1);
                    if o.best[index] < BACKGROUND {
                        anchors.push(first + index);
                        classes.push(background);
                    }
                }
            }
        }
        (anchors, classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_that_is_an_instance_has_tiou_one() {
        let grid = Grid { durations: 4, time: 8 };
        let truth = [CellInstance { start: 2.0, end: 5.0, label: 3 }, CellInstance { start: 6.5, end: 7.5, label: 1 }];
        let Overlaps { best, owner } = grid.overlaps(&truth);
        let at = |d: usize, t: usize| d * 8 + t;
        assert_eq!((best[at(2, 2)], owner[at(2, 2)]), (1.0, 0));
        assert_eq!((best[at(1, 6)], owner[at(1, 6)]), (0.5, 1));
        // Before both instances, and after the input.
        assert_eq!((best[at(0, 5)], best[at(3, 5)]), (0.0, 0.0));
        assert!((best[at(3, 1)] - 0.75).abs() < 1e-7);
    }

    #[test]
    fn the_class_head_sees_as_much_background_as_action() {
        let grid = Grid { durations: 8, time: 16 };
        let truth = [vec![CellInstance { start: 3.0, end: 8.0, label: 1 }]];
        let wanted = Wanted { classes: Some(4), balance: None };
        let targets = grid.targets(&truth, wanted, &mut Stream::new(0, "test"), Device::Cpu);
        let (anchors, classes) = targets.classes.unwrap();
        let classes = Vec::<i64>::try_from(classes).unwrap();
        let of = |label: i64| classes.iter().filter(|&&c| c == label).count();
        assert!(of(1) > 3 && of(1) == of(4) && of(1) + of(4) == classes.len());
        let overlap = Vec::<f32>::try_from(targets.iou.reshape([-1]).index_select(0, &anchors)).unwrap();
        assert!(overlap.iter().zip(&classes).all(|(o, &c)| if c == 1 { *o > 0.6 } else { *o < 0.3 }));
    }

    #[test]
    fn with_balancing_a_short_instance_counts_as_much_as_a_long_one() {
        let grid = Grid { durations: 32, time: 64 };
        let truth = [CellInstance { start: 5.0, end: 8.0, label: 0 }, CellInstance { start: 20.0, end: 48.0, label: 1 }];
        let overlaps = grid.overlaps(&truth);
        let weights = grid.weights(&overlaps, 2, 0.7);
        let sum = |keep: &dyn Fn(f32, usize) -> bool| -> f32 {
            let rows = weights.iter().zip(&overlaps.best).zip(&overlaps.owner);
            rows.filter(|((_, tiou), owner)| keep(**tiou, **owner)).map(|((weight, _), _)| weight).sum()
        };
        for owner in 0..2 {
            assert!((sum(&|tiou, o| tiou > 0.7 && o == owner) - 1.0).abs() < 1e-4);
            assert!((sum(&|tiou, o| tiou > 0.3 && tiou <= 0.7 && o == owner) - 1.0).abs() < 1e-4);
        }
        // The longest anchors all meet an instance, so that those lengths have no share.
        assert!((1.5..=2.001).contains(&sum(&|tiou, _| tiou == 0.0)));
        let wanted = Wanted { classes: Some(4), balance: Some(0.7) };
        let targets = grid.targets(&[truth.to_vec()], wanted, &mut Stream::new(0, "test"), Device::Cpu);
        let classes = Vec::<i64>::try_from(targets.classes.unwrap().1).unwrap();
        let of = |label: i64| classes.iter().filter(|&&c| c == label).count();
        assert!(of(0) == 16 && of(1) == 16 && of(4) > 8 && of(4) <= 32);
    }
}
