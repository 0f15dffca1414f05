//! Energy of processor packages (and of memory, where they count it) from the running average power limit, RAPL.

use std::path::Path;
use std::time::Duration;

use super::held::{Growing, Held, line, names};
use crate::profile::sensor::{Absent, Channel, Missing, Reading, Scope, Sensor, Unit};

/// Short enough for the counters never to turn over twice (minutes), long enough not to matter.
const PERIOD: Duration = Duration::from_secs(1);
const FOLDER: &str = "class/powercap";

/// Joules of each package.
pub struct Energy {
    zones: Vec<Zone>,
    channels: Vec<Channel>,
}

struct Zone {
    counter: Held,
    /// Microjoules after which the counter starts again.
    range: u64,
    grown: Growing,
}

/// Of the machine whose `/sys` is `sys`.
///
/// # Errors
/// There are no such counters, or only root may read them.
pub fn open(sys: &Path) -> Result<Energy, Missing> {
    let folder = sys.join(FOLDER);
    let channel = |name| Channel::counter(name, Unit::Joules, Scope::Socket, "/sys/class/powercap energy_uj");
    let missing = |reason| Missing { channels: vec![channel("energy.package0".to_owned())], reason: Absent::because(reason) };
    let (mut zones, mut channels, mut refused) = (Vec::new(), Vec::new(), None);
    for zone in names(&folder) {
        let Some(package) = zone.strip_prefix("intel-rapl:") else { continue };
        let path = folder.join(&zone);
        let number = package.split(':').next().unwrap_or(package);
        let name = match line(&path.join("name")).as_deref() {
            Some(name) if name.starts_with("package") => format!("energy.package{number}"),
            Some("dram") => format!("energy.memory{number}"),
            _ => continue,
        };
        match Held::open(&path.join("energy_uj")) {
            Ok(counter) => {
                let range = line(&path.join("max_energy_range_uj")).and_then(|text| text.parse().ok()).unwrap_or(u64::from(u32::MAX));
                zones.push(Zone { counter, range, grown: Growing::default() });
                channels.push(channel(name));
            }
            Err(e) => refused = Some(e),
        }
    }
    match refused {
        _ if !zones.is_empty() => Ok(Energy { zones, channels }),
        Some(e) => Err(missing(format!("/{FOLDER}: {e}; run as root or `chmod a+r /sys/{FOLDER}/intel-rapl:*/energy_uj`"))),
        None => Err(missing(format!("no energy counters in /sys/{FOLDER}; virtual machines have none, run on the metal"))),
    }
}

impl Sensor for Energy {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        for Zone { counter, range, grown } in &mut self.zones {
            let value = counter.number().map(|microjoules| grown.add(microjoules, *range) * 1e-6);
            reading.push(value.ok_or_else(|| Absent::because("energy_uj is not readable any more")));
        }
    }

    fn period(&self) -> Duration {
        PERIOD
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::{plant, values};
    use super::*;

    #[test]
    fn joules_are_counted_across_a_turn_of_the_counter() {
        let dir = tempfile::tempdir().unwrap();
        let zone = |name| format!("{FOLDER}/{name}");
        let at = |joules: u64| {
            let text = format!("{}\n", joules * 1_000_000);
            let package = zone("intel-rapl:0/energy_uj");
            plant(dir.path(), &[(&package, &text)]);
        };
        let (name, range, core) = (zone("intel-rapl:0/name"), zone("intel-rapl:0/max_energy_range_uj"), zone("intel-rapl:0:0/name"));
        let (memory, memory_uj) = (zone("intel-rapl:0:1/name"), zone("intel-rapl:0:1/energy_uj"));
        let double = zone("intel-rapl-mmio:0/name");
        at(900);
        let rest = [(name, "package-0"), (range, "1000000000"), (core, "core"), (memory, "dram"), (memory_uj, "5"), (double, "package-0")];
        for (file, text) in &rest {
            plant(dir.path(), &[(file, text)]);
        }
        let mut energy = open(dir.path()).unwrap();
        let names: Vec<&str> = energy.channels().iter().map(|c| c.name.as_ref()).collect();
        assert_eq!(names, ["energy.package0", "energy.memory0"]);
        assert_eq!(values(&mut energy)[0], Ok(0.0));
        at(950);
        assert_eq!(values(&mut energy)[0], Ok(50.0));
        at(20);
        assert_eq!(values(&mut energy)[0], Ok(120.0));
    }

    #[test]
    fn a_machine_without_counters_says_where_they_would_be() {
        let missing = open(Path::new("/no/sys")).err().unwrap();
        assert!(missing.reason.0.contains("powercap") && missing.channels[0].name == "energy.package0", "{missing:?}");
    }
}
