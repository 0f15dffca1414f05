//! SGAlign: the aligned features of every anchor of a duration-start map, already multiplied by the layer that reads them.
//!
//! The release aligns first and multiplies second: `[B, D * T, bins * C]` aligned features (537 MB per input at the published
//! size) meet a 1×1 convolution that takes 69 of the network's 75 GMACs. Alignment is linear over time and the convolution
//! is linear over channels, so the two commute: every cell is multiplied by the weights of every bin first
//! (`[B, T, bins * O]`, 1 GMAC), then each anchor sums runs of those products. The sum over an anchor's bins is part of the
//! operator, and so are bias and ReLU; what it writes is the layer's output, `[B, D, T, O]`.
//!
//! Anchors that would end after the input all read the box (0, 0), as in the release: their common value is computed once.

mod matrix;
mod runs;

use std::cell::OnceCell;

use tch::{Device, Tensor};

use self::matrix::Matrix;
use self::runs::Runs;
use crate::nn::formulation::Formulation;

/// Where the anchors of a map read from.
pub struct MapAlign {
    runs: Runs,
    shape: [usize; 3],
    /// The same as a matrix, once a device has asked for it: a network stays on one.
    matrix: OnceCell<Matrix>,
}

impl MapAlign {
    /// Anchors of 1 to `durations` cells from every one of `time` cells on. An anchor of d + 1 cells from s on reads from half
    /// its length before s to half its length after s + d, in as many bins as the sum of `bins` says; each of `bins` divides
    /// the whole.
    pub fn new(time: usize, durations: usize, bins: &[usize]) -> Self {
        let shape = [durations, time, bins.iter().sum()];
        Self { runs: Runs::new(time, durations, bins), shape, matrix: OnceCell::new() }
    }

    /// ReLU(`bias` + sum over an anchor's bins) `[B, D, T, O]` of `products` `[B, T, bins * O]` and `bias` `[O]`. Not
    /// differentiable.
    pub fn forward(&self, products: &Tensor, bias: &Tensor) -> Tensor {
        match Formulation::of(products.device()) {
            Formulation::Host => self.runs.forward(products, bias),
            Formulation::Device => self.matrix(products.device()).forward(products, bias),
        }
    }

    /// Gradients of the products and of the bias, from the `output` of [`MapAlign::forward`] and its gradient.
    pub fn backward(&self, output: &Tensor, gradient: &Tensor) -> (Tensor, Tensor) {
        match Formulation::of(output.device()) {
            Formulation::Host => self.runs.backward(output, gradient),
            Formulation::Device => self.matrix(output.device()).backward(output, gradient),
        }
    }

    fn matrix(&self, device: Device) -> &Matrix {
        self.matrix.get_or_init(|| Matrix::new(&self.runs.entries(), self.shape.map(|n| n as i64), device))
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::roi_align::{Layout, Precision, RoiAlign};
    use super::*;
    use crate::base::Stream;

    const BOTH: [Formulation; 2] = [Formulation::Host, Formulation::Device];

    fn random(shape: &[i64], rng: &mut Stream) -> Tensor {
        let n = shape.iter().product::<i64>();
        Tensor::from_slice(&(0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>()).view(shape)
    }

    /// Aligns first and multiplies second, as the release does.
    fn by_definition(x: &Tensor, weight: &Tensor, bias: &Tensor, durations: usize, bins: usize) -> Tensor {
        let (batch, time) = (x.size()[0], x.size()[1] as usize);
        let of = |d: usize, s: usize| {
            let reach = 0.5 * (d + 1) as f32;
            if s + d < time { (s as f32 - reach, (s + d) as f32 + reach) } else { (0.0, 0.0) }
        };
        let boxes: Vec<(f32, f32)> = (0..durations).flat_map(|d| (0..time).map(move |s| of(d, s))).collect();
        let layout = Layout::new(&vec![boxes.len(); batch as usize], tch::Device::Cpu);
        let flat: Vec<f32> = boxes.into_iter().flat_map(|(start, end)| [start, end]).collect();
        let boxes = Tensor::from_slice(&flat).view([-1, 2]).repeat([batch, 1]);
        let aligned = RoiAlign::plan(&boxes, &layout, time as i64, bins as i64).forward(x, Precision::Float);
        let rows = aligned.flatten(1, 2).linear(&weight.transpose(0, 1).flatten(1, 2), Some(bias)).relu();
        rows.view([batch, durations as i64, time as i64, -1])
    }

    #[test]
    fn multiplying_before_aligning_gives_the_same_map() {
        let mut rng = Stream::new(0, "test/map-align");
        // More outputs than lanes, and durations up to the whole input.
        let (batch, time, channels, bins, outputs) = (2, 20, 6, 4, 70);
        let (x, weight) = (random(&[batch, time, channels], &mut rng), random(&[bins, outputs, channels], &mut rng));
        let bias = random(&[outputs], &mut rng);
        let products = x.linear(&weight.reshape([-1, channels]), None::<&Tensor>);
        let wanted = by_definition(&x, &weight, &bias, time as usize, bins as usize);
        for formulation in BOTH {
            let align = MapAlign::new(time as usize, time as usize, &[bins as usize]);
            let map = formulation.force(|| align.forward(&products, &bias));
            let deviation = (map - &wanted).abs().max().double_value(&[]);
            assert!(deviation < 1e-4, "{formulation:?}: {deviation}");
        }
    }

    #[test]
    fn backward_is_the_transpose_of_forward() {
        let mut rng = Stream::new(1, "test/map-align");
        let (products, bias) = (random(&[2, 24, 6 * 66], &mut rng), random(&[66], &mut rng));
        let upstream = random(&[2, 10, 24, 66], &mut rng);
        for formulation in BOTH {
            let align = MapAlign::new(24, 10, &[4, 2]);
            let output = formulation.force(|| align.forward(&products, &bias));
            let (of_products, of_bias) = formulation.force(|| align.backward(&output, &upstream));
            // Where ReLU passes, the map is linear in products and bias together.
            let sum = |t: Tensor| t.sum(Kind::Double).double_value(&[]);
            let left = sum(output * &upstream);
            let right = sum(of_products * &products) + sum(of_bias * &bias);
            assert!((left - right).abs() < 1e-4 * left.abs().max(1.0), "{formulation:?}: {left} {right}");
        }
    }

    #[test]
    fn the_matrix_is_the_same_with_and_without_its_zeros() {
        let mut rng = Stream::new(2, "test/map-align");
        let (entries, shape) = (Runs::new(24, 10, &[4, 2]).entries(), [10, 24, 6]);
        let (products, bias) = (random(&[2, 24, 6 * 66], &mut rng), random(&[66], &mut rng));
        let upstream = random(&[2, 10, 24, 66], &mut rng);
        let [sparse, dense] = [0, i64::MAX].map(|most| {
            let matrix = Matrix::with(&entries, shape, Device::Cpu, most);
            let output = matrix.forward(&products, &bias);
            let (of_products, of_bias) = matrix.backward(&output, &upstream);
            [output, of_products, of_bias]
        });
        for (a, b) in sparse.iter().zip(&dense) {
            assert!((a - b).abs().max().double_value(&[]) < 1e-4);
        }
    }
}
