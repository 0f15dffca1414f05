//! Counters of the memory controllers, as the kernel describes them below `/sys/bus/event_source/devices`.

use std::path::{Path, PathBuf};

use super::super::held::{line, list, names};
use super::super::perf::{Event, Open, Sum, Whose, refusal};
use super::LINE_BYTES;
use crate::profile::sensor::{Absent, Channel, Origin, Reading, Scope, Sensor, Text, Unit};

const DEVICES: &str = "bus/event_source/devices";

/// Bytes through all memory controllers.
pub(super) struct Uncore {
    sums: Vec<Sum>,
    channels: Vec<Channel>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Read,
    Write,
    Both,
}

/// A unit of the processor that counts.
struct Device {
    folder: PathBuf,
    /// The kernel's number for it.
    unit: u32,
    /// A core of each socket, at which its counters are opened.
    cores: Vec<u32>,
}

/// What to count at a device: the event and the bytes it stands for.
type Counted = (Way, Event, f64);

/// How a maker's memory controllers are found and asked.
struct Family {
    /// Beginning of the devices' names.
    prefix: &'static str,
    source: &'static str,
    origin: Origin,
    events: fn(&Device) -> Option<Vec<Counted>>,
}

/// In the order of trust.
const FAMILIES: [Family; 4] = [
    Family { prefix: "uncore_imc", source: "Intel memory controllers (uncore_imc)", origin: Origin::Measured, events: intel },
    Family {
        prefix: "amd_umc_",
        source: "AMD memory controllers (amd_umc) CAS commands x 64 bytes",
        origin: Origin::Measured,
        events: amd,
    },
    Family {
        prefix: "amd_df",
        source: "AMD data fabric (amd_df) DRAM channels x 64 bytes, reads and writes not told apart",
        origin: Origin::Estimated,
        events: amd_fabric,
    },
    Family { prefix: "nvidia_scf_pmu_", source: "NVIDIA Grace memory (nvidia_scf_pmu)", origin: Origin::Measured, events: grace },
];

/// Of the machine whose `/sys` is `sys`.
///
/// # Errors
/// No controller is known here, or the kernel refuses.
pub(super) fn open(sys: &Path, open: &Open) -> Result<Uncore, Absent> {
    let folder = sys.join(DEVICES);
    let all = names(&folder);
    for Family { prefix, source, origin, events } in FAMILIES {
        let mut chosen: Vec<&String> = all.iter().filter(|name| name.starts_with(prefix)).collect();
        // Counters that always run count the same traffic a second time.
        if chosen.iter().any(|name| !is_free_running(name)) {
            chosen.retain(|name| !is_free_running(name));
        }
        let devices = chosen.into_iter().filter_map(|name| Device::read(folder.join(name)));
        let counted: Vec<(Device, Vec<Counted>)> = devices.filter_map(|device| events(&device).map(|events| (device, events))).collect();
        if !counted.is_empty() {
            return count(&counted, source, origin, open);
        }
    }
    Err(Absent::because("the processor shows none, as in most virtual machines; run on the metal"))
}

fn is_free_running(name: &str) -> bool {
    name.contains("free_running")
}

fn count(counted: &[(Device, Vec<Counted>)], source: &'static str, origin: Origin, open: &Open) -> Result<Uncore, Absent> {
    let (mut sums, mut channels) = (Vec::new(), Vec::new());
    let ways = [(Way::Read, "memory.bandwidth.read"), (Way::Write, "memory.bandwidth.write"), (Way::Both, "memory.bandwidth")];
    for (way, name) in ways {
        let mut counters = Vec::new();
        for (device, events) in counted {
            for (_, event, bytes) in events.iter().filter(|(other, ..)| *other == way) {
                for &core in &device.cores {
                    let whose = Whose::Core(core);
                    counters.push((open(*event, whose).map_err(|e| Absent(refusal(&e, whose)))?, *bytes));
                }
            }
        }
        if !counters.is_empty() {
            sums.push(Sum::of(counters));
            channels.push(Channel::counter(name, Unit::Bytes, Scope::Socket, Text::Borrowed(source)).from(origin));
        }
    }
    Ok(Uncore { sums, channels })
}

