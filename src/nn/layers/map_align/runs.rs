//! SGAlign on the CPU.
//!
//! An anchor's runs move with its start, so anchors of one duration share them except where they leave the input. Both
//! directions work on tiles of [`LANES`] outputs, `[bins, T, LANES]`, of which the anchors of one duration in turn read (or
//! write) a slowly moving part. Every sum has a fixed order, whatever the number of threads.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::super::roi_align::{floats, floats_mut, plan_box};
use super::matrix::Entries;

/// Outputs that are summed together, in registers.
const LANES: usize = 64;

type Lanes = [f32; LANES];

/// Where the anchors of a map read from.
pub(super) struct Runs {
    time: usize,
    durations: usize,
    bins: usize,
    /// Runs of every anchor, `[D, T]`: `first..first + bins` of `runs`, one per bin.
    first: Vec<u32>,
    runs: Vec<Run>,
    weights: Vec<f32>,
}

/// A bin's sum: consecutive rows of a tile.
#[derive(Clone, Copy)]
struct Run {
    /// First row minus the anchor's start, with the bin's place in the tile.
    row: i32,
    at: u32,
    len: u32,
}

impl Runs {
    pub(super) fn new(time: usize, durations: usize, bins: &[usize]) -> Self {
        let mut plan =
            Self { time, durations, bins: bins.iter().sum(), first: vec![0; durations * time], runs: Vec::new(), weights: Vec::new() };
        let outside = plan.add(bins, 0, (0.0, 0.0));
        for d in 0..durations {
            let mut common = None;
            for start in 0..time {
                let index = d * time + start;
                if start + d >= time {
                    plan.first[index] = outside;
                    continue;
                }
                let reach = 0.5 * (d + 1) as f32;
                let (low, high) = (start as f32 - reach, (start + d) as f32 + reach);
                plan.first[index] = if low >= 0.0 && high <= (time - 1) as f32 {
                    *common.get_or_insert_with(|| plan.add(bins, start, (low, high)))
                } else {
                    plan.add(bins, start, (low, high))
                };
            }
        }
        plan
    }

    fn add(&mut self, bins: &[usize], start: usize, span: (f32, f32)) -> u32 {
        let first = self.runs.len() as u32;
        let mut bin = 0;
        for &group in bins {
            let (runs, weights) = plan_box(self.time, group, span);
            for run in runs {
                let row = (bin * self.time) as i32 + run.cell as i32 - start as i32;
                self.runs.push(Run { row, at: run.at + self.weights.len() as u32, len: run.len });
                bin += 1;
            }
            self.weights.extend(weights);
        }
        first
    }

    pub(super) fn forward(&self, products: &Tensor, bias: &Tensor) -> Tensor {
        let (batch, outputs) = (products.size()[0] as usize, bias.size()[0] as usize);
        let (source, bias) = (products.contiguous(), bias.contiguous());
        let shape = [batch, self.durations, self.time, outputs].map(|n| n as i64);
        let result = Tensor::empty(shape, (Kind::Float, Device::Cpu));
        let tiles = self.pack(floats(&source), outputs);
        let per_input = tiles.len() / batch;
        let bias = floats(&bias);
        floats_mut(&result).par_chunks_mut(self.time * outputs).enumerate().for_each(|(index, rows)| {
            let (input, d) = (index / self.durations, index % self.durations);
            for (block, tile) in tiles[input * per_input..][..per_input].chunks_exact(self.bins * self.time).enumerate() {
                sum_anchors(self, d, tile, &bias[block * LANES..], outputs, &mut rows[block * LANES..]);
            }
        });
        result
    }

