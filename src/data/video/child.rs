//! Runs ffmpeg: what it writes goes to a sink as it comes, what it says is read for the header of the input and for
//! complaints, and one that falls silent is ended.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

use ffmpeg_sidecar::child::FfmpegChild;
use ffmpeg_sidecar::command::FfmpegCommand;
use ffmpeg_sidecar::log_parser::{try_parse_duration, try_parse_stream};
use serde::{Deserialize, Serialize};

use crate::base::fsio;

/// Longest line of the log that is kept: a broken file can make ffmpeg print anything.
const LONGEST_LINE: usize = 1 << 14;

/// Writes the input of a child; runs beside the reading of its output.
pub(super) type Source<'a> = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'a>;

/// Why a child did not finish.
#[derive(Debug)]
pub(super) enum Failure {
    /// It wrote nothing for too long.
    Stalled,
    /// It did not start, or its pipes broke.
    Pipe(io::Error),
    /// What it wrote could not be kept.
    Sink(fsio::Error),
}

/// A child that ended by itself.
#[derive(Debug)]
pub(super) struct Finished {
    /// How.
    pub status: ExitStatus,
    /// What it said.
    pub log: Log,
}

/// What ffmpeg's log says of the input.
#[derive(Debug, Default)]
pub(super) struct Log {
    line: Vec<u8>,
    /// Whether the description of the input is over.
    past_input: bool,
    /// Whether ffmpeg recognised the input.
    pub saw_input: bool,
    /// Of the first video stream that is no cover picture.
    pub picture: Option<Picture>,
    /// Seconds, where the container says.
    pub duration: Option<f64>,
    /// The first error it reported, which names the cause; what follows depends on its threads. Empty without any.
    pub complaint: String,
}

/// A video stream as the header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Picture {
    /// Average frames per second, where the header gives it.
    pub rate: Option<f64>,
}

/// Runs `command` to its end. `sink` gets its standard output, `source` writes its standard input.
///
/// Fails when it writes nothing to its standard output for `patience` (its log does not count: a decoder can complain for
/// ever), or does not end within that time after closing it. The child is gone when this returns.
pub(super) fn run(
    command: &mut FfmpegCommand,
    source: Option<Source<'_>>,
    patience: Duration,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), fsio::Error>,
) -> Result<Finished, Failure> {
    let mut child = Running(command.spawn().map_err(Failure::Pipe)?);
    let input = child.0.take_stdin();
    std::thread::scope(|scope| {
        if let (Some(source), Some(mut input)) = (source, input) {
            // A child that ends early closes the pipe; its status and log tell why.
            scope.spawn(move || source(&mut input as &mut ChildStdin));
        }
        let finished = attend(&mut child, patience, sink);
        // Ends the child if it is still there, so that the source's writes fail and the scope can end.
        drop(child);
        finished
    })
}

/// A child that is ended when it goes out of scope.
struct Running(FfmpegChild);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.as_inner_mut().wait();
    }
}

fn attend(child: &mut Running, patience: Duration, sink: &mut dyn FnMut(&[u8]) -> Result<(), fsio::Error>) -> Result<Finished, Failure> {
    let (mut output, mut errors) = (child.0.take_stdout(), child.0.take_stderr());
    let mut log = Log::default();
    let mut buffer = vec![0; 1 << 16];
    let mut deadline = Instant::now() + patience;
    while output.is_some() || errors.is_some() {
        let [written, said] = readable(&output, &errors, deadline).map_err(Failure::Pipe)?;
        if written {
            match read(&mut output, &mut buffer).map_err(Failure::Pipe)? {
                0 => output = None,
                n => sink(&buffer[..n]).map_err(Failure::Sink)?,
            }
            deadline = Instant::now() + patience;
        }
        if said {
            match read(&mut errors, &mut buffer).map_err(Failure::Pipe)? {
                0 => errors = None,
                n => log.read(&buffer[..n]),
            }
        }
        if Instant::now() >= deadline {
            return Err(Failure::Stalled);
        }
    }
    log.end_line();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(status) = child.0.as_inner_mut().try_wait().map_err(Failure::Pipe)? {
            return Ok(Finished { status, log });
        }
        if Instant::now() >= deadline {
            return Err(Failure::Stalled);
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}

fn read(pipe: &mut Option<impl Read>, buffer: &mut [u8]) -> io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(buffer),
        None => Ok(0),
    }
}

