//! The optimiser of an encoder.

use tch::Tensor;

use crate::config::EncoderConfig;
use crate::config::encoder::EncoderOptimiser as Rule;
use crate::config::settings::Optimiser;
use crate::nn::optim::{Adam, AdamOptions, Gradients};
use crate::nn::params::Params;

/// Moves an encoder's weights.
pub enum EncoderOptimiser {
    /// AdamW with its moments.
    Adamw(Adam),
    /// Gradient descent without momentum, decay added to the gradient.
    Sgd {
        /// Decay of the weights.
        weight_decay: f64,
    },
}

impl EncoderOptimiser {
    /// The one that `config` asks for.
    pub fn new(params: &Params, config: &EncoderConfig) -> Self {
        let weight_decay = config.weight_decay;
        match config.optimiser {
            Rule::Adamw => {
                Self::Adamw(Adam::new(params, AdamOptions { rule: Optimiser::Adamw, weight_decay, spare_plain: false, slow: &[] }))
            }
            Rule::Sgd => Self::Sgd { weight_decay },
        }
    }

    /// One update.
    pub fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64) {
        match self {
            Self::Adamw(adam) => adam.step(params, gradients, lr),
            Self::Sgd { weight_decay } => tch::no_grad(|| {
                for ((_, weight), gradient) in params.entries().iter().zip(gradients.as_slice()) {
                    if let Some(gradient) = gradient {
                        let _ = weight.shallow_clone().g_sub_(&((gradient + weight * *weight_decay) * lr));
                    }
                }
            }),
        }
    }

    /// What it remembers, as named tensors for a checkpoint.
    pub fn state(&self, params: &Params) -> Vec<(String, Tensor)> {
        match self {
            Self::Adamw(adam) => adam.state(params),
            Self::Sgd { .. } => Vec::new(),
        }
    }

    /// Takes over what [`EncoderOptimiser::state`] gave; `false` when something is missing.
    pub fn restore(&mut self, params: &Params, state: &[(String, Tensor)]) -> bool {
        match self {
            Self::Adamw(adam) => adam.restore(params, state),
            Self::Sgd { .. } => true,
        }
    }
}
