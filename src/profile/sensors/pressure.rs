//! How long something had to wait for the processor, memory or disk: pressure stall information of the whole machine.

use std::path::Path;
use std::time::Duration;

use super::held::Held;
use crate::profile::sensor::{Absent, Channel, Missing, Reading, Scope, Sensor, Unit};

const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];
/// The kernel itself looks every two seconds for its averages; totals are always current.
const PERIOD: Duration = Duration::from_secs(1);

/// Seconds during which at least one task waited, per resource.
pub struct Pressure {
    files: [Held; RESOURCES.len()],
    channels: Vec<Channel>,
}

/// Of the machine whose `/proc` is `proc`.
///
/// # Errors
/// The kernel does not keep it.
pub fn open(proc: &Path) -> Result<Pressure, Missing> {
    let channel = |what| Channel::counter(format!("pressure.{what}"), Unit::Seconds, Scope::Host, format!("/proc/pressure/{what} some"));
    let channels = RESOURCES.map(channel).to_vec();
    let files = RESOURCES.map(|what| {
        let mut file = Held::open(&proc.join("pressure").join(what)).ok()?;
        // Some kernels have the files but refuse to fill them.
        some_s(file.text()?).map(|_| file)
    });
    match files {
        [Some(cpu), Some(memory), Some(io)] => Ok(Pressure { files: [cpu, memory, io], channels }),
        _ => Err(Missing { channels, reason: Absent::because("the kernel keeps no pressure; start it with psi=1") }),
    }
}

/// Seconds of the line `some avg10=… total=MICROSECONDS`.
fn some_s(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    Some(line.rsplit_once("total=")?.1.trim().parse::<u64>().ok()? as f64 * 1e-6)
}

impl Sensor for Pressure {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        for file in &mut self.files {
            let value = file.text().and_then(some_s);
            reading.push(value.ok_or_else(|| Absent::because("/proc/pressure is not readable any more")));
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
    fn totals_are_seconds_and_a_kernel_without_pressure_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let line =
            |total| format!("some avg10=0.00 avg60=0.10 avg300=0.00 total={total}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
        let (cpu, memory) = (line(2_500_000), line(0));
        plant(dir.path(), &[("pressure/cpu", &cpu), ("pressure/memory", &memory), ("pressure/io", &cpu)]);
        assert_eq!(values(&mut open(dir.path()).unwrap()), [Ok(2.5), Ok(0.0), Ok(2.5)]);
        let missing = open(Path::new("/no/proc")).err().unwrap();
        assert!(missing.channels.len() == 3 && missing.reason.0.contains("psi=1"), "{missing:?}");
    }
}
