//! The built-in corpus.

use serde::{Deserialize, Serialize};

/// Settings of the built-in corpus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Seed of everything.
    pub seed: u64,
}
