//! The fixtures of G-TAD.

use std::path::Path;

use serde_json::Value;
use tch::{Kind, Tensor};

use super::Check;
use super::fixture::{self, Error, Fixture, device};
use crate::config::GtadConfig;
use crate::config::settings::{Common, Preset};
use crate::nn::models::gtad::Gtad;
use crate::nn::models::gtad::targets::{Grid, Targets};
use crate::nn::optim::Gradients;
use crate::nn::params::{self, Params};

const OUTPUT: f64 = 5e-5;
const LOSS: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;

/// Recomputes the fixtures of a folder.
pub(super) fn check(folder: &Path, manifest: &Value) -> Result<Vec<Check>, Error> {
    let weights = params::read_tensors(&folder.join("weights.safetensors"))?;
    let config = config(folder, manifest, &weights)?;
    let mut params = Params::new(0, device());
    let channels = manifest["config"]["feat_dim"].as_i64().unwrap_or_default();
    let model = Gtad::new(&mut params, &config, channels, None);
    let mut checks = initial_values(&params, manifest);
    params.assign(&folder.join("weights.safetensors").display().to_string(), weights)?;

    let mut eval = Fixture::open(folder, "eval")?;
    let input = eval.get("input")?;
    let inferred = model.infer(&input);
    eval.compare("iou_map", &inferred.iou.permute([0, 3, 1, 2]), OUTPUT)?;
    eval.compare("start", &inferred.start, OUTPUT)?;
    eval.compare("end", &inferred.end, OUTPUT)?;

    let mut train = Fixture::open(folder, "train")?;
    let grid = Grid { durations: config.max_duration, time: config.common.window };
    train.compare("bm_mask", &grid.valid(), 0.0)?;
    let valid = train.get("bm_mask")?;
    let targets = Targets {
        // The release masks the map before any loss.
        iou: train.get("gt_iou_map")? * &valid,
        valid,
        start: train.get("gt_start")?,
        end: train.get("gt_end")?,
        draws: [train.get("rand.0")?, train.get("rand.1")?],
        weights: None,
        classes: None,
    };
    let input = if train.has("input") { train.get("input")? } else { input };
    let mut gradients = Gradients::none(&params);
    let terms = model.backward(&params, &input, &targets, &mut gradients);
    for (name, value) in terms.read() {
        let name = if name == "cost" { "total" } else { &*name };
        relative(&mut checks, &format!("train/loss.{name}"), &manifest["losses"][name], value, LOSS);
    }
    let norms = fixture::json(&folder.join("grad_norms.json"))?;
    let mut squares = 0.0;
    for ((name, tensor), gradient) in params.entries().iter().zip(gradients.as_slice()) {
        // Single precision loses 1e-4 over four million values.
        let norm = gradient.as_ref().map_or(0.0, |g| g.to_kind(Kind::Double).norm().double_value(&[]));
        relative(&mut checks, &format!("train/grad_norm.{name}"), &norms[name], norm, GRADIENT);
        squares += norm * norm;
        let key = format!("grad/{name}");
        if train.has(&key) {
            let gradient = gradient.as_ref().map_or_else(|| tensor.zeros_like(), Tensor::shallow_clone);
            // Relative to the largest element.
            let largest = train.get(&key)?.abs().max().double_value(&[]);
            train.compare(&key, &gradient, GRADIENT * largest)?;
        }
    }
    relative(&mut checks, "train/total_grad_norm", &manifest["total_grad_norm"], squares.sqrt(), GRADIENT);
    checks.extend(eval.checks);
    checks.extend(train.checks);
    Ok(checks)
}

/// The settings that the manifest and the shapes of the weights tell.
fn config(folder: &Path, manifest: &Value, weights: &[(String, Tensor)]) -> Result<GtadConfig, Error> {
    let published = GtadConfig::preset(Preset::Thumos14).expect("G-TAD has this preset");
    for (key, value) in [("goi_style", Value::from(1)), ("goi_samp", Value::from(0))] {
        fixture::only(&folder.join("manifest.json"), manifest, "/config", key, &value)?;
    }
    let number = |name: &str, otherwise: i64| manifest["config"][name].as_i64().unwrap_or(otherwise);
    let outputs = |name: &str| {
        let path = folder.join("weights.safetensors");
        let missing = || Error::Missing { path, key: name.to_owned() };
        weights.iter().find(|(n, _)| n == name).map(|(_, t)| t.size()).ok_or_else(missing)
    };
    let hidden = outputs("backbone1.0.weight")?[0];
    let map = outputs("localization.0.weight")?;
    // As many bins for the context as for the anchor on THUMOS14; 32 and 4 on ActivityNet.
    let (roi_bins, context_bins) = if map[1] == 36 * hidden { (32, 4) } else { (map[1] / hidden / 2, map[1] / hidden / 2) };
    Ok(GtadConfig {
        common: Common { window: number("temporal_scale", 256) as usize, ..published.common },
        max_duration: number("max_duration", 64) as usize,
        hidden,
        roi_bins,
        context_bins,
        map_wide: map[0],
        map_channels: outputs("localization.2.weight")?[0],
        map_kernel: number("kern_2d", 3),
        ..published
    })
}

/// The number of parameters, and their spread as initialised where the manifest has it.
fn initial_values(params: &Params, manifest: &Value) -> Vec<Check> {
    let mut checks = Vec::new();
    relative(&mut checks, "params/total", &manifest["params"]["total"], params.count() as f64, 0.0);
    for (name, tensor) in params.entries() {
        let n = tensor.numel() as f64;
        // Both deviations are of samples of a uniform distribution: each is off by 0.45/√n as a rule.
        if n >= 64.0 {
            let deviation = tensor.std(false).double_value(&[]);
            relative(&mut checks, &format!("init/{name}.std"), &manifest["init_stats"][name]["std"], deviation, 3.0 / n.sqrt());
        }
    }
    checks
}

/// Compares with a number of the manifest, where it has it.
fn relative(checks: &mut Vec<Check>, name: &str, wanted: &Value, got: f64, tolerance: f64) {
    if let Some(wanted) = wanted.as_f64() {
        let deviation = if wanted == 0.0 { got.abs() } else { (got / wanted - 1.0).abs() };
        checks.push(Check::new(name, deviation, tolerance, true));
    }
}
