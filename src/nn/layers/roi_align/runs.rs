//! RoI align on the CPU as a sparse interpolation, on all cores.
//!
//! Every bin is a short run of weights over consecutive cells, so the operator is a sparse matrix with one run per row. The
//! forward product writes each output once; the backward product walks the same runs per video, so no two threads add to
//! the same cell and the sum does not depend on the number of threads.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::Precision;
use crate::nn::precision::float;

/// Where bins read from: one run of weights per (box, bin), for the boxes of one batch.
pub(super) struct Runs {
    batch: usize,
    time: usize,
    bins: usize,
    /// Boxes of video `b` are rows `first_box[b]..first_box[b + 1]`.
    first_box: Vec<usize>,
    runs: Vec<Run>,
    weights: Vec<f32>,
}

/// Where one bin reads from.
#[derive(Clone, Copy)]
pub(in super::super) struct Run {
    /// First cell read.
    pub cell: u32,
    /// Weights `at..at + len` of the weight list.
    pub at: u32,
    /// How many.
    pub len: u32,
}

impl Runs {
    /// Plans the alignment of `boxes[b]` = (start, end) in cells on features of `time` cells.
    /// `aligned` shifts coordinates by half a cell and lifts the minimum length, as in torchvision.
    pub(super) fn new(boxes: &[&[(f32, f32)]], time: usize, bins: usize, aligned: bool) -> Self {
        let per_video: Vec<(Vec<Run>, Vec<f32>)> = boxes
            .par_iter()
            .map(|boxes| {
                let mut plan = Planner {
                    time,
                    bins,
                    runs: Vec::with_capacity(boxes.len() * bins),
                    weights: Vec::with_capacity(boxes.len() * bins * 4),
                };
                for &(start, end) in *boxes {
                    plan.add_box(start, end, aligned);
                }
                (plan.runs, plan.weights)
            })
            .collect();
        let mut first_box = vec![0];
        let (mut runs, mut weights) = (Vec::new(), Vec::new());
        for (boxes, (video_runs, video_weights)) in boxes.iter().zip(per_video) {
            first_box.push(first_box[first_box.len() - 1] + boxes.len());
            let offset = weights.len() as u32;
            runs.extend(video_runs.into_iter().map(|run| Run { at: run.at + offset, ..run }));
            weights.extend(video_weights);
        }
        Self { batch: boxes.len(), time, bins, first_box, runs, weights }
    }

    /// Number of boxes of all videos.
    fn boxes(&self) -> usize {
        self.first_box[self.batch]
    }

    /// Aligned features `[boxes, R, C]` of `features` `[B, T, C]` (float, contiguous), outside autograd.
    pub(super) fn forward(&self, features: &Tensor, precision: Precision) -> Tensor {
        let channels = self.check(features);
        let shape = [self.boxes() as i64, self.bins as i64, channels as i64];
        let features = float(features).contiguous();
        let table = floats(&features);
        match precision {
            Precision::Float => {
                let output = Tensor::empty(shape, (Kind::Float, Device::Cpu));
                self.fill(floats_mut(&output), table, channels, |row, sums| row.copy_from_slice(sums));
                output
            }
            Precision::Bfloat16 => {
                let output = Tensor::empty(shape, (Kind::BFloat16, Device::Cpu));
                self.fill(halves_mut(&output), table, channels, |row, sums| {
                    for (half, sum) in row.iter_mut().zip(sums) {
                        *half = to_bfloat16(*sum);
                    }
                });
                output
            }
        }
    }

