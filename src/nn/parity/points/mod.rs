//! The fixtures of the anchor-free detectors, whatever their sizes: manifest and arrays say everything.
//!
//! Tolerances are those of the specification §11: outputs 5e-5 (the authors' own gap between single and double precision is
//! 2e-6), losses 1e-5 and gradients 1e-4 of their size, detections 1e-3 s as sets.

mod detections;
mod initial;
mod settings;
mod trajectory;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tch::{Kind, Tensor};

use self::detections::{Found, compare_sets};
use self::settings::{Manifest, Settings};
use super::fixture::{Error, Fixture, device, json};
use super::{Check, Checked};
use crate::data::Segment;
use crate::data::windows::CellInstance;
use crate::eval::Detection;
use crate::nn::layers::masked::channels_last;
use crate::nn::layers::points::{rows, valid_points};
use crate::nn::models::points::{Outputs, PointNetwork, as_released};
use crate::nn::network::{Batch, Term};
use crate::nn::optim::Gradients;
use crate::nn::params::Params;

const OUTPUT: f64 = 5e-5;
const LOSS: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;

/// Recomputes the fixtures of a folder.
pub(super) fn check(folder: &Path, manifest: &Value) -> Result<Checked, Error> {
    let file = folder.join("manifest.json");
    let manifest = Manifest::new(&file, manifest);
    let model = manifest.text("/model")?.to_owned();
    let settings = manifest.settings()?;
    let mut case = Case::open(folder, &manifest, &settings)?;
    case.assumptions()?;
    initial::check(&mut case)?;
    case.evaluation()?;
    case.training()?;
    if folder.join("trajectory.json").is_file() {
        trajectory::check(&mut case)?;
    }
    Ok((model, case.checks, case.not_covered))
}

/// A fixture folder and a network with its weights.
struct Case<'a> {
    folder: &'a Path,
    manifest: &'a Manifest<'a>,
    settings: &'a Settings,
    params: Params,
    network: Box<dyn PointNetwork>,
    channels: i64,
    classes: i64,
    checks: Vec<Check>,
    not_covered: Vec<String>,
}

impl<'a> Case<'a> {
    fn open(folder: &'a Path, manifest: &'a Manifest<'a>, settings: &'a Settings) -> Result<Self, Error> {
        let channels = manifest.count("/config/model/input_dim")? as i64;
        let classes = manifest.count("/config/model/num_classes")? as i64;
        let mut params = Params::new(0, device());
        let network = settings.build(&mut params, channels, classes);
        Ok(Self { folder, manifest, settings, params, network, channels, classes, checks: Vec::new(), not_covered: Vec::new() })
    }

    /// Loads the fixture's weights and starts the normaliser anew.
    fn reset(&self) -> Result<(), Error> {
        self.params.assign("weights.safetensors", Fixture::open(self.folder, "weights")?.group(""))?;
        self.network.pyramid().normaliser.set(self.settings.points().loss_norm);
        Ok(())
    }

    fn note(&mut self, name: &str, deviation: f64, tolerance: f64, relative: bool) {
        self.checks.push(Check::new(name, deviation, tolerance, relative));
    }

    fn equal(&mut self, name: &str, same: bool) {
        self.note(name, if same { 0.0 } else { f64::INFINITY }, 0.0, false);
    }

    /// Relative to the wanted number, which is absolute where that is zero.
    fn near(&mut self, name: &str, got: f64, wanted: f64, tolerance: f64) {
        self.note(name, relative(got, wanted), tolerance, true);
    }

    /// Takes over the checks of a file and lists its arrays that none of them looked at. `inputs` says what is no result.
    fn close(&mut self, fixture: Fixture, file: &str, inputs: impl Fn(&str) -> bool) {
        let compared: BTreeSet<String> =
            fixture.checks.iter().filter_map(|c| Some(c.name.strip_prefix(file)?.strip_prefix('/')?.to_owned())).collect();
        let missed = fixture.keys("").into_iter().filter(|key| !compared.contains(key) && !inputs(key));
        self.not_covered.extend(missed.map(|key| format!("{file}/{key}")));
        self.checks.extend(fixture.checks);
    }

