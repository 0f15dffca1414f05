//! One-dimensional RoI align, forward and backward.
//!
//! The rule is torchvision's `roi_align` on `[B, C, T, 1]` with `sampling_ratio = -1` (adaptive), in its order of
//! single-precision operations: a box of L cells (at least 1 when not aligned) has R bins of L / R cells, each the mean of
//! ceil(L / R) linearly interpolated samples; a sample outside [-1, T] counts as zero.

mod matrix;
mod runs;

use tch::{Device, Tensor};

use self::matrix::Matrix;
use self::runs::Runs;
pub(super) use self::runs::{floats, floats_mut, plan_box};
use crate::nn::formulation::Formulation;
use crate::nn::transfer;

/// Numeric type of the aligned features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    Float,
    /// bfloat16, accumulated in single precision.
    Bfloat16,
}

/// Which boxes of a list are whose: those of input b are rows `first[b]..first[b + 1]`.
pub struct Layout {
    first: Vec<usize>,
    owners: Tensor,
}

impl Layout {
    /// Of inputs with so many boxes each.
    pub fn new(counts: &[usize], device: Device) -> Self {
        let mut first = vec![0];
        first.extend(counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }));
        let owners: Vec<i64> = counts.iter().enumerate().flat_map(|(b, &n)| std::iter::repeat_n(b as i64, n)).collect();
        Self { first, owners: transfer::send_slice(&owners, &[-1], device) }
    }

    /// Of inputs with as many boxes each, whose `owners` are known.
    pub fn even(inputs: usize, owners: Tensor) -> Self {
        let each = owners.size()[0] as usize / inputs.max(1);
        Self { first: (0..=inputs).map(|input| input * each).collect(), owners }
    }

    /// The input of every box, `[N]`.
    pub fn into_owners(self) -> Tensor {
        self.owners
    }

    /// The input of every box, `[N]`.
    pub fn owners(&self) -> &Tensor {
        &self.owners
    }
}

/// Where bins read from, for the boxes of one batch.
pub struct RoiAlign(Formulated);

enum Formulated {
    Runs(Runs),
    Matrix(Matrix),
}

impl RoiAlign {
    /// Plans the alignment of `boxes` `[N, 2]` = (start, end) in cells on features of `time` cells.
    pub fn plan(boxes: &Tensor, layout: &Layout, time: i64, bins: i64) -> Self {
        Self::with(boxes, layout, time, bins, false)
    }

    /// As [`RoiAlign::plan`]; `aligned` shifts coordinates by half a cell and lifts the minimum length, as in torchvision.
    pub fn with(boxes: &Tensor, layout: &Layout, time: i64, bins: i64, aligned: bool) -> Self {
        Self(match Formulation::of(boxes.device()) {
            Formulation::Host => {
                let flat = transfer::read(boxes);
                let pairs: Vec<(f32, f32)> = flat.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                let of_inputs: Vec<&[(f32, f32)]> = layout.first.windows(2).map(|pair| &pairs[pair[0]..pair[1]]).collect();
                Formulated::Runs(Runs::new(&of_inputs, time as usize, bins as usize, aligned))
            }
            Formulation::Device => Formulated::Matrix(Matrix::new(boxes, layout, time, bins, aligned)),
        })
    }

    /// Aligned features `[N, R, C]` of `features` `[B, T, C]`, outside autograd.
    pub fn forward(&self, features: &Tensor, precision: Precision) -> Tensor {
        match &self.0 {
            Formulated::Runs(runs) => runs.forward(features, precision),
            Formulated::Matrix(matrix) => matrix.forward(features, precision),
        }
    }

    /// As [`RoiAlign::forward`] in single precision, differentiable.
    pub fn differentiable(&self, features: &Tensor) -> Tensor {
        match &self.0 {
            Formulated::Runs(runs) => runs.forward_by_bags(features),
            Formulated::Matrix(matrix) => matrix.forward(features, Precision::Float),
        }
    }

