//! Why videos cannot be used. Each names the file and what to change.

use std::path::PathBuf;
use std::time::Duration;

use super::program::NoProgram;
use crate::base::fsio;

/// Why a video, or all of them, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is missing or does not fit the annotations.
    #[error("`dataset.videos.{key}` {problem}")]
    Setting {
        /// Below `dataset.videos`.
        key: &'static str,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// There is no ffmpeg.
    #[error(transparent)]
    NoProgram(#[from] NoProgram),
    /// No file of that name.
    #[error(
        "{} does not exist: no file for video {video:?}; check `dataset.videos.path`, `prefix` and `extension`, set `damaged` to \"skip\", or remove the video from the annotations",
        path.display()
    )]
    Missing {
        /// The file looked for.
        path: PathBuf,
        /// Its identifier.
        video: String,
    },
    /// A file of the cache, or the video itself, cannot be read or written.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// ffmpeg does not recognise the file.
    #[error("{} is not a video that ffmpeg can read ({said}); fetch it again, or set `dataset.videos.damaged` to \"skip\"", path.display())]
    Unreadable {
        /// The video file.
        path: PathBuf,
        /// ffmpeg's own words.
        said: String,
    },
    /// Sound, subtitles or a cover picture only.
    #[error("{} has no video stream, perhaps only sound; fetch it again, or set `dataset.videos.damaged` to \"skip\"", path.display())]
    NoPicture {
        /// The video file.
        path: PathBuf,
    },
    /// The header gives no frame rate.
    #[error("{} does not tell its frame rate; set `dataset.videos.fps`", path.display())]
    NoRate {
        /// The video file.
        path: PathBuf,
    },
    /// Not a single frame could be decoded.
    #[error("{} holds no frame that ffmpeg can decode{said}; fetch it again, or set `dataset.videos.damaged` to \"skip\"", path.display())]
    NoFrames {
        /// The video file.
        path: PathBuf,
        /// ffmpeg's own words in brackets, where it had any.
        said: String,
    },
    /// The frames end long before the annotated video does.
    #[error(
        "{}: {decoded:.2} s could be decoded of the {annotated:.2} s that the annotations give video {video:?}{said}; the file is cut off, or `duration` is wrong: fetch it again, or set `dataset.videos.damaged` to \"skip\"",
        path.display()
    )]
    Short {
        /// The video file.
        path: PathBuf,
        /// Its identifier.
        video: String,
        /// Seconds.
        decoded: f64,
        /// Seconds.
        annotated: f64,
        /// ffmpeg's own words in brackets, where it had any.
        said: String,
    },
    /// An instance that cannot be seen.
    #[error(
        "{}: an instance of video {video:?} starts at {start:.2} s, where the video of {decoded:.2} s has ended; correct the annotations, or set `dataset.videos.damaged` to \"skip\"",
        path.display()
    )]
    Beyond {
        /// The video file.
        path: PathBuf,
        /// Its identifier.
        video: String,
        /// Seconds.
        start: f64,
        /// Seconds.
        decoded: f64,
    },
    /// ffmpeg stopped with an error.
    #[error("{}: ffmpeg failed: {said}; fetch the video again, or set `dataset.videos.damaged` to \"skip\"", path.display())]
    Failed {
        /// The video file.
        path: PathBuf,
        /// Exit status and ffmpeg's own words.
        said: String,
    },
    /// ffmpeg wrote nothing for too long.
    #[error(
        "{}: ffmpeg wrote nothing for {:.0} s and was ended; try `ffmpeg -i` on the file, or set `dataset.videos.damaged` to \"skip\"",
        path.display(), patience.as_secs_f64()
    )]
    Stalled {
        /// The video file.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// ffmpeg could not be started, or its pipes broke.
    #[error("{}: cannot run ffmpeg", path.display())]
    Process {
        /// The video file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Asked for a video that the data set does not have.
    #[error("video {0:?} is not in the data set")]
    UnknownVideo(String),
}
