//! What a trainer of the user would be handed, shown and checked before anything runs.

use crate::base::fsio;
use crate::config::ExternalConfig;
use crate::detectors::external::{External, LaidOut};
use crate::run::Prepared;

/// Makes the folder of the smallest cell beside other temporary files, lets `look` at it, and removes it.
///
/// # Errors
/// A feature file is missing, the disk refuses, an adapter cannot use its configuration, or `look` fails.
pub fn smallest<T>(prepared: &Prepared, external: &ExternalConfig, look: impl FnOnce(&LaidOut) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let protocol = &prepared.experiment.protocol;
    let (fraction, seed) = (protocol.fractions[0], protocol.seeds[0]);
    let sample = prepared.sample(fraction, seed)?;
    if let Some(features) = &prepared.corpus.features {
        features.check(&[sample.videos.as_slice(), &prepared.split.test].concat())?;
    }
    let folder = std::env::temp_dir().join(format!("etalon-{}", uuid::Uuid::new_v4().simple()));
    let laid_out = External::new(external).lay_out(&prepared.work(&sample.videos, seed, &folder));
    let seen = laid_out.map_err(anyhow::Error::from).and_then(|laid_out| look(&laid_out));
    fsio::remove_folder(&folder)?;
    seen
}
