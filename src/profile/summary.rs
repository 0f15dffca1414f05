//! What a run used: totals, means and peaks of every channel, over all of it and per phase, with the cost of finding out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::metric::{Absent, Finding, Metric, Scope, Unit};
use super::process::Ended;
use super::sensor::{Channel, Kind};

/// Metrics by name. A counter `x` gives its growth as `x` and its growth per second as `x.rate`; a level `x` gives its mean
/// over time as `x` and its largest value as `x.peak`.
pub type Metrics = BTreeMap<String, Metric>;

/// What a run used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Over the whole run.
    pub metrics: Metrics,
    /// In the order they began; empty for a program that names no phases.
    pub phases: Vec<PhaseSummary>,
    /// What sampling cost and how well it kept time.
    pub sampler: Sampler,
    /// Sentences for the reader: processes left behind, a trace that could not be written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What one phase used. A phase that is entered again continues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseSummary {
    /// As the program calls it: "load", "train", "detect", "evaluate".
    pub name: String,
    /// Seconds.
    pub wall_s: f64,
    /// As [`Summary::metrics`].
    pub metrics: Metrics,
}

/// The sampler's own cost and punctuality.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampler {
    /// Seconds between samples, as asked.
    pub period_s: f64,
    /// Samples per second, as achieved.
    pub achieved_hz: f64,
    /// Samples taken.
    pub samples: u64,
    /// Samples more than half a period late.
    pub late: u64,
    /// Samples left out because the one before took too long.
    pub missed: u64,
    /// CPU seconds of the sampling thread.
    pub cpu_s: f64,
    /// The same in percent of one core.
    pub cpu_percent: f64,
}

impl PhaseSummary {
    /// A metric by name, where it has a value.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.metrics.get(name)?.value()
    }
}

impl Summary {
    /// A metric of the whole run by name, where it has a value.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.metrics.get(name)?.value()
    }

    /// Reasons with the channels they keep from being measured; peaks and rates go with their channel.
    pub fn absences(&self) -> Vec<(String, Vec<String>)> {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for (name, metric) in self.metrics.iter().filter(|(name, _)| !name.ends_with(".peak") && !name.ends_with(".rate")) {
            let Finding::Unavailable { reason } = &metric.finding else { continue };
            match found.iter_mut().find(|(known, _)| known == reason) {
                Some((_, channels)) => channels.push(name.clone()),
                None => found.push((reason.to_string(), vec![name.clone()])),
            }
        }
        found
    }

    /// The phase of that name.
    pub fn phase(&self, name: &str) -> Option<&PhaseSummary> {
        self.phases.iter().find(|p| p.name == name)
    }
}

impl Summary {
    /// Replaces sampled sums by the kernel's exact totals of an ended program and the children it waited for.
    pub fn settle(&mut self, ended: &Ended, wall_s: f64) {
        const SOURCE: &str = "wait4";
        let tree = Scope::ProcessTree;
        // What was left behind or not waited for is in the samples alone, so the larger number is the truer one.
        let mut settle = |name: &str, value: f64, unit: Unit, source: &'static str| {
            if self.metrics.get(name).and_then(Metric::value).is_none_or(|sampled| sampled < value) {
                self.metrics.insert(name.to_owned(), Metric::measured(value, unit, tree, source));
            }
        };
        settle("cpu.time", ended.cpu_s, Unit::Seconds, SOURCE);
        settle("memory.rss.peak", ended.peak_rss_bytes as f64, Unit::Bytes, "wait4, the largest process alone");
        settle("memory.rss.largest", ended.peak_rss_bytes as f64, Unit::Bytes, "wait4, the largest process alone");
        settle("faults.minor", ended.minor_faults as f64, Unit::Count, SOURCE);
        settle("faults.major", ended.major_faults as f64, Unit::Count, SOURCE);
        settle("switches.voluntary", ended.voluntary_switches as f64, Unit::Count, SOURCE);
        settle("switches.involuntary", ended.involuntary_switches as f64, Unit::Count, SOURCE);
        if let Some(io) = ended.io {
            const SOURCE: &str = "/proc/PID/io at its end";
            settle("disk.read", io.disk_read as f64, Unit::Bytes, SOURCE);
            settle("disk.written", io.disk_written as f64, Unit::Bytes, SOURCE);
            settle("io.read", io.read as f64, Unit::Bytes, SOURCE);
            settle("io.written", io.written as f64, Unit::Bytes, SOURCE);
        }
        for name in ["cpu.time", "disk.read", "disk.written", "io.read", "io.written"] {
            let Some(Metric { unit, scope, finding }) = self.metrics.get(name).cloned() else { continue };
            let (Some((unit, factor)), Some(value)) = (per_second(unit), finding.value().filter(|_| wall_s > 0.0)) else { continue };
            self.metrics
                .insert(format!("{name}.rate"), Metric::derived(factor * value / wall_s, unit, scope, format!("{name}, wall time")));
        }
    }
}

/// Sums up one channel as its readings come in.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    first: Option<f64>,
    last: Option<(f64, f64)>,
    peak: Option<f64>,
    /// Integral of a level over the time it was known, and that time.
    area: f64,
    known_s: f64,
    absent: Option<Absent>,
}

