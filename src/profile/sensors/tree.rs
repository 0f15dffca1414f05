//! A process and all its descendants: CPU time, memory, faults, input and output, from `/proc` files that stay open.
//!
//! What a child used is added to its parent when the parent waits for it, so that sums over the living lose nothing but what
//! a process left behind whose parent never waited; sums of counters therefore never fall. CPU time comes from the clock of
//! each process (nanoseconds), that of waited-for children from `stat` (clock ticks).

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::profile::process::{Io, Stat, children, clock_s, kernel_units};
use crate::profile::sensor::{Absent, Channel, Reading, Scope, Sensor, Unit};

/// Children are looked for no more often: it reads a file per thread.
const DISCOVERY: Duration = Duration::from_millis(500);

/// The tree under one process.
pub struct ProcessTree {
    root: u32,
    members: BTreeMap<u32, Member>,
    discovered: Option<Instant>,
    channels: Vec<Channel>,
    /// Largest sums so far of [`COUNTERS`].
    high: [f64; COUNTERS],
    ticks_per_second: f64,
    page_bytes: f64,
    buffer: Vec<u8>,
}

struct Member {
    stat: File,
    /// Denied for processes of other users.
    io: Option<File>,
    started: u64,
}

/// CPU, faults (minor, major), bytes (disk read, disk written, read, written).
const COUNTERS: usize = 7;

impl ProcessTree {
    /// The tree under process `root`.
    pub fn new(root: u32) -> Self {
        let (ticks_per_second, page_bytes) = kernel_units();
        let tree = Scope::ProcessTree;
        let channels = vec![
            Channel::counter("cpu.time", Unit::Seconds, tree, "process CPU clocks, /proc/PID/stat"),
            Channel::counter("faults.minor", Unit::Count, tree, "/proc/PID/stat"),
            Channel::counter("faults.major", Unit::Count, tree, "/proc/PID/stat"),
            Channel::counter("disk.read", Unit::Bytes, tree, "/proc/PID/io read_bytes"),
            Channel::counter("disk.written", Unit::Bytes, tree, "/proc/PID/io write_bytes - cancelled_write_bytes"),
            Channel::counter("io.read", Unit::Bytes, tree, "/proc/PID/io rchar"),
            Channel::counter("io.written", Unit::Bytes, tree, "/proc/PID/io wchar"),
            Channel::level("memory.rss", Unit::Bytes, tree, "/proc/PID/stat, pages that several have counted in each process"),
            Channel::level("processes", Unit::Count, tree, "/proc/PID/stat"),
            Channel::level("threads", Unit::Count, tree, "/proc/PID/stat"),
        ];
        Self {
            root,
            members: BTreeMap::new(),
            discovered: None,
            channels,
            high: [0.0; COUNTERS],
            ticks_per_second,
            page_bytes: page_bytes as f64,
            buffer: vec![0; 4096],
        }
    }

    fn discover(&mut self) {
        if self.discovered.is_some_and(|at| at.elapsed() < DISCOVERY) {
            return;
        }
        self.discovered = Some(Instant::now());
        if self.members.is_empty() {
            self.add(self.root);
        }
        let mut unexplored: Vec<u32> = self.members.keys().copied().collect();
        while let Some(pid) = unexplored.pop() {
            for child in children(pid) {
                if !self.members.contains_key(&child) && self.add(child) {
                    unexplored.push(child);
                }
            }
        }
    }

    fn add(&mut self, pid: u32) -> bool {
        let Ok(stat) = File::open(format!("/proc/{pid}/stat")) else { return false };
        let Some(Stat { started, .. }) = read(&stat, &mut self.buffer).and_then(Stat::parse) else { return false };
        let io = File::open(format!("/proc/{pid}/io")).ok();
        self.members.insert(pid, Member { stat, io, started });
        true
    }
}

