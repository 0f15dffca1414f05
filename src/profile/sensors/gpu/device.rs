//! What one device tells: a part per call to NVML, tried once when it is opened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id;
use nvml_wrapper::{Device, Nvml};

use super::super::descendants::Descendants;
use super::super::held::Growing;
use super::gpm::Gpm;
use super::nvidia::instances;
use crate::profile::sensor::{Absent, Channel, Kind, Missing, Origin, Reading, Scope, Sensor, Text, Unit};

/// The list of processes is long and changes slowly.
const PROCESSES: Duration = Duration::from_secs(1);

/// Why clocks are low: the channel's name and the bits it stands for.
const THROTTLES: [(&str, ThrottleReasons); 5] = [
    ("power_cap", ThrottleReasons::SW_POWER_CAP),
    ("thermal", ThrottleReasons::SW_THERMAL_SLOWDOWN.union(ThrottleReasons::HW_THERMAL_SLOWDOWN)),
    ("hardware", ThrottleReasons::HW_SLOWDOWN),
    ("power_brake", ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
    ("sync_boost", ThrottleReasons::SYNC_BOOST),
];

/// The parts that answered and what did not.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) parts: Vec<Box<dyn Sensor>>,
    pub(super) missing: Vec<Missing>,
}

/// One call to NVML and the channels it fills.
struct Call<const N: usize, F> {
    device: Arc<Device<'static>>,
    channels: [Channel; N],
    ask: F,
}

impl<const N: usize, F: FnMut(&Device<'static>) -> Result<[f64; N], Absent> + Send> Sensor for Call<N, F> {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        match (self.ask)(&self.device) {
            Ok(values) => values.into_iter().for_each(|value| reading.push(Ok(value))),
            Err(absent) => (0..N).for_each(|_| reading.push(Err(absent.clone()))),
        }
    }
}

