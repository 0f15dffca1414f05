//! Encoder and detector together: training from frames, low-fidelity training, and features of whole videos.

pub mod extract;
pub mod fidelity;
pub mod frames;
pub mod joint;
pub mod optimiser;
pub mod sampling;
pub mod step;

#[cfg(test)]
mod peak;
#[cfg(test)]
mod tests;
