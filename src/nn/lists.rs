//! Operators that tch does not bind (`shim/lists.cpp`): those over whole lists of tensors, by which an optimiser moves every parameter
//! in a few launches, and copies into page-locked memory.

use std::ffi::{c_char, c_void};

use tch::Tensor;

use super::failure::said;

/// A tensor as libtorch's C++ side knows it.
type Handle = *mut c_void;

#[repr(C)]
struct FusedAdam {
    lr: f64,
    beta1: f64,
    beta2: f64,
    weight_decay: f64,
    epsilon: f64,
    step: f64,
    decoupled: bool,
}

unsafe extern "C" {
    fn etalon_fused_adam(
        parameters: *const Handle,
        gradients: *const Handle,
        means: *const Handle,
        squares: *const Handle,
        count: usize,
        adam: *const FusedAdam,
        lr: Handle,
        step: Handle,
    ) -> *mut c_char;
    fn etalon_foreach_norm(tensors: *const Handle, count: usize, norms: *mut Handle) -> *mut c_char;
    fn etalon_foreach_mul(tensors: *const Handle, count: usize, factor: Handle, products: *mut Handle) -> *mut c_char;
    fn etalon_pin(tensor: Handle, pinned: *mut Handle) -> *mut c_char;
    fn etalon_foreach_lerp(tensors: *const Handle, ends: *const Handle, count: usize, share: f64) -> *mut c_char;
}

/// What an update of Adam is made with, and which of how many it is for its parameters (from 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decays of both moments.
    pub betas: (f64, f64),
    /// Decay of the weights.
    pub weight_decay: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Counted from 1.
    pub step: i64,
    /// AdamW: the decay is not part of the gradient.
    pub decoupled: bool,
}

/// A parameter with its gradient and moments, all of one shape.
pub struct Moved<'a> {
    /// Changed.
    pub parameter: &'a Tensor,
    /// Of any strides.
    pub gradient: &'a Tensor,
    /// Changed: the running mean of gradients.
    pub mean: &'a Tensor,
    /// Changed: the running mean of their squares.
    pub square: &'a Tensor,
}

