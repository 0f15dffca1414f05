//! What a run was bound by, with the evidence. A bound that cannot be judged here is listed with the reason, so that silence is
//! never taken for innocence.

use serde::{Deserialize, Serialize};

use super::metric::{Finding, Metric};
use super::roofline::Roofline;
use super::summary::{Metrics, Summary};

/// From this share of what there is on, a resource is what holds a run up.
const BUSY: f64 = 0.85;
/// A memory bandwidth that a program reaches in practice, as a share of the triad's.
const BANDWIDTH_BUSY: f64 = 0.6;
/// Share of the time from which on a GPU is worked with at all.
const GPU_USED: f64 = 0.03;
/// Share of the time that tasks wait for a resource from which on it holds them up.
const PRESSURE: f64 = 0.2;
/// Share of the time taken away by the hypervisor from which on a run is disturbed.
const STEAL: f64 = 0.05;

/// Samples from which on a run is judged.
const FEWEST: u64 = 5;

/// What holds a run up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// All cores it may use are busy.
    Cpu,
    /// One core is busy, the others idle: the program is serial.
    OneCore,
    /// The memory's bandwidth is used up.
    MemoryBandwidth,
    /// Memory is short: pages are reclaimed or swapped.
    Memory,
    /// Storage.
    Disk,
    /// A GPU is busy.
    Gpu,
    /// The bandwidth of a GPU's own memory is used up.
    GpuMemory,
    /// A GPU waits for the host, which prepares its work or launches it piece by piece.
    GpuHost,
    /// Other programs hold the cores it would use.
    Contention,
    /// None of these: it waits (for the network, locks, sleep, another process).
    Waiting,
}

impl Bound {
    /// As it stands in a sentence after "bound by".
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::OneCore => "one core",
            Self::MemoryBandwidth => "memory bandwidth",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Gpu => "GPU",
            Self::GpuMemory => "GPU memory bandwidth",
            Self::GpuHost => "the host of the GPU",
            Self::Contention => "other programs on this machine",
            Self::Waiting => "waiting",
        }
    }
}

/// The bottleneck of a run or a phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What holds it up, strongest first.
    pub bound_by: Vec<Bound>,
    /// Sentences with the numbers the verdict rests on.
    pub evidence: Vec<String>,
    /// What could not be judged, and why.
    pub unknown: Vec<String>,
    /// What disturbed the measurement.
    pub disturbed: Vec<String>,
}

impl Verdict {
    /// Judges the whole run. `cores` is what the program may use.
    pub fn of(usage: &Summary, cores: f64, roofline: Option<&Roofline>) -> Self {
        if usage.sampler.samples < FEWEST {
            let unknown = vec![format!("it took fewer than {FEWEST} samples: too short to judge")];
            return Self { unknown, ..Self::default() };
        }
        Self::of_metrics(&usage.metrics, cores, roofline)
    }

    /// Judges one phase by its metrics.
    pub fn of_metrics(metrics: &Metrics, cores: f64, roofline: Option<&Roofline>) -> Self {
        let mut verdict = Self::default();
        verdict.cpu(metrics, cores);
        verdict.bandwidth(metrics, roofline);
        verdict.gpu(metrics);
        verdict.pressure(metrics);
        if verdict.bound_by.is_empty() && !verdict.evidence.is_empty() {
            verdict.bound_by.push(Bound::Waiting);
        }
        verdict
    }

    /// "bound by CPU and memory bandwidth".
    pub fn sentence(&self) -> String {
        match self.bound_by.iter().map(|b| b.name()).collect::<Vec<_>>().as_slice() {
            [] => format!("no bottleneck can be named: {}", self.unknown.first().map_or("nothing was measured", String::as_str)),
            ["waiting"] => "bound by none of its resources: it waits".to_owned(),
            [one] => format!("bound by {one}"),
            [first @ .., last] => format!("bound by {} and {last}", first.join(", ")),
        }
    }

    fn cpu(&mut self, metrics: &Metrics, cores: f64) {
        let Some(percent) = value(metrics, "cpu.time.rate") else {
            self.unknown.push(absence(metrics, "cpu.time", "CPU"));
            return;
        };
        let used = percent / 100.0;
        let cores_text = format!("{cores:.2}");
        let cores_text = cores_text.trim_end_matches('0').trim_end_matches('.');
        let plural = if cores_text == "1" { "core" } else { "cores" };
        self.evidence.push(format!("CPU: {used:.2} of {cores_text} {plural} in the mean"));
        if used >= BUSY * cores {
            self.bound_by.push(Bound::Cpu);
        } else if (BUSY..1.2).contains(&used) {
            self.bound_by.push(Bound::OneCore);
        }
    }