impl Tally {
    /// Takes the value at `at_s` seconds. A level holds from one reading to the next in a straight line.
    pub(super) fn add(&mut self, at_s: f64, value: &Result<f64, Absent>) {
        match value {
            Ok(value) => {
                if let Some((before_s, before)) = self.last {
                    let lasted = at_s - before_s;
                    self.area += (before + value) / 2.0 * lasted;
                    self.known_s += lasted;
                }
                self.first.get_or_insert(*value);
                self.last = Some((at_s, *value));
                self.peak = Some(self.peak.map_or(*value, |p| p.max(*value)));
            }
            // What is gone at the end (a process that exited) was there before: its readings stay.
            Err(reason) => self.absent = Some(reason.clone()),
        }
    }

    /// Starts over with the last reading as the first: what a new phase knows.
    pub(super) fn continued(&self) -> Self {
        let value = self.last.map(|(_, value)| value);
        Self { first: value, last: self.last, peak: value, absent: self.absent.clone(), ..Self::default() }
    }

    /// Adds what another stretch of the same phase saw.
    pub(super) fn merge(&mut self, later: &Self) {
        let grown = self.growth().zip(later.growth()).map(|(a, b)| a + b);
        self.area += later.area;
        self.known_s += later.known_s;
        self.peak = self.peak.into_iter().chain(later.peak).reduce(f64::max);
        match (grown, later.last) {
            (Some(grown), Some((at_s, value))) => (self.first, self.last) = (Some(value - grown), Some((at_s, value))),
            (None, Some(_)) => (self.first, self.last) = (later.first, later.last),
            _ => {}
        }
        self.absent = later.absent.clone().or(self.absent.take());
    }

    fn growth(&self) -> Option<f64> {
        // A counter that falls was reset by a reader below us: what it counted since is a lower bound, never negative.
        Some((self.last?.1 - self.first?).max(0.0))
    }

    /// Writes the channel's metrics.
    pub(super) fn report(&self, channel: &Channel, wall_s: f64, into: &mut Metrics) {
        let metric = |value: Option<f64>, unit| {
            let finding = match value {
                Some(value) => channel.origin.finding(value, channel.source.clone()),
                None => {
                    let reason = self.absent.clone().unwrap_or_else(|| Absent::because("too short for a reading"));
                    Finding::Unavailable { reason: reason.0 }
                }
            };
            Metric { unit, scope: channel.scope, finding }
        };
        match channel.kind {
            Kind::Counter => {
                let growth = self.growth();
                into.insert(channel.name.to_string(), metric(growth, channel.unit));
                if let Some((unit, factor)) = per_second(channel.unit) {
                    let rate = growth.filter(|_| wall_s > 0.0).map(|grown| factor * grown / wall_s);
                    into.insert(format!("{}.rate", channel.name), metric(rate, unit));
                }
            }
            Kind::Level => {
                let mean = if self.known_s > 0.0 { Some(self.area / self.known_s) } else { self.last.map(|l| l.1) };
                into.insert(channel.name.to_string(), metric(mean, channel.unit));
                into.insert(format!("{}.peak", channel.name), metric(self.peak, channel.unit));
            }
        }
    }
}

/// What growth per second of a unit is, and the factor to it.
fn per_second(unit: Unit) -> Option<(Unit, f64)> {
    match unit {
        Unit::Seconds => Some((Unit::Percent, 100.0)),
        Unit::Bytes => Some((Unit::BytesPerSecond, 1.0)),
        Unit::Joules => Some((Unit::Watts, 1.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(channel: &Channel, tally: &Tally, wall_s: f64) -> Metrics {
        let mut metrics = Metrics::new();
        tally.report(channel, wall_s, &mut metrics);
        metrics
    }

    #[test]
    fn a_level_has_a_mean_over_time_and_a_peak_and_a_counter_its_growth_and_rate() {
        let (mut level, mut counter) = (Tally::default(), Tally::default());
        for (at_s, value) in [(0.0, 10.0), (1.0, 10.0), (1.5, 30.0), (2.0, 30.0)] {
            level.add(at_s, &Ok(value));
            counter.add(at_s, &Ok(value));
        }
        let rss = Channel::level("memory.rss", Unit::Bytes, Scope::ProcessTree, "test");
        let found = metrics(&rss, &level, 2.0);
        assert_eq!(found["memory.rss"].value(), Some((10.0 + 0.5 * 20.0 + 0.5 * 30.0) / 2.0));
        assert_eq!(found["memory.rss.peak"].value(), Some(30.0));
        let cpu = Channel::counter("cpu.time", Unit::Seconds, Scope::ProcessTree, "test");
        let found = metrics(&cpu, &counter, 2.0);
        assert_eq!((found["cpu.time"].value(), found["cpu.time.rate"].value()), (Some(20.0), Some(1000.0)));
    }

    #[test]
    fn a_channel_that_never_answered_says_why() {
        let mut tally = Tally::default();
        tally.add(0.0, &Err(Absent::because("denied")));
        let channel = Channel::level("memory.pss", Unit::Bytes, Scope::ProcessTree, "test");
        let expected = Metric::unavailable(Unit::Bytes, Scope::ProcessTree, "denied");
        assert_eq!(metrics(&channel, &tally, 1.0)["memory.pss"], expected);
    }

    #[test]
    fn a_phase_entered_twice_adds_up() {
        let cpu = Channel::counter("cpu.time", Unit::Seconds, Scope::ProcessTree, "test");
        let mut first = Tally::default();
        first.add(0.0, &Ok(1.0));
        first.add(1.0, &Ok(2.0));
        let mut again = Tally::default();
        again.add(5.0, &Ok(7.0));
        again.add(6.0, &Ok(7.5));
        first.merge(&again);
        assert_eq!(metrics(&cpu, &first, 2.0)["cpu.time"].value(), Some(1.5));
    }
}
