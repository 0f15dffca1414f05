//! Instructions and cycles of the tree, in user space, from the moment of attaching on. Their ratio is the instructions per
//! cycle.

use super::descendants::threads;
use super::perf::{self, Event, Open, Sum};
use crate::profile::sensor::{Channel, Missing, Reading, Scope, Sensor, Unit};

/// What is counted.
const COUNTED: [(&str, Event); 2] = [("cpu.instructions", Event::INSTRUCTIONS), ("cpu.cycles", Event::CYCLES)];

/// Instructions and cycles of a tree.
pub struct Counters {
    sums: [Sum; COUNTED.len()],
    channels: Vec<Channel>,
}

/// Of the tree under process `pid`. Attached while a new program waits to begin, it misses nothing.
///
/// # Errors
/// The processor shows no counters, or the kernel refuses.
pub fn open(pid: u32) -> Result<Counters, Missing> {
    open_with(pid, &perf::open)
}

fn open_with(pid: u32, open: &Open) -> Result<Counters, Missing> {
    let channel = |name| Channel::counter(name, Unit::Count, Scope::ProcessTree, "perf, user space");
    let channels = COUNTED.map(|(name, _)| channel(name)).to_vec();
    let threads = threads(pid);
    let [instructions, cycles] = COUNTED.map(|(_, event)| Sum::over(&threads, event, 1.0, open));
    match (instructions, cycles) {
        (Ok(instructions), Ok(cycles)) => Ok(Counters { sums: [instructions, cycles], channels }),
        (Err(reason), _) | (_, Err(reason)) => Err(Missing { channels, reason }),
    }
}

impl Sensor for Counters {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        self.sums.iter_mut().for_each(|sum| reading.push(sum.read()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::values;
    use super::super::perf::{Whose, fake};
    use super::*;

    #[test]
    fn every_thread_is_counted_and_a_virtual_machine_says_that_it_has_no_counters() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        let count = threads(std::process::id()).len() as f64;
        assert!(count >= 2.0);
        let open = |event: Event, whose: Whose| -> std::io::Result<Box<dyn perf::Counter>> {
            assert!(matches!(whose, Whose::Thread(_)));
            Ok(Box::new(fake::Ticking { step: if event == Event::CYCLES { 4.0 } else { 1.0 }, now: 0.0 }))
        };
        let mut counters = open_with(std::process::id(), &open).unwrap();
        let found: Vec<f64> = values(&mut counters).into_iter().map(Result::unwrap).collect();
        // Other tests start and end threads meanwhile.
        assert!(found[0] >= 2.0 && found[1] >= 8.0, "{found:?}");
        drop(stop);
        other.join().unwrap().unwrap_err();
        let missing = open_with(std::process::id(), &fake::refuses(libc::ENOENT)).err().unwrap();
        assert!(missing.channels.len() == 2 && missing.reason.0.contains("virtual machines"), "{missing:?}");
    }
}
