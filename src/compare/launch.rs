//! One launch of a command, measured from outside without sampling: the kernel's totals of the ended program.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::{Error, Side};
use super::quality::{Quality, Watch};
use crate::profile::process::{self, Ended};
use crate::profile::session::describe;

/// How often the wish to stop is looked at.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of standard error that are kept, and lines of them that are shown.
const KEPT: usize = 16 << 10;
const SHOWN: usize = 10;

/// What a launch used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// User and system seconds of the program and the children it waited for.
    pub cpu_s: f64,
    /// Peak resident bytes of its largest process (never below this process's own size at the fork, alike for both sides).
    pub peak_rss_bytes: u64,
    /// Seconds by the monotonic clock.
    pub wall_s: f64,
    /// How undisturbed it was.
    #[serde(flatten)]
    pub quality: Quality,
}

/// Runs `command` in a shell to its end.
///
/// # Errors
/// It cannot be started, does not succeed, or `stop` says so; nothing it started in its process group is left behind.
pub(super) fn launch(side: Side, command: &str, stop: &dyn Fn() -> bool) -> Result<Launch, Error> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    let watch = Watch::start();
    let (ended, wall) = to_end(side, command, shell, stop)?;
    Ok(Launch { cpu_s: ended.cpu_s, peak_rss_bytes: ended.peak_rss_bytes, wall_s: wall.as_secs_f64(), quality: watch.stop() })
}

/// Starts a program that stands for `command`, waits for its success and tells how long it took.
///
/// # Errors
/// As [`launch`].
pub(super) fn to_end(side: Side, command: &str, program: Command, stop: &dyn Fn() -> bool) -> Result<(Ended, Duration), Error> {
    let failed = |source| Error::Launch { side, command: command.to_owned(), source };
    let begun = Instant::now();
    let mut running = Running::start(program).map_err(failed)?;
    while running.ended.is_none() {
        if stop() {
            return Err(Error::Interrupted);
        }
        running.wait(PATIENCE).map_err(failed)?;
    }
    let wall = begun.elapsed();
    match running.ended {
        Some(ended) if ended.status.success() => Ok((ended, wall)),
        ended => {
            let ended = describe(ended.map(|e| e.status));
            Err(Error::Failed { side, command: command.to_owned(), ended, stderr: running.last_words() })
        }
    }
}

/// A child in a process group of its own, which is killed with it.
struct Running {
    pid: u32,
    /// Readable when the child has ended; `None` on a kernel before 5.3.
    ending: Option<OwnedFd>,
    /// `None` after its end.
    stderr: Option<ChildStderr>,
    tail: Vec<u8>,
    ended: Option<Ended>,
}

impl Running {
    fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        process::dies_with_parent(&mut command);
        let mut child = command.spawn()?;
        let pid = child.id();
        Ok(Self { pid, ending: process::ending(pid), stderr: child.stderr.take(), tail: Vec::new(), ended: None })
    }

    /// Waits for the end or an output, at most `patience`.
    fn wait(&mut self, patience: Duration) -> io::Result<()> {
        let fd = |descriptor: Option<i32>| libc::pollfd { fd: descriptor.unwrap_or(-1), events: libc::POLLIN, revents: 0 };
        // A negative descriptor is passed over.
        let mut waited = [fd(self.ending.as_ref().map(AsRawFd::as_raw_fd)), fd(self.stderr.as_ref().map(AsRawFd::as_raw_fd))];
        let patience = if self.ending.is_some() { patience } else { Duration::from_millis(1) };
        // SAFETY: the pointer and the count are those of a live local array.
        unsafe { libc::poll(waited.as_mut_ptr(), waited.len() as libc::nfds_t, patience.as_millis() as i32) };
        if waited[1].revents != 0 {
            self.listen();
        }
        self.ended = process::try_wait(self.pid)?;
        if self.ended.is_some() {
            // What it left behind would disturb the next launch.
            self.kill();
            self.drain();
        }
        Ok(())
    }

    /// Takes what is there of standard error, which does not block after poll said so.
    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        match self.stderr.as_mut().map(|pipe| pipe.read(&mut buffer)) {
            Some(Ok(read @ 1..)) => {
                self.tail.extend_from_slice(&buffer[..read]);
                self.tail.drain(..self.tail.len().saturating_sub(KEPT));
            }
            _ => self.stderr = None,
        }
    }

    /// Takes what the pipe still holds. A process that escaped its group could hold it open, so the end is not waited for.
    fn drain(&mut self) {
        while let Some(pipe) = &self.stderr {
            let mut waited = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: the pointer is to one live local variable.
            if unsafe { libc::poll(&raw mut waited, 1, 0) } <= 0 {
                break;
            }
            self.listen();
        }
    }

    /// The last lines of standard error.
    fn last_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    fn kill(&self) {
        // SAFETY: kill takes numbers only. A group that is gone is no error here.
        unsafe { libc::kill(-(self.pid as libc::pid_t), libc::SIGKILL) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
            // Reaped, so that no zombie stays.
            while matches!(process::try_wait(self.pid), Ok(None)) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn run(command: &str) -> Result<Launch, Error> {
        launch(Side::Candidate, command, &|| false)
    }

    #[test]
    fn a_launch_is_charged_for_its_children_and_timed_to_the_millisecond() {
        let launch = run("sleep 0.3; awk 'BEGIN { for (i = 0; i < 3000000; i++) s += i }'").unwrap();
        assert!(launch.wall_s >= 0.3 && launch.cpu_s > 0.03 && launch.cpu_s < launch.wall_s, "{launch:?}");
        assert!(launch.peak_rss_bytes > 500_000);
    }

    #[test]
    fn a_failing_command_is_named_with_its_side_its_end_and_its_last_words() {
        let message = run("seq 1 5000 >&2; echo out of luck >&2; exit 7").unwrap_err().to_string();
        assert!(message.contains("candidate") && message.contains("exit 7") && message.ends_with("out of luck"), "{message}");
        assert_eq!(message.lines().count(), 1 + SHOWN);
        assert!(run("kill -9 $$").unwrap_err().to_string().contains("signal 9"));
        assert!(run("no-such-program-at-all").unwrap_err().to_string().contains("exit 127"));
    }

    #[test]
    fn a_flood_on_standard_error_neither_blocks_nor_fills_memory() {
        assert!(run("head -c 3000000 /dev/zero | tr '\\0' x >&2").unwrap().wall_s < 60.0);
    }

    #[test]
    fn stopping_leaves_no_child() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let command = format!("sleep 60 & echo $$ $! > {}; wait", pids.display());
        let asked = AtomicUsize::new(0);
        // The third question comes after 200 ms.
        let stop = || asked.fetch_add(1, Ordering::SeqCst) >= 2 && pids.exists();
        assert!(matches!(launch(Side::Baseline, &command, &stop), Err(Error::Interrupted)));
        let text = std::fs::read_to_string(&pids).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        for pid in text.split_whitespace() {
            assert!(process::Stat::of(pid.parse().unwrap()).is_none_or(|s| !s.alive), "{pid} lives");
        }
    }

    #[test]
    fn what_a_command_leaves_running_is_ended_with_it() {
        let begun = Instant::now();
        run("sleep 60 &").unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
