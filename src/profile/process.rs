//! Processes as the kernel shows them: `/proc/PID/stat`, and what a finished child has used (`wait4`). Linux only;
//! elsewhere every process is unknown.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process identifier.
    pub pid: u32,
    /// Identifier of the parent.
    pub parent: u32,
    /// Neither a zombie nor dead.
    pub alive: bool,
    /// User and system clock ticks of itself.
    pub own_ticks: u64,
    /// User and system clock ticks of the children it has waited for, and theirs.
    pub waited_ticks: u64,
    /// Page faults without input, of itself and of the children it has waited for.
    pub minor_faults: u64,
    /// Page faults that had to read, likewise.
    pub major_faults: u64,
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

    /// Parses the line of `/proc/PID/stat`; the command name may hold spaces and parentheses, so fields count from its last parenthesis.
    pub fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.rsplit_once(')')?;
        // `man 5 proc` numbers fields from 1; the state is number 3 and the first one after the name.
        let mut fields = [""; 22];
        fields.iter_mut().zip(tail.split_ascii_whitespace()).for_each(|(field, text)| *field = text);
        let number = |field: usize| fields[field - 3].parse::<u64>().ok();
        Some(Self {
            pid: head.split('(').next()?.trim().parse().ok()?,
            parent: number(4)? as u32,
            alive: !matches!(fields[0], "Z" | "X" | "x"),
            minor_faults: number(10)? + number(11)?,
            major_faults: number(12)? + number(13)?,
            own_ticks: number(14)? + number(15)?,
            waited_ticks: number(16)? + number(17)?,
            threads: number(20)?,
            started: number(22)?,
            rss_pages: number(24)?,
        })
    }
}

/// Children of all threads of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists.flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// A process's descendants, the nearest first.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = children(pid);
    let mut at = 0;
    while at < found.len() {
        for child in children(found[at]) {
            // A number that was given anew in the meantime must not send us in circles.
            if child != pid && !found.contains(&child) {
                found.push(child);
            }
        }
        at += 1;
    }
    found
}

/// Makes this process the parent of those whose own parent ends before them, so that they stay among its descendants.
pub fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // SAFETY: numbers only; a kernel that refuses leaves orphans to init.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    }
}

/// Sends a signal to those descendants of `pid` that left its process group, which a signal to the group does not reach.
pub fn signal_strays(pid: u32, signal: i32) {
    // SAFETY: both calls take numbers only. A process that is gone is no error here.
    unsafe {
        let group = libc::getpgid(pid as libc::pid_t);
        for stray in descendants(pid) {
            if libc::getpgid(stray as libc::pid_t) != group {
                libc::kill(stray as libc::pid_t, signal);
            }
        }
    }
}

/// Ends every descendant of this process, and reaps its children, so that what they used counts as used by it.
pub fn end_descendants() {
    const ROUNDS: usize = 100;
    for _ in 0..ROUNDS {
        let left = descendants(std::process::id());
        // SAFETY: numbers only, and a null pointer for a status nobody wants.
        unsafe {
            for pid in &left {
                libc::kill(*pid as libc::pid_t, libc::SIGKILL);
            }
            while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
        }
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Clock ticks per second and bytes per page.
pub fn kernel_units() -> (f64, u64) {
    // SAFETY: sysconf takes a constant and touches no memory of ours.
    let value = |name| unsafe { libc::sysconf(name) };
    (value(libc::_SC_CLK_TCK).max(1) as f64, value(libc::_SC_PAGESIZE).max(1) as u64)
}

/// A clock in seconds; `None` when there is no such clock (any more).
pub fn clock_s(clock: libc::clockid_t) -> Option<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live local variable of the right type; a bad clock is an error code.
    let known = unsafe { libc::clock_gettime(clock, &raw mut time) } == 0;
    known.then_some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

/// The boot and the process namespace this process lives in: a pid names the same process only where this is equal.
pub fn namespace() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link(Path::new("/proc/self/ns/pid")).unwrap_or_default();
    format!("{} {}", boot.trim(), namespace.display())
}

/// What `/proc/PID/io` counts, in bytes; waited-for children included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Fetched from a block device.
    pub disk_read: u64,
    /// To be written to a block device, less what was deleted before it got there.
    pub disk_written: u64,
    /// Asked for by system calls.
    pub read: u64,
    /// Handed over by system calls.
    pub written: u64,
}

impl Io {
    /// Of a process that runs or that ended and was not waited for yet.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?))
    }

    /// Parses the lines of `/proc/PID/io`.
    pub fn parse(text: &str) -> Self {
        let mut io = Self::default();
        let mut cancelled = 0;
        for line in text.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            let Ok(value) = value.trim().parse() else { continue };
            match name {
                "rchar" => io.read = value,
                "wchar" => io.written = value,
                "read_bytes" => io.disk_read = value,
                "write_bytes" => io.disk_written = value,
                "cancelled_write_bytes" => cancelled = value,
                _ => {}
            }
        }
        Self { disk_written: io.disk_written.saturating_sub(cancelled), ..io }
    }
}

