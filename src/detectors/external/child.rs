//! A trainer as a child process: its output is read as it comes, and its whole tree ends with it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use serde::Deserialize;

use crate::event::{Event, Observer};
use crate::profile::process;
use crate::profile::session;

/// How a trainer ended, with its last words where it failed.
#[derive(Debug, PartialEq)]
pub enum Ending {
    Success,
    /// We were asked to stop, and so was it.
    Stopped,
    Code(i32, String),
    Signal(i32, String),
}

/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Ticks that are waited for a trainer's last words.
const PATIENCE: usize = 20;
/// Output that is kept of each stream; a trainer that says more is still read, so that it does not stall.
const KEPT: u64 = 16 << 20;
/// Bytes of a line that are looked at.
const LINE: usize = 64 << 10;
/// Lines of standard error that are a trainer's last words, and their characters.
const WORDS: (usize, usize) = (12, 1500);

/// What the readers of its streams say.
enum Said {
    Phase(String),
    Progress {
        done: u64,
        total: u64,
        loss: Option<f64>,
    },
    /// Standard error has ended: its last lines.
    Words(String),
}

/// A line of progress on standard output: `{"progress": 12, "total": 40, "loss": 1.3}`.
#[derive(Deserialize)]
struct Progress {
    progress: u64,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    loss: Option<f64>,
}

/// Runs `command` to its end. Its output goes to this process's standard error. Of a trainer that says when an epoch begins, in the
/// words of ActionFormer's family, `epochs` is how many there will be.
///
/// # Errors
/// It cannot be started or waited for.
pub fn run(mut command: Command, epochs: Option<u64>, observer: &mut dyn Observer) -> io::Result<Ending> {
    process::adopt_orphans();
    process::dies_with_parent(&mut command);
    let stop = Arc::new(AtomicBool::new(false));
    // Without a handler this process would end first, and leave the trainer no time to write its checkpoint.
    let handler = signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))?;
    let ending = watched(command, epochs, &stop, observer);
    signal_hook::low_level::unregister(handler);
    ending
}

fn watched(mut command: Command, epochs: Option<u64>, stop: &AtomicBool, observer: &mut dyn Observer) -> io::Result<Ending> {
    let marks = session::offer_phases(&mut command)?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // The command holds the writing end of the pipe until here.
    drop(command);
    let (sender, said) = mpsc::channel();
    let (out, err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    // Not joined: a grandchild that was missed could hold a pipe open.
    let (to_out, to_err) = (sender.clone(), sender.clone());
    std::thread::spawn(move || follow(out, |line| progress(line, epochs, &to_out)));
    std::thread::spawn(move || {
        let mut last: VecDeque<String> = VecDeque::new();
        follow(err, |line| {
            last.push_back(String::from_utf8_lossy(line).replace(char::is_control, ""));
            last.drain(..last.len().saturating_sub(WORDS.0));
        });
        let words = last.make_contiguous().join("\n");
        let start = words.char_indices().rev().nth(WORDS.1).map_or(0, |(at, _)| at);
        let _ = to_err.send(Said::Words(words[start..].trim().to_owned()));
    });
    std::thread::spawn(move || phases(marks, &sender));
    let (mut asked, mut words) = (false, None);
    let status = loop {
        hear(&said, &mut words, observer);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop.load(Ordering::SeqCst) && !asked {
            // The group has heard it already; those that left it have not.
            process::signal_strays(std::process::id(), libc::SIGTERM);
            asked = true;
        }
    };
    process::end_descendants();
    // Its readers end with it, unless somebody who was missed holds a stream.
    for _ in 0..PATIENCE {
        if words.is_some() {
            break;
        }
        hear(&said, &mut words, observer);
    }
    said.try_iter().for_each(|said| pass(said, &mut words, observer));
    let words = words.filter(|words| !words.is_empty()).unwrap_or_else(|| "it said nothing".to_owned());
    Ok(match (status.code(), status.signal()) {
        (Some(0), _) => Ending::Success,
        _ if stop.load(Ordering::SeqCst) => Ending::Stopped,
        (Some(code), _) => Ending::Code(code, words),
        (None, signal) => Ending::Signal(signal.unwrap_or_default(), words),
    })
}

/// Passes on what was said within a tick; last words are kept.
fn hear(said: &Receiver<Said>, words: &mut Option<String>, observer: &mut dyn Observer) {
    match said.recv_timeout(TICK) {
        Ok(first) => std::iter::once(first).chain(said.try_iter().take(1000)).for_each(|said| pass(said, words, observer)),
        // Its streams are closed: the exit follows at once, as a rule.
        Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK / 10),
        Err(RecvTimeoutError::Timeout) => {}
    }
}

fn pass(said: Said, words: &mut Option<String>, observer: &mut dyn Observer) {
    match said {
        Said::Phase(name) => super::phase(&name).into_iter().for_each(|phase| observer.observe(&Event::Phase { phase })),
        Said::Progress { done, total, loss } => observer.observe(&Event::Progress { done, total, loss }),
        Said::Words(said) => *words = Some(said),
    }
}

fn progress(line: &[u8], epochs: Option<u64>, sender: &Sender<Said>) {
    if let Some((done, total)) = begun(line).zip(epochs) {
        let _ = sender.send(Said::Progress { done, total: total.max(done), loss: None });
    } else if let Ok(Progress { progress: done, total, loss }) = serde_json::from_slice(line) {
        let _ = sender.send(Said::Progress { done, total: total.max(done), loss });
    }
}

/// The epoch in `[Train]: Epoch 12 started`, from 0.
fn begun(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?.trim();
    line.strip_prefix("[Train]: Epoch ")?.strip_suffix(" started")?.parse().ok()
}

fn phases(marks: impl Read, sender: &Sender<Said>) {
    for line in io::BufRead::lines(io::BufReader::new(marks)).map_while(Result::ok) {
        if sender.send(Said::Phase(line.trim().to_owned())).is_err() {
            break;
        }
    }
}

/// Reads a stream to its end, copies the beginning to our standard error, and gives each line (of one longer than [`LINE`], the end).
fn follow(mut stream: impl Read, mut line: impl FnMut(&[u8])) {
    let (mut kept, mut pending) = (0, Vec::new());
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            break;
        }
        if kept < KEPT {
            let _ = io::stderr().write_all(&buffer[..count]);
            kept += count as u64;
            if kept >= KEPT {
                let _ = io::stderr().write_all(b"\nnote: it says more than is kept\n");
            }
        }
        for part in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            if pending.len() + part.len() > LINE {
                pending.clear();
            }
            pending.extend_from_slice(&part[part.len().saturating_sub(LINE)..]);
            if part.ends_with(b"\n") {
                line(&pending);
                pending.clear();
            }
        }
    }
    if !pending.is_empty() {
        line(&pending);
    }
}
