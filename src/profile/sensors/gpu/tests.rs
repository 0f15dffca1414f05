//! NVML end to end, against a library of our own in the driver's place (`tests/fixtures/fake_nvml.rs`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::held::values;
use super::Gpus;
use super::owner::Owner;
use crate::profile::sensor::{Absent, Kind, Origin, Scope, Sensor};

/// Compiles a variant of the library.
fn library(folder: &Path, variant: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake_nvml.rs");
    let path = folder.join(format!("libfake_{variant}.so"));
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(compiler);
    command.args(["--edition=2024", "--crate-type=cdylib", "-Awarnings", "--cfg", variant]).arg(source).arg("-o").arg(&path);
    let output = command.output().expect("the compiler that built this test is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

fn open(variant: &str) -> Result<Gpus, Absent> {
    let folder = tempfile::tempdir().unwrap();
    Gpus::open_with(&library(folder.path(), variant), std::process::id())
}

/// One reading by name.
fn read(gpus: &mut Gpus) -> BTreeMap<String, Result<f64, Absent>> {
    let values = values(gpus);
    gpus.channels().iter().map(|c| c.name.to_string()).zip(values).collect()
}

/// Why a channel is missing.
fn reason(gpus: &Gpus, name: &str) -> String {
    let missing = gpus.missing().iter().find(|m| m.channels.iter().any(|c| c.name == name));
    missing.unwrap_or_else(|| panic!("{name} is not missing: {:?}", gpus.missing())).reason.to_string()
}

#[test]
fn a_gpu_tells_use_memory_power_clocks_and_what_is_in_use_inside() {
    let mut gpus = open("plain").unwrap();
    let begun = Instant::now();
    let first = read(&mut gpus);
    // What needs two samples is not known at once, and too early a second one is not asked for.
    assert!(first["gpu0.sm.active"].is_err(), "{first:?}");
    assert!(read(&mut gpus)["gpu0.sm.active"].is_err());
    std::thread::sleep(Duration::from_millis(150));
    let (last, passed) = (read(&mut gpus), begun.elapsed().as_secs_f64());
    let value = |name: &str| *last[name].as_ref().unwrap_or_else(|e| panic!("{name}: {e}"));
    let gib = f64::from(1 << 30);
    let expected = [
        ("gpu0.use", 73.0),
        ("gpu0.mem_active", 41.0),
        ("gpu0.memory.used", 20.0 * gib),
        ("gpu0.memory.process", gib),
        ("gpu0.power", 301.0),
        ("gpu0.clock.sm", 1.755e9),
        ("gpu0.clock.memory", 2.5e9),
        ("gpu0.temperature", 61.0),
        ("gpu0.sm.active", 80.0),
        ("gpu0.sm.occupancy", 35.0),
        ("gpu0.tensor.active", 55.0),
        ("gpu0.dram.active", 40.0),
        ("gpu0.dram.bandwidth", 0.4 * 2.0 * 2.5e9 * 5120.0 / 8.0),
        ("gpu0.pcie.send_speed", 512.0 * 1024.0 * 1024.0),
        ("gpu0.pcie.received", 0.0),
        ("gpu0.throttle.thermal", 0.0),
    ];
    for (name, expected) in expected {
        assert!((value(name) - expected).abs() <= 1e-9 * expected, "{name}: {} instead of {expected}", value(name));
    }
    let grown = |name: &str| value(name) - first[name].as_ref().unwrap();
    assert!((grown("gpu0.energy") / passed - 300.0).abs() < 30.0, "{} J in {passed} s", grown("gpu0.energy"));
    assert!((grown("gpu0.throttle.power_cap") / passed - 1.0).abs() < 0.1);
    // A thousand bytes per question, of which the turn of the counter is one.
    assert_eq!(grown("gpu0.pcie.sent"), 2000.0);
    assert!(last["gpu0.nvlink.send_speed"].as_ref().unwrap_err().0.contains("does not support"));
    assert!(reason(&gpus, "gpu0.temperature.memory").contains("does not support"));
    let channel = |name: &str| gpus.channels().iter().find(|c| c.name == name).unwrap();
    assert_eq!((channel("gpu0.energy").kind, channel("gpu0.dram.bandwidth").origin), (Kind::Counter, Origin::Derived));
    assert_eq!(channel("gpu0.memory.process").scope, Scope::ProcessTree);
}

#[test]
fn an_older_gpu_lacks_what_came_with_hopper_and_says_so_once() {
    let mut gpus = open("before_hopper").unwrap();
    assert!(reason(&gpus, "gpu0.dram.active").contains("Hopper"));
    assert_eq!(read(&mut gpus)["gpu0.use"], Ok(73.0));
    assert!(!gpus.channels().iter().any(|c| c.name == "gpu0.dram.active"));
}

#[test]
fn what_an_old_driver_does_not_export_is_missing_and_the_rest_works() {
    let mut gpus = open("old_driver").unwrap();
    for name in ["gpu0.energy", "gpu0.clock.sm", "gpu0.pcie.sent", "gpu0.sm.active"] {
        assert!(reason(&gpus, name).contains("update"), "{name}: {}", reason(&gpus, name));
    }
    // Power as it is now is a field; the average is not.
    let found = read(&mut gpus);
    assert_eq!((&found["gpu0.power"], &found["gpu0.temperature"]), (&Ok(290.0), &Ok(61.0)));
}

#[test]
fn what_is_refused_names_the_remedy() {
    let mut gpus = open("refused").unwrap();
    for name in ["gpu0.memory.process", "gpu0.tensor.active"] {
        assert!(reason(&gpus, name).contains("run as root"), "{name}: {}", reason(&gpus, name));
    }
    assert_eq!(read(&mut gpus)["gpu0.use"], Ok(73.0));
}

#[test]
fn instances_of_a_partitioned_gpu_have_their_own_memory_and_activity_but_no_power() {
    let mut gpus = open("partitioned").unwrap();
    read(&mut gpus);
    std::thread::sleep(Duration::from_millis(120));
    let found = read(&mut gpus);
    let gib = f64::from(1 << 30);
    assert_eq!((&found["gpu0.mig0.memory.used"], &found["gpu0.mig1.memory.used"]), (&Ok(5.0 * gib), &Ok(5.0 * gib)));
    // The second sits in the fourth place: instance 4.
    assert_eq!((&found["gpu0.mig0.sm.active"], &found["gpu0.mig1.sm.active"]), (&Ok(81.0), &Ok(84.0)));
    assert!(reason(&gpus, "gpu0.mig1.power").contains("whole GPU"));
    assert!(reason(&gpus, "gpu0.use").contains("does not support"));
    assert_eq!(found["gpu0.power"], Ok(301.0));
}

/// The driver in question ends the process when two threads are in it at once.
#[test]
fn recorders_of_many_cells_reach_the_driver_from_one_thread() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path(), "one_thread");
    let owner: &'static Owner = Box::leak(Box::new(Owner::start(library.as_os_str()).unwrap()));
    let cell = || {
        let mut gpus = Gpus::of(owner, std::process::id()).unwrap();
        for _ in 0..200 {
            assert_eq!(read(&mut gpus)["gpu0.use"], Ok(73.0));
        }
    };
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(cell))));
}

#[test]
fn two_gpus_are_told_apart() {
    let gpus = open("two_gpus").unwrap();
    let has = |name: &str| gpus.channels().iter().filter(|c| c.name == name).count();
    assert_eq!((has("gpu0.use"), has("gpu1.use"), has("gpu1.dram.bandwidth")), (1, 1, 1));
}

#[test]
fn a_driver_that_is_not_loaded_or_not_there_is_a_sentence() {
    assert!(open("not_loaded").err().unwrap().0.contains("modprobe"));
    let absent = Gpus::open_with(Path::new("/no/such/libnvidia-ml.so.1"), 1).err().unwrap();
    assert!(absent.0.contains("no NVIDIA driver is installed"), "{absent}");
    let libc = Gpus::open_with(Path::new("libc.so.6"), 1).err().unwrap();
    assert!(libc.0.contains("no NVML"), "{libc}");
    // Of this machine both are true: it has one, or says that it has none.
    let count = Owner::of_driver().and_then(|owner| owner.ask(|nvml| nvml.device_count().is_ok()));
    assert!(count.unwrap_or_else(|e| !e.0.is_empty()));
}
