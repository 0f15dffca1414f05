//! Multiply-accumulates of convolutions, linear layers and matrix products, counted as they are dispatched (padding
//! included; element-wise work, normalisation and gathers are not). One MAC is two FLOPs.

use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Adds the product of `factors`.
pub fn add(factors: &[i64]) {
    COUNT.with(|count| count.set(count.get() + factors.iter().product::<i64>() as u64));
}

/// What `work` gives, and the MACs of its forward passes on this thread.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = COUNT.with(Cell::get);
    let result = work();
    (result, COUNT.with(Cell::get) - before)
}
