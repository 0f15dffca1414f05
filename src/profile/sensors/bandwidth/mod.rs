//! Bytes between processor and main memory, from the best source that answers: the memory controllers, the kernel's resource
//! control (resctrl), or cache misses of the program, times the size of a line.

mod fills;
mod resctrl;
mod uncore;

use std::path::Path;

use super::BETWEEN;
use super::perf::{self, Open};
use crate::profile::sensor::{Absent, Channel, Missing, Scope, Sensor, Unit};

/// Bytes a cache exchanges with memory at a time, on every processor known here.
const LINE_BYTES: f64 = 64.0;

/// Of the tree under process `pid`, or of the sockets of the machine where nothing tells processes apart.
///
/// # Errors
/// No source answers; the reason names each with its remedy.
pub fn open(sys: &Path, proc: &Path, pid: u32) -> Result<Box<dyn Sensor>, Missing> {
    open_with(sys, proc, pid, &perf::open)
}

fn open_with(sys: &Path, proc: &Path, pid: u32, open: &Open) -> Result<Box<dyn Sensor>, Missing> {
    let mut reasons = Vec::new();
    let mut refused = |rung: &str, reason: Absent| reasons.push(format!("{rung}: {reason}"));
    match uncore::open(sys, open) {
        Ok(uncore) => return Ok(Box::new(uncore)),
        Err(reason) => refused("memory controllers", reason),
    }
    match resctrl::open(&sys.join("fs/resctrl"), pid) {
        Ok(group) => return Ok(Box::new(group)),
        Err(reason) => refused("resctrl", reason),
    }
    match fills::open(proc, pid, open) {
        Ok(fills) => return Ok(Box::new(fills)),
        Err(reason) => refused("cache misses", reason),
    }
    let channel = Channel::counter("memory.bandwidth", Unit::Bytes, Scope::Socket, "memory controllers, resctrl, cache misses");
    Err(Missing { channels: vec![channel], reason: Absent::because(reasons.join(BETWEEN)) })
}

#[cfg(test)]
mod tests {
    use super::super::perf::fake;
    use super::*;

    #[test]
    fn without_any_source_every_one_says_why() {
        let none = Path::new("/no/such/place");
        let missing = open_with(none, none, std::process::id(), &fake::refuses(libc::EACCES)).err().unwrap();
        let reason = missing.reason.0;
        assert!(["memory controllers: ", "resctrl: ", "cache misses: "].iter().all(|rung| reason.contains(rung)), "{reason}");
    }
}
