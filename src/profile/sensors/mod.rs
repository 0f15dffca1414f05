//! The sensors, one source of numbers per file, and which of them answer here.

pub mod amd;
pub mod bandwidth;
pub mod cores;
pub mod counters;
mod descendants;
pub mod energy;
pub mod gpu;
mod held;
pub mod network;
mod perf;
pub mod pressure;
pub mod pss;
pub mod survey;
pub mod tree;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use tree::ProcessTree;

pub(super) use held::list as cpu_list;
#[cfg(test)]
pub(super) use held::plant;

use super::sensor::{Missing, Sensor};

/// Sensors that are asked for together, as `[profile] sensors` of an experiment names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// CPU time, memory, faults, input and output of the program and its descendants.
    Process,
    /// Use of each core of the machine; instructions and cycles of the program.
    Cpu,
    /// Proportional set size of the program.
    Memory,
    /// Bytes between processor and main memory.
    MemoryBandwidth,
    /// Time lost by waiting for processor, memory and disk.
    Pressure,
    /// Bytes through the network interfaces.
    Network,
    /// Energy of processor packages.
    Energy,
    /// NVIDIA and AMD GPUs.
    Gpu,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 8] =
        [Self::Process, Self::Cpu, Self::Memory, Self::MemoryBandwidth, Self::Pressure, Self::Network, Self::Energy, Self::Gpu];

    /// As experiments name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::MemoryBandwidth => "memory-bandwidth",
            Self::Pressure => "pressure",
            Self::Network => "network",
            Self::Energy => "energy",
            Self::Gpu => "gpu",
        }
    }
}

/// Between the reasons of several sources of one channel.
pub const BETWEEN: &str = " | ";

/// The sensors of `groups` for the program that runs as process `pid`, and what cannot be read here.
pub fn open(pid: u32, groups: &[Group]) -> (Vec<Box<dyn Sensor>>, Vec<Missing>) {
    let (proc, sys) = (Path::new("/proc"), Path::new("/sys"));
    let mut found = Found::default();
    for group in groups {
        match group {
            Group::Process => found.add(Ok(ProcessTree::new(pid))),
            Group::Cpu => {
                found.add(cores::open(proc));
                found.add(counters::open(pid));
            }
            Group::Memory => found.add(pss::open(proc, pid)),
            Group::MemoryBandwidth => found.add_boxed(bandwidth::open(sys, proc, pid)),
            Group::Pressure => found.add(pressure::open(proc)),
            Group::Network => found.add(network::open(proc, pid)),
            Group::Energy => found.add(energy::open(sys)),
            Group::Gpu => {
                let (sensors, missing) = gpu::open(pid);
                found.sensors.extend(sensors);
                found.missing.extend(missing);
            }
        }
    }
    (found.sensors, found.missing)
}

#[derive(Default)]
struct Found {
    sensors: Vec<Box<dyn Sensor>>,
    missing: Vec<Missing>,
}

impl Found {
    fn add(&mut self, sensor: Result<impl Sensor + 'static, Missing>) {
        self.add_boxed(sensor.map(|sensor| Box::new(sensor) as Box<dyn Sensor>));
    }

    fn add_boxed(&mut self, sensor: Result<Box<dyn Sensor>, Missing>) {
        match sensor {
            Ok(sensor) => self.sensors.push(sensor),
            Err(missing) => self.missing.push(missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::profile::Reading;

    #[test]
    fn every_group_says_what_it_reads_or_why_not_and_no_two_channels_share_a_name() {
        for group in Group::ALL {
            let (sensors, missing) = open(std::process::id(), &[group]);
            assert!(!(sensors.is_empty() && missing.is_empty()), "{group:?}");
            assert_eq!(serde_json::to_string(&group).unwrap(), format!("{:?}", group.name()));
        }
        let (mut sensors, missing) = open(std::process::id(), &Group::ALL);
        let mut names = BTreeSet::new();
        let all = sensors.iter().flat_map(|s| s.channels()).chain(missing.iter().flat_map(|m| &m.channels));
        assert!(all.clone().all(|channel| names.insert(channel.name.clone())), "{names:?}");
        assert!(missing.iter().all(|m| !m.reason.0.is_empty() && !m.channels.is_empty()));
        for sensor in &mut sensors {
            let mut reading = Reading::default();
            sensor.read(&mut reading);
            assert_eq!(reading.values.len(), sensor.channels().len());
        }
    }
}
