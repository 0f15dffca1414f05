//! The sensors, one source of numbers per file.

pub mod gpu;
pub mod tree;

pub use tree::ProcessTree;