/// Column accesses of each controller, by the names and scales that the kernel gives them.
fn intel(device: &Device) -> Option<Vec<Counted>> {
    let named = |ways: [(Way, &str); 2]| -> Vec<Counted> {
        let events = names(&device.folder.join("events"));
        let plain = events.iter().filter(|name| !name.contains('.'));
        plain
            .filter_map(|name| ways.iter().find(|(_, begin)| name.starts_with(begin)).and_then(|(way, _)| device.event(name, *way)))
            .collect()
    };
    let counted = named([(Way::Read, "cas_count_read"), (Way::Write, "cas_count_write")]);
    // Processors for desktops name requests.
    let counted = if counted.is_empty() { named([(Way::Read, "data_read"), (Way::Write, "data_write")]) } else { counted };
    (!counted.is_empty()).then_some(counted)
}

/// Column accesses of each channel, from Zen 4 on.
fn amd(device: &Device) -> Option<Vec<Counted>> {
    let event = |terms, way| Some((way, device.encode(terms)?, LINE_BYTES));
    Some(vec![event("event=0x0a,rdwrmask=0x1", Way::Read)?, event("event=0x0a,rdwrmask=0x2", Way::Write)?])
}

/// Zen 1 to 3. Later fabrics number their events differently and have wider numbers, but also controllers that count.
fn amd_fabric(device: &Device) -> Option<Vec<Counted>> {
    if line(&device.folder.join("format/event"))? != "config:0-7,32-35,59-60" {
        return None;
    }
    let channel = |number: u64| Some((Way::Both, device.encode(&format!("event={:#x},umask=0x38", 0x07 + 0x40 * number))?, LINE_BYTES));
    (0..8).map(channel).collect()
}

/// Reads count beats of 32 bytes, writes bytes.
fn grace(device: &Device) -> Option<Vec<Counted>> {
    let event = |name, way, bytes| Some((way, device.event(name, way)?.1, bytes));
    Some(vec![event("cmem_rd_data", Way::Read, 32.0)?, event("cmem_wr_total_bytes", Way::Write, 1.0)?])
}

impl Device {
    fn read(folder: PathBuf) -> Option<Self> {
        let unit = line(&folder.join("type"))?.parse().ok()?;
        let cores = list(&line(&folder.join("cpumask"))?).filter(|cores| !cores.is_empty())?;
        Some(Self { folder, unit, cores })
    }

    /// An event by name. What it stands for is its scale times its unit, a line where the kernel gives none.
    fn event(&self, name: &str, way: Way) -> Option<Counted> {
        let events = self.folder.join("events");
        let event = self.encode(&line(&events.join(name))?)?;
        let scale = line(&events.join(format!("{name}.scale"))).and_then(|text| text.parse::<f64>().ok());
        let bytes = match (scale, line(&events.join(format!("{name}.unit"))).as_deref()) {
            (Some(scale), Some("MiB")) => scale * f64::from(1 << 20),
            (Some(scale), Some("Bytes" | "bytes" | "B")) => scale,
            (None, None) => LINE_BYTES,
            _ => return None,
        };
        Some((way, event, bytes))
    }

    /// The numbers of an event given as `event=0x04,umask=0x03`, by the fields that `format/` describes.
    fn encode(&self, terms: &str) -> Option<Event> {
        let mut event = Event { unit: self.unit, config: [0; 3] };
        for term in terms.split(',') {
            let (name, value) = term.split_once('=').unwrap_or((term, "1"));
            let value = match value.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok()?,
                None => value.parse().ok()?,
            };
            let format = line(&self.folder.join("format").join(name))?;
            let (word, bits) = format.split_once(':')?;
            let word = ["config", "config1", "config2"].iter().position(|known| *known == word)?;
            event.config[word] |= scatter(value, bits)?;
        }
        Some(event)
    }
}

/// Puts the bits of a value, lowest first, where `0-7,32-35` says; `None` when they do not fit.
fn scatter(mut value: u64, bits: &str) -> Option<u64> {
    let mut scattered = 0;
    for bit in list(bits)? {
        scattered |= (value & 1).checked_shl(bit)?;
        value >>= 1;
    }
    (value == 0).then_some(scattered)
}

impl Sensor for Uncore {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        self.sums.iter_mut().for_each(|sum| reading.push(sum.read()));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use super::super::super::held::{plant, values};
    use super::super::super::perf::{Counter, fake};
    use super::*;

    /// A tree of devices, each with its type, mask of cores and further files.
    fn tree(devices: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (at, (name, files)) in devices.iter().enumerate() {
            let root = dir.path().join(DEVICES).join(name);
            plant(&root, &[("type", &format!("{}\n", 10 + at)), ("cpumask", "0,28\n")]);
            plant(&root, files);
        }
        dir
    }

