//! Reads the header of a video, and decodes it to raw frames at a constant rate.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::child::{self, Failure, Picture};
use super::error::Error;
use super::program::Program;
use crate::base::fsio::Unfinished;

/// Bump when the same file and settings give other frames.
pub(super) const RECIPE: u32 = 1;

/// Scaling that is the same on every processor.
const SCALING: &str = "flags=bicubic+accurate_rnd+full_chroma_int+bitexact";

/// What the header of a video says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Its first video stream.
    pub picture: Picture,
    /// Seconds, where the container says.
    pub duration: Option<f64>,
}

/// What decoding gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Decoding {
    /// Whole frames; at least 1.
    pub frames: u64,
    /// What ffmpeg complained of; empty for a sound file.
    pub complaint: String,
}

/// Reads the header of `path`.
///
/// # Errors
/// ffmpeg does not recognise the file or finds no pictures in it.
pub(super) fn probe(program: &Program, path: &Path) -> Result<Header, Error> {
    let mut command = program.command();
    // Without an output ffmpeg describes its input and ends with an error, which therefore tells nothing.
    command.args(input(path));
    let finished = child::run(&mut command, None, program.patience(), &mut |_| Ok(())).map_err(|f| explain(f, program, path))?;
    match finished.log.picture {
        Some(picture) => Ok(Header { picture, duration: finished.log.duration }),
        None if finished.log.saw_input => Err(Error::NoPicture { path: path.to_owned() }),
        None => Err(Error::Unreadable { path: path.to_owned(), said: finished.log.complaint }),
    }
}

/// Decodes all of `path` at `rate` frames per second, each scaled to `size` (width, height), as RGB bytes into `file`.
///
/// The first frame is that of second 0, whenever the stream begins. A change of the picture's size midway is scaled like any
/// other frame. Does not judge what came out.
///
/// # Errors
/// ffmpeg fails, hangs or crashes, decodes not a single frame, or the frames cannot be written.
pub(super) fn decode(program: &Program, path: &Path, size: [usize; 2], rate: f64, file: &mut Unfinished) -> Result<Decoding, Error> {
    let [width, height] = size;
    let mut command = program.command();
    // A graph that is set up anew when the size changes would begin at second 0 once more, and repeat the past.
    command.args(["-reinit_filter", "0"]);
    command.args(input(path));
    let filters = format!("fps={rate}:start_time=0,scale={width}:{height}:{SCALING}");
    command.args(["-map", "0:V:0", "-filter_threads", "1", "-vf", &filters, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]);
    let mut bytes = 0u64;
    let finished = child::run(&mut command, None, program.patience(), &mut |part| {
        bytes += part.len() as u64;
        file.append(part)
    });
    let finished = finished.map_err(|failure| explain(failure, program, path))?;
    let (frames, complaint) = (bytes / (3 * width * height) as u64, finished.log.complaint);
    // Whether ffmpeg calls it an error that a stream has no frames depends on its version.
    if frames == 0 && finished.status.signal().is_none() {
        return Err(Error::NoFrames { path: path.to_owned(), said: in_brackets(&complaint) });
    }
    if !finished.status.success() {
        return Err(Error::Failed { path: path.to_owned(), said: format!("{}{}", finished.status, in_brackets(&complaint)) });
    }
    Ok(Decoding { frames, complaint })
}

/// Arguments that open `path` as a file whatever its name looks like, and nothing else: a playlist in disguise could name
/// addresses.
fn input(path: &Path) -> [OsString; 4] {
    let mut name = OsString::from("file:");
    name.push(path);
    ["-protocol_whitelist".into(), "file".into(), "-i".into(), name]
}

/// A complaint at the end of a clause; nothing without one.
pub(super) fn in_brackets(complaint: &str) -> String {
    if complaint.is_empty() { String::new() } else { format!(" ({complaint})") }
}

/// Why ffmpeg did not finish with `path`.
pub(super) fn explain(failure: Failure, program: &Program, path: &Path) -> Error {
    let path = PathBuf::from(path);
    match failure {
        Failure::Stalled => Error::Stalled { path, patience: program.patience() },
        Failure::Pipe(source) => Error::Process { path, source },
        Failure::Sink(error) => Error::File(error),
    }
}
