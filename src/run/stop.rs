//! The wish to stop, one for everything that runs: set by Ctrl-C or by a failure that makes going on useless.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::error::{Error, Result};

/// A flag that is set once.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Set by the first SIGINT, SIGTERM or SIGHUP. The second one ends the process at once (its children die with it).
    ///
    /// # Errors
    /// The handlers cannot be set.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the conditional exit looks at the flag before the first signal sets it.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop.0)).map_err(Error::Signals)?;
            signal_hook::flag::register(signal, Arc::clone(&stop.0)).map_err(Error::Signals)?;
        }
        Ok(stop)
    }

    /// Asks everything to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether stopping was asked for.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
