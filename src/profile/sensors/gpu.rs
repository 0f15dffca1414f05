//! NVIDIA GPUs through NVML, which is opened when first asked for: a machine without it loses nothing.

#[cfg(feature = "nvml")]
pub use nvml::Gpus;

use serde::Serialize;

use crate::profile::sensor::{Absent, Channel, Missing, Scope, Sensor, Unit};

/// All GPUs as one sensor.
///
/// # Errors
/// There is no NVIDIA driver here, or this build leaves NVML out.
pub fn open() -> Result<Box<dyn Sensor>, Missing> {
    let missing = |reason| Missing { channels: vec![Channel::level("gpu.use", Unit::Percent, Scope::Device, "NVML")], reason };
    #[cfg(feature = "nvml")]
    return Gpus::open().map(|gpus| Box::new(gpus) as Box<dyn Sensor>).map_err(missing);
    #[cfg(not(feature = "nvml"))]
    return Err(missing(list().expect_err("there is no NVML in this build")));
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

/// The GPUs of this machine.
///
/// # Errors
/// There is no NVIDIA driver here, or this build leaves NVML out.
#[cfg(feature = "nvml")]
pub fn list() -> Result<Vec<Gpu>, Absent> {
    Gpus::open()?.list()
}

/// The GPUs of this machine.
///
/// # Errors
/// This build leaves NVML out.
#[cfg(not(feature = "nvml"))]
pub fn list() -> Result<Vec<Gpu>, Absent> {
    Err(Absent::because("this build leaves out NVML; build with the feature `nvml`"))
}

#[cfg(feature = "nvml")]
mod nvml {
    use nvml_wrapper::error::NvmlError;
    use nvml_wrapper::{Device, Nvml};

    use super::{Absent, Gpu};
    use crate::profile::sensor::{Channel, Reading, Scope, Sensor, Unit};

    /// All GPUs as one sensor: use, memory and power of each.
    pub struct Gpus {
        nvml: Nvml,
        count: u32,
        channels: Vec<Channel>,
    }

    impl Gpus {
        /// Opens NVML.
        ///
        /// # Errors
        /// There is no NVIDIA driver here.
        pub fn open() -> Result<Self, Absent> {
            let nvml = Nvml::init().map_err(|e| Absent::because(format!("no NVIDIA driver answers ({e}); install it to use a GPU")))?;
            let count = nvml.device_count().map_err(absent)?;
            let per_gpu = |i: u32| {
                [("use", Unit::Percent), ("memory", Unit::Bytes), ("power", Unit::Watts)]
                    .map(|(name, unit)| Channel::level(format!("gpu{i}.{name}"), unit, Scope::Device, "NVML"))
            };
            Ok(Self { nvml, count, channels: (0..count).flat_map(per_gpu).collect() })
        }

        /// What is installed.
        ///
        /// # Errors
        /// A device does not answer.
        pub fn list(&self) -> Result<Vec<Gpu>, Absent> {
            let driver = self.nvml.sys_driver_version().map_err(absent)?;
            let describe = |index| {
                let device = self.nvml.device_by_index(index)?;
                Ok(Gpu { name: device.name()?, memory_bytes: device.memory_info()?.total, driver: driver.clone() })
            };
            (0..self.count).map(|i| describe(i).map_err(absent)).collect()
        }
    }

    impl Sensor for Gpus {
        fn channels(&self) -> &[Channel] {
            &self.channels
        }

        fn read(&mut self, reading: &mut Reading) {
            for index in 0..self.count {
                let mut push = |value: fn(&Device<'_>) -> Result<f64, NvmlError>| {
                    reading.push(self.nvml.device_by_index(index).and_then(|d| value(&d)).map_err(absent));
                };
                push(|d| Ok(f64::from(d.utilization_rates()?.gpu)));
                push(|d| Ok(d.memory_info()?.used as f64));
                push(|d| Ok(f64::from(d.power_usage()?) / 1000.0));
            }
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
    fn absent(error: NvmlError) -> Absent {
        Absent::because(format!("NVML: {error}"))
    }
}
