//! Multiply-accumulates of convolutions, linear layers and matrix products, counted as they are dispatched (padding
//! included; element-wise work, normalisation, interpolation and gathers are not). One MAC is two FLOPs.
//!
//! Layers say what they multiply; the sum of the forward passes is always kept, the single calls only while [`record`] runs.

use std::cell::{Cell, RefCell};

use tch::Tensor;

use super::params::Params;
use crate::profile::compute::{Compute, Layer};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static CALLS: RefCell<Option<Vec<Call>>> = const { RefCell::new(None) };
}

/// One product as it was computed.
struct Call {
    /// Where the weight lies in memory, or what a product without one computes.
    of: Result<usize, &'static str>,
    kind: &'static str,
    macs: u64,
    /// Products of the backward pass, each of as many multiply-accumulates.
    gradients: u64,
    /// Bytes of inputs and output.
    activations: u64,
    /// Bytes of the weight.
    weight: u64,
}

/// Counts `factors`, multiplied, of a layer that made `output` of `input` with a trainable `weight` (the parameter itself, or a
/// view of it). `kind` is "linear", "conv1d" and the like.
pub fn layer(kind: &'static str, factors: &[i64], input: &Tensor, weight: &Tensor, output: &Tensor) {
    let macs = add(factors);
    keep(|| Call {
        of: Ok(weight.data_ptr() as usize),
        kind,
        macs,
        gradients: gradients(&[input, weight], output),
        activations: bytes(input) + bytes(output),
        weight: bytes(weight),
    });
}

/// Counts `factors`, multiplied, of a product of two computed tensors; `what` says of which.
pub fn product(what: &'static str, factors: &[i64], inputs: [&Tensor; 2], output: &Tensor) {
    let macs = add(factors);
    keep(|| Call {
        of: Err(what),
        kind: "matmul",
        macs,
        gradients: gradients(&inputs, output),
        activations: inputs.into_iter().map(bytes).sum::<u64>() + bytes(output),
        weight: 0,
    });
}

fn add(factors: &[i64]) -> u64 {
    let macs = factors.iter().product::<i64>() as u64;
    COUNT.set(COUNT.get() + macs);
    macs
}

fn keep(call: impl FnOnce() -> Call) {
    CALLS.with_borrow_mut(|calls| {
        if let Some(calls) = calls {
            calls.push(call());
        }
    });
}

/// An output that will not be differentiated passes nothing on; otherwise every input that asks for a gradient takes one
/// product.
fn gradients(inputs: &[&Tensor], output: &Tensor) -> u64 {
    if output.requires_grad() { inputs.iter().filter(|input| input.requires_grad()).count() as u64 } else { 0 }
}

fn bytes(tensor: &Tensor) -> u64 {
    (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64
}

/// What `work` gives, and the MACs of its forward passes on this thread.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.get();
    let result = work();
    (result, COUNT.get() - before)
}

/// What `work` gives, and its products on this thread, layer by layer; `params` are the network's, `what` is what it computes.
/// Gradients are taken to be computed for all that asks for them.
pub fn record<T>(params: &Params, what: String, work: impl FnOnce() -> T) -> (T, Compute) {
    let outer = CALLS.replace(Some(Vec::new()));
    let result = work();
    let calls = CALLS.replace(outer).unwrap_or_default();
    (result, compute(params, what, &calls))
}