    fn assumptions(&mut self) -> Result<(), Error> {
        let (points, levels) = (self.settings.points().clone(), self.network.pyramid().levels().len());
        for (path, holds) in self.manifest.assumptions(levels, &points)? {
            self.equal(&format!("manifest{path}"), holds);
        }
        self.equal("manifest/max_div_factor", self.network.padding_multiple() == self.manifest.count("/max_div_factor")?);
        let strides = self.network.pyramid().levels().iter().map(|l| l.stride as f64).collect::<Vec<_>>();
        self.equal("manifest/fpn_strides", strides == self.manifest.list("/fpn_strides")?);
        for count in ["/params/total", "/params/trainable"] {
            self.equal(&format!("manifest{count}"), self.params.count() as usize == self.manifest.count(count)?);
        }
        Ok(())
    }

    fn evaluation(&mut self) -> Result<(), Error> {
        self.reset()?;
        let mut f = Fixture::open(self.folder, "eval")?;
        let names: Vec<String> = self.manifest.at("/eval")?.as_object().into_iter().flat_map(|o| o.keys().cloned()).collect();
        for name in names {
            self.video(&mut f, &name)?;
        }
        self.close(f, "eval", |key| key.ends_with("/feats"));
        Ok(())
    }

    /// One video, from its features to its detections in seconds.
    fn video(&mut self, f: &mut Fixture, name: &str) -> Result<(), Error> {
        let key = |what: &str| format!("{name}/{what}");
        let of = |what: &str| format!("/eval/{name}/{what}");
        let x = f.get(&key("feats"))?.unsqueeze(0);
        let valid = x.size()[2] as usize;
        let padded = as_released(valid, self.settings.common().window, self.network.padding_multiple());
        self.equal(&format!("manifest{}", of("padded_T")), padded == self.manifest.count(&of("padded_T"))?);
        let x = channels_last(&x.constant_pad_nd([0, (padded - valid) as i64]));
        let out = tch::no_grad(|| self.network.forward(&x, &[valid], false));
        compare_outputs(f, &format!("{name}/"), &out)?;
        f.compare(&key("padded_mask"), &out.masks[0].tensor, 0.0)?;
        for (index, level) in self.network.pyramid().levels().iter().enumerate() {
            f.compare(&key(&format!("mask.{index}")), &out.masks[index].tensor, 0.0)?;
            let stride = level.stride as f32;
            let point = |at: usize| [at as f32 * stride, level.range.0, level.range.1, stride];
            let points: Vec<f32> = (0..padded / level.stride).flat_map(point).collect();
            f.compare(&key(&format!("points.{index}")), &Tensor::from_slice(&points), 0.0)?;
        }
        let candidates = tch::no_grad(|| self.network.candidates(&out)).remove(0);
        let kept = self.network.pyramid().suppress(&candidates);
        let per_cell = self.manifest.number(&of("feat_stride"))? / self.manifest.number(&of("fps"))?;
        let offset = 0.5 * self.manifest.number(&of("feat_num_frames"))? / self.manifest.number(&of("feat_stride"))?;
        let duration = self.manifest.number(&of("duration"))?;
        let second = |cells: f64| ((cells + offset) * per_cell).clamp(0.0, duration);
        let seconds = |d: &Detection| Detection { segment: Segment { start: second(d.segment.start), end: second(d.segment.end) }, ..*d };
        let kept: Vec<Detection> = kept.iter().map(seconds).collect();
        let least = self.settings.points().min_score;
        compare_sets(f, &key("pre_nms"), &candidates, Found { border: least, tolerance: 1e-3 / per_cell.max(1e-9) })?;
        compare_sets(f, &key("det"), &kept, Found { border: least, tolerance: 1e-3 })?;
        let surest = kept.iter().map(|d| d.score).fold(0.0, f64::max);
        self.near(&format!("manifest{}", of("max_score")), surest, self.manifest.number(&of("max_score"))?, GRADIENT);
        Ok(())
    }

