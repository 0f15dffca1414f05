//! AMD GPUs, from what the driver amdgpu shows below `/sys/class/drm`.

use std::path::Path;
use std::time::Duration;

use super::held::{Held, line, names};
use crate::profile::sensor::{Absent, Channel, Missing, Reading, Scope, Sensor, Text, Unit};

const FOLDER: &str = "class/drm";
/// What PCI calls AMD.
const VENDOR: &str = "0x1002";
/// The driver asks the device for each: no more often than it has something new to say.
const PERIOD: Duration = Duration::from_millis(200);

/// Files of a device, the channel each makes and what one of its numbers is worth.
const FILES: [(&str, &str, Unit, f64); 3] = [
    ("gpu_busy_percent", "use", Unit::Percent, 1.0),
    ("mem_busy_percent", "mem_active", Unit::Percent, 1.0),
    ("mem_info_vram_used", "memory.used", Unit::Bytes, 1.0),
];
/// In the folder of its hardware monitor: microwatts, thousandths of a degree.
const MONITORED: [(&str, &str, Unit, f64); 3] = [
    ("power1_average", "power", Unit::Watts, 1e-6),
    ("power1_input", "power", Unit::Watts, 1e-6),
    ("temp1_input", "temperature", Unit::Celsius, 1e-3),
];

/// All AMD GPUs.
pub struct Amd {
    files: Vec<(Held, f64)>,
    channels: Vec<Channel>,
    missing: Vec<Missing>,
}

/// Of the machine whose `/sys` is `sys`. The first is `gpu{first}`.
///
/// # Errors
/// There is none.
pub fn open(sys: &Path, first: usize) -> Result<Amd, Absent> {
    let folder = sys.join(FOLDER);
    let is_card = |name: &String| name.strip_prefix("card").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    let devices = names(&folder).into_iter().filter(is_card).map(|card| folder.join(card).join("device"));
    let devices = devices.filter(|device| line(&device.join("vendor")).as_deref() == Some(VENDOR));
    let mut amd = Amd { files: Vec::new(), channels: Vec::new(), missing: Vec::new() };
    for (at, device) in devices.enumerate() {
        amd.add(&format!("gpu{}", first + at), &device);
    }
    let found = !(amd.files.is_empty() && amd.missing.is_empty());
    if found { Ok(amd) } else { Err(Absent::because("no AMD GPU with the driver amdgpu in /sys/class/drm")) }
}

impl Amd {
    fn add(&mut self, gpu: &str, device: &Path) {
        let monitor = names(&device.join("hwmon")).first().map(|name| device.join("hwmon").join(name));
        let own = FILES.iter().map(|file| (device, file));
        let monitored = MONITORED.iter().filter_map(|file| Some((monitor.as_deref()?, file)));
        for (folder, &(file, name, unit, factor)) in own.chain(monitored) {
            let source = Text::Owned(format!("amdgpu {file}"));
            let channel = Channel::level(format!("{gpu}.{name}"), unit, Scope::Device, source);
            if self.channels.iter().any(|known| known.name == channel.name) {
                continue;
            }
            // Some devices have the file but not the sensor.
            match Held::open(&folder.join(file)).ok().and_then(|mut held| held.number().map(|_| held)) {
                Some(held) => {
                    self.missing.retain(|missing| missing.channels[0].name != channel.name);
                    self.files.push((held, factor));
                    self.channels.push(channel);
                }
                None => {
                    let reason = Absent::because(format!("amdgpu does not show {file} of this device"));
                    self.missing.push(Missing { channels: vec![channel], reason });
                }
            }
        }
    }

    /// What its devices do not tell.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }
}

impl Sensor for Amd {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        for (file, factor) in &mut self.files {
            let value = file.number().map(|number| number as f64 * *factor);
            reading.push(value.ok_or_else(|| Absent::because("the device does not answer any more")));
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
    fn a_device_shows_what_it_has_and_the_rest_is_missing_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(FOLDER);
        let files = [
            ("card0/device/vendor", "0x8086\n"),
            ("card1/device/vendor", "0x1002\n"),
            ("card1/device/gpu_busy_percent", "87\n"),
            ("card1/device/mem_info_vram_used", "1073741824\n"),
            ("card1/device/hwmon/hwmon4/power1_input", "250000000\n"),
            ("card1/device/hwmon/hwmon4/temp1_input", "61000\n"),
            ("card1-DP-1/status", "connected\n"),
        ];
        plant(&root, &files);
        let mut amd = open(dir.path(), 2).unwrap();
        let names: Vec<&str> = amd.channels().iter().map(|c| c.name.as_ref()).collect();
        assert_eq!(names, ["gpu2.use", "gpu2.memory.used", "gpu2.power", "gpu2.temperature"]);
        assert_eq!(values(&mut amd), [Ok(87.0), Ok(1073741824.0), Ok(250.0), Ok(61.0)]);
        let missing: Vec<&str> = amd.missing().iter().map(|m| m.channels[0].name.as_ref()).collect();
        assert_eq!(missing, ["gpu2.mem_active"]);
        assert!(open(Path::new("/no/sys"), 0).is_err());
    }
}
