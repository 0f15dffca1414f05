//! Experiment files: TOML to typed, resolved, validated settings, and the data they name.

pub mod actionformer;
pub mod corpus;
pub mod encoder;
pub mod etad;
pub mod experiment;
pub mod external;
pub mod gtad;
pub mod load;
mod paths;
pub mod points;
pub mod settings;
pub mod tadtr;
pub mod temporalmaxer;
pub mod tridet;
mod validate;

pub use actionformer::ActionFormerConfig;
pub use corpus::Corpus;
pub use encoder::EncoderConfig;
pub use etad::EtadConfig;
pub use experiment::{Arch, Experiment, ModelConfig};
pub use external::ExternalConfig;
pub use gtad::GtadConfig;
pub use load::Error;
pub use tadtr::TadTrConfig;
pub use temporalmaxer::TemporalMaxerConfig;
pub use tridet::TriDetConfig;
