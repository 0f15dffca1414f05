//! Gradients, Adam and AdamW as PyTorch computes them, learning-rate schedules and clipping.
//!
//! tch's optimisers neither save their state nor skip parameters that a step did not touch; ours do both.

use tch::{Kind, Tensor};

use super::params::Params;
use crate::config::etad::{Optimiser as Rule, Schedule};

/// Gradients of a step in the order of [`Params::entries`]; `None` where no loss reached the parameter.
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// None yet.
    pub fn none(params: &Params) -> Self {
        Self(params.entries().iter().map(|_| None).collect())
    }

    /// Differentiates `loss` and adds to the gradients of the parameters; returns the gradients of `leaves` (`None` where
    /// unreached). Frees the graph.
    pub fn add(&mut self, params: &Params, loss: &Tensor, leaves: &[&Tensor]) -> Vec<Option<Tensor>> {
        let inputs: Vec<&Tensor> = leaves.iter().copied().chain(params.entries().iter().map(|(_, t)| t)).collect();
        let mut found = Tensor::run_backward(&[loss], &inputs, false, false).into_iter().map(|g| g.defined().then_some(g));
        let of_leaves = found.by_ref().take(leaves.len()).collect();
        for (sum, new) in self.0.iter_mut().zip(found) {
            *sum = match (sum.take(), new) {
                (Some(sum), Some(new)) => Some(sum + new),
                (sum, new) => sum.or(new),
            };
        }
        of_leaves
    }

    /// The gradients, in parameter order.
    pub fn as_slice(&self) -> &[Option<Tensor>] {
        &self.0
    }

    /// Global L2 norm.
    pub fn norm(&self) -> f64 {
        let norms: Vec<Tensor> = self.0.iter().flatten().map(|g| g.norm()).collect();
        if norms.is_empty() { 0.0 } else { Tensor::stack(&norms, 0).norm().double_value(&[]) }
    }

    /// Scales all gradients so that their global norm is at most `limit`; returns the norm before.
    pub fn clip(&mut self, limit: f64) -> f64 {
        let norm = self.norm();
        let factor = limit / (norm + 1e-6);
        if factor < 1.0 {
            for gradient in self.0.iter_mut().flatten() {
                let _ = gradient.g_mul_scalar_(factor);
            }
        }
        norm
    }
}

/// Settings of Adam or AdamW. Betas are (0.9, 0.999), epsilon 1e-8.
#[derive(Clone, Copy, Debug)]
pub struct AdamOptions {
    /// Coupled or decoupled decay.
    pub rule: Rule,
    /// Applied to every tensor.
    pub weight_decay: f64,
}

/// Adam or AdamW with its moments.
pub struct Adam {
    options: AdamOptions,
    moments: Vec<Moments>,
}

struct Moments {
    steps: i64,
    mean: Tensor,
    square: Tensor,
}

const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

impl Adam {
    /// Zero moments for every parameter.
    pub fn new(params: &Params, options: AdamOptions) -> Self {
        let zero = |t: &Tensor| t.detach().zeros_like();
        let moments = params.entries().iter().map(|(_, t)| Moments { steps: 0, mean: zero(t), square: zero(t) }).collect();
        Self { options, moments }
    }

    /// Its settings.
    pub fn options(&self) -> AdamOptions {
        self.options
    }

    /// One update. A parameter without a gradient keeps its value and its moments.
    pub fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64) {
        let _guard = tch::no_grad_guard();
        for (((_, parameter), gradient), state) in params.entries().iter().zip(gradients.as_slice()).zip(&mut self.moments) {
            let Some(gradient) = gradient else { continue };
            let mut parameter = parameter.shallow_clone();
            let coupled;
            let gradient = match self.options.rule {
                Rule::Adamw => {
                    let _ = parameter.g_mul_scalar_(1.0 - lr * self.options.weight_decay);
                    gradient
                }
                Rule::Adam => {
                    coupled = gradient + &parameter * self.options.weight_decay;
                    &coupled
                }
            };
            state.steps += 1;
            let _ = state.mean.lerp_(gradient, 1.0 - BETAS.0);
            let _ = state.square.g_mul_scalar_(BETAS.1);
            state.square += gradient.square() * (1.0 - BETAS.1);
            let (correction1, correction2) = (1.0 - BETAS.0.powi(state.steps as i32), 1.0 - BETAS.1.powi(state.steps as i32));
            let mut denominator = state.square.sqrt();
            let _ = denominator.g_div_scalar_(correction2.sqrt());
            let _ = denominator.g_add_scalar_(EPSILON);
            let mut update = &state.mean / denominator;
            let _ = update.g_mul_scalar_(lr / correction1);
            parameter -= update;
        }
    }

    /// The moments as named tensors, for a checkpoint.
    pub fn state(&self, params: &Params) -> Vec<(String, Tensor)> {
        let named = params.entries().iter().zip(&self.moments);
        named
            .flat_map(|((name, _), m)| {
                [
                    (format!("mean.{name}"), m.mean.shallow_clone()),
                    (format!("square.{name}"), m.square.shallow_clone()),
                    (format!("steps.{name}"), Tensor::from_slice(&[m.steps])),
                ]
            })
            .collect()
    }

    /// Takes over the moments of a checkpoint; `false` when a name is missing.
    pub fn restore(&mut self, params: &Params, state: &[(String, Tensor)]) -> bool {
        let find = |name: String| state.iter().find(|(n, _)| *n == name).map(|(_, t)| t.copy());
        for ((name, tensor), m) in params.entries().iter().zip(&mut self.moments) {
            let (Some(mean), Some(square), Some(steps)) =
                (find(format!("mean.{name}")), find(format!("square.{name}")), find(format!("steps.{name}")))
            else {
                return false;
            };
            *m = Moments {
                steps: steps.int64_value(&[0]),
                mean: mean.to_device(tensor.device()),
                square: square.to_device(tensor.device()),
            };
        }
        true
    }
}

/// Learning rate of update `step` (from 0) out of `total`, of which `epochs` passes are made.
pub fn learning_rate(base: f64, schedule: Schedule, step: u64, total: u64, epochs: u32) -> f64 {
    const WARM_UP: u64 = 20;
    match schedule {
        Schedule::Step => {
            let epoch = step * u64::from(epochs) / total.max(1);
            if epoch >= 5 { base * 0.1 } else { base }
        }
        Schedule::Cosine => {
            let warm = ((step + 1) as f64 / WARM_UP.min(total / 4 + 1) as f64).min(1.0);
            let progress = step as f64 / total.max(1) as f64;
            base * warm * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
        }
    }
}

/// Mean of a scalar tensor's value as f64, for loss terms.
pub fn value(tensor: &Tensor) -> f64 {
    tensor.to_kind(Kind::Double).double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_their_published_shape() {
        let step = |s| learning_rate(1e-3, Schedule::Step, s, 600, 6);
        assert_eq!((step(0), step(499)), (1e-3, 1e-3));
        assert!((step(500) - 1e-4).abs() < 1e-12);
        let cosine = |s| learning_rate(1.0, Schedule::Cosine, s, 400, 25);
        assert!(cosine(0) < 0.06 && cosine(20) > 0.98 && cosine(399) < 1e-3);
    }
}
