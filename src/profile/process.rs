//! Processes as the kernel shows them: `/proc/PID/stat`, and what a finished child has used (`wait4`). Linux only;
//! elsewhere every process is unknown.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process identifier.
    pub pid: u32,
    /// Identifier of the parent.
    pub parent: u32,
    /// Neither a zombie nor dead.
    pub alive: bool,
    /// User and system clock ticks, of itself and of the children it has waited for.
    pub cpu_ticks: u64,
    /// Threads.
    pub threads: u64,
    /// Clock ticks from boot to its start: with the pid, the identity of a process as long as the machine runs.
    pub started: u64,
    /// Resident pages.
    pub rss_pages: u64,
}

impl Stat {
    /// Reads the state of a process; `None` when there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The state of every process.
    pub fn all() -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        pids.filter_map(Self::of).collect()
    }

    /// Parses the line; the command name may hold spaces and parentheses, so fields count from its last parenthesis.
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // `man 5 proc` numbers fields from 1; the state is number 3 and the first one after the name.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid: head.split('(').next()?.trim().parse().ok()?,
            parent: number(4)? as u32,
            alive: !matches!(*fields.first()?, "Z" | "X" | "x"),
            cpu_ticks: number(14)? + number(15)? + number(16)? + number(17)?,
            threads: number(20)?,
            started: number(22)?,
            rss_pages: number(24)?,
        })
    }
}

/// Clock ticks per second and bytes per page.
pub fn kernel_units() -> (f64, u64) {
    // SAFETY: sysconf takes a constant and touches no memory of ours.
    let value = |name| unsafe { libc::sysconf(name) };
    (value(libc::_SC_CLK_TCK).max(1) as f64, value(libc::_SC_PAGESIZE).max(1) as u64)
}

/// The boot and the process namespace this process lives in: a pid names the same process only where this is equal.
pub fn namespace() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link(Path::new("/proc/self/ns/pid")).unwrap_or_default();
    format!("{} {}", boot.trim(), namespace.display())
}

/// How a child ended and what it and its own children used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// Code or signal.
    pub status: ExitStatus,
    /// User and system seconds.
    pub cpu_s: f64,
    /// Largest resident set size in bytes of any one process among them (never below the parent's own size at the fork).
    pub peak_rss_bytes: u64,
}

/// Reaps a child without waiting; `None` while it runs.
///
/// # Errors
/// `pid` is no unreaped child of this process.
pub fn try_wait(pid: u32) -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live local variables of the right types.
    match unsafe { libc::wait4(pid as libc::pid_t, &raw mut status, libc::WNOHANG, &raw mut usage) } {
        0 => Ok(None),
        -1 => Err(io::Error::last_os_error()),
        _ => {
            let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
            Ok(Some(Ended {
                status: ExitStatus::from_raw(status),
                cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
                peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 5 0 9876 1000 250 rest";
        let expected = Stat { pid: 42, parent: 7, alive: true, cpu_ticks: 110, threads: 5, started: 9876, rss_pages: 250 };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse("42 (a"), None);
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "`try_wait` reaps it")]
    fn a_finished_child_is_reaped_with_its_cost() {
        let child = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let ended = loop {
            if let Some(ended) = try_wait(child.id()).unwrap() {
                break ended;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        assert_eq!(ended.status.code(), Some(3));
        assert!(ended.peak_rss_bytes > 100_000);
        assert!(try_wait(child.id()).is_err());
    }
}
