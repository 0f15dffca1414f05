//! Proportional set size: memory of a tree in which a page of n processes counts 1/n in each.
//!
//! The kernel walks the page tables of the process for it, under a lock the process needs as well (11 µs per MiB of small
//! pages). It is therefore read rarely, and the more rarely the longer it takes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::descendants::Descendants;
use crate::profile::sensor::{Absent, Channel, Missing, Reading, Scope, Sensor, Unit};

/// Never more often.
const SHORTEST: Duration = Duration::from_secs(1);
/// At least this often, whatever it costs.
const LONGEST: Duration = Duration::from_secs(64);
/// Reading may take this share of the time between readings.
const SHARE: f64 = 0.01;

/// PSS of a tree.
pub struct Pss {
    proc: PathBuf,
    tree: Descendants,
    interval: Duration,
    last: Option<Instant>,
    channels: [Channel; 1],
}

/// Of the tree under process `pid`.
///
/// # Errors
/// The process may not be looked at.
pub fn open(proc: &Path, pid: u32) -> Result<Pss, Missing> {
    let channels = [Channel::level("memory.pss", Unit::Bytes, Scope::ProcessTree, "/proc/PID/smaps_rollup, at most 1 Hz")];
    match pss_bytes(proc, pid) {
        Some(_) => Ok(Pss { proc: proc.to_owned(), tree: Descendants::of(pid), interval: SHORTEST, last: None, channels }),
        None => {
            let reason = "/proc/PID/smaps_rollup is readable for its own user only; profile as that user";
            Err(Missing { channels: channels.to_vec(), reason: Absent::because(reason) })
        }
    }
}

fn pss_bytes(proc: &Path, pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(proc.join(format!("{pid}/smaps_rollup"))).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?;
    Some(kib.trim().parse::<u64>().ok()? as f64 * 1024.0)
}

/// When to read next, after a reading that cost `cost`.
fn next(interval: Duration, cost: Duration) -> Duration {
    let allowed = |interval: Duration| interval.mul_f64(SHARE);
    if cost > allowed(interval) {
        (interval * 2).min(LONGEST)
    } else if cost < allowed(interval / 4) {
        (interval / 2).max(SHORTEST)
    } else {
        interval
    }
}

impl Sensor for Pss {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        // Phases ask at their ends too, and may be short. A sampler that is a little early is served.
        if self.last.is_some_and(|at| at.elapsed() < self.interval.mul_f64(0.9)) {
            reading.push(Err(Absent::because("read too short a time ago")));
            return;
        }
        let begun = Instant::now();
        self.last = Some(begun);
        let Self { proc, tree, .. } = self;
        // Processes that ended in between have no memory.
        let sum = tree.pids().iter().filter_map(|&pid| pss_bytes(proc, pid)).reduce(|a, b| a + b);
        reading.push(sum.ok_or_else(|| Absent::because("the processes have ended")));
        self.interval = next(self.interval, begun.elapsed());
    }

    fn period(&self) -> Duration {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::{plant, values};
    use super::*;

    #[test]
    fn a_costly_reading_is_made_more_rarely_and_a_cheap_one_again_more_often() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        assert_eq!(next(s(1), ms(11)), s(2));
        assert_eq!(next(s(1), ms(9)), s(1));
        assert_eq!(next(s(1), ms(1)), s(1));
        assert_eq!(next(s(4), ms(9)), s(2));
        assert_eq!(next(LONGEST, s(100)), LONGEST);
    }

    #[test]
    fn a_process_has_a_pss_and_is_not_asked_again_at_once() {
        let mut pss = open(Path::new("/proc"), std::process::id()).unwrap();
        assert!(values(&mut pss)[0].as_ref().unwrap() > &100_000.0);
        assert!(values(&mut pss)[0].is_err());
    }

    #[test]
    fn the_sum_is_in_bytes_and_a_process_that_may_not_be_read_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let pid = u32::MAX;
        plant(
            dir.path(),
            &[(&format!("{pid}/smaps_rollup"), "00400000-7fff rollup\nRss:  2000 kB\nPss:                1000 kB\nPss_Dirty: 3 kB\n")],
        );
        assert_eq!(values(&mut open(dir.path(), pid).unwrap()), [Ok(1_024_000.0)]);
        assert!(open(dir.path(), 1).err().unwrap().reason.0.contains("its own user"));
    }
}
