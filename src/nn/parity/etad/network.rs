//! The network of a folder of ETAD's fixtures, as its manifest describes it, and batches from arrays.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::{Kind, Tensor};

use crate::config::EtadConfig;
use crate::config::settings::{Common, Preset};
use crate::nn::models::etad::losses::Draws;
use crate::nn::models::etad::proposals::{Anchor, Lattice};
use crate::nn::models::etad::{Batch, Etad, Proposals};
use crate::nn::params::Params;
use crate::nn::parity::fixture::{Error, Fixture, device};

/// Tolerance of outputs and losses.
pub(super) const OUTPUT: f64 = 2e-5;
/// Tolerance of gradients, relative.
pub(super) const GRADIENT: f64 = 1e-4;

/// Keys of a configuration that say how the arrays were drawn; the network does not depend on them.
const DRAWN: [&str; 4] = ["proposal_ratio", "B", "K", "seed"];

/// Settings and initial weights of the network that the fixtures of a folder speak of.
pub(super) struct Small {
    folder: PathBuf,
    config: EtadConfig,
    channels: i64,
}

impl Small {
    /// From `fixtures.detector_small.config` of the manifest. What is left out is as published, and so are the widths.
    ///
    /// # Errors
    /// A key or value of which this version builds no network.
    pub fn of(folder: &Path, manifest: &Value) -> Result<Self, Error> {
        let published = EtadConfig::preset(Preset::Activitynet).expect("ETAD has every preset");
        let mut small = Self { folder: folder.to_owned(), config: published, channels: 0 };
        let config = &manifest["fixtures"]["detector_small"]["config"];
        for (key, value) in config.as_object().into_iter().flatten().filter(|(key, _)| !DRAWN.contains(&key.as_str())) {
            let wrong = |problem: &str| Error::Config {
                path: folder.join("manifest.json"),
                key: format!("fixtures.detector_small.config.{key}"),
                value: value.to_string(),
                problem: problem.to_owned(),
            };
            let size = || value.as_i64().filter(|v| *v > 0).ok_or_else(|| wrong("is no size"));
            let EtadConfig { common, max_duration, roi_bins, hidden, roi_channels, fc, fc_inner, stage_tiou, .. } = &mut small.config;
            match key.as_str() {
                "C" => small.channels = size()?,
                "T" => common.window = size()? as usize,
                "D" => *max_duration = size()? as usize,
                "roi_size" => *roi_bins = size()?,
                "hidden" => *hidden = size()?,
                "roi_channels" => *roi_channels = size()?,
                "fc" => *fc = size()?,
                "fc_inner" => *fc_inner = size()?,
                "stage_thresholds" => {
                    let thresholds = value.as_array().map(|list| list.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
                    *stage_tiou = thresholds.filter(|t| !t.is_empty()).ok_or_else(|| wrong("is no list of tIoU"))?;
                }
                _ => return Err(wrong("is an option of which this version builds no network")),
            }
        }
        // Without the key: as many channels as the inputs have.
        if small.channels == 0 {
            small.channels = Fixture::open(folder, "detector_small")?.get("input.x")?.size()[1];
        }
        small.config.check().map_err(|problem| Error::Config {
            path: folder.join("manifest.json"),
            key: "fixtures.detector_small.config".into(),
            value: config.to_string(),
            problem,
        })?;
        Ok(small)
    }

    /// The network with the initial weights of `detector_small`.
    pub fn model(&self) -> Result<(Params, Etad), Error> {
        let weights = Fixture::open(&self.folder, "detector_small")?;
        let mut params = Params::new(0, device());
        let etad = Etad::new(&mut params, &self.config, self.channels, None);
        params.assign("state of detector_small", weights.group("state."))?;
        Ok((params, etad))
    }

    /// Every proposal of its inputs.
    pub fn lattice(&self) -> Lattice {
        let Common { window, .. } = self.config.common;
        Lattice { time: window, max_duration: self.config.max_duration }
    }

    /// Above which tIoU each stage regresses.
    pub fn thresholds(&self) -> &[f64] {
        &self.config.stage_tiou
    }

    /// A batch from arrays under the prefixes of anchors, ground truth and noise, whose keys differ a little between the
    /// fixtures.
    pub fn batch(&self, f: &Fixture, x: Tensor, anchors: &str, truth: &str, noise: &str) -> Result<Batch, Error> {
        let draws = (0..self.config.stage_tiou.len()).map(|s| {
            let draw = |name: &str| f.get(&format!("{noise}noise.s{s}.{name}"));
            let class = [draw("iou_cls")?, draw("cls_start")?, draw("cls_end")?];
            Ok(Draws { class: Tensor::stack(&class, 0), mid: draw("iou_mid")?, low: draw("iou_low")? })
        });
        let anchors = pairs(&f.get(anchors)?);
        let n = anchors.iter().map(Vec::len).sum::<usize>() as i64;
        Ok(Batch {
            x,
            proposals: Proposals::new(&anchors, device()),
            boundaries: Tensor::stack(&[f.get(&format!("{truth}start"))?, f.get(&format!("{truth}end"))?], 0),
            matched: f.get(&format!("{truth}bbox"))?.view([-1, 2]),
            classes: Tensor::zeros([n], (Kind::Int64, device())),
            draws: draws.collect::<Result<_, Error>>()?,
            class_draw: Tensor::zeros([n], (Kind::Float, device())),
        })
    }
}

/// `[B, K, 2]` as lists.
fn pairs(tensor: &Tensor) -> Vec<Vec<Anchor>> {
    let per_input = tensor.size()[1] as usize;
    let flat = Vec::<f32>::try_from(tensor.reshape([-1])).expect("a float array");
    let pairs: Vec<Anchor> = flat.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    pairs.chunks_exact(per_input).map(<[Anchor]>::to_vec).collect()
}
