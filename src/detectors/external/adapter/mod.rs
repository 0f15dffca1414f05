//! Code that is known: what it is handed, how it is started, and where its detections lie. The user's configuration of it is the base;
//! data, sample, seed, device and the last-epoch rule are put over it.
//!
//! The files are made of the job alone, before anything starts, so that `etalon plan --show` prints what a cell will run.

mod actionformer;
mod opentad;
mod text;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::{Error, Job};
use super::folder::Folder;
use crate::base::fsio;
use crate::config::external::{Adapter, ExternalConfig};
use crate::data::FeatureSource;

/// A job in the hands of an adapter.
pub struct Work<'a> {
    pub config: &'a ExternalConfig,
    pub folder: &'a Folder,
    pub job: &'a Job<'a>,
    /// As the trainer names it.
    pub device: &'a str,
}

/// One kind of known code.
pub trait Known {
    /// Files by their path, all in the job's folder.
    ///
    /// # Errors
    /// The user's configuration cannot be read, or cannot be measured by the protocol.
    fn files(&self, work: &Work<'_>) -> Result<Vec<(PathBuf, String)>, Error>;

    /// The command that trains; from the last whole checkpoint of an earlier attempt, where there is one.
    ///
    /// # Errors
    /// The checkpoint folder cannot be read.
    fn train(&self, work: &Work<'_>) -> Result<Vec<String>, Error>;

    /// The command that detects, with the weights of the last epoch.
    ///
    /// # Errors
    /// The training left none, or stopped before its last epoch.
    fn detect(&self, work: &Work<'_>) -> Result<Vec<String>, Error>;

    /// Where the detections lie after it.
    fn detections(&self, work: &Work<'_>) -> PathBuf;

    /// How many epochs a whole training has, where its output says when one begins.
    ///
    /// # Errors
    /// The user's configuration cannot be read.
    fn epochs(&self, _: &Work<'_>) -> Result<Option<u64>, Error> {
        Ok(None)
    }

    /// A Python program that loads the configuration named by its first argument as the code does.
    fn loads(&self) -> &'static str;
}

/// The adapter of that name.
pub fn of(adapter: Adapter) -> &'static dyn Known {
    match adapter {
        Adapter::Actionformer => &actionformer::ActionFormer,
        Adapter::Opentad => &opentad::OpenTad,
    }
}

impl Work<'_> {
    /// Folder of what the adapter writes.
    fn place(&self) -> PathBuf {
        self.folder.path().join("adapter")
    }

    fn annotations(&self) -> PathBuf {
        self.place().join("annotations.json")
    }

    fn features(&self) -> Result<&FeatureSource, Error> {
        self.job.features.ok_or_else(|| Error::Input("`adapter` needs `dataset.features`".to_owned()))
    }

    /// The job's annotations, each video with what `times` says of its time base (seconds per snippet, duration).
    fn timed(&self, mut annotations: Value, times: impl Fn(f64, f64) -> Value) -> Result<Value, Error> {
        let features = self.features()?;
        for id in self.job.train.iter().chain(self.job.test) {
            let Value::Object(times) = times(features.period(id), self.job.dataset.videos[id].duration) else { continue };
            times.into_iter().for_each(|(key, value)| annotations["database"][id][key] = value);
        }
        Ok(annotations)
    }
}

/// What the job's folder says of the instances.
fn annotations(folder: &Folder) -> Result<Value, Error> {
    let path = folder.annotations();
    serde_json::from_slice(&fsio::read(&path)?).map_err(|e| Error::Input(format!("{}: {e}", path.display())))
}

/// Puts a value at a dotted name; what is no table on the way becomes one.
fn put(config: &mut Value, name: &str, value: Value) {
    let place = name.split('.').fold(config, |place, key| {
        if !place.is_object() {
            *place = json!({});
        }
        &mut place[key]
    });
    *place = value;
}

/// Of the checkpoints that `number` knows in `folder`, the whole one with the highest number. torch writes an archive whose directory
/// comes last, so that one cut off by a kill has none.
fn last_checkpoint(folder: &Path, number: impl Fn(&str) -> Option<u64>) -> Result<Option<(u64, PathBuf)>, Error> {
    if !folder.exists() {
        return Ok(None);
    }
    let mut found: Vec<(u64, PathBuf)> =
        fsio::list(folder)?.into_iter().filter_map(|name| Some((number(&name)?, folder.join(name)))).collect();
    found.sort();
    while let Some((number, path)) = found.pop() {
        if is_whole(&path).map_err(fsio::Error::wrap("read", &path))? {
            return Ok(Some((number, path)));
        }
    }
    Ok(None)
}

/// Whether a zip archive without a comment ends as one does: its last record has 22 bytes.
fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut last = [0; 22];
    if file.metadata()?.len() < last.len() as u64 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-(last.len() as i64)))?;
    file.read_exact(&mut last)?;
    Ok(last.starts_with(END))
}

/// Begins that record.
const END: &[u8] = b"PK\x05\x06";

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_was_cut_off_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fsio::replace(&folder.path().join(name), bytes).unwrap();
        let whole = [b"PK\x03\x04 weights", END, &[0; 18]].concat();
        write("epoch_009.pth.tar", &whole);
        write("epoch_010.pth.tar", &whole);
        write("epoch_011.pth.tar", &whole[..20]);
        write("bestmodel.pth.tar", &whole);
        let (number, path) = last_checkpoint(folder.path(), actionformer::epoch).unwrap().unwrap();
        assert!(number == 10 && path.ends_with("epoch_010.pth.tar"));
        assert_eq!(last_checkpoint(&folder.path().join("none"), actionformer::epoch).unwrap(), None);
    }

    #[test]
    fn a_dotted_name_makes_its_tables() {
        let mut config = json!({ "opt": { "epochs": 30, "lr": 0.1 }, "model": 3 });
        put(&mut config, "opt.epochs", 5.into());
        put(&mut config, "model.head.dim", 64.into());
        assert_eq!(config, json!({ "opt": { "epochs": 5, "lr": 0.1 }, "model": { "head": { "dim": 64 } } }));
    }
}
