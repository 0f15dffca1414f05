//! A cell of the grid: one model trained on one sample. Its key is the digest of everything that defines its result.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::settings::ProtocolConfig;
use crate::base::{Digest, Percent};

/// Everything that a cell's detections depend on, and nothing else (no path, host, device, thread count or label).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellSpec {
    /// Version of this struct's meaning.
    pub schema: u32,
    /// Digest of annotations and features.
    pub dataset: Digest,
    /// How videos are split and drawn (fractions and seeds lists removed: a cell has its own).
    pub protocol: serde_json::Value,
    /// Share of the training videos.
    pub fraction: Percent,
    /// Seed of the sample and of the training.
    pub seed: u64,
    /// The resolved model configuration (with digests in place of paths).
    pub model: serde_json::Value,
    /// The hand-bumped version of the model's code.
    pub recipe: u32,
}

/// Identity of a cell in a store: the digest of its [`CellSpec`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CellKey(Digest);

impl CellKey {
    /// The 32 hexadecimal characters.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One cell: model × fraction × seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The model's name in the experiment file (`[model.NAME]`).
    pub model: String,
    /// What is hashed.
    pub spec: CellSpec,
    /// Digest of `spec`.
    pub key: CellKey,
}

impl Cell {
    /// A cell of `model` with its key computed.
    pub fn new(model: &str, spec: CellSpec) -> Self {
        let key = CellKey(Digest::of_json(&spec));
        Self { model: model.to_owned(), spec, key }
    }
}

impl CellSpec {
    /// The current version of what a key means; another one gives other keys.
    pub const SCHEMA: u32 = 1;

    /// The protocol settings without the axes of the grid, as hashed.
    pub fn protocol_part(settings: &ProtocolConfig) -> serde_json::Value {
        let mut value = serde_json::to_value(settings).expect("settings serialise");
        if let Some(object) = value.as_object_mut() {
            object.remove("fractions");
            object.remove("seeds");
        }
        value
    }
}