fn compute(params: &Params, what: String, calls: &[Call]) -> Compute {
    let owners = Owners::new(params);
    let mut layers: Vec<Layer> = Vec::new();
    let mut total = Compute { what, parameters: params.size(), ..Compute::default() };
    for call in calls {
        let owner = call.of.ok().and_then(|address| owners.at(address));
        let name = owner.or(call.of.err()).unwrap_or("computed weights");
        let at = layers.iter().position(|layer| layer.name == name && layer.kind == call.kind).unwrap_or_else(|| {
            let parameters = if layers.iter().any(|layer| layer.name == name) { 0 } else { owner.map_or(0, |o| owners.parameters(o)) };
            layers.push(Layer { name: name.to_owned(), kind: call.kind.to_owned(), parameters, ..Layer::default() });
            layers.len() - 1
        });
        let (layer, backward) = (&mut layers[at], call.macs * call.gradients);
        layer.calls += 1;
        layer.forward_macs += call.macs;
        layer.backward_macs += backward;
        layer.activation_bytes += call.activations;
        total.forward_macs += call.macs;
        total.backward_macs += backward;
        // A gradient reads and writes as much as the product it belongs to.
        total.bytes += (call.activations + call.weight) * (1 + call.gradients);
    }
    let rest = total.parameters - layers.iter().map(|layer| layer.parameters).sum::<u64>();
    if rest > 0 {
        layers.push(Layer { name: "norms, scales and other parameters".into(), parameters: rest, ..Layer::default() });
    }
    total.layers = layers;
    total
}

/// Whose weights lie where in memory.
struct Owners<'a> {
    /// First address, one past the last, path of the layer, number of values.
    spans: Vec<(usize, usize, &'a str, u64)>,
}

impl<'a> Owners<'a> {
    fn new(params: &'a Params) -> Self {
        let span = |(name, tensor): (&'a str, &Tensor)| {
            let (first, path) = (tensor.data_ptr() as usize, name.rsplit_once('.').map_or(name, |(path, _)| path));
            (first, first + bytes(tensor) as usize, path, tensor.numel() as u64)
        };
        Self { spans: params.weights().map(span).collect() }
    }

    /// The layer of the weight that lies there, whole or in part.
    fn at(&self, address: usize) -> Option<&'a str> {
        self.spans.iter().find(|&&(first, end, ..)| (first..end).contains(&address)).map(|span| span.2)
    }

    /// Values of a layer, biases included.
    fn parameters(&self, path: &str) -> u64 {
        self.spans.iter().filter(|span| span.2 == path).map(|span| span.3).sum()
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::nn::layers::basic::{Linear, Mlp};

    #[test]
    fn calls_are_kept_by_layer_and_only_while_recorded() {
        let mut params = Params::new(0, Device::Cpu);
        let mlp = Mlp::new(&mut params, "m", &[6, 8, 3]);
        let norm = Linear::new(&mut params, "unused", 2, 2);
        let x = Tensor::zeros([5, 6], (Kind::Float, Device::Cpu));
        let ((_, outer), compute) = record(&params, "a step".into(), || {
            let _ = mlp.forward(&x);
            count(|| tch::no_grad(|| mlp.forward(&x)))
        });
        assert_eq!(outer, 5 * (6 * 8 + 8 * 3));
        assert_eq!((compute.forward_macs, compute.parameters), (2 * outer, 6 * 8 + 8 + 8 * 3 + 3 + 6));
        let of = |at: usize| {
            let Layer { name, kind, parameters, calls, backward_macs, activation_bytes, .. } = &compute.layers[at];
            (name.as_str(), kind.as_str(), *parameters, *calls, *backward_macs, *activation_bytes)
        };
        // The input of the first layer asks for no gradient, and nothing does without gradients.
        assert_eq!(of(0), ("m.0", "linear", 56, 2, 5 * 48, 2 * 4 * (30 + 40)));
        assert_eq!(of(1), ("m.2", "linear", 27, 2, 2 * 5 * 24, 2 * 4 * (40 + 15)));
        assert_eq!((of(2).2, of(2).3, compute.layers.len()), (6, 0, 3));
        let traffic = 4 * ((30 + 48 + 40) * (2 + 1) + (40 + 24 + 15) * (3 + 1));
        assert_eq!(compute.bytes, traffic);
        let _ = norm.forward(&Tensor::zeros([1, 2], (Kind::Float, Device::Cpu)));
        assert!(CALLS.with_borrow(Option::is_none));
    }
}
