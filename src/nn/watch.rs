//! What libtorch really did: the operators it dispatched and the tensor memory it handed out, through its own hooks (see
//! `shim/watch.cpp`). For steps that are not timed: an operator costs about a quarter of a microsecond more.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use tch::Device;

use super::formulas::{self, Argument, Work};
use super::transfer;
use crate::profile::compute::{AllocatorMemory, Dispatched, Operator};

/// Operators that give the host a value, or something whose size depends on values.
const WAITS: [&str; 5] = ["aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::repeat_interleave"];

type Seen = unsafe extern "C" fn(*mut c_void, *const c_char, *const i64, usize);

unsafe extern "C" {
    fn etalon_watch_open(seen: Seen, context: *mut c_void, cuda: bool) -> *mut c_void;
    fn etalon_watch_close(handle: *mut c_void, memory: *mut i64) -> bool;
    fn etalon_cuda_reserved(device: i8, reset: bool) -> i64;
}

thread_local! {
    static OPEN: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is being watched.
pub fn is_open() -> bool {
    OPEN.get()
}

/// What `work` gives, and what libtorch dispatched for it on this thread and on those that computed gradients for it.
/// Memory is that of `device`. `None` when libtorch has no hooks free (a profiler of its own is open).
///
/// Memory is exact when `work` frees nothing that was there before it; let a first round of it pass.
pub fn dispatched<T>(device: Device, work: impl FnOnce() -> T) -> (T, Option<Dispatched>) {
    if let Device::Cuda(index) = device {
        // SAFETY: reads and resets a statistic; without such a device it does nothing.
        unsafe { etalon_cuda_reserved(index as i8, true) };
    }
    let before = transfer::reads();
    let watch = Watch::open(device);
    let result = work();
    let mut seen = watch.and_then(Watch::close);
    if let Some(seen) = &mut seen {
        seen.host_reads += transfer::reads() - before;
    }
    (result, seen)
}

/// An open watch.
struct Watch {
    handle: *mut c_void,
    /// Written by `seen` while the watch is open; the shim lets one thread in at a time.
    table: *mut Table,
    device: Device,
}

#[derive(Default)]
struct Table {
    operators: u64,
    /// Operators for whose result the host waits.
    waits: u64,
    /// Calls and multiply-accumulates by operator; the latter absent where it is not counted.
    rows: BTreeMap<String, (u64, Option<u64>)>,
}

impl Watch {
    fn open(device: Device) -> Option<Self> {
        let table = Box::into_raw(Box::<Table>::default());
        // SAFETY: the table lives until `drop`, which closes the watch first.
        let handle = unsafe { etalon_watch_open(seen, table.cast(), device.is_cuda()) };
        let watch = Self { handle, table, device };
        OPEN.set(!handle.is_null());
        (!handle.is_null()).then_some(watch)
    }

    fn close(mut self) -> Option<Dispatched> {
        let mut memory = [0i64; 3];
        // SAFETY: the handle is open, of this thread, and closed once.
        let closed = unsafe { etalon_watch_close(std::mem::replace(&mut self.handle, ptr::null_mut()), memory.as_mut_ptr()) };
        // SAFETY: nothing writes the table any more.
        let table = unsafe { &*self.table };
        let [peak_bytes, allocated_bytes, allocations] = memory.map(|n| n.max(0) as u64);
        let reserved_bytes = match self.device {
            // SAFETY: reads a statistic.
            Device::Cuda(index) => u64::try_from(unsafe { etalon_cuda_reserved(index as i8, false) }).ok(),
            _ => None,
        };
        closed.then(|| table.report(AllocatorMemory { peak_bytes, allocated_bytes, allocations, reserved_bytes }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        OPEN.set(false);
        let mut memory = [0i64; 3];
        if !self.handle.is_null() {
            // SAFETY: still open, because the work unwound; on its own thread.
            unsafe { etalon_watch_close(self.handle, memory.as_mut_ptr()) };
        }
        // SAFETY: made by `Box::into_raw`, and no longer written to.
        drop(unsafe { Box::from_raw(self.table) });
    }
}

impl Table {
    fn report(&self, memory: AllocatorMemory) -> Dispatched {
        let of =
            |(name, &(calls, macs)): (&String, &(u64, Option<u64>))| Operator { name: name.clone(), calls, flop: 2 * macs.unwrap_or(0) };
        let mut by_operator: Vec<Operator> = self.rows.iter().filter(|(_, row)| row.1.is_some()).map(of).collect();
        by_operator.sort_by_key(|operator| std::cmp::Reverse(operator.flop));
        let mut uncounted: Vec<Operator> = self.rows.iter().filter(|(_, row)| row.1.is_none()).map(of).collect();
        uncounted.sort_by_key(|operator| std::cmp::Reverse(operator.calls));
        let flop = by_operator.iter().map(|operator| operator.flop).sum();
        Dispatched { operators: self.operators, host_reads: self.waits, flop, by_operator, uncounted, memory: Some(memory) }
    }
}

/// Called for every operator. Must not unwind: nothing in it indexes or unwraps.
///
/// # Safety
/// `context` is a [`Table`] that nobody else has, `name` a C string, `encoded` that many numbers.
unsafe extern "C" fn seen(context: *mut c_void, name: *const c_char, encoded: *const i64, length: usize) {
    // SAFETY: as above.
    let (table, name) = unsafe { (&mut *context.cast::<Table>(), CStr::from_ptr(name)) };
    // SAFETY: as above; an empty list may have no address.
    let encoded = if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(encoded, length) } };
    let Ok(name) = name.to_str() else { return };
    if name.starts_with("autograd::") {
        // A frame around the operators that compute a gradient, not one of them.
        return;
    }
    table.operators += 1;
    table.waits += u64::from(WAITS.contains(&name));
    let macs = match formulas::work(name, &decode(encoded)) {
        Work::Macs(macs) => Some(macs),
        Work::Uncounted => None,
        Work::None => return,
    };
    if !table.rows.contains_key(name) {
        table.rows.insert(name.to_owned(), (0, None));
    }
    if let Some((calls, sum)) = table.rows.get_mut(name) {
        *calls += 1;
        *sum = match (*sum, macs) {
            (Some(sum), Some(macs)) => Some(sum + macs),
            (sum, macs) => sum.or(macs),
        };
    }
}

/// (kind, length, values…) as the shim writes them.
fn decode(mut encoded: &[i64]) -> Vec<Argument<'_>> {
    let mut arguments = Vec::with_capacity(12);
    while let [kind, length, rest @ ..] = encoded {
        let Some((values, rest)) = rest.split_at_checked(*length as usize) else { break };
        arguments.push(match kind {
            1 => Argument::Tensor(values),
            2 => Argument::Numbers(values),
            _ => Argument::Other,
        });
        encoded = rest;
    }
    arguments
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    fn perceptron() -> impl Fn() -> f64 {
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let (x, first, second) = (random(&[32, 24]), random(&[40, 24]).set_requires_grad(true), random(&[10, 40]).set_requires_grad(true));
        move || {
            let loss = x.linear(&first, None::<&Tensor>).relu().linear(&second, None::<&Tensor>).sum(Kind::Float);
            Tensor::run_backward(&[&loss], &[&first, &second], false, false);
            loss.double_value(&[])
        }
    }

    #[test]
    fn a_perceptron_dispatches_its_forward_and_backward_products() {
        let step = perceptron();
        let (_, seen) = dispatched(Device::Cpu, &step);
        let seen = seen.expect("no other profiler is open");
        let (first, second) = (32 * 24 * 40, 32 * 40 * 10);
        // Twice forward, then the weights of both layers and the input of the second.
        assert_eq!(seen.flop, 2 * ((first + second) + (first + 2 * second)));
        assert_eq!(seen.by_operator.iter().map(|o| (o.name.as_str(), o.calls)).collect::<Vec<_>>(), [("aten::mm", 5)]);
        assert!(seen.operators > 5 && seen.uncounted.iter().any(|o| o.name == "aten::clamp_min"), "{:?}", seen.uncounted);
        let (_, quiet) = dispatched(Device::Cpu, || ());
        assert_eq!(quiet.map(|seen| (seen.operators, seen.flop)), Some((0, 0)));
    }

    #[test]
    fn tensor_memory_is_exact_and_the_same_in_every_round() {
        let (_, seen) = dispatched(Device::Cpu, || {
            let a = Tensor::zeros([1000], (Kind::Float, Device::Cpu));
            drop(Tensor::zeros([500], (Kind::Float, Device::Cpu)));
            drop(Tensor::zeros([250], (Kind::Float, Device::Cpu)));
            a
        });
        let memory = seen.unwrap().memory.unwrap();
        let wanted = AllocatorMemory { peak_bytes: 6000, allocated_bytes: 7000, allocations: 3, reserved_bytes: None };
        assert_eq!(memory, wanted);
        let step = perceptron();
        let rounds: Vec<_> = (0..3).map(|_| dispatched(Device::Cpu, &step).1.unwrap().memory.unwrap()).collect();
        assert!(rounds[0].allocations > 5 && rounds.windows(2).all(|pair| pair[0] == pair[1]), "{rounds:?}");
    }

    #[test]
    fn work_that_unwinds_closes_its_watch() {
        let unwound = std::panic::catch_unwind(|| dispatched(Device::Cpu, || panic!("on purpose")));
        assert!(unwound.is_err());
        let (_, seen) = dispatched(Device::Cpu, || Tensor::zeros([2], (Kind::Float, Device::Cpu)) + 1.0);
        assert!(seen.unwrap().uncounted.iter().any(|o| o.name.starts_with("aten::add")));
    }

    #[test]
    fn without_a_gpu_its_allocator_is_absent() {
        if !tch::Cuda::is_available() {
            // SAFETY: only reads.
            assert!(unsafe { etalon_cuda_reserved(0, true) } < 0);
        }
    }
}