    /// The training inputs, padded to the window as the authors do.
    fn batch(&self, f: &Fixture) -> Result<Batch, Error> {
        let window = self.settings.common().window;
        let (mut inputs, mut valid, mut truth) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0.. {
            let key = |what: &str| format!("train{index}/{what}");
            if !f.has(&key("feats")) {
                break;
            }
            let x = f.get(&key("feats"))?;
            valid.push(x.size()[1] as usize);
            inputs.push(x.constant_pad_nd([0, window as i64 - x.size()[1]]));
            let labels = Vec::<i64>::try_from(f.get(&key("labels"))?).expect("an integer array");
            let segments = f.doubles(&key("segments"))?;
            let instance = |(s, &label): (&[f64], &i64)| CellInstance { start: s[0], end: s[1], label: label as usize };
            truth.push(segments.chunks_exact(2).zip(&labels).map(instance).collect());
        }
        Ok(Batch { x: Tensor::stack(&inputs, 0), valid, truth, rng: crate::base::Stream::new(0, "parity") })
    }

    /// Losses of a batch without any randomness, and what they come from.
    fn losses(&self, batch: &Batch) -> (Outputs, Vec<Term>) {
        let out = self.network.forward(&channels_last(&batch.x), &batch.valid, false);
        let terms = self.network.terms(&out, batch);
        (out, terms)
    }

    fn training(&mut self) -> Result<(), Error> {
        self.reset()?;
        let mut f = Fixture::open(self.folder, "train")?;
        let batch = self.batch(&f)?;
        let (out, terms) = self.losses(&batch);
        f.compare("out_cls_logits", &rows(&out.logits), OUTPUT)?;
        f.compare("out_offsets", &rows(&out.offsets), OUTPUT)?;
        compare_boundaries(&mut f, "", &out)?;
        let pyramid = self.network.pyramid();
        let targets = pyramid.assign(&out, &batch);
        f.compare("gt_cls", &targets.classes, 0.0)?;
        let positive = Tensor::zeros([batch.valid.len() as i64 * targets.classes.size()[1]], (Kind::Float, device()));
        let _ = positive.shallow_clone().index_fill_(0, &targets.rows(device()), 1.0);
        f.compare("pos_mask", &positive, 0.0)?;
        let valid = valid_points(&out.masks)
            .unwrap_or_else(|| Tensor::ones([batch.valid.len() as i64, targets.classes.size()[1], 1], (Kind::Float, device())));
        f.compare("valid_mask", &valid, 0.0)?;
        // Offsets count at positive points only; what the authors' arrays hold elsewhere is never read.
        let wanted = f.get("gt_offsets")?.view([-1, 2]).index_select(0, &targets.rows(device()));
        let got = tch::no_grad(|| self.network.wanted(&out, &targets, &batch));
        f.note("gt_offsets", largest(&(wanted - got)), 1e-5, false);
        if f.has("assign_weights") {
            // Every point that is no padding weighs the same.
            f.compare("assign_weights", &valid, 0.0)?;
        }
        let number = |value: &Tensor| value.to_kind(Kind::Double).double_value(&[]);
        let cost = terms.iter().map(|t| &t.value * t.weight).reduce(|a, b| a + b).expect("there are two terms");
        let normaliser = pyramid.normaliser.get();
        let positives = targets.positives.len();
        let mut values: Vec<(String, f64)> = terms.iter().map(|t| (t.name.to_owned(), number(&t.value))).collect();
        values.push(("final_loss".into(), number(&cost)));
        for (name, value) in values {
            let path = format!("/train/losses/{name}");
            self.near(&format!("manifest{path}"), value, self.manifest.number(&path)?, LOSS);
        }
        self.equal("manifest/train/num_pos", positives == self.manifest.count("/train/num_pos")?);
        let before = self.manifest.number("/train/loss_normalizer_before")?;
        self.near("manifest/train/loss_normalizer_before", self.settings.points().loss_norm, before, 1e-12);
        self.near("manifest/train/loss_normalizer_after", normaliser, self.manifest.number("/train/loss_normalizer_after")?, 1e-9);
        let mut gradients = Gradients::none(&self.params);
        gradients.add(&self.params, &cost, &[]);
        self.gradients(&mut f, &gradients)?;
        self.close(f, "train", |key| ["/feats", "/labels", "/segments"].iter().any(|end| key.ends_with(end)));
        Ok(())
    }