impl Parts {
    /// Adds a call if it answers now.
    fn call<const N: usize, F>(&mut self, device: &Arc<Device<'static>>, channels: [Channel; N], mut ask: F)
    where
        F: FnMut(&Device<'static>) -> Result<[f64; N], Absent> + Send + 'static,
    {
        match ask(device) {
            Ok(_) => self.parts.push(Box::new(Call { device: Arc::clone(device), channels, ask })),
            Err(reason) => self.missing.push(Missing { channels: channels.to_vec(), reason }),
        }
    }

    /// Adds all that a GPU tells, as `gpu{index}.…`.
    pub(super) fn add_device(&mut self, nvml: &'static Nvml, index: usize, device: &Arc<Device<'static>>, pid: u32) {
        let level = |name: &str, unit, source| Channel::level(format!("gpu{index}.{name}"), unit, Scope::Device, Text::Borrowed(source));
        let counter = |name: &str, unit, source| Channel { kind: Kind::Counter, ..level(name, unit, source) };
        let used = [
            level("use", Unit::Percent, "NVML utilisation: share of time with a kernel running"),
            level("mem_active", Unit::Percent, "NVML utilisation: share of time with memory in use, no bandwidth"),
        ];
        self.call(device, used, |d| {
            let used = d.utilization_rates()?;
            Ok([f64::from(used.gpu), f64::from(used.memory)])
        });
        let memory = [level("memory.used", Unit::Bytes, "NVML memory info, all processes")];
        self.call(device, memory, |d| Ok([d.memory_info()?.used as f64]));
        let own = Channel { scope: Scope::ProcessTree, ..level("memory.process", Unit::Bytes, "NVML processes, contexts included") };
        self.call(device, [own], process_memory(pid));
        self.power(device, level("power", Unit::Watts, "NVML instant power (field 186)"));
        let energy = counter("energy", Unit::Joules, "NVML total energy");
        self.call(device, [energy], |d| Ok([d.total_energy_consumption()? as f64 * 1e-3]));
        for (name, clock) in [("clock.sm", Clock::SM), ("clock.memory", Clock::Memory)] {
            let channel = level(name, Unit::Hertz, "NVML clock");
            self.call(device, [channel], move |d| Ok([f64::from(d.clock_info(clock)?) * 1e6]));
        }
        let temperature = level("temperature", Unit::Celsius, "NVML temperature");
        self.call(device, [temperature], |d| Ok([f64::from(d.temperature(TemperatureSensor::Gpu)?)]));
        let memory_temperature = level("temperature.memory", Unit::Celsius, "NVML memory temperature (field 82)");
        self.call(device, [memory_temperature], |d| Ok([field(d, field_id::NVML_FI_DEV_MEMORY_TEMP)?]));
        let source = "NVML reasons for low clocks, each held from reading to reading";
        let throttles = THROTTLES.map(|(name, _)| counter(&format!("throttle.{name}"), Unit::Seconds, source).from(Origin::Derived));
        self.call(device, throttles, throttle());
        let transfers =
            [("pcie.sent", field_id::NVML_FI_DEV_PCIE_COUNT_TX_BYTES), ("pcie.received", field_id::NVML_FI_DEV_PCIE_COUNT_RX_BYTES)];
        for (name, id) in transfers {
            let mut bytes = Growing::default();
            let channel = counter(name, Unit::Bytes, "NVML PCIe byte counters (fields 197, 198)");
            self.call(device, [channel], move |d| {
                let now = field(d, id)? as u64;
                // The counter may have 32 bits.
                Ok([bytes.add(now, 1 << 32)])
            });
        }
        self.gpm(Gpm::open(nvml, device, None, &format!("gpu{index}")));
        self.add_instances(nvml, index, device);
    }

    /// Power as it is now, or else the average over a second that older drivers give.
    fn power(&mut self, device: &Arc<Device<'static>>, instant: Channel) {
        match field(device, field_id::NVML_FI_DEV_POWER_INSTANT) {
            Ok(_) => self.call(device, [instant], |d| Ok([field(d, field_id::NVML_FI_DEV_POWER_INSTANT)? * 1e-3])),
            Err(_) => {
                let average = Channel { source: "NVML power usage, averaged over up to a second".into(), ..instant };
                self.call(device, [average], |d| Ok([f64::from(d.power_usage()?) * 1e-3]));
            }
        }
    }

    fn gpm(&mut self, gpm: Result<Gpm, Missing>) {
        match gpm {
            Ok(gpm) => self.parts.push(Box::new(gpm)),
            Err(missing) => self.missing.push(missing),
        }
    }

    /// Adds the instances of a partitioned GPU, as `gpu{index}.mig{j}.…`.
    fn add_instances(&mut self, nvml: &'static Nvml, index: usize, device: &Arc<Device<'static>>) {
        for (at, instance) in instances(device).into_iter().enumerate() {
            let gpu = format!("gpu{index}.mig{at}");
            let level = |name, unit| Channel::level(format!("{gpu}.{name}"), unit, Scope::Device, "NVML, MIG instance");
            let instance = Arc::new(instance);
            self.call(&instance, [level("memory.used", Unit::Bytes)], |d| Ok([d.memory_info()?.used as f64]));
            let whole = vec![level("use", Unit::Percent), level("power", Unit::Watts)];
            let reason = Absent::because("NVIDIA tells use and power of the whole GPU only, not of an instance");
            self.missing.push(Missing { channels: whole, reason });
            match instance_id(nvml, &instance) {
                Ok(id) => self.gpm(Gpm::open(nvml, device, Some(id), &gpu)),
                Err(reason) => self.missing.push(Gpm::missing(&gpu, reason)),
            }
        }
    }
}

/// The number of the GPU instance behind a MIG device, which the wrapper leaves out.
fn instance_id(nvml: &'static Nvml, instance: &Device<'static>) -> Result<u32, Absent> {
    let Ok(ask) = nvml.lib().nvmlDeviceGetGpuInstanceId.as_ref() else {
        return Err(NvmlError::FailedToLoadSymbol(String::new()).into());
    };
    let mut id = 0;
    // SAFETY: the handle is of a live device of the library that is asked, the pointer to a live local variable.
    match unsafe { ask(instance.handle(), &raw mut id) } {
        0 => Ok(id),
        code => Err(Absent::because(format!("NVML gives no number for the instance (error {code})"))),
    }
}

/// The value of a field.
fn field(device: &Device<'_>, id: u32) -> Result<f64, Absent> {
    let mut values = device.field_values_for(&[FieldId(id)])?;
    let sample = values.pop().ok_or(NvmlError::NotFound)??;
    Ok(match sample.value? {
        SampleValue::F64(value) => value,
        SampleValue::U32(value) => f64::from(value),
        SampleValue::U64(value) => value as f64,
        SampleValue::I64(value) => value as f64,
    })
}

/// Bytes that the tree under process `pid` holds on a device.
fn process_memory(pid: u32) -> impl FnMut(&Device<'static>) -> Result<[f64; 1], Absent> + Send {
    let mut tree = Descendants::of(pid);
    let mut last: Option<(Instant, f64)> = None;
    // NVML numbers processes as the machine does; within a container's own numbering ours do not match.
    let same_numbers = std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == "pid:[4026531836]");
    move |device| {
        if let Some((at, bytes)) = last
            && at.elapsed() < PROCESSES
        {
            return Ok([bytes]);
        }
        let mut processes = device.running_compute_processes()?;
        let graphics = device.running_graphics_processes().unwrap_or_default();
        processes.extend(graphics);
        let pids = tree.pids();
        processes.retain(|process| pids.contains(&process.pid));
        // Who computes and draws is listed twice with the same memory, in a partitioned GPU once per instance.
        processes.sort_by_key(|process| (process.pid, process.gpu_instance_id));
        processes.dedup_by_key(|process| (process.pid, process.gpu_instance_id));
        if processes.is_empty() && !same_numbers {
            return Err(Absent::because("NVML numbers processes as the host does; start the container with `--pid=host`"));
        }
        let mut bytes = 0.0;
        for process in processes {
            match process.used_gpu_memory {
                UsedGpuMemory::Used(used) => bytes += used as f64,
                UsedGpuMemory::Unavailable => return Err(Absent::because("the driver does not tell memory per process here")),
            }
        }
        last = Some((Instant::now(), bytes));
        Ok([bytes])
    }
}

/// Seconds for which clocks were low, per reason.
fn throttle() -> impl FnMut(&Device<'static>) -> Result<[f64; THROTTLES.len()], Absent> + Send {
    let mut last: Option<(Instant, ThrottleReasons)> = None;
    let mut seconds = [0.0; THROTTLES.len()];
    move |device| {
        let (now, reasons) = (Instant::now(), device.current_throttle_reasons()?);
        if let Some((at, held)) = last.replace((now, reasons)) {
            let passed = (now - at).as_secs_f64();
            for (sum, (_, bits)) in seconds.iter_mut().zip(THROTTLES) {
                *sum += if held.intersects(bits) { passed } else { 0.0 };
            }
        }
        Ok(seconds)
    }
}
