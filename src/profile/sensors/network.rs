//! Bytes through the network interfaces that a program sees. Linux does not count them per process.

use std::path::Path;

use super::held::Held;
use crate::profile::sensor::{Absent, Channel, Missing, Reading, Scope, Sensor, Unit};

/// Bytes of all interfaces but the loopback.
pub struct Network {
    interfaces: Held,
    channels: Vec<Channel>,
}

/// Of the network namespace in which process `pid` runs.
///
/// # Errors
/// There is no such process, or it may not be looked at.
pub fn open(proc: &Path, pid: u32) -> Result<Network, Missing> {
    let source = "/proc/PID/net/dev, all interfaces but lo";
    let channel = |name| Channel::counter(name, Unit::Bytes, Scope::NetworkNamespace, source);
    let channels = vec![channel("network.received"), channel("network.sent")];
    match Held::open(&proc.join(format!("{pid}/net/dev"))) {
        Ok(interfaces) => Ok(Network { interfaces, channels }),
        Err(e) => Err(Missing { channels, reason: Absent::because(format!("/proc/{pid}/net/dev cannot be read ({e})")) }),
    }
}

/// Bytes received and sent.
fn totals(text: &str) -> (u64, u64) {
    let of_interface = |line: &str| -> Option<(u64, u64)> {
        let (name, numbers) = line.split_once(':')?;
        let mut numbers = numbers.split_ascii_whitespace().map(str::parse::<u64>);
        let (received, sent) = (numbers.next()?.ok()?, numbers.nth(7)?.ok()?);
        (name.trim() != "lo").then_some((received, sent))
    };
    text.lines().filter_map(of_interface).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

impl Sensor for Network {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        match self.interfaces.text().filter(|text| !text.is_empty()) {
            Some(text) => {
                let (received, sent) = totals(text);
                reading.push(Ok(received as f64));
                reading.push(Ok(sent as f64));
            }
            None => [(); 2].into_iter().for_each(|()| reading.push(Err(Absent::because("/proc/PID/net/dev is gone")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::held::{plant, values};
    use super::*;

    #[test]
    fn the_loopback_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let text = "Inter-|   Receive    |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes packets\n    \
                    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n  eth1:1000 1 0 0 0 0 0 0 3 1 0 0 0 0 0 0\n";
        plant(dir.path(), &[("7/net/dev", text)]);
        assert_eq!(values(&mut open(dir.path(), 7).unwrap()), [Ok(1100.0), Ok(23.0)]);
        assert!(open(dir.path(), 8).is_err());
    }
}
