//! The one thread that calls NVML. Recorders of several cells ask it instead of calling the driver from their own threads: with
//! four of them a run on a GPU machine died inside the driver's library.

use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use crate::profile::sensor::Absent;

/// The driver's library as it is always installed; the name without a number is for compilers and often absent.
const LIBRARY: &str = "libnvidia-ml.so.1";

type Question = Box<dyn FnOnce(&'static Nvml) + Send>;

/// NVML with its thread, to the end of the process.
pub(super) struct Owner {
    questions: Sender<Question>,
}

impl Owner {
    /// That of the machine's driver.
    ///
    /// # Errors
    /// There is no NVIDIA driver here.
    pub(super) fn of_driver() -> Result<&'static Self, Absent> {
        static DRIVER: OnceLock<Result<Owner, Absent>> = OnceLock::new();
        DRIVER.get_or_init(|| Self::start(OsStr::new(LIBRARY))).as_ref().map_err(Clone::clone)
    }

    /// Loads a library and keeps it, and a thread for it.
    ///
    /// # Errors
    /// It is no NVML, or sees no driver.
    pub(super) fn start(library: &OsStr) -> Result<Self, Absent> {
        let (questions, asked) = channel::<Question>();
        let (loaded, answer) = channel();
        let library = library.to_owned();
        let serve = move || serve(&library, &loaded, &asked);
        std::thread::Builder::new().name("nvml".into()).spawn(serve).map_err(|error| Absent::because(error.to_string()))?;
        answer.recv().map_err(|_| ended())??;
        Ok(Self { questions })
    }

    /// What `question` finds out on the owning thread.
    ///
    /// # Errors
    /// The thread has ended.
    pub(super) fn ask<T: Send + 'static>(&self, question: impl FnOnce(&'static Nvml) -> T + Send + 'static) -> Result<T, Absent> {
        let (sender, answer) = channel();
        let question = move |nvml: &'static Nvml| {
            // Who no longer listens needs no answer.
            let _ = sender.send(question(nvml));
        };
        self.questions.send(Box::new(question)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())
    }
}

fn ended() -> Absent {
    Absent::because("the thread that asks NVML has ended; report it with the log")
}

fn serve(library: &OsString, loaded: &Sender<Result<(), Absent>>, asked: &Receiver<Question>) {
    let nvml: &'static Nvml = match load(library) {
        // Devices and samples borrow it for as long as the process lives.
        Ok(nvml) => Box::leak(Box::new(nvml)),
        Err(absent) => {
            let _ = loaded.send(Err(absent));
            return;
        }
    };
    let _ = loaded.send(Ok(()));
    for question in asked {
        question(nvml);
    }
}

fn load(library: &OsStr) -> Result<Nvml, Absent> {
    Nvml::builder().lib_path(library).init().map_err(|error| match error {
        NvmlError::LibloadingError(_) => Absent::because("no NVIDIA driver is installed (libnvidia-ml.so.1); install it to use a GPU"),
        NvmlError::DriverNotLoaded => Absent::because("the NVIDIA driver is installed but not loaded; `modprobe nvidia`"),
        NvmlError::LibRmVersionMismatch => Absent::because("the NVIDIA driver and its library differ in version; restart the machine"),
        NvmlError::FailedToLoadSymbol(_) => Absent::because("libnvidia-ml.so.1 is no NVML; reinstall the NVIDIA driver"),
        error => error.into(),
    })
}
