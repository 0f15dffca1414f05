//! Raw videos: decoded by the ffmpeg program into a bounded cache of frames, and read from there snippet by snippet.
//!
//! [`VideoSource`] is what a detector with an encoder asks; [`VideosConfig`] is `dataset.videos` of an experiment;
//! [`Program`] finds ffmpeg. Frames come at a constant rate, so frame `f` shows `f / rate` seconds whatever the file does.

mod cache;
mod child;
mod config;
mod decode;
mod error;
mod frames;
mod program;
mod render;
mod sampling;
mod source;
#[cfg(test)]
mod tests;

pub use config::{CacheConfig, Damaged, Snippets, VideosConfig};
pub use error::Error;
pub use frames::Frames;
pub use program::{NoProgram, Program};
pub use source::{Decoded, VideoSource};
