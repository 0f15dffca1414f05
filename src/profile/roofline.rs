//! What a machine can do at most, and how far below that a computation stays.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::compute::Compute;
use super::document::Peaks;
use super::machine::Machine;
use super::metric::{Finding, Metric, Scope, Unit};

/// Peaks of a machine and the computations below them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Roofline {
    /// Largest floating-point rate (a matrix product), FLOP per second.
    pub peak_flops: Metric,
    /// Largest memory bandwidth (a triad), bytes per second.
    pub peak_bandwidth: Metric,
    /// Computations.
    pub points: Vec<Point>,
}

/// One computation on the roofline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// "training step", "detection".
    pub name: String,
    /// FLOP per byte.
    pub intensity: Metric,
    /// FLOP per second reached.
    pub flops: Metric,
}

impl Roofline {
    /// Computations with the seconds each took (a median), below the peaks of the machine.
    pub fn new(peaks: Peaks, computations: &[(&Compute, Option<f64>)]) -> Self {
        let point = |&(compute, seconds): &(&Compute, Option<f64>)| {
            let seconds = seconds.filter(|s| *s > 0.0)?;
            let source = "FLOP by formula, bytes of weights and activations moved once";
            let intensity = Finding::Estimated { value: compute.intensity()?, source: source.into() };
            Some(Point {
                name: compute.what.clone(),
                intensity: Metric { unit: Unit::Ratio, scope: Scope::ProcessTree, finding: intensity },
                flops: Metric::derived(
                    compute.flop() as f64 / seconds,
                    Unit::FlopPerSecond,
                    Scope::ProcessTree,
                    "FLOP by formula, median time",
                ),
            })
        };
        let points = computations.iter().filter_map(point).collect();
        Self { peak_flops: peaks.flops, peak_bandwidth: peaks.bandwidth, points }
    }

    /// The most FLOP per second possible at an intensity; `None` when a peak is not known.
    pub fn roof(&self, intensity: f64) -> Option<f64> {
        Some(self.peak_flops.value()?.min(intensity * self.peak_bandwidth.value()?))
    }
}

/// Timed passes over the arrays; the best one counts.
const REPEATS: usize = 7;

/// The most bytes of the three arrays together: a machine of many cores can have a cache of half a gigabyte.
const MOST: usize = 2 << 30;

/// Bytes per second of a triad a = b + 3c on `threads` threads, counted as STREAM counts: 24 bytes per element. Where stores
/// fetch a line before they write it, 32 bytes move.
pub fn bandwidth(threads: usize) -> Metric {
    let cache = last_level_cache();
    let wanted = 3 * 4 * cache.unwrap_or(32 << 20);
    let free = Machine::here().available_bytes as usize / 4;
    let total = wanted.clamp(96 << 20, MOST).min(free.max(48 << 20));
    let elements = total / (3 * size_of::<f64>() * threads);
    let best = triad(threads, elements);
    let mib = |bytes: usize| bytes >> 20;
    let cache = match cache {
        Some(cache) if total < wanted => format!(", which a cache of {} MiB may serve in part", mib(cache)),
        Some(cache) => format!(", no part of which stays in a cache of {} MiB", mib(cache)),
        None => String::new(),
    };
    let source = format!(
        "triad on 3 arrays of {} MiB{cache}, {threads} threads, the best of {REPEATS}; 24 bytes per element (32 move where stores fetch first)",
        mib(total / 3)
    );
    let bytes = (24 * elements * threads) as f64;
    Metric::measured(bytes / best, Unit::BytesPerSecond, Scope::Host, source)
}

/// Seconds of the fastest pass over `elements` per thread. Every thread touches its part first, so that it lies near to it.
fn triad(threads: usize, elements: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let pass = |a: &mut [f64], b: &[f64], c: &[f64]| {
        for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
            *a = *b + 3.0 * *c;
        }
    };
    let work = || {
        let (mut a, b, c) = (vec![1.0; elements], vec![2.0; elements], vec![0.5; elements]);
        let one = |_| {
            barrier.wait();
            let started = Instant::now();
            pass(&mut a, &b, &c);
            // The last thread ends the pass.
            barrier.wait();
            let seconds = started.elapsed().as_secs_f64();
            black_box(&mut a);
            seconds
        };
        (0..REPEATS).map(one).fold(f64::INFINITY, f64::min)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        // The slowest view of a pass is the whole of it.
        threads.into_iter().map(|thread| thread.join().expect("a triad does not panic")).fold(0.0, f64::max)
    })
}

/// Bytes of the largest cache that the first core can use, where the system says so.
fn last_level_cache() -> Option<usize> {
    let size = |index: usize| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok().map(|kib| kib << 10)
    };
    (0..8).filter_map(size).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_moves_between_a_hundred_megabytes_and_ten_terabytes_a_second() {
        let elements = 1 << 20;
        let rate = (24 * elements * 2) as f64 / triad(2, elements);
        assert!((1e8..1e13).contains(&rate), "{rate}");
    }

    #[test]
    fn the_roof_is_the_lower_of_the_two() {
        let metric = |value, unit| Metric::measured(value, unit, Scope::Host, "a test");
        let roofline = Roofline {
            peak_flops: metric(100.0, Unit::FlopPerSecond),
            peak_bandwidth: metric(20.0, Unit::BytesPerSecond),
            points: Vec::new(),
        };
        assert_eq!((roofline.roof(2.0), roofline.roof(50.0)), (Some(40.0), Some(100.0)));
        let unknown = Metric::unavailable(Unit::BytesPerSecond, Scope::Host, "a test");
        assert_eq!(Roofline { peak_bandwidth: unknown, ..roofline }.roof(2.0), None);
    }
}
