//! A process and all its descendants: CPU seconds, resident memory, processes and threads, from `/proc`.

use std::collections::BTreeSet;

use crate::profile::process::{Stat, kernel_units};
use crate::profile::sensor::{Absent, Channel, Kind, Reading, Sensor, Unit};

/// Sums over a process tree.
pub struct ProcessTree {
    root: u32,
    ticks_per_second: f64,
    page_bytes: u64,
    channels: [Channel; 4],
}

impl ProcessTree {
    /// The tree under process `root`.
    pub fn new(root: u32) -> Self {
        let (ticks_per_second, page_bytes) = kernel_units();
        let channel = |name: &'static str, unit, kind| Channel { name: name.into(), unit, kind };
        let channels = [
            channel("process.cpu", Unit::Seconds, Kind::Counter),
            channel("process.rss", Unit::Bytes, Kind::Level),
            channel("process.processes", Unit::Count, Kind::Level),
            channel("process.threads", Unit::Count, Kind::Level),
        ];
        Self { root, ticks_per_second, page_bytes, channels }
    }
}

impl Sensor for ProcessTree {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        let members = descendants(self.root, &Stat::all());
        if members.is_empty() {
            for _ in &self.channels {
                reading.push(Err(Absent(format!("process {} has ended", self.root))));
            }
            return;
        }
        let sum = |value: fn(&Stat) -> u64| members.iter().map(value).sum::<u64>();
        reading.push(Ok(sum(|s| s.cpu_ticks) as f64 / self.ticks_per_second));
        reading.push(Ok((sum(|s| s.rss_pages) * self.page_bytes) as f64));
        reading.push(Ok(members.len() as f64));
        reading.push(Ok(sum(|s| s.threads) as f64));
    }
}

/// `root` and everything below it; empty when `root` is gone.
fn descendants(root: u32, all: &[Stat]) -> Vec<Stat> {
    let mut pids = BTreeSet::new();
    pids.extend(all.iter().filter(|s| s.pid == root && s.alive).map(|s| s.pid));
    // Pids wrap around, so a child may have a lower one than its parent: repeat until nothing is added.
    loop {
        let before = pids.len();
        let children: Vec<u32> = all.iter().filter(|s| pids.contains(&s.parent)).map(|s| s.pid).collect();
        pids.extend(children);
        if pids.len() == before {
            break;
        }
    }
    all.iter().filter(|s| pids.contains(&s.pid)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, parent: u32) -> Stat {
        Stat { pid, parent, alive: true, cpu_ticks: 0, threads: 1, started: 0, rss_pages: 1 }
    }

    #[test]
    fn descendants_are_found_in_any_order_of_pids() {
        let all = [stat(5, 90), stat(90, 7), stat(7, 1), stat(8, 1), stat(1, 0)];
        let pids: Vec<u32> = descendants(7, &all).iter().map(|s| s.pid).collect();
        assert_eq!(pids, [5, 90, 7]);
        assert!(descendants(1234, &all).is_empty());
    }

    #[test]
    fn this_process_has_memory_and_an_ended_one_says_so() {
        let mut reading = Reading::default();
        let mut sensor = ProcessTree::new(std::process::id());
        sensor.read(&mut reading);
        assert_eq!(reading.values.len(), sensor.channels().len());
        assert!(reading.values[1].as_ref().unwrap() > &100_000.0);

        let mut gone = Reading::default();
        ProcessTree::new(u32::MAX).read(&mut gone);
        assert!(gone.values.iter().all(Result::is_err));
    }
}