    thread_local! {
        static OPENED: RefCell<Vec<(Event, Whose)>> = const { RefCell::new(Vec::new()) };
    }

    /// Counters that count a million events per reading; what was opened is remembered.
    fn ticking(event: Event, whose: Whose) -> io::Result<Box<dyn Counter>> {
        OPENED.with_borrow_mut(|opened| opened.push((event, whose)));
        Ok(Box::new(fake::Ticking { step: 1e6, now: 0.0 }))
    }

    fn opened() -> Vec<(Event, Whose)> {
        OPENED.with_borrow_mut(std::mem::take)
    }

    const INTEL: &[(&str, &str)] = &[
        ("format/event", "config:0-7"),
        ("format/umask", "config:8-15"),
        ("events/cas_count_read", "event=0x04,umask=0x03"),
        ("events/cas_count_read.scale", "6.103515625e-5"),
        ("events/cas_count_read.unit", "MiB"),
        ("events/cas_count_write", "event=0x04,umask=0x0c"),
        ("events/cas_count_write.scale", "6.103515625e-5"),
        ("events/cas_count_write.unit", "MiB"),
        ("events/clockticks", "event=0xff"),
    ];

    #[test]
    fn intel_controllers_count_lines_on_a_core_of_each_socket_and_not_twice() {
        let free = ("uncore_imc_free_running_0", INTEL);
        let dir = tree(&[("uncore_imc_0", INTEL), ("uncore_imc_1", INTEL), free, ("cpu", &[])]);
        let mut uncore = open(dir.path(), &ticking).unwrap();
        let opened = opened();
        assert_eq!(opened.len(), 2 * 2 * 2, "controllers, directions, sockets");
        assert_eq!(opened[0], (Event { unit: 10, config: [0x0304, 0, 0] }, Whose::Core(0)));
        assert_eq!(opened[1].1, Whose::Core(28));
        assert_eq!(opened[4].0.config[0], 0x0c04);
        assert_eq!(values(&mut uncore), [Ok(4.0 * 64e6), Ok(4.0 * 64e6)]);
        assert_eq!(uncore.channels()[1].name, "memory.bandwidth.write");
    }

    #[test]
    fn amd_controllers_tell_reads_from_writes_by_a_mask() {
        let dir = tree(&[("amd_umc_0", &[("format/event", "config:0-7"), ("format/rdwrmask", "config:8-9")])]);
        open(dir.path(), &ticking).unwrap();
        let events: Vec<u64> = opened().iter().map(|(event, _)| event.config[0]).collect();
        assert_eq!(events, [0x10a, 0x10a, 0x20a, 0x20a]);
    }

    #[test]
    fn the_older_data_fabric_is_an_estimate_of_both_ways_and_a_newer_one_is_not_guessed() {
        let umask = ("format/umask", "config:8-15");
        let dir = tree(&[("amd_df", &[("format/event", "config:0-7,32-35,59-60"), umask])]);
        let uncore = open(dir.path(), &ticking).unwrap();
        let opened = opened();
        assert_eq!(opened.len(), 16);
        assert_eq!(opened[14].0.config[0], 0x01_0000_38c7, "bit 8 of event 0x1c7 lies at 32");
        assert_eq!((uncore.channels()[0].name.as_ref(), uncore.channels()[0].origin), ("memory.bandwidth", Origin::Estimated));
        let newer = tree(&[("amd_df", &[("format/event", "config:0-7,32-37"), umask])]);
        assert!(open(newer.path(), &ticking).err().unwrap().0.contains("virtual machines"));
    }

    #[test]
    fn grace_reads_in_beats_of_32_bytes_and_writes_in_bytes() {
        let events: &[(&str, &str)] =
            &[("format/event", "config:0-31"), ("events/cmem_rd_data", "event=0x1a5"), ("events/cmem_wr_total_bytes", "event=0x1db")];
        let dir = tree(&[("nvidia_scf_pmu_0", events)]);
        let mut uncore = open(dir.path(), &ticking).unwrap();
        assert_eq!(values(&mut uncore), [Ok(2.0 * 32e6), Ok(2e6)]);
        assert_eq!(opened()[0].0.config[0], 0x1a5);
    }

    #[test]
    fn a_refusal_says_how_to_be_allowed() {
        let dir = tree(&[("uncore_imc_0", INTEL)]);
        assert!(open(dir.path(), &fake::refuses(libc::EACCES)).err().unwrap().0.contains("perf_event_paranoid=0"));
    }
}
