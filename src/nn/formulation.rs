//! The two ways in which the irregular parts of the detectors are computed.
//!
//! On the CPU a value is at hand as soon as it is computed, so loops over short runs beat large regular products. On a device
//! every value that the host looks at empties the queue, and every operator is a launch: there regular products over tensors
//! win. The networks are the same; only what [`Formulation`] is asked for differs.

use std::cell::Cell;
use std::sync::OnceLock;

use tch::Device;

/// Chooses the formulation on every device: `host` or `device`.
const VARIABLE: &str = "ETALON_FORMULATION";

/// How irregular parts are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formulation {
    /// Plans and loops on the host, which may look at values.
    Host,
    /// Tensors throughout; the host looks at nothing.
    Device,
}

thread_local! {
    static FORCED: Cell<Option<Formulation>> = const { Cell::new(None) };
}

impl Formulation {
    /// The one for a device: what was forced, `ETALON_FORMULATION`, or what is fastest there.
    pub fn of(device: Device) -> Self {
        static ASKED: OnceLock<Option<Formulation>> = OnceLock::new();
        let asked = || match std::env::var(VARIABLE).as_deref() {
            Ok("host") => Some(Self::Host),
            Ok("device") => Some(Self::Device),
            _ => None,
        };
        let natural = if device == Device::Cpu { Self::Host } else { Self::Device };
        FORCED.get().or_else(|| *ASKED.get_or_init(asked)).unwrap_or(natural)
    }

    /// What `work` gives when it is computed in this formulation on this thread.
    pub fn force<T>(self, work: impl FnOnce() -> T) -> T {
        struct Restored(Option<Formulation>);
        impl Drop for Restored {
            fn drop(&mut self) {
                FORCED.set(self.0);
            }
        }
        let _restored = Restored(FORCED.replace(Some(self)));
        work()
    }
}
