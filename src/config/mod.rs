//! Experiment files: TOML to typed, resolved, validated settings.

pub mod etad;
pub mod experiment;

pub use etad::EtadConfig;
pub use experiment::{Arch, Experiment, ModelConfig};
