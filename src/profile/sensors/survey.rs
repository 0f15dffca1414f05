//! What every sensor would tell on this machine: each channel with where it is read, or why it is not.

use std::time::Duration;

use serde::Serialize;

use super::{Group, open};
use crate::profile::sensor::{Absent, Channel, Reading, Sensor};

/// Some values are of the time between two readings.
const APART: Duration = Duration::from_millis(150);

/// A channel and whether it answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Surveyed {
    /// What asks for it.
    pub group: Group,
    /// The channel.
    #[serde(flatten)]
    pub channel: Channel,
    /// Why it does not answer, with the remedy; `None` where it does.
    pub absent: Option<Absent>,
}

/// Tries every sensor on this process. Takes a fifth of a second.
pub fn survey() -> Vec<Surveyed> {
    let mut opened = Group::ALL.map(|group| (group, open(std::process::id(), &[group])));
    let mut read = || -> Vec<Reading> { opened.iter_mut().flat_map(|(_, (sensors, _))| sensors).map(read_one).collect() };
    let first = read();
    std::thread::sleep(APART);
    let second = read();
    let mut readings = first.into_iter().zip(second);
    let mut surveyed = Vec::new();
    for (group, (sensors, missing)) in opened {
        for sensor in sensors {
            let (first, second) = readings.next().expect("a reading per sensor");
            for (channel, (first, second)) in sensor.channels().iter().zip(first.values.into_iter().zip(second.values)) {
                // One that is read rarely answers the first time only.
                let absent = first.or(second).err();
                surveyed.push(Surveyed { group, channel: channel.clone(), absent });
            }
        }
        for missing in missing {
            let absent = |channel| Surveyed { group, channel, absent: Some(missing.reason.clone()) };
            surveyed.extend(missing.channels.into_iter().map(absent));
        }
    }
    surveyed
}

fn read_one(sensor: &mut Box<dyn Sensor>) -> Reading {
    let mut reading = Reading::default();
    sensor.read(&mut reading);
    reading
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_surveyed_and_this_process_has_cpu_time() {
        let surveyed = survey();
        for group in Group::ALL {
            assert!(surveyed.iter().any(|s| s.group == group), "{group:?}");
        }
        let cpu = surveyed.iter().find(|s| s.channel.name == "cpu.time").unwrap();
        assert_eq!((cpu.group, &cpu.absent), (Group::Process, &None));
        let said = |s: &Surveyed| s.absent.as_ref().is_none_or(|reason| !reason.0.is_empty());
        assert!(surveyed.iter().all(said));
    }
}
