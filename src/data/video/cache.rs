//! What is known of videos, and their decoded frames, in a folder that any number of processes share.
//!
//! `files/KEY.json` what a file holds, by the file's path, size and time; `frames/KEY.rgb` the frames of one video and
//! `frames/KEY.json` how decoding went, by content, settings and ffmpeg. Everything appears by a rename, so a process that is
//! killed leaves at most a temporary file, and two that decode one video at once write the same file twice.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::CacheConfig;
use super::error::Error;
use crate::base::Digest;
use crate::base::fsio::{self, Unfinished};

/// A temporary file that nobody wrote to for so long belongs to a process that was killed: a decoder is not silent for
/// longer than its patience.
const ABANDONED: Duration = Duration::from_secs(3600);

const FRAMES: &str = "frames";

/// The folder and its bound.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Bytes of frames.
    limit: u64,
}

/// What a remembered value is of.
#[derive(Clone, Copy)]
pub(super) enum Subject {
    /// A video file.
    File,
    /// The decoding of one.
    Frames,
}

impl Cache {
    /// Creates nothing yet.
    pub fn new(config: &CacheConfig) -> Result<Self, Error> {
        let problem = "is needed: neither ETALON_CACHE, XDG_CACHE_HOME nor HOME says where decoded frames can be kept";
        let folder = config.folder().ok_or_else(|| Error::Setting { key: "cache.path", problem: problem.into() })?;
        Ok(Self { folder, limit: config.limit.0 })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was remembered; a file that cannot be read counts as nothing.
    pub fn recall<T: DeserializeOwned>(&self, subject: Subject, key: &Digest) -> Option<T> {
        serde_json::from_slice(&fsio::read(&self.note(subject, key)).ok()?).ok()
    }

    /// For [`Cache::recall`] in any process.
    pub fn remember<T: Serialize>(&self, subject: Subject, key: &Digest, value: &T) -> Result<(), fsio::Error> {
        let text = serde_json::to_vec(value).expect("plain data types serialise to JSON");
        fsio::replace(&self.note(subject, key), &text)
    }

    /// The frames under `key` if they are there and have that many `bytes`; marks them as used just now.
    pub fn open(&self, key: &Digest, bytes: u64) -> Option<File> {
        let file = File::open(self.frames(key)).ok()?;
        // A cache that may only be read serves as well; it just does not know what was used last.
        let _ = file.set_modified(SystemTime::now());
        (file.metadata().ok()?.len() == bytes).then_some(file)
    }

    /// Begins the frames under `key`.
    pub fn begin(&self, key: &Digest) -> Result<Unfinished, fsio::Error> {
        Unfinished::create(&self.frames(key))
    }

    /// Publishes the frames under `key` and removes others, least recently used first, until all are within the bound. Whoever
    /// has removed ones open goes on reading them.
    pub fn publish(&self, key: &Digest, frames: Unfinished) -> Result<File, fsio::Error> {
        let file = frames.publish()?;
        self.trim(&self.frames(key))?;
        Ok(file)
    }

    /// Where the frames under `key` are.
    pub fn frames(&self, key: &Digest) -> PathBuf {
        self.folder.join(FRAMES).join(format!("{key}.rgb"))
    }

    fn note(&self, subject: Subject, key: &Digest) -> PathBuf {
        let folder = match subject {
            Subject::File => "files",
            Subject::Frames => FRAMES,
        };
        self.folder.join(folder).join(format!("{key}.json"))
    }

    fn trim(&self, keep: &Path) -> Result<(), fsio::Error> {
        let folder = self.folder.join(FRAMES);
        let (mut stored, mut total) = (Vec::new(), 0);
        for name in fsio::list(&folder)? {
            let path = folder.join(&name);
            // Another process may have removed it meanwhile.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if fsio::is_temporary(&name) {
                if modified.elapsed().is_ok_and(|age| age > ABANDONED) {
                    fsio::remove(&path)?;
                }
            } else if name.ends_with(".rgb") {
                total += metadata.len();
                stored.push((modified, metadata.len(), path));
            }
        }
        stored.sort_unstable();
        for (_, bytes, path) in stored {
            if total <= self.limit {
                break;
            }
            if path != keep {
                fsio::remove(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// Stands for the content of a file as long as nobody changes it: its path, size, time and place on the disk.
pub(super) fn stamp(path: &Path) -> Result<Digest, fsio::Error> {
    let path = path.canonicalize().map_err(fsio::Error::wrap("read", path))?;
    let metadata = std::fs::metadata(&path).map_err(fsio::Error::wrap("read", &path))?;
    let changed = (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
    Ok(Digest::of_json(&(path.to_string_lossy(), metadata.len(), metadata.dev(), metadata.ino(), changed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Bytes;

    fn cache(folder: &Path, limit: u64) -> Cache {
        Cache::new(&CacheConfig { path: Some(folder.to_owned()), limit: Bytes(limit) }).unwrap()
    }

    fn store(cache: &Cache, name: &str, bytes: usize) -> (Digest, File) {
        let key = Digest::of_bytes(name.as_bytes());
        let mut frames = cache.begin(&key).unwrap();
        frames.append(&vec![7; bytes]).unwrap();
        let file = cache.publish(&key, frames).unwrap();
        (key, file)
    }

    fn age(cache: &Cache, key: &Digest, seconds: u64) {
        let file = File::open(cache.frames(key)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    #[test]
    fn the_least_recently_used_frames_go_first_and_open_ones_stay_readable() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 250);
        let (a, held) = store(&cache, "a", 100);
        let (b, _) = store(&cache, "b", 100);
        age(&cache, &a, 50);
        age(&cache, &b, 40);
        assert!(cache.open(&a, 100).is_some(), "this makes a the one used last");
        let (c, _) = store(&cache, "c", 100);
        assert_eq!([&a, &b, &c].map(|key| cache.open(key, 100).is_some()), [true, false, true]);
        age(&cache, &a, 30);
        let (d, _) = store(&cache, "d", 240);
        assert_eq!([&a, &c].map(|key| cache.open(key, 100).is_some()), [false, false]);
        assert!(cache.open(&d, 240).is_some());
        let mut bytes = [0; 100];
        std::os::unix::fs::FileExt::read_exact_at(&held, &mut bytes, 0).unwrap();
        assert_eq!(bytes, [7; 100]);
    }

    #[test]
    fn frames_larger_than_the_bound_are_kept_until_the_next_ones() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 10);
        let (a, _) = store(&cache, "a", 100);
        assert!(cache.open(&a, 100).is_some());
        store(&cache, "b", 100);
        assert!(cache.open(&a, 100).is_none());
    }

    #[test]
    fn what_a_killed_process_left_is_not_taken_for_whole_and_removed_once_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1000);
        let key = Digest::of_bytes(b"killed");
        let mut half = cache.begin(&key).unwrap();
        half.append(&[1; 50]).unwrap();
        // As a killed process does: the destructor that removes the file never runs.
        std::mem::forget(half);
        assert!(cache.open(&key, 50).is_none());
        store(&cache, "other", 10);
        let folder = dir.path().join("frames");
        let temporary = |names: Vec<String>| names.into_iter().find(|name| fsio::is_temporary(name));
        let left = temporary(fsio::list(&folder).unwrap()).expect("it might still be written");
        File::open(folder.join(&left)).unwrap().set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        store(&cache, "another", 10);
        assert_eq!(temporary(fsio::list(&folder).unwrap()), None);
    }

    #[test]
    fn a_file_of_another_length_is_not_taken_for_the_frames() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), 1000);
        let (key, _) = store(&cache, "a", 99);
        assert!(cache.open(&key, 100).is_none());
    }
}
