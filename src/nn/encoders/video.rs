//! A video encoder: a network, its weights, and where they come from.

use std::collections::BTreeSet;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::Network;
use super::conv::Statistics;
use super::release::{Renamed, rename};
use crate::base::Stream;
use crate::config::EncoderConfig;
use crate::config::encoder::EncoderNetwork;
use crate::nn::params::{self, Params};
use crate::nn::weights::{self, Weights};

/// Clips of frames → one vector each.
pub trait Encoder {
    /// `[N, 3, L, H, W]`, normalised, single precision → `[N, C]`, single precision.
    fn forward(&self, clips: &Tensor) -> Tensor;

    /// C.
    fn channels(&self) -> i64;
}

/// A network over clips with its weights. Its batch norms always use their running statistics.
pub struct VideoEncoder {
    config: EncoderConfig,
    pub(super) network: Network,
    params: Params,
}

impl VideoEncoder {
    /// Random weights that depend on `seed` alone, the identity for norms; what the settings do not train is frozen.
    pub fn new(config: &EncoderConfig, seed: u64, device: Device) -> Self {
        let mut params = Params::drawing(Stream::new(seed, "encoder/init"), device);
        let network = Network::new(&mut params, config);
        let norms = |params: &Params| -> BTreeSet<String> {
            let names = params.entries().iter().map(|(name, _)| name).filter(|name| params.is_plain(name));
            names.cloned().collect()
        };
        if let Some(stages) = config.frozen_stages {
            let frozen = frozen_prefixes(config.network, stages);
            params.freeze(|name| frozen.iter().any(|prefix| name.starts_with(prefix)));
        }
        if !config.train_norms {
            let norms = norms(&params);
            params.freeze(|name| norms.contains(name));
        }
        Self { config: config.clone(), network, params }
    }

    /// Its weights: what is trained, what is frozen, and the norms' statistics.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Starts from the weights of a file: of this program, torchvision's ResNet, TSM's, TSP's, or a training that holds one of
    /// them. Returns a sentence for the record.
    ///
    /// # Errors
    /// The file is unreadable, belongs to another network, or holds what is no number.
    pub fn start_from(&mut self, path: &Path) -> Result<String, params::Error> {
        let Weights { tensors, place } = weights::read(path)?;
        let Renamed { tensors, prefix } = rename(tensors);
        let count = tensors.len();
        let origin = path.display().to_string();
        let finite = |t: &Tensor| !t.is_floating_point() || t.isfinite().all().int64_value(&[]) != 0;
        if let Some((name, _)) = tensors.iter().find(|(_, t)| !finite(t)) {
            return Err(params::Error::NotFinite { path: origin, name: name.clone() });
        }
        self.assign(&origin, tensors)?;
        let place = place.map_or(String::new(), |key| format!(", `{key}` of the checkpoint"));
        let prefix = if prefix.is_empty() { String::new() } else { format!(", under `{prefix}`") };
        Ok(format!("the encoder starts from {origin} ({count} tensors{place}{prefix})"))
    }

    /// Measures the statistics of all batch norms on clips `[N, 3, L, H, W]`, for random weights, whose own statistics nothing
    /// tells. Every norm normalises with the statistics of the batch at hand, so one pass is enough for all; what is stored is
    /// the mean over all clips. Without a batch nothing changes.
    pub fn calibrate(&mut self, batches: impl Iterator<Item = Tensor>) {
        let mut clips = 0;
        for batch in batches {
            let here = batch.size()[0];
            if here == 0 {
                continue;
            }
            clips += here;
            let share = here as f64 / clips as f64;
            let _ = tch::no_grad(|| self.network.forward(&batch, Kind::Float, Statistics::Batch(share)));
        }
    }

    /// All tensors by name, those of [`VideoEncoder::params`]; they share their storage with the encoder's.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        self.params.tensors().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())).collect()
    }

    /// Overwrites all tensors with the given ones; `origin` names them in errors.
    ///
    /// # Errors
    /// Missing or unexpected names, other shapes.
    pub fn assign(&self, origin: &str, given: Vec<(String, Tensor)>) -> Result<(), params::Error> {
        self.params.assign(origin, given).map_err(|error| match error {
            params::Error::Mismatch { path, mut misfit } => {
                misfit.of_encoder = true;
                params::Error::Mismatch { path, misfit }
            }
            other => other,
        })
    }

    /// Writes all tensors as a safetensors file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), params::Error> {
        params::save_tensors(path, self.params.tensors())
    }

    /// Reads what [`VideoEncoder::save`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, or belongs to another network.
    pub fn load(&self, path: &Path) -> Result<(), params::Error> {
        self.assign(&path.display().to_string(), params::read_tensors(path)?)
    }
}

impl Encoder for VideoEncoder {
    fn forward(&self, clips: &Tensor) -> Tensor {
        let kind = if self.config.autocast { Kind::BFloat16 } else { Kind::Float };
        self.network.forward(clips, kind, Statistics::Running)
    }

    fn channels(&self) -> i64 {
        self.network.channels()
    }
}

/// Beginnings of the names of the stem and the first `stages` layers.
fn frozen_prefixes(network: EncoderNetwork, stages: usize) -> Vec<String> {
    let stem: &[&str] = match network {
        EncoderNetwork::TsmResnet18 | EncoderNetwork::TsmResnet34 | EncoderNetwork::TsmResnet50 => &["conv1.", "bn1."],
        EncoderNetwork::R2plus1d18 | EncoderNetwork::R2plus1d34 => &["stem."],
    };
    stem.iter().map(|&prefix| prefix.to_owned()).chain((1..=stages).map(|layer| format!("layer{layer}."))).collect()
}
