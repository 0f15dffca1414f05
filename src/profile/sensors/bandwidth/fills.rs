//! The last resort: lines that the program's cores fetched from memory, a lower bound of the traffic. Write-backs and what
//! prefetchers bring into the outer caches are not among them.

use std::path::Path;

use super::super::descendants::threads;
use super::super::perf::{Event, Open, Sum};
use super::LINE_BYTES;
use crate::profile::sensor::{Absent, Channel, Origin, Reading, Scope, Sensor, Unit};

/// Lines fetched by a tree.
pub(super) struct Fills {
    sum: Sum,
    channels: [Channel; 1],
}

/// Of the tree under process `pid`.
///
/// # Errors
/// The processor shows no such counter, or the kernel refuses.
pub(super) fn open(proc: &Path, pid: u32, open: &Open) -> Result<Fills, Absent> {
    let text = std::fs::read_to_string(proc.join("cpuinfo")).unwrap_or_default();
    let (event, name) = event(&text).ok_or_else(|| Absent::because("no event of this processor is known to count them"))?;
    let sum = Sum::over(&threads(pid), event, LINE_BYTES, open)?;
    let source = format!("{name} x 64 bytes: a lower bound without write-backs and outer prefetches");
    let channel = Channel::counter("memory.bandwidth.read", Unit::Bytes, Scope::ProcessTree, source).from(Origin::Estimated);
    Ok(Fills { sum, channels: [channel] })
}

/// The event that counts lines from memory, and its name.
fn event(cpuinfo: &str) -> Option<(Event, &'static str)> {
    let field = |name| cpuinfo.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim);
    match (field("vendor_id")?, field("cpu family")?.parse::<u32>().ok()?) {
        ("GenuineIntel", _) => Some((Event::CACHE_MISSES, "LONGEST_LAT_CACHE.MISS")),
        // From Zen 3 on: event 0x44, memory near and far. The generic cache misses of AMD are those of the second level.
        ("AuthenticAMD", 25..) => Some((Event::raw(0x4844), "ls_any_fills_from_sys.dram_io_all")),
        _ => None,
    }
}

impl Sensor for Fills {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        reading.push(self.sum.read());
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::held::{plant, values};
    use super::super::super::perf::{Counter, Whose, fake::Ticking};
    use super::*;

    #[test]
    fn each_maker_has_its_event_and_a_line_is_64_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let info = |vendor, family| format!("processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 17\n");
        assert_eq!(event(&info("AuthenticAMD", 26)).unwrap().0.config[0], 0x4844);
        assert_eq!(event(&info("AuthenticAMD", 23)), None);
        assert_eq!(event("processor : 0\nBogoMIPS : 2000\n"), None);
        plant(dir.path(), &[("cpuinfo", &info("GenuineIntel", 6))]);
        let ticking = |event: Event, _: Whose| -> std::io::Result<Box<dyn Counter>> {
            assert_eq!(event, Event::CACHE_MISSES);
            Ok(Box::new(Ticking { step: 1000.0, now: 0.0 }))
        };
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let mut fills = open(dir.path(), child.id(), &ticking).unwrap();
        assert_eq!([values(&mut fills), values(&mut fills)].concat(), [Ok(64_000.0), Ok(128_000.0)]);
        assert_eq!(fills.channels()[0].origin, Origin::Estimated);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