/// Waits until one of the pipes has something (also its end), or the deadline passes.
fn readable(output: &Option<ChildStdout>, errors: &Option<ChildStderr>, deadline: Instant) -> io::Result<[bool; 2]> {
    // A negative descriptor is passed over.
    let descriptors = [output.as_ref().map_or(-1, AsRawFd::as_raw_fd), errors.as_ref().map_or(-1, AsRawFd::as_raw_fd)];
    let mut polled = descriptors.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let left = deadline.saturating_duration_since(Instant::now()).as_millis() + 1;
    // SAFETY: the array outlives the call and its length is passed; open descriptors stay open through the references.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, left.try_into().unwrap_or(i32::MAX)) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok([false; 2]) } else { Err(error) };
    }
    Ok(polled.map(|entry| entry.revents != 0))
}

impl Log {
    fn read(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                _ if self.line.len() < LONGEST_LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        for level in ["[error] ", "[fatal] "] {
            // Before the level stands the part of ffmpeg that complains, with an address in memory.
            if let Some((_, words)) = line.split_once(level) {
                if self.complaint.is_empty() {
                    words.trim().trim_end_matches('.').clone_into(&mut self.complaint);
                }
                return;
            }
        }
        self.past_input |= line.contains("Stream mapping:") || line.contains("Output #");
        if self.past_input {
            return;
        }
        self.saw_input |= line.contains("Input #0");
        self.duration = self.duration.or_else(|| try_parse_duration(&line));
        let is_picture = line.contains("Stream #") && line.contains(": Video: ") && !line.contains("(attached pic)");
        if is_picture && self.picture.is_none() {
            let parsed = try_parse_stream(&line);
            let rate = parsed.and_then(|stream| stream.video_data().map(|video| video.fps));
            // Through the text, so that 29.97 stays 29.97 in double precision.
            let rate = rate.and_then(|rate| rate.to_string().parse::<f64>().ok()).filter(|rate| rate.is_finite() && *rate > 0.0);
            self.picture = Some(Picture { rate });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A command that runs `script`, whatever ffmpeg's arguments are.
    fn shell(folder: &Path, script: &str) -> FfmpegCommand {
        FfmpegCommand::new_with_path(crate::data::video::tests::script(folder, script))
    }

    fn run_script(script: &str, source: Option<Source<'_>>, patience: Duration) -> (Result<Finished, Failure>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let mut written = Vec::new();
        let finished = run(&mut shell(dir.path(), script), source, patience, &mut |bytes| {
            written.extend_from_slice(bytes);
            Ok(())
        });
        (finished, written)
    }

    #[test]
    fn output_and_log_come_apart_whatever_their_order() {
        let script = "echo '[x @ 0x1] [error] first.' >&2; head -c 300000 /dev/zero; head -c 300000 /dev/zero | tr '\\0' '\\n' >&2; exit 3";
        let (finished, written) = run_script(script, None, Duration::from_secs(20));
        let finished = finished.unwrap();
        assert_eq!((finished.status.code(), written.len(), finished.log.complaint), (Some(3), 300_000, "first".to_owned()));
    }

    #[test]
    fn a_silent_child_is_ended() {
        for script in ["exec sleep 600", "exec >&-; exec sleep 600", "while :; do echo noise >&2; sleep 0.01; done"] {
            let started = Instant::now();
            let (finished, _) = run_script(script, None, Duration::from_millis(300));
            assert!(matches!(finished, Err(Failure::Stalled)), "{script}: {finished:?}");
            assert!(started.elapsed() < Duration::from_secs(10), "{script}");
        }
    }

    #[test]
    fn input_flows_while_output_does_and_a_child_that_stops_reading_ends_it() {
        let feed = || -> Source<'static> { Box::new(|pipe: &mut dyn Write| (0..100).try_for_each(|_| pipe.write_all(&[7; 10_000]))) };
        let (finished, written) = run_script("exec cat", Some(feed()), Duration::from_secs(20));
        assert!(finished.unwrap().status.success());
        assert_eq!(written, [7; 1_000_000]);
        let (finished, written) = run_script("exit 1", Some(feed()), Duration::from_secs(20));
        assert_eq!((finished.unwrap().status.code(), written.len()), (Some(1), 0));
    }

    #[test]
    fn the_header_is_read_and_covers_are_no_pictures() {
        let mut log = Log::default();
        log.read(b"[info] Input #0, mov, from 'x':\n[info]   Duration: 00:01:02.50, start: 0.0, bitrate: 9 kb/s\n");
        log.read(b"[info]   Stream #0:0: Video: mjpeg, yuvj420p, 300x300, 90k tbr, 90k tbn (attached pic)\n");
        assert_eq!(log.picture, None);
        log.read(b"[info]   Stream #0:1[0x2](und): Video: h264 (High), yuv420p(tv, progressive), 640x360 [SAR 1:1 DAR 16:9], 29.97 fps, 30k tbn\n");
        assert_eq!((log.duration, log.picture), (Some(62.5), Some(Picture { rate: Some(29.97) })));
    }
}
