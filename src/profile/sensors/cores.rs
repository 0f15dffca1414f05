//! How busy the machine and each core are, and what a hypervisor took away, from `/proc/stat`.

use std::path::Path;
use std::time::Duration;

use super::held::Held;
use crate::profile::process::kernel_units;
use crate::profile::sensor::{Absent, Channel, Missing, Reading, Scope, Sensor, Unit};

/// More cores than these are not shown one by one.
const SHOWN: usize = 64;
/// The kernel counts in hundredths of a second, which below this makes steps rather than curves.
const PERIOD: Duration = Duration::from_secs(1);
const SOURCE: &str = "/proc/stat";

/// Busy time of the machine and of each core.
pub struct Cores {
    stat: Held,
    ids: Vec<u32>,
    channels: Vec<Channel>,
    ticks_per_second: f64,
}

/// Of the machine whose `/proc` is `proc`.
///
/// # Errors
/// There is no `/proc/stat` here.
pub fn open(proc: &Path) -> Result<Cores, Missing> {
    let whole = || {
        let channel = |name| Channel::counter(name, Unit::Seconds, Scope::Host, SOURCE);
        vec![channel("cpu.host"), channel("cpu.steal")]
    };
    let missing = || Missing { channels: whole(), reason: Absent::because("there is no /proc/stat; Linux has it") };
    let mut stat = Held::open(&proc.join("stat")).map_err(|_| missing())?;
    let ids: Vec<u32> = stat.text().ok_or_else(missing)?.lines().filter_map(|line| busy(line)?.0).take(SHOWN).collect();
    let mut channels = whole();
    channels.extend(ids.iter().map(|id| Channel::counter(format!("cpu.core{id}"), Unit::Seconds, Scope::Host, SOURCE)));
    Ok(Cores { stat, ids, channels, ticks_per_second: kernel_units().0 })
}

/// Core (`None` for all together), busy ticks and stolen ticks of a line.
fn busy(line: &str) -> Option<(Option<u32>, u64, u64)> {
    let mut words = line.strip_prefix("cpu")?.split(' ');
    let id = match words.next()? {
        "" => None,
        id => Some(id.parse().ok()?),
    };
    let mut ticks = [0u64; 8];
    let numbers = words.filter_map(|word| word.parse().ok());
    ticks.iter_mut().zip(numbers).for_each(|(tick, number)| *tick = number);
    // Time of guests is in user and nice already.
    let [user, nice, system, _idle, _waiting, interrupt, soft_interrupt, stolen] = ticks;
    Some((id, user + nice + system + interrupt + soft_interrupt, stolen))
}

impl Sensor for Cores {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        let text = self.stat.text().unwrap_or_default();
        let mut lines = text.lines().map_while(busy).peekable();
        let seconds = |ticks: u64| Ok(ticks as f64 / self.ticks_per_second);
        let gone = || Err(Absent::because("/proc/stat names it no more"));
        match lines.next_if(|(id, ..)| id.is_none()) {
            Some((_, busy, stolen)) => [seconds(busy), seconds(stolen)].into_iter().for_each(|value| reading.push(value)),
            None => [gone(), gone()].into_iter().for_each(|value| reading.push(value)),
        }
        for id in &self.ids {
            // Cores are in order; one that was switched off is left out.
            while lines.next_if(|(other, ..)| other < &Some(*id)).is_some() {}
            reading.push(lines.next_if(|(other, ..)| other == &Some(*id)).map_or_else(gone, |(_, busy, _)| seconds(busy)));
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
    fn a_core_that_is_switched_off_is_absent_and_the_others_stay_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let three =
            "cpu  600 60 30 9 9 3 6 12 5 0\ncpu0 100 0 0 1 1 0 0 0 0 0\ncpu1 200 0 0 1 1 0 0 0 0 0\ncpu2 300 0 0 0 0 0 0 7 0 0\nintr 1\n";
        plant(dir.path(), &[("stat", three)]);
        let mut cores = open(dir.path()).unwrap();
        let names: Vec<&str> = cores.channels().iter().map(|c| c.name.as_ref()).collect();
        assert_eq!(names, ["cpu.host", "cpu.steal", "cpu.core0", "cpu.core1", "cpu.core2"]);
        let seconds = |values: Vec<Result<f64, Absent>>| values.into_iter().map(Result::ok).collect::<Vec<_>>();
        assert_eq!(seconds(values(&mut cores)), [Some(6.99), Some(0.12), Some(1.0), Some(2.0), Some(3.0)]);
        plant(dir.path(), &[("stat", &three.replace("cpu1 200 0 0 1 1 0 0 0 0 0\n", ""))]);
        assert_eq!(seconds(values(&mut cores)), [Some(6.99), Some(0.12), Some(1.0), None, Some(3.0)]);
    }

    #[test]
    fn this_machine_has_cores_and_a_tree_without_stat_says_so() {
        let mut cores = open(Path::new("/proc")).unwrap();
        assert!(values(&mut cores)[0].as_ref().unwrap() > &0.0 && cores.channels().len() > 2);
        assert!(open(Path::new("/no/proc")).err().unwrap().reason.0.contains("/proc/stat"));
    }
}
