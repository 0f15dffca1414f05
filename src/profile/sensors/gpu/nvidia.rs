//! NVML and the sensor made of all its devices.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::Gpu;
use super::device::Parts;
use super::owner::Owner;
use super::visible::{Identity, visible};
use crate::profile::sensor::{Absent, Channel, Missing, Reading, Sensor};

/// NVML's own windows are longer (utilisation: a sixth of a second and more), and a call costs far more than a file of /proc.
const PERIOD: Duration = Duration::from_millis(200);

/// All NVIDIA GPUs as one sensor.
pub struct Gpus {
    owner: &'static Owner,
    /// At the owner's while they are read.
    parts: Vec<Box<dyn Sensor>>,
    channels: Vec<Channel>,
    missing: Vec<Missing>,
}

impl Gpus {
    /// Those that a program sees which inherits our environment, and the memory that process `pid` and its descendants hold
    /// there.
    ///
    /// # Errors
    /// There is no NVIDIA driver here, or no GPU that is visible.
    pub fn open(pid: u32) -> Result<Self, Absent> {
        Self::of(Owner::of_driver()?, pid)
    }

    /// The same with another library in the driver's place. It stays loaded.
    ///
    /// # Errors
    /// As [`Gpus::open`].
    pub fn open_with(library: &Path, pid: u32) -> Result<Self, Absent> {
        Self::of(Box::leak(Box::new(Owner::start(library.as_os_str())?)), pid)
    }

    pub(super) fn of(owner: &'static Owner, pid: u32) -> Result<Self, Absent> {
        let Parts { parts, missing } = owner.ask(move |nvml| parts(nvml, pid))??;
        let channels = parts.iter().flat_map(|part| part.channels().to_vec()).collect();
        Ok(Self { owner, parts, channels, missing })
    }

    /// What the devices or their driver refused, with the reasons.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }
}

impl Sensor for Gpus {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        let mut parts = std::mem::take(&mut self.parts);
        let read = move |_: &'static Nvml| {
            let mut reading = Reading::default();
            parts.iter_mut().for_each(|part| part.read(&mut reading));
            (parts, reading.values)
        };
        match self.owner.ask(read) {
            Ok((parts, values)) => {
                self.parts = parts;
                values.into_iter().for_each(|value| reading.push(value));
            }
            Err(absent) => self.channels.iter().for_each(|_| reading.push(Err(absent.clone()))),
        }
    }

    fn period(&self) -> Duration {
        PERIOD
    }
}

impl Drop for Gpus {
    fn drop(&mut self) {
        // Samples are given back to NVML.
        let parts = std::mem::take(&mut self.parts);
        let _ = self.owner.ask(move |_| drop(parts));
    }
}

/// All that the visible devices tell.
fn parts(nvml: &'static Nvml, pid: u32) -> Result<Parts, Absent> {
    let devices = devices(nvml)?;
    if devices.is_empty() {
        return Err(Absent::because("the NVIDIA driver sees no GPU"));
    }
    let order = std::env::var("CUDA_DEVICE_ORDER").is_ok_and(|order| order == "PCI_BUS_ID");
    let variable = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let identities: Vec<Identity> = devices.iter().map(|device| identity(device)).collect();
    let seen = visible(variable.as_deref(), order, &identities);
    let mut all = Parts::default();
    for (index, device) in devices.into_iter().enumerate().filter(|(index, _)| seen[*index]) {
        all.add_device(nvml, index, &Arc::new(device), pid);
    }
    if all.parts.is_empty() && all.missing.is_empty() {
        return Err(Absent::because(format!("CUDA_VISIBLE_DEVICES={} hides every GPU", variable.unwrap_or_default())));
    }
    Ok(all)
}

fn devices(nvml: &Nvml) -> Result<Vec<Device<'_>>, Absent> {
    (0..nvml.device_count()?).map(|index| Ok(nvml.device_by_index(index)?)).collect()
}

/// What is installed.
pub(super) fn list(nvml: &Nvml) -> Result<Vec<Gpu>, Absent> {
    let driver = nvml.sys_driver_version()?;
    let describe =
        |device: &Device<'_>| Ok(Gpu { name: device.name()?, memory_bytes: device.memory_info()?.total, driver: driver.clone() });
    devices(nvml)?.iter().map(describe).collect()
}

/// The partitions of a device; none where it is not partitioned.
pub(super) fn instances<'nvml>(device: &Device<'nvml>) -> Vec<Device<'nvml>> {
    if !device.mig_mode().is_ok_and(|mode| mode.current == 1) {
        return Vec::new();
    }
    // Places for instances need not be taken.
    (0..device.mig_device_count().unwrap_or(0)).filter_map(|index| device.mig_device_by_index(index).ok()).collect()
}

fn identity(device: &Device<'_>) -> Identity {
    let uuid = |device: &Device<'_>| device.uuid().unwrap_or_default();
    Identity { uuid: uuid(device), instances: instances(device).iter().map(uuid).collect(), name: device.name().unwrap_or_default() }
}

impl From<NvmlError> for Absent {
    fn from(error: NvmlError) -> Self {
        Self::because(match error {
            NvmlError::NotSupported => "this GPU does not support it",
            NvmlError::NoPermission => "no permission; run as root, in a container with CAP_SYS_ADMIN",
            NvmlError::FailedToLoadSymbol(_) => "the NVIDIA driver is too old for it; update it",
            NvmlError::GpuLost => "the GPU has fallen off the bus; restart the machine",
            error => return Self::because(format!("NVML: {error}")),
        })
    }
}