/// One update of all `moved`, of one device and type.
pub fn adam(moved: &[Moved<'_>], with: AdamStep) {
    fused(moved, with, (std::ptr::null_mut(), std::ptr::null_mut()));
}

/// As [`adam`], with the rate and the count read from scalar tensors of the device when it gets there.
pub fn adam_by_clock(moved: &[Moved<'_>], with: AdamStep, (lr, step): (&Tensor, &Tensor)) {
    fused(moved, with, (handle(lr), handle(step)));
}

fn fused(moved: &[Moved<'_>], with: AdamStep, (rate, count): (Handle, Handle)) {
    let column = |of: fn(&Moved<'_>) -> Handle| moved.iter().map(of).collect::<Vec<_>>();
    let (parameters, gradients) = (column(|m| handle(m.parameter)), column(|m| handle(m.gradient)));
    let (means, squares) = (column(|m| handle(m.mean)), column(|m| handle(m.square)));
    let AdamStep { lr, betas: (beta1, beta2), weight_decay, epsilon, step, decoupled } = with;
    let adam = FusedAdam { lr, beta1, beta2, weight_decay, epsilon, step: step as f64, decoupled };
    // SAFETY: four lists of as many live tensors, which the call borrows.
    check(unsafe {
        etalon_fused_adam(
            parameters.as_ptr(),
            gradients.as_ptr(),
            means.as_ptr(),
            squares.as_ptr(),
            moved.len(),
            &raw const adam,
            rate,
            count,
        )
    });
}

/// The L2 norm of all `tensors` together, a scalar on their device.
pub fn norm(tensors: &[&Tensor]) -> Tensor {
    let list = handles(tensors);
    // SAFETY: a list of live tensors, and room for as many.
    let norms = made(tensors.len(), |norms| unsafe { etalon_foreach_norm(list.as_ptr(), list.len(), norms) });
    Tensor::stack(&norms, 0).norm()
}

/// Every tensor times the scalar tensor `factor`.
pub fn scaled(tensors: &[&Tensor], factor: &Tensor) -> Vec<Tensor> {
    let list = handles(tensors);
    // SAFETY: as for `norm`.
    made(tensors.len(), |products| unsafe { etalon_foreach_mul(list.as_ptr(), list.len(), handle(factor), products) })
}

/// The tensor in page-locked memory (tch's binding names a device, which libtorch no longer wants to hear).
pub fn pinned(tensor: &Tensor) -> Tensor {
    // SAFETY: a live tensor, and room for one handle.
    made(1, |pinned| unsafe { etalon_pin(handle(tensor), pinned) }).remove(0)
}

/// Moves every tensor towards its like in `ends` by `share` of the way.
pub fn lerp(tensors: &[&Tensor], ends: &[&Tensor], share: f64) {
    assert_eq!(tensors.len(), ends.len(), "an end for every tensor");
    let (list, ends) = (handles(tensors), handles(ends));
    // SAFETY: two lists of as many live tensors.
    check(unsafe { etalon_foreach_lerp(list.as_ptr(), ends.as_ptr(), list.len(), share) });
}

fn handle(tensor: &Tensor) -> Handle {
    tensor.as_ptr().cast_mut().cast()
}

fn handles(tensors: &[&Tensor]) -> Vec<Handle> {
    tensors.iter().map(|tensor| handle(tensor)).collect()
}

/// The `count` tensors that `make` writes the handles of.
fn made(count: usize, make: impl FnOnce(*mut Handle) -> *mut c_char) -> Vec<Tensor> {
    let mut out = vec![std::ptr::null_mut(); count];
    check(make(out.as_mut_ptr()));
    // SAFETY: handles of new tensors, each owned by nobody else.
    out.into_iter().map(|handle| unsafe { Tensor::from_ptr(handle.cast()) }).collect()
}

/// Unwinds as tch does when libtorch refuses.
fn check(error: *mut c_char) {
    // SAFETY: what a function of the shim returned, looked at once.
    if let Err(message) = unsafe { said(error) } {
        panic!("{message}");
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    fn apart(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn lists_are_treated_element_by_element() {
        tch::manual_seed(5);
        let (a, b) = (random(&[3, 4]), random(&[5]).expand([2, 5], false));
        let whole = Tensor::cat(&[a.reshape([-1]), b.reshape([-1])], 0);
        assert!(apart(&norm(&[&a, &b]), &whole.norm()) < 1e-6);
        let products = scaled(&[&a, &b], &Tensor::from(0.5f32));
        assert!(apart(&products[0], &(&a * 0.5)) == 0.0 && apart(&products[1], &(&b * 0.5)) == 0.0);
        let (start, end) = (random(&[7]), random(&[7]));
        let moved = start.copy();
        lerp(&[&moved], &[&end], 0.25);
        assert!(apart(&moved, &(start * 0.75 + end * 0.25)) < 1e-6);
    }

    /// The definition (Kingma and Ba 2015; Loshchilov and Hutter 2019), in double precision.
    #[test]
    fn adam_follows_its_definition_for_gradients_of_any_strides() {
        tch::manual_seed(6);
        for decoupled in [false, true] {
            let (parameter, mean, square) = (random(&[4, 3]), random(&[4, 3]) * 0.1, random(&[4, 3]).square() * 0.1);
            let gradient = random(&[3, 4]).transpose(0, 1);
            let with = AdamStep { lr: 0.01, betas: (0.9, 0.999), weight_decay: 0.1, epsilon: 1e-8, step: 3, decoupled };
            let [p, m, s, g] = [&parameter, &mean, &square, &gradient].map(|t| t.to_kind(Kind::Double));
            let (p, g) = if decoupled { (&p * (1.0 - 0.01 * 0.1), g) } else { (p.copy(), g + p * 0.1) };
            let (m, s) = (m * 0.9 + &g * 0.1, s * 0.999 + g.square() * 0.001);
            let wanted = p - (&m / (1.0 - 0.9f64.powi(3))) / ((&s / (1.0 - 0.999f64.powi(3))).sqrt() + 1e-8) * 0.01;
            adam(&[Moved { parameter: &parameter, gradient: &gradient, mean: &mean, square: &square }], with);
            assert!(apart(&parameter, &wanted) < 1e-6 && apart(&mean, &m) < 1e-7 && apart(&square, &s) < 1e-7, "{decoupled}");
        }
    }
}
