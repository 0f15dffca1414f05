//! A child process that dies with its parent, in its own process group, whose standard output is read line by line.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::profile::process::{self, Ended};

/// A running or just ended child.
pub struct Process {
    pid: u32,
    lines: Receiver<Vec<u8>>,
    ended: Option<Ended>,
}

/// What [`Process::next`] found.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// A line of standard output, without its newline.
    Line(Vec<u8>),
    /// Nothing within the time given.
    Quiet,
    /// The child ended and every line was seen.
    Ended(Ended),
}

impl Process {
    /// Starts `command` with standard output piped and no input.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        // A worker's thread outlives its child.
        process::dies_with_parent(&mut command);
        let mut child = command.spawn()?;
        let output = child.stdout.take().expect("standard output is piped");
        let (sender, lines) = mpsc::channel();
        // Not joined: a grandchild that escaped its group could hold the pipe open.
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(io::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { pid: child.id(), lines, ended: None })
    }

    /// Process identifier.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line, or the end, or nothing for about `patience`.
    ///
    /// # Errors
    /// The child cannot be waited for.
    pub fn next(&mut self, patience: Duration) -> io::Result<Next> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => return Ok(Next::Line(line)),
            // Output closed: the exit follows at once, as a rule.
            Err(RecvTimeoutError::Disconnected) if self.ended.is_none() => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => {}
        }
        if let Some(ended) = self.ended {
            return Ok(Next::Ended(ended));
        }
        self.ended = process::try_wait(self.pid)?;
        if self.ended.is_some() {
            // What it left behind in its group would hold memory and the pipe.
            self.signal(libc::SIGKILL);
        }
        Ok(Next::Quiet)
    }

    /// Sends a signal to the child and its descendants.
    pub fn signal(&self, signal: i32) {
        process::signal_strays(self.pid, signal);
        // SAFETY: kill takes numbers only. A group that is gone is no error here.
        unsafe { libc::kill(-(self.pid as libc::pid_t), signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(libc::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(command).unwrap()
    }

    fn drain(mut process: Process) -> (Vec<String>, Ended) {
        let mut lines = Vec::new();
        loop {
            match process.next(Duration::from_millis(50)).unwrap() {
                Next::Line(line) => lines.push(String::from_utf8(line).unwrap()),
                Next::Quiet => {}
                Next::Ended(ended) => return (lines, ended),
            }
        }
    }

    #[test]
    fn every_line_is_seen_before_the_end() {
        let (lines, ended) = drain(shell("seq 1 500; exit 6"));
        assert_eq!(lines.len(), 500);
        assert_eq!(ended.status.code(), Some(6));
    }

    #[test]
    fn a_descendant_left_behind_does_not_outlive_the_child() {
        let begun = std::time::Instant::now();
        let (lines, _) = drain(shell("sleep 60 & echo $!"));
        assert!(begun.elapsed() < Duration::from_secs(10));
        let pid = lines[0].parse().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(process::Stat::of(pid).is_none_or(|s| !s.alive));
    }

    #[test]
    fn a_signal_reaches_the_child() {
        let process = shell("sleep 60");
        process.signal(libc::SIGTERM);
        let (_, ended) = drain(process);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(libc::SIGTERM));
    }
}