    /// Gradient `[B, T, C]` of the features from the gradient `[boxes, R, C]` of the aligned features.
    pub(super) fn backward(&self, gradient: &Tensor) -> Tensor {
        let channels = gradient.size()[2] as usize;
        let result = Tensor::zeros([self.batch as i64, self.time as i64, channels as i64], (Kind::Float, Device::Cpu));
        let gradient = gradient.contiguous();
        let videos = floats_mut(&result).par_chunks_mut(self.time * channels).enumerate();
        match gradient.kind() {
            Kind::BFloat16 => {
                let rows = halves(&gradient);
                videos.for_each(|(video, table)| {
                    let mut row = vec![0.0; channels];
                    self.scatter(video, table, channels, |at| {
                        for (value, half) in row.iter_mut().zip(&rows[at..at + channels]) {
                            *value = f32::from_bits(u32::from(*half) << 16);
                        }
                        // The buffer lives as long as the call that reads it.
                        &raw const row[..]
                    });
                });
            }
            _ => {
                let rows = floats(&gradient);
                videos.for_each(|(video, table)| self.scatter(video, table, channels, |at| &raw const rows[at..at + channels]));
            }
        }
        result
    }

    fn check(&self, features: &Tensor) -> usize {
        let size = features.size();
        assert_eq!(&size[..2], &[self.batch as i64, self.time as i64], "features must be [B, T, C] as planned");
        size[2] as usize
    }

    /// `output[box, bin, :] = write(sum of weight * features[cell, :])`, parallel over boxes.
    fn fill<T: Send>(&self, output: &mut [T], table: &[f32], channels: usize, write: impl Fn(&mut [T], &[f32]) + Sync) {
        let width = self.bins * channels;
        let video_of = |index: usize| self.first_box.partition_point(|&first| first <= index) - 1;
        output.par_chunks_mut(width * 16).enumerate().for_each(|(chunk, rows)| {
            let mut sums = vec![0.0f32; channels];
            for (offset, rows) in rows.chunks_mut(width).enumerate() {
                let index = chunk * 16 + offset;
                let video = &table[video_of(index) * self.time * channels..][..self.time * channels];
                for (bin, row) in rows.chunks_mut(channels).enumerate() {
                    let run = self.runs[index * self.bins + bin];
                    sums.fill(0.0);
                    for (k, &weight) in self.weights[run.at as usize..][..run.len as usize].iter().enumerate() {
                        add_scaled(&mut sums, weight, &video[(run.cell as usize + k) * channels..][..channels]);
                    }
                    write(row, &sums);
                }
            }
        });
    }

    /// Adds the rows of one video's boxes to its table; `row_at` yields the gradient row that begins at a flat index.
    fn scatter(&self, video: usize, table: &mut [f32], channels: usize, mut row_at: impl FnMut(usize) -> *const [f32]) {
        for row in self.first_box[video] * self.bins..self.first_box[video + 1] * self.bins {
            let run = self.runs[row];
            if run.len == 0 {
                continue;
            }
            // SAFETY: `row_at` returns a pointer to a live slice of `channels` values that nothing writes until its next call.
            let gradient = unsafe { &*row_at(row * channels) };
            for (k, &weight) in self.weights[run.at as usize..][..run.len as usize].iter().enumerate() {
                add_scaled(&mut table[(run.cell as usize + k) * channels..][..channels], weight, gradient);
            }
        }
    }

    /// The same product as weighted bags of table rows: differentiable.
    pub(super) fn forward_by_bags(&self, features: &Tensor) -> Tensor {
        let channels = features.size()[2];
        let (mut cells, mut offsets) = (Vec::with_capacity(self.weights.len()), Vec::with_capacity(self.runs.len()));
        for (video, pair) in self.first_box.windows(2).enumerate() {
            for run in &self.runs[pair[0] * self.bins..pair[1] * self.bins] {
                offsets.push(cells.len() as i64);
                cells.extend((0..run.len).map(|k| (video * self.time) as i64 + i64::from(run.cell + k)));
            }
        }
        let (bags, ..) = Tensor::embedding_bag(
            &float(features).reshape([-1, channels]),
            &Tensor::from_slice(&cells),
            &Tensor::from_slice(&offsets),
            false,
            0,
            false,
            Some(Tensor::from_slice(&self.weights)),
            false,
        );
        bags.view([self.boxes() as i64, self.bins as i64, channels])
    }
}

/// The runs of one box that is not aligned, bin by bin, and their weights.
pub(in super::super) fn plan_box(time: usize, bins: usize, (start, end): (f32, f32)) -> (Vec<Run>, Vec<f32>) {
    let mut plan = Planner { time, bins, runs: Vec::with_capacity(bins), weights: Vec::new() };
    plan.add_box(start, end, false);
    (plan.runs, plan.weights)
}

