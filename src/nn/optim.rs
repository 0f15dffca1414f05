//! Gradients, Adam and AdamW as PyTorch computes them, learning-rate schedules and clipping.
//!
//! tch's optimisers neither save their state nor skip parameters that a step did not touch; ours do both.

use tch::{Kind, Tensor};

use super::lists::{self, AdamStep, Moved};
use super::params::Params;
use crate::config::settings::{Common, Optimiser as Rule, Schedule};

/// Gradients of a step in the order of [`Params::entries`]; `None` where no loss reached the parameter.
pub struct Gradients {
    of: Vec<Option<Tensor>>,
    /// What is differentiated for beside the parameters, and its gradient.
    watched: Option<(Tensor, Option<Tensor>)>,
}

impl Gradients {
    /// None yet.
    pub fn none(params: &Params) -> Self {
        Self { of: params.entries().iter().map(|_| None).collect(), watched: None }
    }

    /// Collects the gradient of `leaf` too from now on, which requires one.
    pub fn watch(&mut self, leaf: &Tensor) {
        self.watched = Some((leaf.shallow_clone(), None));
    }

    /// The gradient of what was watched; `None` where no loss reached it.
    pub fn of_watched(&mut self) -> Option<Tensor> {
        self.watched.take().and_then(|(_, gradient)| gradient)
    }

    /// Differentiates `loss` and adds to the gradients of the parameters; returns the gradients of `leaves` (`None` where
    /// unreached). Frees the graph.
    pub fn add(&mut self, params: &Params, loss: &Tensor, leaves: &[&Tensor]) -> Vec<Option<Tensor>> {
        let watched = self.watched.as_ref().map(|(leaf, _)| leaf.shallow_clone());
        let inputs: Vec<&Tensor> = leaves.iter().copied().chain(&watched).chain(params.entries().iter().map(|(_, t)| t)).collect();
        let mut found = Tensor::run_backward(&[loss], &inputs, false, false).into_iter().map(|g| g.defined().then_some(g));
        let of_leaves = found.by_ref().take(leaves.len()).collect();
        let sums = self.watched.iter_mut().map(|(_, sum)| sum).chain(&mut self.of);
        for (sum, new) in sums.zip(found) {
            *sum = match (sum.take(), new) {
                (Some(sum), Some(new)) => Some(sum + new),
                (sum, new) => sum.or(new),
            };
        }
        of_leaves
    }

    /// The gradients, in parameter order.
    pub fn as_slice(&self) -> &[Option<Tensor>] {
        &self.of
    }

    /// Global L2 norm, a scalar on the parameters' device.
    pub fn norm(&self) -> Tensor {
        let reached: Vec<&Tensor> = self.of.iter().flatten().collect();
        if reached.is_empty() { Tensor::from(0f32) } else { lists::norm(&reached) }
    }

    /// Scales all gradients so that their global norm is at most `limit`; returns the norm before.
    pub fn clip(&mut self, limit: f64) -> Tensor {
        let norm = self.norm();
        let mut reached: Vec<&mut Tensor> = self.of.iter_mut().flatten().collect();
        let factor = ((&norm + 1e-6).reciprocal() * limit).clamp_max(1.0);
        // Not in place: parameters that are summed have one gradient, in one storage.
        let scaled = lists::scaled(&reached.iter().map(|g| &**g).collect::<Vec<_>>(), &factor);
        for (gradient, scaled) in reached.iter_mut().zip(scaled) {
            **gradient = scaled;
        }
        norm
    }
}

/// Settings of Adam or AdamW. Betas are (0.9, 0.999), epsilon 1e-8.
#[derive(Clone, Copy, Debug)]
pub struct AdamOptions {
    /// Coupled or decoupled decay.
    pub rule: Rule,
    /// Decay of the weights.
    pub weight_decay: f64,
    /// Spare what was added by [`Params::add_plain`].
    pub spare_plain: bool,
    /// Parts of names whose tensors learn at a tenth of the rate.
    pub slow: &'static [&'static str],
}

/// Adam or AdamW with its moments.
pub struct Adam {
    options: AdamOptions,
    moments: Vec<Moments>,
    /// Of every group, on a device.
    clocks: Vec<Clock>,
}

