//! A short training with the authors' optimiser, schedule, clipping, average and normaliser.

use serde_json::Value;
use tch::{Kind, Tensor};

use super::settings::Manifest;
use super::{Case, largest};
use crate::config::settings::{Common, Optimiser, Schedule};
use crate::nn::optim::{Adam, AdamOptions, Average, Gradients, learning_rate};
use crate::nn::parity::fixture::{Error, Fixture, json, value};

/// Losses and norms along the way, relative.
const STEP: f64 = 1e-4;

/// Weights at the end. Adam turns even the sign of a gradient's rounding into a step, so a weight whose exact gradient is
/// zero may wander by all the learning rates together; others end close.
const WEIGHT: f64 = 2e-5;

/// Of an average, whose every update rounds once or twice in single precision.
const ROUNDING: f64 = 1e-6;

pub(super) fn check(case: &mut Case<'_>) -> Result<(), Error> {
    let file = case.folder.join("trajectory.json");
    let content = json(&file)?;
    let trajectory = Manifest::new(&file, &content);
    case.reset()?;
    let f = Fixture::open(case.folder, "train")?;
    let batch = case.batch(&f)?;
    let passes = trajectory.number("/opt/epochs")?;
    let warm = if trajectory.at("/opt/warmup")?.as_bool() == Some(true) { trajectory.number("/opt/warmup_epochs")? } else { 0.0 };
    let common = Common {
        optimiser: Optimiser::Adamw,
        schedule: Schedule::WarmupCosine,
        lr: trajectory.number("/opt/learning_rate")?,
        min_lr: trajectory.number("/opt/eta_min").unwrap_or(1e-8),
        epochs: (passes + warm) as u32,
        warmup_epochs: warm,
        weight_decay: trajectory.number("/opt/weight_decay")?,
        ..case.settings.common().clone()
    };
    case.equal("trajectory/opt/type", trajectory.text("/opt/type")? == "AdamW");
    case.equal("trajectory/opt/schedule_type", trajectory.text("/opt/schedule_type")? == "cosine");
    let total = (passes + warm) as u64 * trajectory.count("/iters_per_epoch")? as u64;
    let options = AdamOptions { rule: Optimiser::Adamw, weight_decay: common.weight_decay, spare_plain: true, slow: &[] };
    groups(case, &trajectory, &content)?;
    let mut adam = Adam::new(&case.params, options);
    let average = Average::new(&case.params, trajectory.number("/ema_decay")?);
    let clip = trajectory.number("/clip")?;
    let mut wandering: Vec<Tensor> = case.params.entries().iter().map(|(_, t)| t.detach().zeros_like()).collect();
    let steps = trajectory.at("/steps")?.as_array().map_or(0, Vec::len);
    for step in 0..steps {
        let (_, terms) = case.losses(&batch);
        let cost = terms.iter().map(|t| &t.value * t.weight).reduce(|a, b| a + b).expect("there are two terms");
        let mut gradients = Gradients::none(&case.params);
        gradients.add(&case.params, &cost, &[]);
        let norm = value(&gradients.clip(clip));
        let lr = learning_rate(&common, step as u64, total);
        let mut got: Vec<(String, f64, f64)> = terms.iter().map(|t| (t.name.to_owned(), value(&t.value), STEP)).collect();
        got.push(("final_loss".into(), value(&cost), STEP));
        got.push(("grad_norm_before_clip".into(), norm, STEP));
        got.push(("loss_normalizer".into(), case.network.pyramid().normaliser.get(), 1e-9));
        got.push(("lr_used".into(), lr, 1e-9));
        if step + 1 < steps {
            got.push(("lr_after".into(), learning_rate(&common, step as u64 + 1, total), 1e-9));
        }
        for (name, value, tolerance) in got {
            let path = format!("/steps/{step}/{name}");
            case.near(&format!("trajectory{path}"), value, trajectory.number(&path)?, tolerance);
        }
        for (sum, gradient) in wandering.iter_mut().zip(gradients.as_slice()) {
            *sum += gradient.as_ref().map_or_else(|| sum.ones_like(), rounding) * lr;
        }
        adam.step(&case.params, &gradients, lr);
        average.update(&case.params);
    }
    let after = format!("after{steps}steps");
    if !case.folder.join(&after).with_extension("safetensors").is_file() {
        return Ok(());
    }
    let mut after = Fixture::open(case.folder, &after)?;
    for ((name, tensor), free) in case.params.entries().iter().zip(&wandering) {
        beyond(&mut after, &format!("model/{name}"), tensor, free, WEIGHT)?;
    }
    average.install(&case.params);
    for ((name, tensor), free) in case.params.entries().iter().zip(&wandering) {
        beyond(&mut after, &format!("ema/{name}"), tensor, &(free * 0.012), 0.1 * WEIGHT + ROUNDING * largest(tensor))?;
    }
    case.close(after, &format!("after{steps}steps"), |_| false);
    Ok(())
}

/// Ones where a gradient is nothing but rounding: that is some 1e-7 of the largest one of its tensor, or all of a tensor
/// whose largest is that small.
fn rounding(gradient: &Tensor) -> Tensor {
    let most = largest(gradient);
    let floor = if most < 1e-6 { f64::INFINITY } else { 1e-6 * most };
    gradient.abs().lt(floor).to_kind(Kind::Float)
}

/// Compares by how far a value is off beyond what it is free to wander.
fn beyond(f: &mut Fixture, key: &str, got: &Tensor, free: &Tensor, tolerance: f64) -> Result<(), Error> {
    let wanted = f.get(key)?;
    let same = wanted.size() == got.size();
    let deviation = if same { largest(&((wanted - got.detach()).abs() - free).clamp_min(0.0)) } else { f64::INFINITY };
    f.note(key, deviation, tolerance, false);
    Ok(())
}

/// Which weights decay.
fn groups(case: &mut Case<'_>, trajectory: &Manifest<'_>, content: &Value) -> Result<(), Error> {
    let plain = |name: &str| case.params.is_plain(name);
    let count = |wanted: bool| case.params.entries().iter().filter(|(n, _)| plain(n) == wanted).map(|(_, t)| t.numel()).sum::<usize>();
    let (decayed, spared) = (count(false), count(true));
    let mut listed = Vec::new();
    for (group, wanted) in [("decay", false), ("no_decay", true)] {
        let names = content.pointer(&format!("/groups/{group}")).and_then(Value::as_array);
        let Some(names) = names else { continue };
        let ours = case.params.entries().iter().filter(|(n, _)| plain(n) == wanted).count();
        let same = names.len() == ours && names.iter().filter_map(Value::as_str).all(|n| plain(n) == wanted);
        listed.push((format!("trajectory/groups/{group}"), same));
    }
    for (name, same) in listed {
        case.equal(&name, same);
    }
    case.equal("trajectory/n_decay", decayed == trajectory.count("/n_decay")?);
    case.equal("trajectory/n_no_decay", spared == trajectory.count("/n_no_decay")?);
    Ok(())
}