impl Sensor for ProcessTree {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        self.discover();
        let (mut sums, mut io_denied) = ([0.0; COUNTERS], false);
        let (mut rss, mut processes, mut threads) = (0.0, 0.0, 0.0);
        let Self { members, buffer, ticks_per_second, page_bytes, .. } = self;
        members.retain(|&pid, member| {
            // The file belongs to the process it was opened for: it is empty once that is gone, whoever has the number now.
            let Some(stat) = read(&member.stat, buffer).and_then(Stat::parse).filter(|s| s.started == member.started) else {
                return false;
            };
            let own = if stat.alive { clock_s(cpu_clock(pid)) } else { None };
            sums[0] += own.unwrap_or(stat.own_ticks as f64 / *ticks_per_second) + stat.waited_ticks as f64 / *ticks_per_second;
            sums[1] += stat.minor_faults as f64;
            sums[2] += stat.major_faults as f64;
            rss += stat.rss_pages as f64 * *page_bytes;
            processes += f64::from(u8::from(stat.alive));
            threads += if stat.alive { stat.threads as f64 } else { 0.0 };
            match member.io.as_ref().and_then(|io| read(io, buffer)).map(Io::parse) {
                Some(io) => {
                    let values = [io.disk_read, io.disk_written, io.read, io.written];
                    sums[3..].iter_mut().zip(values).for_each(|(sum, value)| *sum += value as f64);
                }
                None => io_denied = true,
            }
            true
        });
        if self.members.is_empty() {
            for _ in &self.channels {
                reading.push(Err(Absent::because(format!("process {} has ended", self.root))));
            }
            return;
        }
        for (at, (sum, high)) in sums.iter().zip(&mut self.high).enumerate() {
            *high = high.max(*sum);
            let denied = at >= 3 && io_denied;
            let reason = "/proc/PID/io of a process is readable for its own user only; profile as that user";
            reading.push(if denied { Err(Absent::because(reason)) } else { Ok(*high) });
        }
        for level in [rss, processes, threads] {
            let living = processes > 0.0;
            reading.push(if living { Ok(level) } else { Err(Absent::because(format!("process {} has ended", self.root))) });
        }
    }
}

/// The clock of all threads of a process, living and dead (`clock_getcpuclockid`).
fn cpu_clock(pid: u32) -> libc::clockid_t {
    ((!pid.cast_signed()) << 3) | 2
}

/// The whole file from its start, as text; `None` when the process is gone.
fn read<'a>(file: &File, buffer: &'a mut [u8]) -> Option<&'a str> {
    let length = file.read_at(buffer, 0).ok().filter(|&n| n > 0)?;
    // A command name may hold any bytes; what is asked for comes after it.
    match std::str::from_utf8(&buffer[..length]) {
        Ok(_) => {}
        Err(_) => buffer[..length].iter_mut().filter(|b| !b.is_ascii()).for_each(|b| *b = b'?'),
    }
    std::str::from_utf8(&buffer[..length]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(sensor: &mut ProcessTree) -> Vec<Result<f64, Absent>> {
        let mut reading = Reading::default();
        sensor.read(&mut reading);
        reading.values
    }

    #[test]
    fn this_process_has_memory_and_an_ended_one_says_so() {
        let mut sensor = ProcessTree::new(std::process::id());
        let found = values(&mut sensor);
        assert_eq!(found.len(), sensor.channels().len());
        assert!(found[7].as_ref().unwrap() > &100_000.0);
        assert!(values(&mut ProcessTree::new(u32::MAX)).iter().all(Result::is_err));
    }

    #[test]
    fn grandchildren_are_found_and_what_they_used_stays_when_they_are_gone() {
        // The grandchild burns CPU and writes, ends, and is waited for; its parent goes on.
        let script = "sh -c 'head -c 3000000 /dev/zero | od -v > /dev/null'; echo done; sleep 30";
        let mut child = std::process::Command::new("sh").args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut sensor = ProcessTree::new(child.id());
        let first = values(&mut sensor)[0].clone().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let after = values(&mut sensor);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(after[0].as_ref().unwrap() - first > 0.02, "{first} {after:?}");
        assert!(after[6].as_ref().unwrap() >= &3e6, "{after:?}");
    }
}
