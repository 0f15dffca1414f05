//! What products are made of, and whether they are the same every time: the C++ side is `shim/context.cpp`.

use tch::Device;

use crate::config::settings::{Common, Precision};

unsafe extern "C" {
    fn etalon_allow_tf32(allowed: bool) -> bool;
    fn etalon_deterministic(asked: bool) -> bool;
    fn etalon_autocast(cuda: bool, open: bool) -> bool;
}

/// Sets the process's switches for a task.
pub fn prepare(common: &Common) {
    // SAFETY: plain settings of libtorch.
    let set = unsafe { etalon_allow_tf32(common.precision != Precision::Float32) && etalon_deterministic(common.deterministic) };
    assert!(set, "libtorch refused `precision` or `deterministic`");
}

/// What `work` gives when its products are of `precision`.
pub fn within<T>(precision: Precision, device: Device, work: impl FnOnce() -> T) -> T {
    struct Open(bool);
    impl Drop for Open {
        fn drop(&mut self) {
            // SAFETY: closes what `within` opened, on its thread.
            unsafe { etalon_autocast(self.0, false) };
        }
    }
    if precision != Precision::Bfloat16 {
        return work();
    }
    let cuda = device.is_cuda();
    // SAFETY: a setting of this thread, taken back when `_open` goes.
    assert!(unsafe { etalon_autocast(cuda, true) }, "libtorch refused autocast");
    let _open = Open(cuda);
    work()
}
