//! Updates that are recorded once as a CUDA graph and replayed: the host launches one thing instead of thousands.

use tch::{Device, Tensor};

use super::graph::Graph;
use super::network::Terms;
use super::optim::{Adam, Average, Gradients};
use super::params::Params;
use super::watch;

/// Updates made before one is recorded: libraries choose their algorithms and take their memory in the first ones.
const FIRST: u32 = 3;
/// `off`: every operator is launched by itself.
const VARIABLE: &str = "ETALON_GRAPHS";

/// Records an update and replays it.
#[derive(Default)]
pub struct Recorder {
    made: u32,
    /// Parameters that the last update's gradients reached.
    reached: Vec<bool>,
    recorded: Option<Recorded>,
    refused: Option<String>,
}

struct Recorded {
    graph: Graph,
    /// What the graph reads.
    inputs: Vec<Tensor>,
    /// What it writes at every replay.
    terms: Terms,
}

impl Recorder {
    /// Why updates are not replayed, where that was tried.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Makes an update on `inputs` with `backward`, which gives terms and clipped gradients and waits for nothing.
    pub fn update(
        &mut self,
        (params, adam, average): (&Params, &mut Adam, Option<&Average>),
        inputs: Vec<Tensor>,
        lr: f64,
        backward: impl Fn(&[Tensor]) -> (Terms, Gradients),
    ) -> Terms {
        if !self.replays(params.device()) {
            return self.launch((params, adam, average), &inputs, lr, backward);
        }
        let mut recorded = match self.recorded.take() {
            Some(recorded) => recorded,
            None => {
                let own: Vec<Tensor> = inputs.iter().map(Tensor::copy).collect();
                let groups = adam.groups(params, |i| self.reached[i], lr);
                let work = || {
                    let (terms, gradients) = backward(&own);
                    adam.apply(params, &gradients, &groups);
                    average.iter().for_each(|average| average.update(params));
                    tch::no_grad(|| terms.joined())
                };
                match Graph::record(work) {
                    Ok((graph, terms)) => Recorded { graph, inputs: own, terms },
                    Err(reason) => {
                        self.refused = Some(reason);
                        return self.launch((params, adam, average), &inputs, lr, backward);
                    }
                }
            }
        };
        if !recorded.fits(&inputs) {
            self.recorded = Some(recorded);
            return self.launch((params, adam, average), &inputs, lr, backward);
        }
        tch::no_grad(|| recorded.inputs.iter_mut().zip(&inputs).for_each(|(own, new)| own.copy_(new)));
        let _ = adam.advance(params, |i| self.reached[i], lr);
        recorded.graph.replay();
        let terms = recorded.terms.copy();
        self.recorded = Some(recorded);
        terms
    }

    /// Whether updates are replayed from now on. One that is watched is launched, operator by operator, to be seen.
    fn replays(&self, device: Device) -> bool {
        let asked = || std::env::var(VARIABLE).is_ok_and(|value| value == "off");
        device.is_cuda() && self.made >= FIRST && self.refused.is_none() && !watch::is_open() && !asked()
    }

    fn launch(
        &mut self,
        (params, adam, average): (&Params, &mut Adam, Option<&Average>),
        inputs: &[Tensor],
        lr: f64,
        backward: impl Fn(&[Tensor]) -> (Terms, Gradients),
    ) -> Terms {
        let (terms, gradients) = backward(inputs);
        self.reached = gradients.as_slice().iter().map(Option::is_some).collect();
        adam.step(params, &gradients, lr);
        average.iter().for_each(|average| average.update(params));
        self.made += 1;
        terms
    }
}

impl Recorded {
    fn fits(&self, inputs: &[Tensor]) -> bool {
        self.inputs.len() == inputs.len() && self.inputs.iter().zip(inputs).all(|(own, new)| own.size() == new.size())
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::config::settings::Optimiser;
    use crate::nn::optim::AdamOptions;

    #[test]
    fn on_the_cpu_every_update_is_launched_and_moves_what_its_gradients_reach() {
        let mut params = Params::new(0, Device::Cpu);
        let [reached, other] = ["reached", "other"].map(|name| params.add_values(name, &[2], &[1.0, 2.0]));
        let mut adam = Adam::new(&params, AdamOptions { rule: Optimiser::Adam, weight_decay: 0.0, spare_plain: false, slow: &[] });
        let mut recorder = Recorder::default();
        let backward = |inputs: &[Tensor]| {
            let (mut gradients, mut terms) = (Gradients::none(&params), Terms::new());
            let cost = (&reached * &inputs[0]).sum(Kind::Float);
            gradients.add(&params, &cost, &[]);
            terms.add(["cost"], &cost);
            (terms, gradients)
        };
        for round in 0..=FIRST {
            let before = Vec::<f32>::try_from(&reached).unwrap();
            let terms = recorder.update((&params, &mut adam, None), vec![Tensor::from_slice(&[3.0f32, 4.0])], 0.1, backward);
            let cost = f64::from(3.0 * before[0] + 4.0 * before[1]);
            assert!((terms.read()[0].1 - cost).abs() < 1e-5, "{round}");
            // Adam's steps under one gradient are the rate.
            let after = Vec::<f32>::try_from(&reached).unwrap();
            assert!(after.iter().zip(&before).all(|(after, before)| (before - after - 0.1).abs() < 1e-4), "{round}");
        }
        assert_eq!(Vec::<f32>::try_from(&other).unwrap(), [1.0, 2.0]);
        assert!(recorder.refused().is_none() && recorder.recorded.is_none());
    }
}
