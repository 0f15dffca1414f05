//! TriDet (stub of the skeleton).

use tch::Tensor;

use crate::config::TriDetConfig;
use crate::eval::Detection;
use crate::nn::network::{Batch, Conventions, Network, Term, VideoClasses, Window};
use crate::nn::params::Params;

/// What is done around the network.
pub const CONVENTIONS: Conventions = Conventions {
    centres: true,
    margin: true,
    short_last: false,
    linear_rescale: true,
    channel_multiple: 1,
    spare_plain: true,
    slow: &[],
    inference_batch: 1,
};

/// The network.
pub struct TriDet {}

impl TriDet {
    /// Builds the network for inputs of `channels` values; class-agnostic without `classes`.
    pub fn new(_params: &mut Params, _config: &TriDetConfig, _channels: i64, _classes: Option<i64>) -> Self {
        Self {}
    }
}

impl Network for TriDet {
    fn losses(&self, _batch: &mut Batch) -> Vec<Term> {
        todo!()
    }

    fn detect(&self, _x: &Tensor, _valid: &[usize]) -> Vec<Vec<Detection>> {
        todo!()
    }

    fn merge(&self, _windows: Vec<Window>, _classes: Option<VideoClasses<'_>>) -> Vec<Detection> {
        todo!()
    }
}
