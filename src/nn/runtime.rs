//! The process's numeric settings: threads, denormals, device.

use tch::{Cuda, Device};

/// Prepares the process for computing with `threads` threads. Call once, before the first tensor.
///
/// Denormals are flushed to zero: zero-padded convolutions produce them, and they make a step many times slower. Worker
/// threads inherit the setting from the thread that creates them, hence "before the first tensor".
pub fn prepare(threads: usize) {
    flush_denormals();
    keep_heap();
    tch::set_num_threads(threads as i32);
    // Fails only when a pool exists already, whose size is then kept.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
}

/// The device called `name`: "cpu", "cuda" or "cuda:N".
///
/// # Errors
/// An unknown name, or no CUDA in this libtorch or on this machine.
pub fn device(name: &str) -> Result<Device, String> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let index = match name.strip_prefix("cuda") {
        Some("") => 0,
        Some(rest) => rest
            .strip_prefix(':')
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| format!("unknown device {name:?}: use \"cpu\" or \"cuda:N\""))?,
        None => return Err(format!("unknown device {name:?}: use \"cpu\" or \"cuda:N\"")),
    };
    open_cuda();
    if (index as i64) < Cuda::device_count() {
        Ok(Device::Cuda(index))
    } else {
        Err(format!("device {name:?} is not available: libtorch sees {} CUDA devices; `etalon doctor` says why", Cuda::device_count()))
    }
}

/// Opens libtorch_cuda.so where it lies beside the CPU library. The link step drops it, so that one binary serves both; its
/// initialisers register CUDA when it is opened.
fn open_cuda() {
    // SAFETY: a plain dlopen by name of a library that belongs to the libtorch already loaded; the handle stays open.
    unsafe {
        libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL);
    }
}

/// Keeps freed memory instead of handing it back to the kernel after every update: the page faults of taking it anew cost a
/// fifth of the CPU time of a small network.
fn keep_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: numbers only; refused values change nothing.
    unsafe {
        const BYTES: libc::c_int = 1 << 30;
        libc::mallopt(libc::M_MMAP_THRESHOLD, BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, BYTES);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

fn flush_denormals() {
    #[cfg(target_arch = "x86_64")]
    {
        let mut control: u32 = 0;
        // SAFETY: reads and writes this thread's SSE control register; bits 15 (flush to zero) and 6 (denormals are zero).
        unsafe {
            std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack));
            control |= (1 << 15) | (1 << 6);
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack));
        }
    }
}
