//! Content digests (BLAKE3, 128 bits shown as 32 hexadecimal characters) of bytes, files and canonical JSON.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::fsio;

/// First 16 bytes of a BLAKE3 hash. Equal digests mean equal content for every purpose of this project.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Digest of a byte string.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::from_hash(&blake3::hash(bytes))
    }

    /// Digest of a file's content, read through a memory map.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn of_file(path: &Path) -> fsio::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_mmap(path).map_err(fsio::Error::wrap("read", path))?;
        Ok(Self::from_hash(&hasher.finalize()))
    }

    /// Digest of a value's canonical JSON (struct order, shortest round-trip floats).
    pub fn of_json<T: Serialize>(value: &T) -> Self {
        let text = serde_json::to_vec(value).expect("plain data types serialise to JSON");
        Self::of_bytes(&text)
    }

    /// Digest of an ordered list of digests.
    pub fn combine<'a>(parts: impl IntoIterator<Item = &'a Digest>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part.0.as_bytes());
        }
        Self::from_hash(&hasher.finalize())
    }

    fn from_hash(hash: &blake3::Hash) -> Self {
        Self(hash.to_hex()[..32].to_owned())
    }

    /// The 32 hexadecimal characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.0)
    }
}
