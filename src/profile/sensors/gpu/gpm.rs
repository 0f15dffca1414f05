//! GPU performance monitoring (GPM): how busy the units inside a GPU are, from two samples and the time between them. From
//! Hopper on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::gpm::{GpmSample, gpm_metrics_get};
use nvml_wrapper::struct_wrappers::gpm::GpmMetricResult;
use nvml_wrapper::{Device, Nvml};

use crate::profile::sensor::{Absent, Channel, Missing, Origin, Reading, Scope, Sensor, Unit};

/// Two samples must lie at least so far apart.
const APART: Duration = Duration::from_millis(100);

/// What is asked for.
const METRICS: [(GpmMetricId, &str, Unit); 8] = [
    (GpmMetricId::DramBwUtil, "dram.active", Unit::Percent),
    (GpmMetricId::SmUtil, "sm.active", Unit::Percent),
    (GpmMetricId::SmOccupancy, "sm.occupancy", Unit::Percent),
    (GpmMetricId::AnyTensorUtil, "tensor.active", Unit::Percent),
    (GpmMetricId::PcieTxPerSec, "pcie.send_speed", Unit::BytesPerSecond),
    (GpmMetricId::PcieRxPerSec, "pcie.receive_speed", Unit::BytesPerSecond),
    (GpmMetricId::NvlinkTotalTxPerSec, "nvlink.send_speed", Unit::BytesPerSecond),
    (GpmMetricId::NvlinkTotalRxPerSec, "nvlink.receive_speed", Unit::BytesPerSecond),
];

/// The metrics of one GPU, or of an instance of a partitioned one.
pub(super) struct Gpm {
    nvml: &'static Nvml,
    device: Arc<Device<'static>>,
    instance: Option<u32>,
    /// The end of the last stretch is the beginning of the next.
    sample: GpmSample<'static>,
    taken: Instant,
    /// As of the last stretch that was long enough.
    held: Vec<Result<f64, Absent>>,
    channels: Vec<Channel>,
    /// Bits that memory moves at once; `None` where it is not known or not all of it belongs to the instance.
    bus_bits: Option<f64>,
}

impl Gpm {
    /// Of a device or its instance, as `{gpu}.…`; takes the first sample.
    ///
    /// # Errors
    /// The GPU is older, or may not be looked at.
    pub(super) fn open(nvml: &'static Nvml, device: &Arc<Device<'static>>, instance: Option<u32>, gpu: &str) -> Result<Self, Missing> {
        let bus_bits = device.memory_bus_width().ok().filter(|_| instance.is_none()).map(f64::from);
        let channels = channels(gpu, bus_bits.is_some());
        let supported = match device.gpm_support() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Absent::because("GPM needs a GPU of the generation Hopper or newer")),
            Err(error) => Err(error.into()),
        };
        match supported.and_then(|()| sample(device, instance)) {
            Ok(sample) => {
                let held = vec![Err(Absent::because("GPM needs two samples 100 ms apart")); channels.len()];
                Ok(Self { nvml, device: Arc::clone(device), instance, sample, taken: Instant::now(), held, channels, bus_bits })
            }
            Err(reason) => Err(Missing { channels, reason }),
        }
    }

    /// All of it, missing.
    pub(super) fn missing(gpu: &str, reason: Absent) -> Missing {
        Missing { channels: channels(gpu, false), reason }
    }

    /// The values since the last sample.
    fn advance(&mut self) -> Result<(), Absent> {
        let now = sample(&self.device, self.instance)?;
        let ids = METRICS.map(|(id, ..)| id);
        let results = gpm_metrics_get(self.nvml, &self.sample, &now, &ids);
        (self.sample, self.taken) = (now, Instant::now());
        self.held.clear();
        let results = results?.into_iter().zip(METRICS);
        self.held.extend(results.map(|(result, (.., unit))| result.map_err(Absent::from).and_then(|result| in_unit(&result, unit))));
        if let Some(bits) = self.bus_bits {
            let clock = self.device.clock_info(Clock::Memory).map_err(Absent::from);
            // Two transfers per cycle.
            let peak = clock.map(|mhz| 2.0 * f64::from(mhz) * 1e6 * bits / 8.0);
            self.held.push(self.held[0].clone().and_then(|percent| Ok(percent / 100.0 * peak?)));
        }
        Ok(())
    }
}

fn channels(gpu: &str, with_bandwidth: bool) -> Vec<Channel> {
    let level = |name, unit, source: &'static str| Channel::level(format!("{gpu}.{name}"), unit, Scope::Device, source);
    let mut channels: Vec<Channel> = METRICS.iter().map(|&(_, name, unit)| level(name, unit, "NVML GPM")).collect();
    if with_bandwidth {
        let source = "NVML GPM use of DRAM x 2 x memory clock x bus width / 8";
        channels.push(level("dram.bandwidth", Unit::BytesPerSecond, source).from(Origin::Derived));
    }
    channels
}

fn sample(device: &Device<'static>, instance: Option<u32>) -> Result<GpmSample<'static>, Absent> {
    Ok(match instance {
        Some(id) => device.gpm_mig_sample(id)?,
        None => device.gpm_sample()?,
    })
}

/// Headers and documentation disagree about the unit of transfers, so that the driver's word counts.
fn in_unit(result: &GpmMetricResult, unit: Unit) -> Result<f64, Absent> {
    if unit == Unit::Percent {
        return Ok(result.value);
    }
    let factor = match result.metric_info.unit.as_str() {
        "B/s" | "Bytes/s" | "bytes/s" => 1.0,
        "KiB/s" => 1024.0,
        "KB/s" => 1e3,
        "MiB/s" => 1024.0 * 1024.0,
        "MB/s" => 1e6,
        "GiB/s" => 1024.0 * 1024.0 * 1024.0,
        "GB/s" => 1e9,
        other => return Err(Absent::because(format!("the driver gives it in an unknown unit ({other:?})"))),
    };
    Ok(result.value * factor)
}

impl Sensor for Gpm {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        if self.taken.elapsed() >= APART
            && let Err(reason) = self.advance()
        {
            self.held.clear();
            self.held.resize(self.channels.len(), Err(reason));
        }
        self.held.iter().for_each(|value| reading.push(value.clone()));
    }
}
