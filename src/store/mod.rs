//! The results on disk: immutable files under one folder.

pub mod record;

pub use record::Record;
