//! Annotated videos, their features and their frames: readers, windows and the built-in corpus.

pub mod annotations;
mod array;
pub mod dataset;
pub mod discover;
pub mod features;
pub(crate) mod pickle;
pub mod synthetic;
pub mod video;
pub mod windows;

pub use annotations::Outside;
pub use dataset::{Dataset, Instance, Segment, Video};
pub use features::{FeatureSource, Features, FeaturesConfig};
pub use synthetic::SyntheticConfig;
pub use video::{VideoSource, VideosConfig};

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of several modules need.

    use std::path::{Path, PathBuf};

    /// A file of the repository that tests compare with.
    pub fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    /// A path in the folder of recordings that tests of the second tier read.
    pub fn recordings(name: &str) -> PathBuf {
        let root = std::env::var_os("ETALON_SHARED").expect("set ETALON_SHARED to the folder of recordings");
        let path = PathBuf::from(root).join(name);
        assert!(path.exists(), "{} is missing: ETALON_SHARED names another folder", path.display());
        path
    }
}
