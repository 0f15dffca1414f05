//! The decoded frames of one video, read from disk snippet by snippet.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::error::Error;
use super::sampling::Sampling;
use crate::base::fsio;

/// All frames of a video at a constant rate: RGB bytes `[F, H, W, 3]` in a file. Threads may read at once; the file stays
/// readable when the cache removes it.
#[derive(Debug)]
pub struct Frames {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// At least 1.
    pub(super) frames: usize,
    /// Bytes of one.
    pub(super) frame_bytes: usize,
    pub(super) sampling: Sampling,
}

impl Frames {
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames
    }

    /// Never: a video without frames is an error.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Reads the frames of snippet `index` into `out`, `[clip, H, W, 3]`. Reads no others.
    ///
    /// # Errors
    /// The file cannot be read.
    ///
    /// # Panics
    /// `out` has another length.
    pub fn snippet(&self, index: usize, out: &mut [u8]) -> Result<(), Error> {
        assert_eq!(out.len(), self.sampling.clip * self.frame_bytes, "a snippet's bytes");
        let frames: Vec<usize> = self.sampling.frames(index, self.frames).collect();
        // Neighbours on disk are read at once.
        let mut rest = out;
        for run in frames.chunk_by(|a, b| a + 1 == *b) {
            let (part, after) = rest.split_at_mut(run.len() * self.frame_bytes);
            let offset = (run[0] * self.frame_bytes) as u64;
            self.file.read_exact_at(part, offset).map_err(fsio::Error::wrap("read", &self.path))?;
            rest = after;
        }
        Ok(())
    }
}