    pub(super) fn backward(&self, output: &Tensor, gradient: &Tensor) -> (Tensor, Tensor) {
        let (batch, outputs) = (output.size()[0] as usize, output.size()[3] as usize);
        let (output, gradient) = (output.contiguous(), gradient.contiguous());
        let (output, gradient) = (floats(&output), floats(&gradient));
        let per_input = self.durations * self.time * outputs;
        let blocks = outputs.div_ceil(LANES);
        let mut tiles = vec![[0.0; LANES]; batch * blocks * self.bins * self.time];
        let of_bias: Vec<Lanes> = tiles
            .par_chunks_mut(self.bins * self.time)
            .enumerate()
            .map(|(index, tile)| {
                let (input, block) = (index / blocks, index % blocks);
                let part = input * per_input + block * LANES..(input + 1) * per_input;
                spread_anchors(self, &output[part.clone()], &gradient[part], outputs, tile)
            })
            .collect();
        let shape = [batch, self.time, self.bins * outputs].map(|n| n as i64);
        let of_products = Tensor::empty(shape, (Kind::Float, Device::Cpu));
        self.unpack(&tiles, floats_mut(&of_products), outputs);
        let mut bias = vec![0.0; blocks * LANES];
        for (index, sums) in of_bias.iter().enumerate() {
            bias[index % blocks * LANES..].iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        (of_products, Tensor::from_slice(&bias[..outputs]))
    }

    /// The same sums as a matrix over the cells of all bins, `[D * T, bins * T]`.
    pub(super) fn entries(&self) -> Entries {
        let mut entries = Entries::default();
        for (index, &first) in self.first.iter().enumerate() {
            let (d, start) = (index / self.time, index % self.time);
            let start = if start + d < self.time { start as i32 } else { 0 };
            for run in &self.runs[first as usize..][..self.bins] {
                for (k, &weight) in self.weights[run.at as usize..][..run.len as usize].iter().enumerate() {
                    entries.rows.push(index as i64);
                    entries.columns.push(i64::from(run.row + start) + k as i64);
                    entries.weights.push(weight);
                }
            }
        }
        entries
    }

    /// `[B, T, bins * O]` → `[B, blocks, bins, T]` of lanes, zeros in those beyond O.
    fn pack(&self, products: &[f32], outputs: usize) -> Vec<Lanes> {
        let blocks = outputs.div_ceil(LANES);
        let per_input = self.time * self.bins * outputs;
        let mut tiles = vec![[0.0; LANES]; products.len() / per_input * blocks * self.bins * self.time];
        tiles.par_chunks_mut(self.time).enumerate().for_each(|(index, rows)| {
            let (input, block, bin) = (index / self.bins / blocks, index / self.bins % blocks, index % self.bins);
            let width = LANES.min(outputs - block * LANES);
            for (t, row) in rows.iter_mut().enumerate() {
                let at = input * per_input + (t * self.bins + bin) * outputs + block * LANES;
                row[..width].copy_from_slice(&products[at..at + width]);
            }
        });
        tiles
    }

    /// The inverse of [`Runs::pack`].
    fn unpack(&self, tiles: &[Lanes], products: &mut [f32], outputs: usize) {
        let blocks = outputs.div_ceil(LANES);
        products.par_chunks_mut(self.bins * outputs).enumerate().for_each(|(index, row)| {
            let (input, t) = (index / self.time, index % self.time);
            for (place, part) in row.chunks_mut(outputs).enumerate() {
                for (block, lanes) in part.chunks_mut(LANES).enumerate() {
                    let tile = (input * blocks + block) * self.bins + place;
                    lanes.copy_from_slice(&tiles[tile * self.time + t][..lanes.len()]);
                }
            }
        });
    }
}

/// Defines a function compiled for any processor, for AVX2 and for AVX-512, which calls the best one. All of them round
/// alike: nothing fuses a multiplication with an addition.
macro_rules! on_widest_registers {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        fn $name($($arg: $kind),*) $(-> $result)? {
            #[inline(always)]
            fn portable($($arg: $kind),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($arg: $kind),*) $(-> $result)? {
                    portable($($arg),*)
                }

                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $kind),*) $(-> $result)? {
                    portable($($arg),*)
                }

                if is_x86_feature_detected!("avx512f") {
                    // SAFETY: the processor has it.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has it.
                    return unsafe { avx2($($arg),*) };
                }
            }
            portable($($arg),*)
        }
    };
}

on_widest_registers! {
    /// One block of the outputs of one duration's anchors. `rows` begins with the block in a table of rows of `outputs`.
    fn sum_anchors(plan: &Runs, d: usize, tile: &[Lanes], bias: &[f32], outputs: usize, rows: &mut [f32]) {
        let width = LANES.min(bias.len());
        let first = &plan.first[d * plan.time..][..plan.time];
        let inside = plan.time - d.min(plan.time);
        let mut last: Lanes = [0.0; LANES];
        for (start, (row, &first)) in rows.chunks_mut(outputs).zip(first).enumerate() {
            // Anchors that end outside of the input are all alike.
            if start <= inside {
                last = sum_runs(plan, first, if start < inside { start } else { 0 }, tile);
            }
            for ((value, sum), bias) in row[..width].iter_mut().zip(&last).zip(bias) {
                *value = (sum + bias).max(0.0);
            }
        }
    }
}

#[inline(always)]
fn sum_runs(plan: &Runs, first: u32, start: usize, tile: &[Lanes]) -> Lanes {
    let mut sums = [0.0; LANES];
    for run in &plan.runs[first as usize..][..plan.bins] {
        let weights = &plan.weights[run.at as usize..][..run.len as usize];
        let rows = &tile[(run.row + start as i32) as usize..][..run.len as usize];
        for (row, &weight) in rows.iter().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
    }
    sums
}

on_widest_registers! {
    /// Adds the gradients of one block of all anchors of an input to its tile; returns their sum. `output` and `gradient`
    /// begin with the block in tables of rows of `outputs`.
    fn spread_anchors(plan: &Runs, output: &[f32], gradient: &[f32], outputs: usize, tile: &mut [Lanes]) -> Lanes {
        let (mut all, mut outside) = ([0.0; LANES], [0.0; LANES]);
        let mut outside_first = None;
        for (index, (output, gradient)) in output.chunks(outputs).zip(gradient.chunks(outputs)).enumerate() {
            let (d, start) = (index / plan.time, index % plan.time);
            let mut passed = [0.0; LANES];
            for ((passed, &output), &gradient) in passed.iter_mut().zip(output).zip(gradient) {
                // The derivative of ReLU.
                *passed = if output > 0.0 { gradient } else { 0.0 };
            }
            all.iter_mut().zip(&passed).for_each(|(sum, value)| *sum += value);
            if start + d < plan.time {
                spread_runs(plan, plan.first[index], start, &passed, tile);
            } else {
                outside.iter_mut().zip(&passed).for_each(|(sum, value)| *sum += value);
                outside_first = Some(plan.first[index]);
            }
        }
        if let Some(first) = outside_first {
            spread_runs(plan, first, 0, &outside, tile);
        }
        all
    }
}

#[inline(always)]
fn spread_runs(plan: &Runs, first: u32, start: usize, passed: &Lanes, tile: &mut [Lanes]) {
    for run in &plan.runs[first as usize..][..plan.bins] {
        let weights = &plan.weights[run.at as usize..][..run.len as usize];
        let rows = &mut tile[(run.row + start as i32) as usize..][..run.len as usize];
        for (row, &weight) in rows.iter_mut().zip(weights) {
            for (sum, value) in row.iter_mut().zip(passed) {
                *sum += weight * value;
            }
        }
    }
}
