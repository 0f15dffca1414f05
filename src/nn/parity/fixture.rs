//! Reading fixture folders, and comparing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use super::Check;
use crate::base::fsio;
use crate::nn::params;

/// Why a fixture folder cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// File trouble.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The manifest is no JSON.
    #[error("{} is not valid JSON: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An arrays file is unreadable.
    #[error(transparent)]
    Arrays(#[from] params::Error),
    /// The recorded detections or their ground truth are unreadable.
    #[error(transparent)]
    Evaluation(#[from] crate::eval::Error),
    /// An array is missing.
    #[error("{} has no array {key:?}; the fixture folder is incomplete or of another version", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The array.
        key: String,
    },
    /// A configuration of which no network is built.
    #[error("{}: `{key}` = {value} {problem}", path.display())]
    Config {
        /// The manifest.
        path: PathBuf,
        /// The option.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No model matches.
    #[error(
        "{}: its manifest names the model {model:?}, which this version does not have (known: actionformer, etad, gtad, tadtr, temporalmaxer, tridet)",
        folder.display()
    )]
    UnknownModel {
        /// The folder.
        folder: PathBuf,
        /// What the manifest says.
        model: String,
    },
    /// Nothing to compare with.
    #[error("{} holds no fixtures, nor does a folder below it; give one with a manifest.json", folder.display())]
    NoFixtures {
        /// The folder.
        folder: PathBuf,
    },
}

thread_local! {
    static DEVICE: Cell<Device> = const { Cell::new(Device::Cpu) };
}

/// Where the networks compute.
pub(super) fn device() -> Device {
    DEVICE.get()
}

/// Sets [`device`] for this thread.
pub(super) fn compute_on(device: Device) {
    DEVICE.set(device);
}

/// How much more a device may deviate: it sums in other orders than the reference did.
pub(super) fn slack() -> f64 {
    if device() == Device::Cpu { 1.0 } else { 10.0 }
}

/// The value of a scalar.
pub(super) fn value(scalar: &Tensor) -> f64 {
    scalar.to_kind(Kind::Double).double_value(&[])
}

/// Reads a JSON file.
pub(super) fn json(path: &Path) -> Result<serde_json::Value, Error> {
    let text = fsio::read_text(path)?;
    serde_json::from_str(&text).map_err(|source| Error::Manifest { path: path.to_owned(), source })
}

/// Refuses the option `folder`/`key` of a manifest unless it has the one value of which a network is built, or is not there.
pub(super) fn only(file: &Path, manifest: &serde_json::Value, folder: &str, key: &str, wanted: &serde_json::Value) -> Result<(), Error> {
    let path = format!("{folder}/{key}");
    let Some(found) = manifest.pointer(&path).filter(|found| *found != wanted && found.as_f64() != wanted.as_f64().or(Some(f64::NAN)))
    else {
        return Ok(());
    };
    Err(Error::Config {
        path: file.to_owned(),
        key: path[1..].replace('/', "."),
        value: found.to_string(),
        problem: format!("is an option of which this version builds no network; it builds {wanted}"),
    })
}

/// The folders directly below, in order.
pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |e| fsio::Error::wrap("list", folder)(e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The arrays of one file and the checks made on them so far.
pub(super) struct Fixture {
    name: String,
    path: PathBuf,
    arrays: BTreeMap<String, Tensor>,
    pub(super) checks: Vec<Check>,
}

impl Fixture {
    pub(super) fn open(folder: &Path, name: &str) -> Result<Self, Error> {
        let path = folder.join(format!("{name}.safetensors"));
        let arrays = params::read_tensors(&path)?.into_iter().collect();
        Ok(Self { name: name.to_owned(), path, arrays, checks: Vec::new() })
    }

    pub(super) fn get(&self, key: &str) -> Result<Tensor, Error> {
        let missing = || Error::Missing { path: self.path.clone(), key: key.to_owned() };
        self.arrays.get(key).map(|array| array.to_device(device())).ok_or_else(missing)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.arrays.contains_key(key)
    }

    pub(super) fn floats(&self, key: &str) -> Result<Vec<f32>, Error> {
        Ok(Vec::try_from(self.get(key)?.to_kind(Kind::Float).reshape([-1])).expect("a float array"))
    }

    pub(super) fn doubles(&self, key: &str) -> Result<Vec<f64>, Error> {
        Ok(Vec::try_from(self.get(key)?.to_kind(Kind::Double).reshape([-1])).expect("a float array"))
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        self.arrays.keys().filter(|k| k.starts_with(prefix)).cloned().collect()
    }

    /// Names with their prefix removed.
    pub(super) fn group(&self, prefix: &str) -> Vec<(String, Tensor)> {
        self.arrays.iter().filter_map(|(k, t)| Some((k.strip_prefix(prefix)?.to_owned(), t.to_device(device())))).collect()
    }

    /// Compares element by element; another number of elements is an infinite deviation.
    pub(super) fn compare(&mut self, key: &str, got: &Tensor, tolerance: f64) -> Result<(), Error> {
        let of = |t: &Tensor| t.detach().to_device(Device::Cpu).to_kind(Kind::Double).reshape([-1]);
        let (wanted, got) = (of(&self.get(key)?), of(got));
        let deviation = if wanted.size() != got.size() {
            f64::INFINITY
        } else if wanted.numel() == 0 {
            0.0
        } else {
            (wanted - got).abs().max().double_value(&[])
        };
        self.note(key, deviation, tolerance, false);
        Ok(())
    }

    /// Compares the norm of the difference with that of what is expected.
    pub(super) fn compare_norm(&mut self, key: &str, got: &Tensor, tolerance: f64) -> Result<(), Error> {
        let wanted = self.get(key)?.to_kind(Kind::Double);
        let deviation = if wanted.size() == got.size() {
            ((&wanted - got.detach().to_kind(Kind::Double)).norm() / wanted.norm()).double_value(&[])
        } else {
            f64::INFINITY
        };
        self.note(key, deviation, tolerance, true);
        Ok(())
    }

    /// Compares one number, relative to the expected one.
    pub(super) fn compare_relative(&mut self, key: &str, got: f64, tolerance: f64) -> Result<(), Error> {
        let wanted = self.get(key)?.to_kind(Kind::Double).reshape([-1]).double_value(&[0]);
        let deviation = if wanted == 0.0 { got.abs() } else { (got / wanted - 1.0).abs() };
        self.note(key, deviation, tolerance, true);
        Ok(())
    }

    pub(super) fn note(&mut self, key: &str, deviation: f64, tolerance: f64, relative: bool) {
        let name = format!("{}/{key}", self.name);
        self.checks.push(Check::new(name, deviation, tolerance, relative));
    }
}