    /// Gradient `[B, T, C]` of the features from the gradient `[N, R, C]` of the aligned features.
    pub fn backward(&self, gradient: &Tensor) -> Tensor {
        match &self.0 {
            Formulated::Runs(runs) => runs.backward(gradient),
            Formulated::Matrix(matrix) => matrix.backward(gradient),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::base::Stream;

    const BOTH: [Formulation; 2] = [Formulation::Host, Formulation::Device];

    fn random(shape: &[i64], rng: &mut Stream) -> Tensor {
        let n = shape.iter().product::<i64>();
        Tensor::from_slice(&(0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>()).view(shape)
    }

    /// Boxes of two inputs, as many each or not, of all lengths and beyond both ends.
    fn some(counts: [usize; 2], rng: &mut Stream) -> (Tensor, Layout) {
        let one = |rng: &mut Stream| {
            let start = rng.between(-10.0, 30.0) as f32;
            [start, start + rng.between(-1.0, 60.0) as f32]
        };
        let flat: Vec<f32> = (0..counts[0] + counts[1]).flat_map(|_| one(rng)).collect();
        (Tensor::from_slice(&flat).view([-1, 2]), Layout::new(&counts, Device::Cpu))
    }

    fn apart(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn backward_is_the_transpose_of_forward_in_both_formulations() {
        let mut rng = Stream::new(1, "test/roi");
        for formulation in BOTH {
            let (boxes, layout) = some([37, 37], &mut rng);
            let align = formulation.force(|| RoiAlign::plan(&boxes, &layout, 32, 8));
            let (x, g) = (random(&[2, 32, 5], &mut rng), random(&[74, 8, 5], &mut rng));
            let left = (align.forward(&x, Precision::Float) * &g).sum(Kind::Double).double_value(&[]);
            let right = (align.backward(&g) * &x).sum(Kind::Double).double_value(&[]);
            assert!((left - right).abs() < 1e-4 * left.abs().max(1.0), "{formulation:?} {left} {right}");
        }
    }

    #[test]
    fn all_formulations_agree_whatever_inputs_have_how_many_boxes() {
        let mut rng = Stream::new(2, "test/roi");
        for (counts, aligned) in [([37, 37], false), ([5, 41], false), ([0, 3], false), ([9, 9], true)] {
            let (boxes, layout) = some(counts, &mut rng);
            let (x, g) = (random(&[2, 32, 6], &mut rng), random(&[(counts[0] + counts[1]) as i64, 8, 6], &mut rng));
            let [host, device] = BOTH.map(|formulation| {
                let align = formulation.force(|| RoiAlign::with(&boxes, &layout, 32, 8, aligned));
                let halved = align.forward(&x, Precision::Bfloat16);
                assert_eq!(halved.kind(), Kind::BFloat16);
                [align.forward(&x, Precision::Float), align.differentiable(&x), halved.to_kind(Kind::Float), align.backward(&g)]
            });
            for (a, b) in host.iter().zip(&device).chain([(&host[0], &host[1])]) {
                assert!(a.size() == b.size() && apart(a, b) < if std::ptr::eq(a, &host[2]) { 0.02 } else { 2e-5 }, "{counts:?}");
            }
            assert!(apart(&host[2], &host[0]) < 0.02);
        }
    }

    #[test]
    fn boxes_that_are_no_numbers_read_nothing_and_do_no_harm() {
        let boxes = Tensor::from_slice(&[f32::NAN, 3.0, 0.0, f32::INFINITY, -1e30, 1e30]).view([3, 2]);
        let layout = Layout::new(&[3], Device::Cpu);
        let x = random(&[1, 16, 4], &mut Stream::new(3, "test/roi"));
        for formulation in BOTH {
            let align = formulation.force(|| RoiAlign::plan(&boxes, &layout, 16, 4));
            assert_eq!(align.forward(&x, Precision::Float).abs().max().double_value(&[]), 0.0, "{formulation:?}");
        }
    }
}
