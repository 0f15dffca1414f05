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

/// Of losses after the first update, where nothing crossed a threshold.
const LATER: f64 = 3e-4;
/// Of the norm of the gradient then, relative.
const LATER_NORM: f64 = 2e-3;
/// How much further from double precision than the reference a loss may lie.
const TIMES: f64 = 2.0;
/// Of losses once a proposal has crossed a threshold: a positive more or less out of some ten moves a term by some percent.
const CROSSED: f64 = 2e-2;
/// Of weights: those whose gradient is rounding wander by the rate per update.
const WEIGHT: f64 = 2.3e-3;
/// Thresholds of the tIoU losses beside the stages' own.
const OVERLAPS: [f64; 3] = [0.3, 0.7, 0.9];

pub(super) fn check(f: &mut Fixture, small: &Small) -> Result<(), Error> {
    let (params, etad) = small.model()?;
    let mut adam = Adam::new(&params, AdamOptions { rule: Optimiser::Adamw, weight_decay: 1e-4, spare_plain: false, slow: &[] });
    let mut crossed = Vec::new();
    for step in 0.. {
        let prefix = format!("step{step}.");
        if !f.has(&format!("{prefix}x")) {
            break;
        }
        let x = f.get(&format!("{prefix}x"))?;
        let batch = small.batch(f, x, &format!("{prefix}anchors"), &format!("{prefix}gt_"), &prefix)?;
        let mut gradients = Gradients::none(&params);
        let mut anchors = Vec::new();
        let terms = etad.backward(&params, &batch, &mut gradients, |trace| anchors.push(trace.anchors));
        for (stage, anchors) in anchors.iter().enumerate() {
            crossed.extend(crossings(f, small, step, stage, anchors, &batch.matched)?);
        }
        let (base, of_norm) = if step == 0 { (OUTPUT, GRADIENT) } else { (LATER, LATER_NORM) };
        for (name, value) in &terms {
            let key = format!("{prefix}loss.{name}");
            if f.has(&key) {
                judge(f, &key, *value, base, &crossed)?;
            }
        }
        let of_norm = if crossed.is_empty() { of_norm } else { of_norm.max(CROSSED) };
        f.compare_relative(&format!("{prefix}gradnorm_total"), gradients.norm(), of_norm)?;
        adam.step(&params, &gradients, 1e-3);
        for (name, tensor) in params.entries() {
            f.compare_relative(&format!("{prefix}paramnorm.{name}"), tensor.norm().double_value(&[]), WEIGHT)?;
        }
    }
    for (name, tensor) in params.entries() {
        let key = format!("final.{name}");
        if f.has(&key) {
            f.compare(&key, tensor, WEIGHT)?;
        }
    }
    Ok(())
}

/// Compares a loss with the reference in single precision. It may deviate by more than `base` where the reference itself lies
/// far from double precision, or after a proposal crossed a threshold; either is noted.
fn judge(f: &mut Fixture, key: &str, got: f64, base: f64, crossed: &[String]) -> Result<(), Error> {
    let number = |f: &Fixture, key: &str| Ok::<_, Error>(f.get(key)?.double_value(&[]));
    let single = number(f, key)?;
    let deviation = (got - single).abs();
    let double = format!("double.{key}");
    let promised = if f.has(&double) { (single - number(f, &double)?).abs() } else { 0.0 };
    let (tolerance, note) = if deviation <= base {
        (base, None)
    } else if deviation <= TIMES * promised {
        (TIMES * promised, Some(format!("the reference itself is {promised:.1e} from double precision")))
    } else if !crossed.is_empty() {
        (CROSSED, Some(format!("{} so far: {}", plural(crossed.len()), crossed.join("; "))))
    } else {
        (base.max(TIMES * promised), None)
    };
    f.note(key, deviation, tolerance, false);
    if let (Some(check), Some(note)) = (f.checks.last_mut(), note) {
        check.note = Some(note);
    }
    Ok(())
}

fn plural(count: usize) -> String {
    if count == 1 { "1 threshold crossed".into() } else { format!("{count} thresholds crossed") }
}

/// Proposals that lie on another side of a threshold than in the reference, in words; none where the fixture does not hold the
/// reference's proposals of that stage.
fn crossings(f: &Fixture, small: &Small, step: usize, stage: usize, ours: &Tensor, matched: &Tensor) -> Result<Vec<String>, Error> {
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