    fn bandwidth(&mut self, metrics: &Metrics, roofline: Option<&Roofline>) {
        let rates = ["memory.bandwidth.rate", "memory.bandwidth.read.rate", "memory.bandwidth.write.rate"];
        let found: Vec<f64> = rates.iter().filter_map(|name| value(metrics, name)).collect();
        let peak = roofline.and_then(|r| r.peak_bandwidth.value());
        if found.is_empty() {
            self.unknown.push(absence(metrics, "memory.bandwidth", "memory bandwidth"));
        } else if let Some(peak) = peak {
            let rate: f64 = found.iter().sum();
            let share = 100.0 * rate / peak;
            self.evidence.push(format!("memory bandwidth: {:.1} of {:.1} GB/s ({share:.0} %)", rate / 1e9, peak / 1e9));
            if rate >= BANDWIDTH_BUSY * peak {
                self.bound_by.push(Bound::MemoryBandwidth);
            }
        } else {
            self.evidence.push(format!("memory bandwidth: {:.1} GB/s", found.iter().sum::<f64>() / 1e9));
            self.unknown.push("memory bandwidth: the peak of this machine was not measured".to_owned());
        }
    }

    fn gpu(&mut self, metrics: &Metrics) {
        let uses = metrics.iter().filter(|(name, _)| name.starts_with("gpu") && name.ends_with(".use"));
        let known: Vec<(&String, f64)> = uses.filter_map(|(name, metric)| Some((name, metric.value()?))).collect();
        if known.is_empty() {
            self.unknown.push(absence(metrics, "gpu.use", "GPU"));
        }
        for (name, percent) in known {
            self.evidence.push(format!("{name}: {percent:.0} % of the time"));
            let gpu = name.trim_end_matches(".use");
            for (channel, what, factor, unit) in [
                ("dram.active", "its memory", 1.0, "% of the time"),
                ("sm.active", "its multiprocessors", 1.0, "% of the time"),
                ("pcie.received.rate", "copied to it", 1e-9, "GB/s"),
            ] {
                if let Some(found) = value(metrics, &format!("{gpu}.{channel}")) {
                    self.evidence.push(format!("{gpu}: {what} {:.*} {unit}", usize::from(factor < 1.0) * 2, factor * found));
                }
            }
            let memory = value(metrics, &format!("{gpu}.dram.active")).is_some_and(|active| active >= 100.0 * BANDWIDTH_BUSY);
            let host = value(metrics, "cpu.time.rate").is_some_and(|cpu| cpu >= 100.0 * BUSY);
            let bound = match percent / 100.0 {
                _ if memory => Bound::GpuMemory,
                busy if busy >= BUSY => Bound::Gpu,
                busy if busy >= GPU_USED && host => Bound::GpuHost,
                _ => continue,
            };
            if bound == Bound::GpuHost {
                // One busy core beside a GPU that waits is the same thing said twice.
                self.bound_by.retain(|other| *other != Bound::OneCore);
                self.evidence
                    .push(format!("{gpu} waits while at least one core is busy: `precision`, larger batches or more cells at once"));
            }
            if !self.bound_by.contains(&bound) {
                self.bound_by.push(bound);
            }
        }
    }

    fn pressure(&mut self, metrics: &Metrics) {
        for (name, bound, what) in [("io", Bound::Disk, "disk"), ("memory", Bound::Memory, "memory")] {
            let channel = format!("pressure.{name}.rate");
            let Some(percent) = value(metrics, &channel) else {
                self.unknown.push(absence(metrics, &format!("pressure.{name}"), what));
                continue;
            };
            if percent >= 100.0 * PRESSURE {
                self.evidence.push(format!("{what}: tasks of this machine waited for it {percent:.0} % of the time"));
                self.bound_by.push(bound);
            }
        }
        let cpu = self.bound_by.iter().any(|b| matches!(b, Bound::Cpu));
        if let Some(percent) = value(metrics, "pressure.cpu.rate").filter(|p| !cpu && *p >= 100.0 * PRESSURE) {
            self.evidence.push(format!("cores: tasks of this machine waited for one {percent:.0} % of the time"));
            self.bound_by.push(Bound::Contention);
        }
        if let Some(percent) = value(metrics, "cpu.steal.rate").filter(|p| *p >= 100.0 * STEAL) {
            self.disturbed.push(format!("the hypervisor took away {percent:.0} % of a core"));
        }
        let (host, own) = (value(metrics, "cpu.host.rate"), value(metrics, "cpu.time.rate"));
        if let Some(others) = host.zip(own).map(|(host, own)| host - own).filter(|o| *o >= 25.0) {
            self.disturbed.push(format!("other programs used {others:.0} % of a core meanwhile"));
        }
    }
}