/// Parameters that are moved alike, by their place among all.
pub struct Group {
    with: AdamStep,
    members: Vec<usize>,
}

/// Rate and count of updates where the device reads them.
struct Clock {
    lr: Tensor,
    step: Tensor,
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
        Self { options, moments, clocks: Vec::new() }
    }

    /// Its settings.
    pub fn options(&self) -> AdamOptions {
        self.options
    }

    /// One update. A parameter without a gradient keeps its value and its moments.
    pub fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64) {
        let reached = |i: usize| gradients.as_slice()[i].is_some();
        let groups = self.advance(params, reached, lr);
        self.apply(params, gradients, &groups);
    }

    /// Counts one more update of the parameters that are `reached`, and tells a device what it is made with; their groups.
    pub fn advance(&mut self, params: &Params, reached: impl Fn(usize) -> bool, lr: f64) -> Vec<Group> {
        self.moments.iter_mut().enumerate().filter(|(i, _)| reached(*i)).for_each(|(_, state)| state.steps += 1);
        let groups = self.groups(params, reached, lr);
        if !params.device().is_cuda() {
            return groups;
        }
        let scalar = || Tensor::zeros([], (Kind::Float, params.device()));
        self.clocks.resize_with(groups.len().max(self.clocks.len()), || Clock { lr: scalar(), step: scalar() });
        for (group, clock) in groups.iter().zip(&mut self.clocks) {
            let _ = clock.lr.fill_(group.with.lr);
            let _ = clock.step.fill_(group.with.step as f64);
        }
        groups
    }

    /// The parameters that are moved alike: as a rule all, or a few groups, in the same order every time.
    pub fn groups(&self, params: &Params, reached: impl Fn(usize) -> bool, lr: f64) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (index, ((name, _), state)) in params.entries().iter().zip(&self.moments).enumerate().filter(|(i, _)| reached(*i)) {
            let with = AdamStep {
                lr: if self.options.slow.iter().any(|part| name.contains(part)) { 0.1 * lr } else { lr },
                betas: BETAS,
                weight_decay: if self.options.spare_plain && params.is_plain(name) { 0.0 } else { self.options.weight_decay },
                epsilon: EPSILON,
                step: state.steps,
                decoupled: self.options.rule == Rule::Adamw,
            };
            match groups.iter_mut().find(|group| group.with == with) {
                Some(group) => group.members.push(index),
                None => groups.push(Group { with, members: vec![index] }),
            }
        }
        groups
    }

    /// Moves the groups of parameters. On a device rate and count are those of the last [`Adam::advance`], read there.
    pub fn apply(&self, params: &Params, gradients: &Gradients, groups: &[Group]) {
        let _guard = tch::no_grad_guard();
        for (place, Group { with, members }) in groups.iter().enumerate() {
            let moved = |&i: &usize| {
                let (state, gradient) = (&self.moments[i], gradients.as_slice()[i].as_ref());
                gradient.map(|gradient| Moved { parameter: &params.entries()[i].1, gradient, mean: &state.mean, square: &state.square })
            };
            let moved: Vec<Moved<'_>> = members.iter().filter_map(moved).collect();
            match self.clocks.get(place) {
                Some(clock) => lists::adam_by_clock(&moved, *with, (&clock.lr, &clock.step)),
                None => lists::adam(&moved, *with),
            }
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

/// Learning rate of update `step` (from 0) out of `total`, which are `common.epochs` passes.
pub fn learning_rate(common: &Common, step: u64, total: u64) -> f64 {
    const WARM_UP: u64 = 20;
    let (base, epochs) = (common.lr, u64::from(common.epochs));
    let half_cosine = |progress: f64| 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
    match common.schedule {
        Schedule::Step => {
            let epoch = step * epochs / total.max(1);
            if epoch >= u64::from(common.decay_epoch) { base * 0.1 } else { base }
        }
        Schedule::Cosine => {
            let warm = ((step + 1) as f64 / WARM_UP.min(total / 4 + 1) as f64).min(1.0);
            base * warm * half_cosine(step as f64 / total.max(1) as f64)
        }
        Schedule::WarmupCosine => {
            let warm = (total as f64 * common.warmup_epochs / epochs as f64).round() as u64;
            if step < warm {
                base * step as f64 / (warm - 1).max(1) as f64
            } else {
                common.min_lr + (base - common.min_lr) * half_cosine((step - warm) as f64 / (total - warm).max(1) as f64)
            }
        }
    }
}

/// Exponential moving average of the weights, from the first update on.
pub struct Average {
    decay: f64,
    shadow: Vec<Tensor>,
}

impl Average {
    /// Starts at the present weights.
    pub fn new(params: &Params, decay: f64) -> Self {
        Self { decay, shadow: params.entries().iter().map(|(_, t)| t.detach().copy()).collect() }
    }

    /// Takes in the weights after an update.
    pub fn update(&self, params: &Params) {
        let weights: Vec<&Tensor> = params.entries().iter().map(|(_, weight)| weight).collect();
        tch::no_grad(|| lists::lerp(&self.shadow.iter().collect::<Vec<_>>(), &weights, 1.0 - self.decay));
    }

    /// Makes the average the weights.
    pub fn install(&self, params: &Params) {
        tch::no_grad(|| {
            for (shadow, (_, weight)) in self.shadow.iter().zip(params.entries()) {
                weight.shallow_clone().copy_(shadow);
            }
        });
    }

    /// The average as named tensors, for a checkpoint.
    pub fn state(&self, params: &Params) -> Vec<(String, Tensor)> {
        self.shadow.iter().zip(params.entries()).map(|(s, (name, _))| (format!("average.{name}"), s.shallow_clone())).collect()
    }

    /// The average of a checkpoint; `None` when a name is missing.
    pub fn restored(&self, params: &Params, state: &[(String, Tensor)]) -> Option<Self> {
        let find = |name: &str| state.iter().find(|(n, _)| n.strip_prefix("average.") == Some(name));
        let of = |(name, tensor): &(String, Tensor)| Some(find(name)?.1.copy().to_device(tensor.device()));
        Some(Self { decay: self.decay, shadow: params.entries().iter().map(of).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EtadConfig;
    use crate::config::settings::Preset;

    #[test]
    fn clipping_scales_gradients_that_share_their_storage_once() {
        let mut params = Params::new(0, tch::Device::Cpu);
        let [a, b] = ["a", "b"].map(|name| params.add_values(name, &[2], &[1.0, 2.0]));
        let mut gradients = Gradients::none(&params);
        gradients.add(&params, &((&a + &b) * Tensor::from_slice(&[3.0f32, 4.0])).sum(Kind::Float), &[]);
        let norm = gradients.clip(1.0).double_value(&[]);
        assert!((norm - 50f64.sqrt()).abs() < 1e-6, "{norm}");
        let clipped = gradients.norm().double_value(&[]);
        assert!((clipped - 1.0).abs() < 1e-5, "{clipped}");
        assert!((gradients.clip(2.0).double_value(&[]) - clipped).abs() < 1e-6);
        assert!((gradients.norm().double_value(&[]) - clipped).abs() < 1e-6, "nothing to clip");
    }

    #[test]
    fn schedules_have_their_published_shape() {
        let common = |schedule, lr, epochs| Common { schedule, lr, epochs, ..EtadConfig::preset(Preset::Activitynet).unwrap().common };
        let step = |s| learning_rate(&common(Schedule::Step, 1e-3, 6), s, 600);
        assert_eq!((step(0), step(499)), (1e-3, 1e-3));
        assert!((step(500) - 1e-4).abs() < 1e-12);
        let cosine = |s| learning_rate(&common(Schedule::Cosine, 1.0, 25), s, 400);
        assert!(cosine(0) < 0.06 && cosine(20) > 0.98 && cosine(399) < 1e-3);
        let warm = Common { warmup_epochs: 2.0, min_lr: 1e-8, ..common(Schedule::WarmupCosine, 1e-4, 4) };
        let warm = |s| learning_rate(&warm, s, 12);
        assert_eq!((warm(0), warm(1), warm(5), warm(6)), (0.0, 2e-5, 1e-4, 1e-4));
        assert!(warm(11) < 1e-5 && warm(11) > 1e-8);
    }
}
