//! An operator of our own inside an autograd graph.
//!
//! tch cannot register a backward function, so the graph is cut at the operator: its output is a fresh leaf, and once the
//! loss behind the leaf has been differentiated, the operator's own backward turns the leaf's gradient into the input's. A
//! side effect is welcome: what lies behind the leaf can be differentiated and freed before the next part is computed.

use tch::{Kind, Tensor};

/// An open cut: `output` is used like any tensor; [`Graft::close`] carries its gradient back to the input.
pub struct Graft {
    input: Tensor,
    /// The operator's result, a leaf whose gradient is to be asked for.
    pub output: Tensor,
}

impl Graft {
    /// Cuts the graph at `operator(input)`.
    pub fn open(input: &Tensor, operator: impl FnOnce(&Tensor) -> Tensor) -> Self {
        let output = tch::no_grad(|| operator(input)).set_requires_grad(true);
        Self { input: input.shallow_clone(), output }
    }

    /// Given the input's gradient (the operator's backward of the leaf's), a scalar to add to the losses that are
    /// differentiated next: its gradient with respect to what made `input` is what the operator would have passed on.
    pub fn close(self, gradient: Tensor) -> Tensor {
        (self.input * gradient).sum(Kind::Float)
    }
}
