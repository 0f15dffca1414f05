//! Initial weights: constants exactly, random ones as two samples of one distribution.

use serde_json::Value;
use tch::{Kind, Tensor};

use super::Case;
use crate::nn::params::Params;
use crate::nn::parity::fixture::{Error, device};

/// Two samples of one distribution differ by less than this many standard errors (of the difference) but for once in 5e8.
const ERRORS: f64 = 6.0;

/// Compares fresh weights of ours with the moments of theirs.
pub(super) fn check(case: &mut Case<'_>) -> Result<(), Error> {
    let mut fresh = Params::new(1, device());
    let _ = case.settings.build(&mut fresh, case.channels, case.classes);
    let theirs = case.manifest.at("/init_stats")?.as_object().cloned().unwrap_or_default();
    let names = fresh.entries().iter().all(|(name, _)| theirs.contains_key(name)) && theirs.len() == fresh.entries().len();
    case.equal("init_stats (names)", names);
    for (name, tensor) in fresh.entries() {
        let Some(stats) = theirs.get(name) else { continue };
        let shape: Vec<i64> = stats["shape"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        case.equal(&format!("init_stats/{name} (shape)"), shape == tensor.size());
        compare(case, name, tensor, stats);
    }
    Ok(())
}

fn compare(case: &mut Case<'_>, name: &str, tensor: &Tensor, stats: &Value) {
    let theirs = |key: &str| stats[key].as_f64().unwrap_or(f64::NAN);
    let ours = tensor.detach().to_kind(Kind::Double);
    let number = |t: Tensor| t.double_value(&[]);
    let (mean, low, high) = (number(ours.mean(Kind::Double)), number(ours.min()), number(ours.max()));
    if theirs("min") == theirs("max") {
        let off =
            [(mean, "mean"), (low, "min"), (high, "max")].map(|(value, key)| (value - theirs(key)).abs() / theirs(key).abs().max(1.0));
        case.note(&format!("init_stats/{name}"), off.into_iter().fold(0.0, f64::max), 1e-6, true);
        return;
    }
    let n = tensor.numel() as f64;
    let deviation = number(ours.std(true));
    let spread = theirs("std").max(deviation);
    // Fourth moments of a uniform and of a normal distribution; the latter is the wider, but a sample far inside of ±2
    // deviations is uniform.
    let uniform = high.max(-low) < 1.8 * deviation;
    let kurtosis: f64 = if uniform { 1.8 } else { 3.0 };
    let of_mean = spread * (2.0 / n).sqrt();
    let of_deviation = spread * ((kurtosis - 1.0) / (2.0 * n)).sqrt();
    let errors = ((mean - theirs("mean")).abs() / of_mean).max((deviation - theirs("std")).abs() / of_deviation);
    case.note(&format!("init_stats/{name}"), errors, ERRORS, false);
    if uniform {
        // The largest of n uniform values falls short of the bound by x of it with probability exp(-n x).
        let (edge, wanted) = (high.max(-low), theirs("max").max(-theirs("min")));
        case.note(&format!("init_stats/{name} (bounds)"), (edge / wanted - 1.0).abs(), 20.0 / n, true);
    }
}
