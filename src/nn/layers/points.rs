//! Points of a feature pyramid and the instances they answer for (ActionFormer; FCOS over time).

use tch::{Device, Tensor};

use super::masked::Mask;
use crate::config::points::Points;
use crate::data::windows::CellInstance;
use crate::nn::transfer;

/// A level of the pyramid; its points lie at 0, stride, 2 · stride … cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Cells between points.
    pub stride: usize,
    /// Least and largest distance to the farther boundary that the level regresses, in cells, both included.
    pub range: (f32, f32),
}

/// The levels of a pyramid.
pub fn levels(points: &Points) -> Vec<Level> {
    let level = |(l, range): (usize, (f64, f64))| Level { stride: 1 << l, range: (range.0 as f32, range.1 as f32) };
    points.ranges().into_iter().enumerate().map(level).collect()
}

/// What the points of a batch shall say. P counts the points of all levels in level order.
pub struct Targets {
    /// Classes by point, `[B, P, C]` of 0 and 1, padding included, not smoothed.
    pub classes: Tensor,
    /// The points that answer for an instance and are no padding.
    pub positives: Vec<Positive>,
}

/// A point that answers for an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Positive {
    /// Input of the batch.
    pub input: usize,
    /// Its place in `[B · P]`.
    pub row: i64,
    /// Level.
    pub level: usize,
    /// Its cell.
    pub cell: f32,
    /// Distances to start and end of its shortest instance, in strides.
    pub offsets: [f32; 2],
}

impl Targets {
    /// Rows of the positives in `[B · P, …]`.
    pub fn rows(&self, device: Device) -> Tensor {
        transfer::send_slice(&self.positives.iter().map(|p| p.row).collect::<Vec<_>>(), &[-1], device)
    }

    /// Offsets of the positives, `[N, 2]` in strides.
    pub fn offsets(&self, device: Device) -> Tensor {
        let flat: Vec<f32> = self.positives.iter().flat_map(|p| p.offsets).collect();
        transfer::send_slice(&flat, &[-1, 2], device)
    }
}

/// Which instances the points answer for.
pub struct Assigner {
    /// Levels of the pyramid.
    pub levels: Vec<Level>,
    /// Points within this many strides of an instance's centre answer for it.
    pub radius: f32,
    /// Classes.
    pub classes: usize,
}

/// An instance in single precision, as the authors compare it.
#[derive(Clone, Copy)]
struct Span {
    start: f32,
    end: f32,
    label: usize,
}

impl Assigner {
    /// Number of points of an input of `time` cells.
    pub fn points(&self, time: usize) -> usize {
        self.levels.iter().map(|l| time / l.stride).sum()
    }

    /// The targets of inputs of `time` cells. A point answers for the shortest instance whose centre is near and whose
    /// boundaries are in the level's range, and has its class and those of others as short.
    pub fn assign(&self, truth: &[Vec<CellInstance>], valid: &[usize], time: usize, device: Device) -> Targets {
        let points = self.points(time);
        let mut classes = vec![0.0f32; truth.len() * points * self.classes];
        let mut positives = Vec::new();
        for (input, (truth, &valid)) in truth.iter().zip(valid).enumerate() {
            let spans: Vec<Span> = truth.iter().map(|i| Span { start: i.start as f32, end: i.end as f32, label: i.label }).collect();
            let mut row = input * points;
            for (index, level) in self.levels.iter().enumerate() {
                for point in 0..time / level.stride {
                    let cell = (point * level.stride) as f32;
                    let classes = &mut classes[row * self.classes..][..self.classes];
                    if let Some(span) = self.answer(level, cell, &spans, classes)
                        && point * level.stride < valid
                    {
                        let stride = level.stride as f32;
                        let offsets = [(cell - span.start) / stride, (span.end - cell) / stride];
                        positives.push(Positive { input, row: row as i64, level: index, cell, offsets });
                    }
                    row += 1;
                }
            }
        }
        let shape = [truth.len() as i64, points as i64, self.classes as i64];
        Targets { classes: transfer::send_slice(&classes, &shape, device), positives }
    }

    /// The instance that a point answers for, its classes entered.
    fn answer(&self, level: &Level, cell: f32, spans: &[Span], classes: &mut [f32]) -> Option<Span> {
        let reach = level.stride as f32 * self.radius;
        let candidate = |span: &&Span| {
            let centre = 0.5 * (span.start + span.end);
            let (low, high) = ((centre - reach).max(span.start), (centre + reach).min(span.end));
            let farther = (cell - span.start).max(span.end - cell);
            (cell - low).min(high - cell) > 0.0 && farther >= level.range.0 && farther <= level.range.1
        };
        let length = |span: &Span| span.end - span.start;
        let shortest = spans.iter().filter(candidate).copied().reduce(|a, b| if length(&b) < length(&a) { b } else { a })?;
        for span in spans.iter().filter(candidate).filter(|span| length(span) <= length(&shortest) + 1e-3) {
            classes[span.label] = 1.0;
        }
        Some(shortest)
    }
}

/// `[B, P, 1]` of ones and zeros: the points that are no padding. `None` when all are.
pub fn valid_points(masks: &[Mask]) -> Option<Tensor> {
    if masks.iter().all(Mask::is_whole) {
        return None;
    }
    Some(Tensor::cat(&masks.iter().map(|m| m.tensor.transpose(1, 2)).collect::<Vec<_>>(), 1))
}

/// Outputs of all levels, `[B, C, T_l]` each, as rows of points `[B, P, C]`.
pub fn rows(levels: &[Tensor]) -> Tensor {
    Tensor::cat(&levels.iter().map(|t| t.transpose(1, 2)).collect::<Vec<_>>(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_answer_for_the_shortest_near_instance_in_their_range() {
        let levels = vec![Level { stride: 1, range: (0.0, 4.0) }, Level { stride: 2, range: (4.0, 10_000.0) }];
        let assigner = Assigner { levels, radius: 1.5, classes: 3 };
        let instance = |start, end, label| CellInstance { start, end, label };
        let truth = [vec![instance(2.5, 5.5, 0), instance(2.5, 5.5, 2), instance(1.0, 15.0, 1)], vec![instance(6.5, 9.5, 1)]];
        let targets = assigner.assign(&truth, &[16, 8], 16, Device::Cpu);
        assert_eq!(targets.classes.size(), [2, 24, 3]);
        let of = |input: usize| targets.positives.iter().filter(move |p| p.input == input).map(|p| (p.level, p.cell)).collect::<Vec<_>>();
        // The centre 4 has the cells 3 to 5 of the first level; the long one's centre 8 the points 6, 8 and 10 of the second.
        assert_eq!(of(0), [(0, 3.0), (0, 4.0), (0, 5.0), (1, 6.0), (1, 8.0), (1, 10.0)]);
        // Cells 8 and 9 are padding: they have classes, but do not count.
        assert_eq!(of(1), [(0, 7.0)]);
        let classes = |row: i64| Vec::<f32>::try_from(targets.classes.get(0).get(row)).unwrap();
        assert_eq!((classes(4), classes(8)), (vec![1.0, 0.0, 1.0], vec![0.0; 3]));
        assert_eq!(classes(16 + 4), [0.0, 1.0, 0.0]);
        let long = targets.positives.iter().find(|p| p.level == 1).unwrap();
        assert_eq!(long.offsets, [2.5, 4.5]);
    }
}
