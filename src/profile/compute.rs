//! Theoretical compute of a network: parameters, operations and bytes per layer, and what libtorch dispatched, beside each
//! other. One multiply-accumulate (MAC) is two floating-point operations (FLOP); both are given by name.

use serde::{Deserialize, Serialize};

/// The convention, as reports print it.
pub const CONVENTION: &str = "1 MAC = 2 FLOP; convolutions, linear layers, recurrence and matrix products, padding included; \
     element-wise work, norms, interpolation and gathers not";

/// Compute of one input (detection) or one update (training).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compute {
    /// What was counted: "detection of 2304 cells", "training step of 16 inputs of 128 cells".
    pub what: String,
    /// Values of the weights, frozen ones included.
    pub parameters: u64,
    /// Multiply-accumulates of the forward passes, by our own formulas.
    pub forward_macs: u64,
    /// Multiply-accumulates of the backward passes; 0 for detection.
    pub backward_macs: u64,
    /// Bytes of the inputs, weights and outputs of every product, forward and backward: the traffic of these products when no
    /// cache keeps anything from one to the next, without that of element-wise work. An estimate.
    pub bytes: u64,
    /// In the order of the forward pass; the last holds the parameters that no product reads, where there are any.
    pub layers: Vec<Layer>,
    /// The same as libtorch's dispatcher saw it; `None` when it was not observed.
    pub dispatched: Option<Dispatched>,
}

/// One layer, or all products without weights of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Path of its weights ("backbone.0.conv"), or what it computes ("attention product").
    pub name: String,
    /// "conv1d", "linear", "matmul", …
    pub kind: String,
    /// Values of the layer's weights.
    pub parameters: u64,
    /// Calls.
    pub calls: u64,
    /// Multiply-accumulates forward.
    pub forward_macs: u64,
    /// Multiply-accumulates backward: as many as forward for every input that asks for a gradient, the weight among them.
    pub backward_macs: u64,
    /// Bytes of its inputs and outputs, forward.
    pub activation_bytes: u64,
}

/// What the dispatcher of libtorch saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dispatched {
    /// Operators dispatched; one over a list of tensors counts once.
    pub operators: u64,
    /// Times that the host had to wait for values: readings, and operators whose output has a size that depends on values.
    #[serde(default)]
    pub host_reads: u64,
    /// FLOP of the operators that have a formula.
    pub flop: u64,
    /// By operator, most FLOP first.
    pub by_operator: Vec<Operator>,
    /// Operators without a formula that do arithmetic on whole tensors, most calls first.
    pub uncounted: Vec<Operator>,
    /// Tensor memory on the device: exact, from the allocator.
    pub memory: Option<AllocatorMemory>,
}

/// One operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// As libtorch calls it: "aten::convolution".
    pub name: String,
    /// Calls.
    pub calls: u64,
    /// FLOP by formula; 0 for one without.
    pub flop: u64,
}

/// What the allocator of the device handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatorMemory {
    /// Largest number of bytes in use beyond those in use at the start.
    pub peak_bytes: u64,
    /// Bytes handed out.
    pub allocated_bytes: u64,
    /// Allocations.
    pub allocations: u64,
    /// Largest number of bytes that a caching allocator held, in use or not; `None` without one (on the CPU).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_bytes: Option<u64>,
}

impl Compute {
    /// FLOP of the forward and backward passes.
    pub fn flop(&self) -> u64 {
        2 * (self.forward_macs + self.backward_macs)
    }

    /// FLOP per byte, both of the products alone: an estimate of the arithmetic intensity.
    pub fn intensity(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.flop() as f64 / self.bytes as f64)
    }
}