fn value(metrics: &Metrics, name: &str) -> Option<f64> {
    metrics.get(name).and_then(Metric::value)
}

/// "memory bandwidth: not measured (…)".
fn absence(metrics: &Metrics, prefix: &str, what: &str) -> String {
    let reason = metrics.iter().filter(|(name, _)| name.starts_with(prefix)).find_map(|(_, metric)| match &metric.finding {
        Finding::Unavailable { reason } => Some(reason.clone()),
        _ => None,
    });
    format!("{what}: not measured ({})", reason.unwrap_or_else(|| "no sensor was asked for it".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::metric::{Scope, Unit};

    fn metrics(values: &[(&str, f64)]) -> Metrics {
        let metric = |value| Metric::measured(value, Unit::Percent, Scope::ProcessTree, "test");
        values.iter().map(|(name, value)| ((*name).to_owned(), metric(*value))).collect()
    }

    fn peaks(bandwidth: f64) -> Roofline {
        let peak = |value, unit| Metric::measured(value, unit, Scope::Host, "test");
        let peak_flops = peak(1e11, Unit::FlopPerSecond);
        Roofline { peak_flops, peak_bandwidth: peak(bandwidth, Unit::BytesPerSecond), points: Vec::new() }
    }

    #[test]
    fn two_resources_can_bind_at_once_and_the_numbers_are_told() {
        let found = metrics(&[("cpu.time.rate", 195.0), ("memory.bandwidth.rate", 21e9)]);
        let verdict = Verdict::of_metrics(&found, 2.0, Some(&peaks(30e9)));
        assert_eq!(verdict.sentence(), "bound by CPU and memory bandwidth");
        assert_eq!(verdict.evidence, ["CPU: 1.95 of 2 cores in the mean", "memory bandwidth: 21.0 of 30.0 GB/s (70 %)"]);
    }

    #[test]
    fn a_serial_program_and_a_waiting_one_are_told_apart() {
        let of = |percent| Verdict::of_metrics(&metrics(&[("cpu.time.rate", percent)]), 8.0, None).bound_by;
        assert_eq!((of(99.0), of(12.0), of(700.0)), (vec![Bound::OneCore], vec![Bound::Waiting], vec![Bound::Cpu]));
    }

    /// Numbers of an H200 (reports/gpu): ETAD launched operator by operator, replayed as a graph, and a copy within its memory.
    #[test]
    fn a_gpu_that_waits_for_its_host_is_told_from_one_that_works_and_one_whose_memory_does() {
        let of = |used: f64, dram: f64, cpu: f64| {
            let found = [("gpu0.use", used), ("gpu0.dram.active", dram), ("cpu.time.rate", cpu), ("gpu0.pcie.received.rate", 3.5e8)];
            Verdict::of_metrics(&metrics(&found), 16.0, None)
        };
        let waits = of(16.0, 3.0, 110.0);
        assert_eq!(waits.sentence(), "bound by the host of the GPU");
        assert!(waits.evidence.contains(&"gpu0: copied to it 0.35 GB/s".to_owned()), "{:?}", waits.evidence);
        assert_eq!(of(97.0, 10.0, 110.0).bound_by, [Bound::OneCore, Bound::Gpu]);
        assert_eq!(of(100.0, 85.0, 30.0).bound_by, [Bound::GpuMemory]);
        // Nobody works: it waits for data, or for something else.
        assert_eq!((of(16.0, 3.0, 20.0).bound_by, of(0.0, 0.0, 110.0).bound_by), (vec![Bound::Waiting], vec![Bound::OneCore]));
    }

    #[test]
    fn a_program_that_gets_no_core_does_not_wait_by_itself() {
        let verdict = Verdict::of_metrics(&metrics(&[("cpu.time.rate", 51.0), ("pressure.cpu.rate", 80.0)]), 1.0, None);
        assert_eq!(verdict.sentence(), "bound by other programs on this machine");
    }

    #[test]
    fn what_was_not_measured_is_unknown_not_innocent() {
        let mut found = metrics(&[("cpu.time.rate", 12.0), ("cpu.host.rate", 160.0)]);
        let absent = Metric::unavailable(Unit::Bytes, Scope::Socket, "no uncore counters in a virtual machine");
        found.insert("memory.bandwidth".into(), absent);
        let verdict = Verdict::of_metrics(&found, 2.0, None);
        assert!(verdict.unknown[0].contains("no uncore counters"), "{:?}", verdict.unknown);
        assert_eq!(verdict.disturbed, ["other programs used 148 % of a core meanwhile"]);
    }
}