struct Planner {
    time: usize,
    bins: usize,
    runs: Vec<Run>,
    weights: Vec<f32>,
}

impl Planner {
    fn add_box(&mut self, start: f32, end: f32, aligned: bool) {
        let shift = if aligned { 0.5 } else { 0.0 };
        let (start, end) = (start - shift, end - shift);
        let mut length = end - start;
        if !aligned {
            length = length.max(1.0);
        }
        let bin = length / self.bins as f32;
        // A box far longer than the features (a diverging regression) reads zeros almost everywhere; bound its work.
        let samples = bin.ceil().clamp(0.0, 4096.0) as usize;
        let last = self.time - 1;
        for r in 0..self.bins {
            let at = self.weights.len();
            let mut first_cell = 0;
            for i in 0..samples {
                let y = start + r as f32 * bin + (i as f32 + 0.5) * bin / samples as f32;
                if !(y >= -1.0 && y <= self.time as f32) {
                    continue;
                }
                let y = y.max(0.0);
                let low = (y as usize).min(last);
                let share = if low == last { 0.0 } else { y - low as f32 };
                if self.weights.len() == at {
                    first_cell = low;
                }
                let needed = at + low - first_cell + if share > 0.0 { 2 } else { 1 };
                if self.weights.len() < needed {
                    self.weights.resize(needed, 0.0);
                }
                self.weights[at + low - first_cell] += 1.0 - share;
                if share > 0.0 {
                    self.weights[at + low - first_cell + 1] += share;
                }
            }
            for weight in &mut self.weights[at..] {
                *weight /= samples as f32;
            }
            self.runs.push(Run { cell: first_cell as u32, at: at as u32, len: (self.weights.len() - at) as u32 });
        }
    }
}

#[inline(always)]
fn add_scaled_portable(sum: &mut [f32], weight: f32, row: &[f32]) {
    for (s, v) in sum.iter_mut().zip(row) {
        *s += weight * v;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_scaled_avx2(sum: &mut [f32], weight: f32, row: &[f32]) {
    add_scaled_portable(sum, weight, row);
}

/// `sum += weight * row`; the same rounding on every processor (no fused multiply-add).
#[inline]
fn add_scaled(sum: &mut [f32], weight: f32, row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { add_scaled_avx2(sum, weight, row) };
    }
    add_scaled_portable(sum, weight, row);
}

/// Rounds to nearest even; the input is finite.
fn to_bfloat16(value: f32) -> u16 {
    let bits = value.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// The values of a float tensor.
pub(in super::super) fn floats(tensor: &Tensor) -> &[f32] {
    assert!(tensor.kind() == Kind::Float && tensor.is_contiguous() && tensor.device() == Device::Cpu);
    // SAFETY: a contiguous float tensor on the CPU is that many floats, alive as long as the borrow.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

fn halves(tensor: &Tensor) -> &[u16] {
    assert!(tensor.kind() == Kind::BFloat16 && tensor.is_contiguous() && tensor.device() == Device::Cpu);
    // SAFETY: as for floats, two bytes each.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// The values of a float tensor that the caller has just made and holds the only handle of.
#[expect(clippy::mut_from_ref, reason = "the tensor was just made by the caller, who holds its only handle")]
pub(in super::super) fn floats_mut(tensor: &Tensor) -> &mut [f32] {
    assert!(tensor.kind() == Kind::Float && tensor.is_contiguous() && tensor.device() == Device::Cpu);
    // SAFETY: as for floats; the caller holds the only handle.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

#[expect(clippy::mut_from_ref, reason = "the tensor was just made by the caller, who holds its only handle")]
fn halves_mut(tensor: &Tensor) -> &mut [u16] {
    assert!(tensor.kind() == Kind::BFloat16 && tensor.is_contiguous() && tensor.device() == Device::Cpu);
    // SAFETY: as for floats, two bytes each; the caller holds the only handle.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}
