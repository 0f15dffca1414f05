//! A training step recorded once and launched as a whole from then on (CUDA graphs).
//!
//! The C++ side (`shim/graph.cpp`) needs libtorch_cuda, which only a machine with a GPU can open, so it is a library of its own:
//! compiled where the CUDA headers are (`make setup` brings them), carried inside the program, and opened on a device.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use super::failure::{Failure, said};

/// Empty where the headers were missing.
static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/graph.so"));

struct Api {
    begin: unsafe extern "C" fn(*mut *mut c_void) -> *mut c_char,
    end: unsafe extern "C" fn(*mut c_void) -> *mut c_char,
    replay: unsafe extern "C" fn(*mut c_void) -> *mut c_char,
    free: unsafe extern "C" fn(*mut c_void),
}

/// What was recorded.
pub struct Graph {
    api: &'static Api,
    handle: *mut c_void,
}

impl Graph {
    /// Records what `work` launches on the current CUDA device; nothing of it is computed before [`Graph::replay`]. `work` must not
    /// wait for the device, and all memory that it reads must outlive the graph.
    ///
    /// # Errors
    /// This build has no graphs, or libtorch refuses.
    pub fn record<T>(work: impl FnOnce() -> T) -> Result<(Self, T), String> {
        let api = api()?;
        let mut graph = Self { api, handle: std::ptr::null_mut() };
        // SAFETY: writes the handle, which `drop` frees.
        unsafe { said((api.begin)(&raw mut graph.handle)) }.map_err(|error| Failure::of(&error).what)?;
        let made = catch_unwind(AssertUnwindSafe(work));
        // SAFETY: the recording is open, whatever the work did.
        let ended = unsafe { said((api.end)(graph.handle)) };
        match made {
            Ok(made) => ended.map(|()| (graph, made)).map_err(|error| Failure::of(&error).what),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map_or("it was interrupted", String::as_str);
                Err(Failure::of(text).what)
            }
        }
    }

    /// Launches all of it once more.
    pub fn replay(&self) {
        // SAFETY: a recorded graph.
        if let Err(error) = unsafe { said((self.api.replay)(self.handle)) } {
            panic!("{error}");
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the handle is live and freed once.
            unsafe { (self.api.free)(self.handle) };
        }
    }
}

fn api() -> Result<&'static Api, String> {
    static API: OnceLock<Result<Api, String>> = OnceLock::new();
    API.get_or_init(open).as_ref().map_err(Clone::clone)
}

/// Opens the library from memory; its needs are met by the libtorch_cuda that is open already.
fn open() -> Result<Api, String> {
    if LIBRARY.is_empty() {
        return Err("this build found no CUDA headers; `make setup` and a new build bring CUDA graphs".into());
    }
    // SAFETY: a name and flags; the descriptor is ours.
    let descriptor = unsafe { libc::memfd_create(c"etalon-graph".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(format!("no memory file: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: a fresh descriptor that nothing else closes.
    let mut file = unsafe { std::fs::File::from_raw_fd(descriptor) };
    file.write_all(LIBRARY).map_err(|error| error.to_string())?;
    let path = format!("/proc/self/fd/{}\0", file.as_raw_fd());
    // SAFETY: a C string; the library stays open.
    let library = unsafe { libc::dlopen(path.as_ptr().cast(), libc::RTLD_NOW as c_int) };
    let symbol = |name: &CStr| {
        // SAFETY: a library that is open, or null, for which nothing is asked.
        let found = if library.is_null() { std::ptr::null_mut() } else { unsafe { libc::dlsym(library, name.as_ptr()) } };
        if found.is_null() { Err(loader_error()) } else { Ok(found) }
    };
    // SAFETY: the signatures are those of shim/graph.cpp.
    unsafe {
        Ok(Api {
            begin: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut *mut c_void) -> *mut c_char>(symbol(
                c"etalon_graph_begin",
            )?),
            end: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void) -> *mut c_char>(symbol(c"etalon_graph_end")?),
            replay: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void) -> *mut c_char>(symbol(c"etalon_graph_replay")?),
            free: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(symbol(c"etalon_graph_free")?),
        })
    }
}

fn loader_error() -> String {
    // SAFETY: a C string of the loader's, or null.
    let error = unsafe { libc::dlerror() };
    if error.is_null() {
        return "CUDA graphs cannot be opened".into();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned()
}
