//! Video encoders: clips of frames → one vector each.

mod conv;
mod network;
mod r2plus1d;
mod release;
mod resnet;
mod video;

pub(super) use network::Network;
pub use video::{Encoder, VideoEncoder};

#[cfg(test)]
mod tests;
