//! Experiment files: TOML to typed, resolved, validated settings, and the data they name.

pub mod corpus;
pub mod etad;
pub mod experiment;
pub mod load;
mod paths;
mod validate;

pub use corpus::Corpus;
pub use etad::EtadConfig;
pub use experiment::{Arch, Experiment, ModelConfig};
pub use load::Error;
