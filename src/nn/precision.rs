//! What products are made of, and whether they are the same every time: the C++ side is `shim/context.cpp`.

use tch::{Device, Kind, Tensor};

use crate::config::settings::Precision;

unsafe extern "C" {
    fn etalon_allow_tf32(allowed: bool) -> bool;
    fn etalon_deterministic(asked: bool) -> bool;
    fn etalon_autocast(cuda: bool, open: bool) -> bool;
    fn etalon_autocast_set(cuda: bool, on: bool) -> bool;
}

/// Sets the process's switches.
pub fn prepare(precision: Precision, deterministic: bool) {
    if deterministic {
        // SAFETY: C strings; cuBLAS reads it when a device is first used. A user's own choice stays.
        unsafe { libc::setenv(c"CUBLAS_WORKSPACE_CONFIG".as_ptr(), c":4096:8".as_ptr(), 0) };
    }
    // SAFETY: plain settings of libtorch.
    let set = unsafe { etalon_allow_tf32(precision != Precision::Float32) && etalon_deterministic(deterministic) };
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

/// What `work` gives in single precision, also inside of [`within`].
pub fn single<T>(device: Device, work: impl FnOnce() -> T) -> T {
    struct Paused(bool, bool);
    impl Drop for Paused {
        fn drop(&mut self) {
            // SAFETY: a setting of this thread, as it was.
            unsafe { etalon_autocast_set(self.0, self.1) };
        }
    }
    let cuda = device.is_cuda();
    // SAFETY: a setting of this thread, restored when `_paused` goes.
    let _paused = Paused(cuda, unsafe { etalon_autocast_set(cuda, false) });
    work()
}

/// The tensor in another numeric type; in its own without an operator.
pub fn cast(x: &Tensor, kind: Kind) -> Tensor {
    if x.kind() == kind { x.shallow_clone() } else { x.to_kind(kind) }
}

/// The tensor in single precision.
pub fn float(x: &Tensor) -> Tensor {
    cast(x, Kind::Float)
}
