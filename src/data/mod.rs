//! Annotated videos and their features: readers, windows, the built-in corpus and the prefetching loader.

pub mod annotations;
pub mod dataset;
pub mod features;
pub mod prefetch;
pub mod synthetic;
pub mod windows;

pub use dataset::{Dataset, Instance, Segment, Video};
pub use features::{FeatureSource, Features};