/// How a child ended and what it and the children it waited for used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// Code or signal.
    pub status: ExitStatus,
    /// User and system seconds.
    pub cpu_s: f64,
    /// Largest resident set size in bytes of any one process among them (never below the parent's own size at the fork).
    pub peak_rss_bytes: u64,
    /// Page faults without input.
    pub minor_faults: u64,
    /// Page faults that had to read.
    pub major_faults: u64,
    /// Times it gave up the processor.
    pub voluntary_switches: u64,
    /// Times the processor was taken away.
    pub involuntary_switches: u64,
    /// Bytes in and out; `None` where they may not be read.
    pub io: Option<Io>,
}

impl Ended {
    /// How a child ended of which nothing else is known.
    pub fn of(status: ExitStatus) -> Self {
        Self {
            status,
            cpu_s: 0.0,
            peak_rss_bytes: 0,
            minor_faults: 0,
            major_faults: 0,
            voluntary_switches: 0,
            involuntary_switches: 0,
            io: None,
        }
    }

    /// Adds what another process used.
    pub fn absorb(&mut self, other: &Self) {
        self.cpu_s += other.cpu_s;
        self.peak_rss_bytes = self.peak_rss_bytes.max(other.peak_rss_bytes);
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
        self.voluntary_switches += other.voluntary_switches;
        self.involuntary_switches += other.involuntary_switches;
        if let (Some(io), Some(other)) = (&mut self.io, other.io) {
            io.disk_read += other.disk_read;
            io.disk_written += other.disk_written;
            io.read += other.read;
            io.written += other.written;
        }
    }
}

/// Makes a child die with the *thread* that starts it (and so with this process).
pub fn dies_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the line above.
            if libc::getppid() as u32 != parent { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        });
    }
}

/// A descriptor that becomes readable when a process ends; `None` before Linux 5.3.
pub fn ending(pid: u32) -> Option<OwnedFd> {
    // SAFETY: numbers only; a descriptor that is returned is new and nobody else's.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0);
        (descriptor >= 0).then(|| OwnedFd::from_raw_fd(descriptor as i32))
    }
}

/// Waits until a child has ended, for about `patience` at most; says whether it has. It is not reaped.
///
/// # Errors
/// `pid` is no child of this process.
pub fn wait_for_exit(pid: u32, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        if has_ended(pid)? {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let Some(descriptor) = ending(pid) else {
            std::thread::sleep(left.min(Duration::from_millis(10)));
            continue;
        };
        let mut wanted = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the pointer is to one live structure; an interrupted wait is repeated above.
        unsafe { libc::poll(&raw mut wanted, 1, left.as_millis().max(1) as i32) };
    }
}

/// Whether a child has ended and waits to be reaped.
fn has_ended(pid: u32) -> io::Result<bool> {
    // SAFETY: siginfo is plain numbers, for which all zeros is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is to a live local variable of the right type.
    if unsafe { libc::waitid(libc::P_PID, pid, &raw mut info, flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: waitid succeeded, so this field is set: 0 while the child runs.
    Ok(unsafe { info.si_pid() } != 0)
}

/// Reaps a child without waiting; `None` while it runs.
///
/// # Errors
/// `pid` is no unreaped child of this process.
pub fn try_wait(pid: u32) -> io::Result<Option<Ended>> {
    if !has_ended(pid)? {
        return Ok(None);
    }
    // Ended but not reaped, a process still shows its totals.
    let io = Io::of(pid);
    let mut status = 0;
    // SAFETY: rusage is plain numbers, for which all zeros is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live local variables of the right types.
    if unsafe { libc::wait4(pid as libc::pid_t, &raw mut status, libc::WNOHANG, &raw mut usage) } <= 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    Ok(Some(Ended {
        status: ExitStatus::from_raw(status),
        cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_rss_bytes: usage.ru_maxrss as u64 * 1024,
        minor_faults: usage.ru_minflt as u64,
        major_faults: usage.ru_majflt as u64,
        voluntary_switches: usage.ru_nvcsw as u64,
        involuntary_switches: usage.ru_nivcsw as u64,
        io,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 5 0 9876 1000 250 rest";
        let expected = Stat {
            pid: 42,
            parent: 7,
            alive: true,
            own_ticks: 33,
            waited_ticks: 77,
            minor_faults: 100,
            major_faults: 0,
            threads: 5,
            started: 9876,
            rss_pages: 250,
        };
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
        assert!(ended.peak_rss_bytes > 100_000 && ended.minor_faults > 0 && ended.io.is_some());
        assert!(try_wait(child.id()).is_err());
    }

    #[test]
    fn cancelled_writes_are_no_writes() {
        let text = "rchar: 10\nwchar: 20\nsyscr: 1\nsyscw: 1\nread_bytes: 30\nwrite_bytes: 4096\ncancelled_write_bytes: 4096\n";
        assert_eq!(Io::parse(text), Io { disk_read: 30, disk_written: 0, read: 10, written: 20 });
    }
}
