//! The sensors, one source of numbers per file, and which of them answer here.

pub mod gpu;
pub mod tree;

use serde::{Deserialize, Serialize};

pub use tree::ProcessTree;

use super::sensor::{Missing, Sensor};

/// Sensors that are asked for together, as `[profile] sensors` of an experiment names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// CPU time, memory, faults, input and output of the program and its descendants.
    Process,
    /// NVIDIA GPUs.
    Gpu,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 2] = [Self::Process, Self::Gpu];
}

/// The sensors of `groups` for the program that runs as process `pid`, and what cannot be read here.
pub fn open(pid: u32, groups: &[Group]) -> (Vec<Box<dyn Sensor>>, Vec<Missing>) {
    let (mut sensors, mut missing): (Vec<Box<dyn Sensor>>, Vec<Missing>) = (Vec::new(), Vec::new());
    for group in groups {
        match group {
            Group::Process => sensors.push(Box::new(ProcessTree::new(pid))),
            Group::Gpu => match gpu::open() {
                Ok(gpus) => sensors.push(gpus),
                Err(absent) => missing.push(absent),
            },
        }
    }
    (sensors, missing)
}
