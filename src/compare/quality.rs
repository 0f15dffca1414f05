//! How undisturbed the machine was during a launch: time a hypervisor took, and time something waited for a processor.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Disturbances during a launch; `None` where the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Share of all cores' time that the hypervisor gave to others, in percent (clock ticks: coarse for short launches).
    pub steal_percent: Option<f64>,
    /// Share of the time in which some thread of the machine waited for a processor, in percent.
    pub pressure_percent: Option<f64>,
}

/// Counters at the start of a launch.
pub(super) struct Watch {
    begun: Instant,
    /// Ticks stolen and all ticks.
    ticks: Option<(f64, f64)>,
    /// Microseconds.
    waiting: Option<f64>,
}

impl Watch {
    /// Reads the counters.
    pub fn start() -> Self {
        Self { begun: Instant::now(), ticks: ticks(&read("/proc/stat")), waiting: waiting(&read("/proc/pressure/cpu")) }
    }

    /// What happened since.
    pub fn stop(&self) -> Quality {
        let now = Self::start();
        let stolen = |(stolen, all): (f64, f64)| {
            let (before, before_all) = self.ticks?;
            (all > before_all).then(|| 100.0 * (stolen - before) / (all - before_all))
        };
        let waited_us = now.waiting.zip(self.waiting).map(|(now, before)| now - before);
        let wall_us = (now.begun - self.begun).as_secs_f64() * 1e6;
        Quality {
            steal_percent: now.ticks.and_then(stolen),
            pressure_percent: waited_us.filter(|_| wall_us > 0.0).map(|us| (100.0 * us / wall_us).min(100.0)),
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Of the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. Guests count in user already.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    let fields: Vec<f64> = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().map_while(|f| f.parse().ok()).collect();
    Some((*fields.get(7)?, fields[..8].iter().sum()))
}

/// Of "some … total=MICROSECONDS".
fn waiting(pressure: &str) -> Option<f64> {
    pressure.lines().find(|l| l.starts_with("some "))?.rsplit_once("total=")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read_and_what_is_missing_is_absent() {
        assert_eq!(ticks("cpu  10 20 30 40 5 0 1 4 9 9\ncpu0 1 1\n"), Some((4.0, 110.0)));
        assert_eq!((ticks("cpu 1 2 3"), ticks("")), (None, None));
        let pressure = "some avg10=20.36 avg60=34.81 avg300=39.17 total=12602256099\nfull avg10=0.00 total=7\n";
        assert_eq!((waiting(pressure), waiting("")), (Some(12_602_256_099.0), None));
    }
}
