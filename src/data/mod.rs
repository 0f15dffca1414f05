//! Annotated videos, their features and their frames: readers, windows and the built-in corpus.

pub mod annotations;
mod array;
pub mod dataset;
pub mod features;
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

    /// A path in the shared test data (`ETALON_SHARED`, by default beside the project).
    pub fn shared(name: &str) -> PathBuf {
        let root = std::env::var_os("ETALON_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(root).join(name);
        assert!(path.exists(), "{} is missing: set ETALON_SHARED to the shared test data", path.display());
        path
    }
}
