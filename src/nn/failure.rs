//! What libtorch says when it fails, in one line: it unwinds with a message that holds its C++ frames, of use to nobody but a log.

use std::ffi::{CStr, c_char};

/// What a function of `shim` says of how it went: null, or a message that is the caller's to free.
///
/// # Errors
/// The message.
///
/// # Safety
/// `error` is null or a C string made by `strdup`, which nobody else frees.
pub unsafe fn said(error: *mut c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: as above.
    unsafe {
        let message = CStr::from_ptr(error).to_string_lossy().into_owned();
        libc::free(error.cast());
        Err(message)
    }
}

/// What failed, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The first sentence, without frames and source lines.
    pub what: String,
    /// What to try.
    pub remedy: &'static str,
}

/// Parts of messages, each with its remedy, the most special first.
const REMEDIES: [(&[&str], &str); 5] = [
    (
        &["CUDA out of memory", "CUDA error: out of memory"],
        "lower `batch` or `window`, or free the device (`nvidia-smi` shows who holds it)",
    ),
    (
        &["can't allocate memory", "not enough memory", "Cannot allocate memory"],
        "lower `batch` or `window`, or run fewer cells at once (--jobs)",
    ),
    (&["CUDA error", "cuDNN", "CUBLAS", "no kernel image"], "run `etalon doctor`; --device cpu computes the same without the device"),
    (
        &["must match", "cannot be multiplied", "size mismatch", "expected input", "shape", "Sizes of tensors"],
        "compare `dataset.features.dim`, `window` and `init` with the files they speak of",
    ),
    (&["not implemented for", "Could not run"], "run it with --device cpu, or without `autocast`"),
];

/// For what nothing above fits.
const OTHERWISE: &str = "the log holds the frames; report it with them";

impl Failure {
    /// Reads the message of an unwinding through tch: text, or its debug form in which line ends are escaped.
    pub fn of(panic: &str) -> Self {
        let inner = panic.split_once("Torch(\"").map_or(panic, |(_, inner)| inner.trim_end_matches(['"', ')']));
        let lines = inner.replace("\\n", "\n").replace("\\\"", "\"");
        let message = lines.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
        let remedy =
            REMEDIES.iter().find(|(parts, _)| parts.iter().any(|part| lines.contains(part))).map_or(OTHERWISE, |(_, remedy)| remedy);
        // "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: …": the check is of no interest.
        let what = match message.split_once("DefaultCPUAllocator: ") {
            Some((_, what)) => what,
            None => message,
        };
        Self { what: what.trim_end_matches('.').to_owned(), remedy }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn real_failures_become_a_line_without_frames() {
        let shape = std::panic::catch_unwind(|| {
            Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)).matmul(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)))
        });
        let text = shape.unwrap_err().downcast_ref::<String>().cloned().unwrap();
        assert!(text.contains("frame #"), "libtorch's own text has frames: {text}");
        let failure = Failure::of(&text);
        assert!(failure.what.contains("cannot be multiplied") && !failure.what.contains("frame"), "{failure:?}");
        assert!(failure.remedy.contains("dim"), "{failure:?}");
        let memory = std::panic::catch_unwind(|| Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu)));
        let failure = Failure::of(memory.unwrap_err().downcast_ref::<String>().unwrap());
        assert!(failure.what.contains("allocate") && !failure.what.contains("alloc_cpu"), "{failure:?}");
        assert!(failure.remedy.contains("`batch`"), "{failure:?}");
    }

    #[test]
    fn other_texts_keep_their_first_line() {
        assert_eq!(Failure::of("index out of range\nmore").what, "index out of range");
        assert_eq!(
            Failure::of(r#"called `Result::unwrap()` on an `Err` value: Torch("CUDA out of memory. Tried\nException raised")"#).what,
            "CUDA out of memory. Tried"
        );
        assert_eq!(Failure::of("").what, "it said nothing");
    }
}
