//! SGAlign on a device: the runs of all anchors as one matrix, and its product with the cells of all inputs.

use tch::{Device, Kind, Tensor};

use crate::nn::precision;

/// The sums of a map's anchors.
pub(super) struct Matrix {
    /// `[D * T, bins * T]`.
    forward: Tensor,
    /// Its transpose.
    backward: Tensor,
    /// D, T and bins.
    shape: [i64; 3],
}

/// Rows, columns and weights of the entries of a sparse matrix.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) rows: Vec<i64>,
    pub(super) columns: Vec<i64>,
    pub(super) weights: Vec<f32>,
}

/// Values up to which zeros are multiplied too: of a matrix of the ActivityNet size, 144 MB, that takes a fifth of the time.
const DENSE: i64 = 1 << 26;

/// `matrix` times `x`; sparse products are of single precision only.
fn product(matrix: &Tensor, x: &Tensor) -> Tensor {
    if matrix.is_sparse() { precision::single(x.device(), || matrix.mm(x)) } else { precision::float(&matrix.mm(x)) }
}

impl Matrix {
    /// From the entries of the matrix, at most one per place.
    pub(super) fn new(entries: &Entries, shape: [i64; 3], device: Device) -> Self {
        Self::with(entries, shape, device, DENSE)
    }

    /// As [`Matrix::new`], with zeros where that gives no more than `dense` values.
    pub(super) fn with(entries: &Entries, shape: [i64; 3], device: Device, dense: i64) -> Self {
        let [durations, time, bins] = shape;
        let list = |values: &[i64]| Tensor::from_slice(values);
        let indices = Tensor::stack(&[list(&entries.rows), list(&entries.columns)], 0).to_device(device);
        let weights = Tensor::from_slice(&entries.weights).to_device(device);
        let size = [durations * time, bins * time];
        let forward = Tensor::sparse_coo_tensor_indices_size(&indices, &weights, size, (Kind::Float, device), false).coalesce();
        if size[0] * size[1] <= dense {
            let forward = forward.to_dense(None, false);
            return Self { backward: forward.transpose(0, 1), forward, shape };
        }
        Self { backward: forward.transpose(0, 1).coalesce(), forward, shape }
    }

    /// See [`MapAlign::forward`](super::MapAlign::forward).
    pub(super) fn forward(&self, products: &Tensor, bias: &Tensor) -> Tensor {
        let [durations, time, bins] = self.shape;
        let outputs = bias.size()[0];
        let cells = products.view([-1, time, bins, outputs]).permute([2, 1, 0, 3]).reshape([bins * time, -1]);
        let sums = product(&self.forward, &cells).view([durations, time, -1, outputs]);
        (sums + bias).relu_().permute([2, 0, 1, 3]).contiguous()
    }

    /// See [`MapAlign::backward`](super::MapAlign::backward).
    pub(super) fn backward(&self, output: &Tensor, gradient: &Tensor) -> (Tensor, Tensor) {
        let [durations, time, bins] = self.shape;
        let (batch, outputs) = (output.size()[0], output.size()[3]);
        let passed = gradient.where_scalarother(&output.gt(0.0), 0.0);
        let of_bias = passed.sum_dim_intlist([0, 1, 2].as_slice(), false, Kind::Float);
        let anchors = passed.permute([1, 2, 0, 3]).reshape([durations * time, -1]);
        let of_cells = product(&self.backward, &anchors).view([bins, time, batch, outputs]);
        (of_cells.permute([2, 1, 0, 3]).reshape([batch, time, bins * outputs]), of_bias)
    }
}
