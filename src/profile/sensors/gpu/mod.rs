//! NVIDIA GPUs through NVML, which is opened when first asked for: a machine without it loses nothing. AMD GPUs through
//! their driver's files.

#[cfg(feature = "nvml")]
mod device;
#[cfg(feature = "nvml")]
mod gpm;
#[cfg(feature = "nvml")]
mod nvidia;
#[cfg(feature = "nvml")]
mod owner;
#[cfg(all(test, feature = "nvml"))]
mod tests;
#[cfg(feature = "nvml")]
mod visible;

use std::path::Path;

use serde::Serialize;

#[cfg(feature = "nvml")]
pub use nvidia::Gpus;

use super::{BETWEEN, amd};
use crate::profile::sensor::{Absent, Channel, Missing, Scope, Sensor, Unit};

/// The sensors of the GPUs that the program under process `pid` may use, and what they do not tell.
pub fn open(pid: u32) -> (Vec<Box<dyn Sensor>>, Vec<Missing>) {
    let (mut sensors, mut missing, mut reasons): (Vec<Box<dyn Sensor>>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    match nvidia(pid) {
        Ok((gpus, absent)) => {
            sensors.push(gpus);
            missing.extend(absent);
        }
        Err(reason) => reasons.push(reason.to_string()),
    }
    match amd::open(Path::new("/sys"), list().map_or(0, |gpus| gpus.len())) {
        Ok(gpus) => {
            missing.extend_from_slice(gpus.missing());
            sensors.push(Box::new(gpus));
        }
        Err(reason) => reasons.push(reason.to_string()),
    }
    if sensors.is_empty() {
        let channels = vec![Channel::level("gpu.use", Unit::Percent, Scope::Device, "NVML, amdgpu")];
        missing.push(Missing { channels, reason: Absent::because(reasons.join(BETWEEN)) });
    }
    (sensors, missing)
}

#[cfg(feature = "nvml")]
fn nvidia(pid: u32) -> Result<(Box<dyn Sensor>, Vec<Missing>), Absent> {
    let gpus = Gpus::open(pid)?;
    let missing = gpus.missing().to_vec();
    Ok((Box::new(gpus), missing))
}

#[cfg(not(feature = "nvml"))]
fn nvidia(_pid: u32) -> Result<(Box<dyn Sensor>, Vec<Missing>), Absent> {
    Err(list().expect_err("there is no NVML in this build"))
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Model name.
    pub name: String,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Version of the driver.
    pub driver: String,
}

/// The NVIDIA GPUs of this machine.
///
/// # Errors
/// There is no NVIDIA driver here, or this build leaves NVML out.
#[cfg(feature = "nvml")]
pub fn list() -> Result<Vec<Gpu>, Absent> {
    owner::Owner::of_driver()?.ask(nvidia::list)?
}

/// The NVIDIA GPUs of this machine.
///
/// # Errors
/// This build leaves NVML out.
#[cfg(not(feature = "nvml"))]
pub fn list() -> Result<Vec<Gpu>, Absent> {
    Err(Absent::because("this build leaves out NVML; build with the feature `nvml`"))
}
