//! Some updates with the published optimiser, judged by what single precision can promise.
//!
//! Adam turns the rounding of gradients near zero into whole steps, and the losses choose proposals by thresholds of their tIoU:
//! one that crosses a threshold changes which negatives are drawn, so that two faithful computations part for good. So beside
//! the reference in single precision a fixture may hold the same in double precision: where the reference itself is far from
//! that, so may we be. What crosses a threshold here and not there is counted and named.

use tch::{Kind, Tensor};

use super::network::{GRADIENT, OUTPUT, Small};
use crate::config::settings::Optimiser;
use crate::nn::models::etad::overlap;
use crate::nn::optim::{Adam, AdamOptions, Gradients};
use crate::nn::parity::fixture::{Error, Fixture};

/// Rate of the published updates.
const RATE: f64 = 1e-3;
/// Of losses after the first update, where nothing parted.
const LATER: f64 = 3e-4;
/// Of the norm of the gradient then, relative.
const LATER_NORM: f64 = 2e-3;
/// How much further from double precision than the reference we may lie.
const TIMES: f64 = 2.0;
/// Once a proposal has crossed a threshold, relative: a positive more or less out of some ten moves a term by some percent.
const CROSSED: f64 = 2e-2;
/// Of weights: those whose gradient is rounding wander by the rate per update.
const WEIGHT: f64 = 2.3e-3;
/// Thresholds of the tIoU losses beside the stages' own.
const OVERLAPS: [f64; 3] = [0.3, 0.7, 0.9];

/// What single precision can promise of a training up to an update.
#[derive(Default)]
struct Promise {
    /// Largest distance of the reference's losses from double precision so far.
    losses: f64,
    /// The same of the norm of its gradient, relative.
    norm: f64,
    /// Proposals that crossed a threshold so far, in words.
    crossed: Vec<String>,
}

pub(super) fn check(f: &mut Fixture, small: &Small) -> Result<(), Error> {
    let (params, etad) = small.model()?;
    let mut adam = Adam::new(&params, AdamOptions { rule: Optimiser::Adamw, weight_decay: 1e-4, spare_plain: false, slow: &[] });
    let mut promise = Promise::default();
    let mut updates = 0;
    while f.has(&format!("step{updates}.x")) {
        let prefix = format!("step{updates}.");
        let x = f.get(&format!("{prefix}x"))?;
        let batch = small.batch(f, x, &format!("{prefix}anchors"), &format!("{prefix}gt_"), &prefix)?;
        let mut gradients = Gradients::none(&params);
        let mut anchors = Vec::new();
        let terms = etad.backward(&params, &batch, &mut gradients, |trace| anchors.push(trace.anchors));
        for (stage, anchors) in anchors.iter().enumerate() {
            promise.crossed.extend(crossings(f, small, updates, stage, anchors, &batch.matched)?);
        }
        let terms = terms.read().into_iter().map(|(name, value)| (format!("{prefix}loss.{name}"), value));
        let terms: Vec<(String, f64)> = terms.filter(|(key, _)| f.has(key)).collect();
        for (key, _) in &terms {
            promise.losses = promise.losses.max(distance(f, key)?.0);
        }
        let norm = format!("{prefix}gradnorm_total");
        promise.norm = promise.norm.max(distance(f, &norm)?.1);
        let (of_losses, of_norm) = if updates == 0 { (OUTPUT, GRADIENT) } else { (LATER, LATER_NORM) };
        for (key, value) in terms {
            f.compare(&key, &Tensor::from(value), of_losses)?;
            promise.relax(f, promise.losses);
        }
        f.compare_relative(&norm, gradients.norm().double_value(&[]), of_norm)?;
        promise.relax(f, promise.norm);
        adam.step(&params, &gradients, RATE);
        updates += 1;
        for (name, tensor) in params.entries() {
            f.compare_relative(&format!("{prefix}paramnorm.{name}"), tensor.norm().double_value(&[]), WEIGHT)?;
            promise.relax(f, RATE * f64::from(updates));
        }
    }
    for (name, tensor) in params.entries() {
        let key = format!("final.{name}");
        if f.has(&key) {
            f.compare(&key, tensor, WEIGHT)?;
            promise.relax(f, RATE * f64::from(updates));
        }
    }
    Ok(())
}

impl Promise {
    /// Allows the last check what the reference itself deviates by, or a step of the losses where a threshold was crossed, and
    /// notes why. `reference` is its distance from double precision in this quantity.
    fn relax(&self, f: &mut Fixture, reference: f64) {
        let Some(check) = f.checks.last_mut().filter(|check| !check.passed) else { return };
        let parted = self.losses > LATER;
        let (tolerance, note) = if parted && check.deviation <= TIMES * reference {
            (TIMES * reference, format!("the reference itself is up to {:.1e} from double precision", self.losses))
        } else if !self.crossed.is_empty() && check.deviation <= CROSSED.max(TIMES * reference) {
            let times = if self.crossed.len() == 1 { "1 threshold".into() } else { format!("{} thresholds", self.crossed.len()) };
            (CROSSED.max(TIMES * reference), format!("{times} crossed so far: {}", self.crossed.join("; ")))
        } else {
            return;
        };
        (check.tolerance, check.passed, check.note) = (tolerance, true, Some(note));
    }
}

/// How far a number of the reference lies from the same in double precision, absolute and relative; 0 where the fixture does not
/// hold that.
fn distance(f: &Fixture, key: &str) -> Result<(f64, f64), Error> {
    let double = format!("double.{key}");
    if !f.has(&double) {
        return Ok((0.0, 0.0));
    }
    let (single, double) = (f.get(key)?.double_value(&[]), f.get(&double)?.double_value(&[]));
    Ok(((single - double).abs(), (single / double - 1.0).abs()))
}

/// Proposals that lie on another side of a threshold than in the reference, in words; none where the fixture does not hold the
/// reference's proposals of that stage.
fn crossings(f: &Fixture, small: &Small, step: u32, stage: usize, ours: &Tensor, matched: &Tensor) -> Result<Vec<String>, Error> {
    let key = format!("step{step}.stage{stage}");
    if !f.has(&key) {
        return Ok(Vec::new());
    }
    let theirs = f.get(&key)?.view([-1, 2]);
    let numbers = |t: Tensor| Vec::<f64>::try_from(t.to_kind(Kind::Double).contiguous().view([-1])).expect("a float array");
    let (a, b) = (numbers(overlap(ours, matched)), numbers(overlap(&theirs, matched)));
    let mut found = Vec::new();
    let mut thresholds = OVERLAPS.to_vec();
    thresholds.push(small.thresholds()[stage]);
    thresholds.dedup();
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    for (row, (a, b)) in a.iter().zip(&b).enumerate() {
        for t in thresholds.iter().filter(|t| (a > t) != (b > t)) {
            found.push(format!("update {}, stage {stage}, proposal {row}: tIoU {a:.8} against {b:.8} at {t}", step + 1));
        }
    }
    // The cell of an end decides what its startness or endness is compared with.
    let time = small.lattice().time as f64;
    let cell = |end: f64| (end * time).trunc().clamp(0.0, time - 1.0);
    for (at, (a, b)) in numbers(ours.shallow_clone()).iter().zip(&numbers(theirs)).enumerate() {
        if cell(*a) != cell(*b) {
            let end = ["start", "end"][at % 2];
            found.push(format!(
                "update {}, stage {stage}, proposal {}: {end} at cell {:.6} against {:.6}",
                step + 1,
                at / 2,
                a * time,
                b * time
            ));
        }
    }
    Ok(found)
}
