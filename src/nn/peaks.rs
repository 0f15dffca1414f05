//! The largest floating-point rate of a device, measured: a large matrix product.

use std::time::Instant;

use tch::{Cuda, Device, Kind, Tensor};

use crate::profile::Metric;
use crate::profile::metric::{Scope, Unit};

/// Timed products; the best one counts, after one that is not timed.
const REPEATS: usize = 6;

/// FLOP per second of a float32 product of square matrices on `device`, with the threads that libtorch has.
pub fn flops(device: Device) -> Metric {
    let (side, scope) = if device.is_cuda() { (8192i64, Scope::Device) } else { (2048, Scope::Host) };
    let random = || Tensor::randn([side, side], (Kind::Float, device));
    let (a, b) = (random(), random());
    let product = || {
        let started = Instant::now();
        let _c = a.matmul(&b);
        if let Device::Cuda(index) = device {
            Cuda::synchronize(index as i64);
        }
        started.elapsed().as_secs_f64()
    };
    product();
    let best = (0..REPEATS).map(|_| product()).fold(f64::INFINITY, f64::min);
    let threads = if device.is_cuda() { String::new() } else { format!(" on {} threads", tch::get_num_threads()) };
    let source = format!("float32 matrix product of {side} x {side}{threads}, the best of {REPEATS}");
    Metric::measured(2.0 * (side as f64).powi(3) / best, Unit::FlopPerSecond, scope, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_makes_a_billion_operations_a_second_and_not_a_quadrillion() {
        let metric = flops(Device::Cpu);
        assert!((1e9..1e15).contains(&metric.value().unwrap()), "{metric:?}");
    }
}