    /// Every gradient element by element where the fixture has it whole, relative to the largest of its tensor, and every norm. Where the exact gradient is
    /// zero (a bias in front of a softmax), what is left is rounding: hence the floor.
    fn gradients(&mut self, f: &mut Fixture, gradients: &Gradients) -> Result<(), Error> {
        let norms_file = self.folder.join("grad_norms.json");
        let norms = json(&norms_file)?;
        let total = self.manifest.number("/train/total_grad_norm")?;
        self.near("manifest/train/total_grad_norm", gradients.norm().double_value(&[]), total, GRADIENT);
        let floor = 1e-3 * total;
        let mut without = Vec::new();
        for ((name, parameter), gradient) in self.params.entries().iter().zip(gradients.as_slice()) {
            let key = format!("grad/{name}");
            let got = gradient.as_ref().map_or_else(|| parameter.zeros_like(), Tensor::shallow_clone);
            if f.has(&key) {
                let wanted = f.get(&key)?;
                let deviation =
                    if wanted.size() == got.size() { largest(&(&wanted - got)) / largest(&wanted).max(floor) } else { f64::INFINITY };
                f.note(&key, deviation, GRADIENT, true);
            } else if norms.get(name).and_then(Value::as_f64).is_none_or(|norm| norm == 0.0) {
                without.push(name.clone());
                f.note(&key, largest(&got), 0.0, false);
                continue;
            }
            let wanted = norms.get(name).and_then(Value::as_f64).unwrap_or(0.0);
            let got = gradient.as_ref().map_or(0.0, |g| g.norm().double_value(&[]));
            self.checks.push(Check::new(format!("grad_norms/{name}"), (got - wanted).abs() / wanted.max(floor), GRADIENT, true));
        }
        let listed: Vec<String> = self
            .manifest
            .at("/train/params_without_grad")?
            .as_array()
            .into_iter()
            .flatten()
            .map(|v| v.as_str().unwrap_or_default().to_owned())
            .collect();
        let same = listed.iter().collect::<BTreeSet<_>>() == without.iter().collect();
        self.equal("manifest/train/params_without_grad", same);
        let unknown: Vec<&String> =
            norms.as_object().into_iter().flat_map(|o| o.keys()).filter(|n| !self.params.entries().iter().any(|(m, _)| m == *n)).collect();
        self.equal("grad_norms (names)", unknown.is_empty());
        Ok(())
    }
}

/// Levels of an evaluated video under the names of its arrays.
fn compare_outputs(f: &mut Fixture, prefix: &str, out: &Outputs) -> Result<(), Error> {
    for level in 0..out.logits.len() {
        f.compare(&format!("{prefix}backbone.{level}"), &out.backbone[level], OUTPUT)?;
        f.compare(&format!("{prefix}neck.{level}"), &out.neck[level], OUTPUT)?;
        f.compare(&format!("{prefix}cls_logits.{level}"), &out.logits[level].transpose(1, 2), OUTPUT)?;
        f.compare(&format!("{prefix}offsets.{level}"), &out.offsets[level].transpose(1, 2), OUTPUT)?;
    }
    compare_boundaries(f, prefix, out)
}

fn compare_boundaries(f: &mut Fixture, prefix: &str, out: &Outputs) -> Result<(), Error> {
    for (name, levels) in ["start_logits", "end_logits"].into_iter().zip(out.boundaries.iter().flatten()) {
        for (level, logits) in levels.iter().enumerate() {
            f.compare(&format!("{prefix}{name}.{level}"), logits, OUTPUT)?;
        }
    }
    Ok(())
}

/// The largest absolute value; 0 of nothing.
fn largest(t: &Tensor) -> f64 {
    if t.numel() == 0 { 0.0 } else { t.abs().max().to_kind(Kind::Double).double_value(&[]) }
}

fn relative(got: f64, wanted: f64) -> f64 {
    if wanted == 0.0 { got.abs() } else { (got / wanted - 1.0).abs() }
}
