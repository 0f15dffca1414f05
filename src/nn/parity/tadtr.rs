//! The fixtures of TadTR: one network from its manifest, and the windows of videos with their fusion.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tch::{Kind, Tensor};

use super::fixture::{Error, Fixture, device, json, only, value};
use super::{Check, Checked};
use crate::config::TadTrConfig;
use crate::config::settings::{Optimiser, Preset};
use crate::config::tadtr::Actionness;
use crate::eval::Detection;
use crate::nn::models::tadtr::{self, CONVENTIONS, Decoded, Matches, TadTr, Truth};
use crate::nn::optim::{Adam, AdamOptions, Gradients};
use crate::nn::params::Params;

const GRADIENT: f64 = 1e-3;
const LOSS: f64 = 1e-5;
const SECONDS: f64 = 1e-3;
/// Random starts are compared in standard errors of the published draw's mean and deviation.
const STANDARD_ERRORS: f64 = 6.0;
/// The gradient of a tensor is compared relative to its norm, but to no less than this share of the whole norm: some
/// gradients (of key biases, for one) are zero but for rounding.
const FLOOR: f64 = 1e-6;

/// The network of a fixture folder, and what surrounds it.
struct Model<'a> {
    folder: &'a Path,
    manifest: &'a Value,
    config: TadTrConfig,
    params: Params,
    network: TadTr,
    /// Largest deviation of an output.
    output: f64,
    /// Largest relative deviation of a loss after the first update: Adam turns the rounding of gradients near zero into
    /// whole steps.
    later: f64,
}

/// Recomputes the fixtures of a folder. What a file holds and no check touched is reported as not covered.
pub(super) fn check(folder: &Path, manifest: &Value) -> Result<Checked, Error> {
    let weights = Fixture::open(folder, "weights")?;
    let mut model = Model::new(folder, manifest, &weights)?;
    let mut file = Reported { checks: initial(&model)?, not_covered: Vec::new() };
    model.load(&weights)?;
    let mut eval = Fixture::open(folder, "eval")?;
    for case in cases(&eval, "/mask") {
        model.inference(&mut eval, &case)?;
    }
    if folder.join("train.safetensors").is_file() {
        let mut train = Fixture::open(folder, "train")?;
        for case in cases(&train, "/match.last.0.query") {
            model.training(&mut train, &eval, &case)?;
        }
        if folder.join("trajectory.json").is_file() {
            let checks = model.trajectory(&train, &eval, &weights)?;
            file.checks.extend(checks);
        }
        file.take(train, &["target."]);
    }
    file.take(eval, &["/input", "/mask", "durations"]);
    Ok(("tadtr".into(), file.checks, file.not_covered))
}

/// Checks made, and arrays that none of them read.
struct Reported {
    checks: Vec<Check>,
    not_covered: Vec<String>,
}

impl Reported {
    /// Takes over a file's checks; keys with one of `inputs` in them were read, not compared.
    fn take(&mut self, fixture: Fixture, inputs: &[&str]) {
        let compared: BTreeSet<&str> = fixture.checks.iter().filter_map(|c| c.name.split_once('/')).map(|(_, key)| key).collect();
        let known = |key: &str| compared.contains(key) || inputs.iter().any(|input| key.contains(input));
        self.not_covered.extend(fixture.keys("").into_iter().filter(|key| !known(key)));
        self.checks.extend(fixture.checks);
    }
}

/// What stands before `suffix` in the keys that end so.
fn cases(fixture: &Fixture, suffix: &str) -> Vec<String> {
    fixture.keys("").iter().filter_map(|key| key.strip_suffix(suffix)).map(str::to_owned).collect()
}

/// A value of the manifest, or of another JSON file, by JSON pointer.
fn at<'a>(value: &'a Value, file: &Path, pointer: &str) -> Result<&'a Value, Error> {
    value.pointer(pointer).ok_or_else(|| Error::Missing { path: file.to_owned(), key: pointer.to_owned() })
}

fn number(value: &Value, file: &Path, pointer: &str) -> Result<f64, Error> {
    at(value, file, pointer)?.as_f64().ok_or_else(|| Error::Missing { path: file.to_owned(), key: pointer.to_owned() })
}

fn relative(got: f64, wanted: f64) -> f64 {
    if wanted == 0.0 { got.abs() } else { (got / wanted - 1.0).abs() }
}

impl<'a> Model<'a> {
    /// A fresh network of the sizes that manifest and weights tell.
    fn new(folder: &'a Path, manifest: &'a Value, weights: &Fixture) -> Result<Self, Error> {
        let file = folder.join("manifest.json");
        for (key, value) in [
            ("act_reg", Value::from(true)),
            ("seg_refine", Value::from(true)),
            ("disable_query_self_att", Value::from(false)),
            ("use_pos_embed", Value::from(true)),
            ("position_embedding", Value::from("sine")),
            ("activation", Value::from("relu")),
            ("backbone", Value::from("none")),
        ] {
            only(&file, manifest, "/config", key, &value)?;
        }
        let size = |key: &str| number(manifest, &file, &format!("/config/{key}")).map(|n| n as i64);
        let published = TadTrConfig::preset(Preset::Thumos14).expect("TadTR has a THUMOS14 preset");
        let points = size("enc_n_points")?;
        if points != size("dec_n_points")? {
            return Err(Error::Config {
                path: file.clone(),
                key: "config.dec_n_points".into(),
                value: size("dec_n_points")?.to_string(),
                problem: format!("is another number than `enc_n_points` = {points}; this version builds networks with one for both"),
            });
        }
        let config = TadTrConfig {
            dim: size("hidden_dim")?,
            heads: size("nheads")?,
            attention_points: points,
            encoder_layers: size("enc_layers")? as usize,
            decoder_layers: size("dec_layers")? as usize,
            feed_forward: size("dim_feedforward")?,
            queries: size("num_queries")?,
            class_cost: number(manifest, &file, "/config/set_cost_class")?,
            per_window: size("postproc_ins_topk")? as usize,
            dropout: 0.0,
            ..published
        };
        let channels = weights.get("input_proj.0.0.weight")?.size()[1];
        let classes = weights.get("class_embed.0.weight")?.size()[0];
        let mut params = Params::new(0, device());
        let network = TadTr::new(&mut params, &config, channels, Some(classes));
        // The published sizes are as far from double precision themselves.
        let (output, later) = if config.dim >= 256 { (2e-3, 1e-3) } else { (5e-5, 1e-4) };
        Ok(Self { folder, manifest, config, params, network, output, later })
    }

    fn load(&self, weights: &Fixture) -> Result<(), Error> {
        Ok(self.params.assign("weights", weights.group(""))?)
    }

    fn inference(&mut self, f: &mut Fixture, case: &str) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        let output = self.output;
        let key = |name: &str| format!("{case}/{name}");
        let padding = padding(f, case)?;
        let projected = self.network.project(&input(f, case)?);
        f.compare(&key("proj"), &projected, output)?;
        let memory = self.network.encode(&projected, padding.as_ref(), 0.0);
        let batch = projected.size()[0];
        f.compare(&key("pos"), &memory.position.transpose(1, 2).expand([batch, -1, -1], false), output)?;
        f.compare(&key("memory"), &memory.cells, output)?;
        let Decoded { states, segments } = self.network.decode(&memory, 0.0);
        f.compare(&key("hs"), &Tensor::stack(&states, 0), output)?;
        f.compare(&key("inter_references"), &Tensor::stack(&segments, 0), output)?;
        let last = states.len() - 1;
        for layer in 0..last {
            f.compare(&key(&format!("aux.{layer}.pred_logits")), &self.network.classify(layer, &states[layer]), output)?;
            f.compare(&key(&format!("aux.{layer}.pred_segments")), &segments[layer], output)?;
        }
        let logits = self.network.classify(last, &states[last]);
        f.compare(&key("pred_logits"), &logits, output)?;
        f.compare(&key("pred_segments"), &segments[last], output)?;
        let actionness = self.network.actionness(&memory, &segments[last]);
        let queries = self.config.queries;
        let input = Tensor::arange(batch, (Kind::Float, device())).view([-1, 1]).expand([batch, queries], false).reshape([-1, 1]);
        // In cells, of which there are more than the shares that segments are given in.
        let cells = memory.cells.size()[1] as f64;
        f.compare(&key("rois"), &Tensor::cat(&[input, actionness.rois], 1), output * cells)?;
        f.compare(&key("roi_feat"), &actionness.features.transpose(1, 2), output)?;
        f.compare(&key("pred_actionness"), &actionness.values, output)?;
        let found = tadtr::surest(&logits, &segments[last], &actionness.values, self.config.per_window);
        let durations = f.doubles("durations")?;
        for (i, (found, duration)) in found.iter().zip(durations).enumerate() {
            same_detections(f, &key(&format!("det.{i}")), found, duration, output)?;
        }
        Ok(())
    }

    /// Losses and gradients of a case, with the weights as they are.
    fn differentiate(&self, train: &Fixture, eval: &Fixture, case: &str, whose: Actionness) -> Result<Differentiated, Error> {
        let x = input(if train.has(&format!("{case}/input")) { train } else { eval }, case)?;
        let padding = padding(if train.has(&format!("{case}/mask")) { train } else { eval }, case)?;
        let (truth, labels) = truth(train, x.size()[0])?;
        let pass = self.network.pass(&x, padding.as_ref(), &truth, 0.0, whose);
        let weighted = pass.terms().iter().map(|t| &t.value * t.weight).reduce(|a, b| a + b).expect("there are losses");
        let per_layer = |x: &Tensor| Vec::<f64>::try_from(x.to_kind(Kind::Double)).expect("a float tensor");
        let (class, segment, overlap) = (per_layer(&pass.set.class), per_layer(&pass.set.segment), per_layer(&pass.set.overlap));
        let last = class.len() - 1;
        let mut terms: Vec<(String, f64)> = Vec::new();
        for layer in 0..=last {
            let suffix = if layer == last { String::new() } else { format!("_{layer}") };
            for (name, values) in [("loss_ce", &class), ("loss_segments", &segment), ("loss_iou", &overlap)] {
                terms.push((format!("{name}{suffix}"), values[layer]));
            }
        }
        terms.push(("loss_actionness".into(), value(&pass.actionness)));
        terms.push(("class_error".into(), class_error(&pass.logits.get(last as i64), &pass.matches[last], &labels)));
        let total = value(&weighted);
        let mut gradients = Gradients::none(&self.params);
        gradients.add(&self.params, &weighted, &[]);
        Ok(Differentiated { terms, total, gradients, matches: pass.matches, target: pass.target })
    }

    fn training(&mut self, f: &mut Fixture, eval: &Fixture, case: &str) -> Result<(), Error> {
        let file = self.folder.join("manifest.json");
        let key = |name: &str| format!("{case}/{name}");
        let own = self.differentiate(f, eval, case, Actionness::Video)?;
        f.compare(&key("actionness_target_per_video"), &own.target, self.output)?;
        let of_own = own.terms.iter().find(|(name, _)| name == "loss_actionness").map_or(f64::NAN, |(_, v)| *v);
        let wanted = number(self.manifest, &file, &format!("/train/{case}/loss_actionness_if_per_video"))?;
        f.note(&key("loss_actionness_if_per_video"), relative(of_own, wanted), LOSS, true);

        let got = self.differentiate(f, eval, case, Actionness::Batch)?;
        f.compare(&key("actionness_target_batchwide"), &got.target, self.output)?;
        let last = got.matches.len() - 1;
        for (layer, inputs) in got.matches.iter().enumerate() {
            let name = if layer == last { "last".to_owned() } else { format!("aux{layer}") };
            for (i, pairs) in inputs.iter().enumerate() {
                let column = |of: fn(&(usize, usize)) -> usize| Tensor::from_slice(&pairs.iter().map(|p| of(p) as i64).collect::<Vec<_>>());
                f.compare(&key(&format!("match.{name}.{i}.query")), &column(|p| p.0), 0.0)?;
                f.compare(&key(&format!("match.{name}.{i}.gt")), &column(|p| p.1), 0.0)?;
            }
        }
        let expected = at(self.manifest, &file, &format!("/train/{case}/unweighted"))?;
        for name in expected.as_object().into_iter().flat_map(|terms| terms.keys()) {
            let got = got.terms.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, v)| *v);
            f.note(&key(name), relative(got, number(expected, &file, &format!("/{name}"))?), LOSS, true);
        }
        let total = number(self.manifest, &file, &format!("/train/{case}/total_weighted"))?;
        f.note(&key("total_weighted"), relative(got.total, total), LOSS, true);
        let norm = number(self.manifest, &file, &format!("/train/{case}/total_grad_norm"))?;
        f.note(&key("total_grad_norm"), relative(value(&got.gradients.norm()), norm), GRADIENT, true);
        self.gradients(f, case, &got.gradients, norm)
    }

    /// Every gradient and its norm; the tensors that have none must be those that the manifest says.
    fn gradients(&self, f: &mut Fixture, case: &str, got: &Gradients, total: f64) -> Result<(), Error> {
        let name = format!("grad_norms_{case}.json");
        let norms = self.folder.join(&name);
        let norms = if norms.is_file() { Some(json(&norms)?) } else { None };
        let without = self.manifest.pointer(&format!("/train/{case}/params_without_grad")).and_then(Value::as_array);
        let without: BTreeSet<&str> = without.into_iter().flatten().filter_map(Value::as_str).collect();
        for ((name, _), gradient) in self.params.entries().iter().zip(got.as_slice()) {
            let upstream = name.replace("segment_embed.", "transformer.decoder.segment_embed.");
            let key = [name, &upstream].map(|name| format!("{case}/grad/{name}")).into_iter().find(|key| f.has(key));
            let key = key.unwrap_or_else(|| format!("{case}/grad/{name}"));
            let Some(gradient) = gradient else {
                f.note(&key, if without.contains(name.as_str()) { 0.0 } else { f64::INFINITY }, 0.0, false);
                continue;
            };
            let norm = |t: &Tensor| t.to_kind(Kind::Double).norm().double_value(&[]);
            if f.has(&key) {
                let wanted = f.get(&key)?;
                f.note(&key, norm(&(gradient - &wanted)) / norm(&wanted).max(FLOOR * total), GRADIENT, true);
            }
            if let Some(wanted) = norms.as_ref().and_then(|n| n.get(name).or_else(|| n.get(&upstream))).and_then(Value::as_f64) {
                let deviation = (norm(gradient) - wanted).abs() / wanted.max(FLOOR * total);
                f.note(&format!("{case}/grad_norm/{name}"), deviation, GRADIENT, true);
            }
        }
        Ok(())
    }

    /// Some updates by the published optimiser, from the weights of the folder.
    fn trajectory(&mut self, train: &Fixture, eval: &Fixture, weights: &Fixture) -> Result<Vec<Check>, Error> {
        self.load(weights)?;
        let file = self.folder.join("trajectory.json");
        let trajectory = json(&file)?;
        let lr = number(&trajectory, &file, "/lrs/0")?;
        let options = AdamOptions {
            rule: Optimiser::Adamw,
            weight_decay: number(&trajectory, &file, "/weight_decay")?,
            spare_plain: false,
            slow: CONVENTIONS.slow,
        };
        let clip = number(&trajectory, &file, "/clip")?;
        let mut checks = Vec::new();
        if let Some(slow) = trajectory.pointer("/groups/slow_0p1").and_then(Value::as_array) {
            let published: BTreeSet<&str> = slow.iter().filter_map(Value::as_str).collect();
            let names = self.params.entries().iter().map(|(name, _)| name.as_str());
            let ours: BTreeSet<&str> = names.filter(|name| options.slow.iter().any(|part| name.contains(part))).collect();
            checks.push(Check::new("trajectory/groups", ours.symmetric_difference(&published).count() as f64, 0.0, false));
        }
        let steps = at(&trajectory, &file, "/steps")?.as_array().cloned().unwrap_or_default();
        let first = number(&trajectory, &file, "/steps/0/total")?;
        let total = |case: &String| self.manifest.pointer(&format!("/train/{case}/total_weighted")).and_then(Value::as_f64);
        let of_it = |case: &String| total(case).is_some_and(|total| relative(total, first) < LOSS);
        let case = cases(train, "/match.last.0.query").into_iter().find(of_it);
        let case = case.ok_or_else(|| Error::Missing { path: file.clone(), key: "a training case with the first total".into() })?;
        let mut adam = Adam::new(&self.params, options);
        for (i, step) in steps.iter().enumerate() {
            let mut got = self.differentiate(train, eval, &case, Actionness::Batch)?;
            let (of_losses, of_gradients) = if i == 0 { (LOSS, GRADIENT) } else { (self.later, GRADIENT) };
            got.terms.push(("total".into(), got.total));
            for (name, value) in &got.terms {
                if let Some(wanted) = step.get(name).and_then(Value::as_f64) {
                    checks.push(Check::new(format!("trajectory/{i}.{name}"), relative(*value, wanted), of_losses, true));
                }
            }
            let norm = value(&got.gradients.clip(clip));
            let wanted = number(step, &file, "/grad_norm_before_clip")?;
            checks.push(Check::new(format!("trajectory/{i}.grad_norm_before_clip"), relative(norm, wanted), of_gradients, true));
            adam.step(&self.params, &got.gradients, lr);
        }
        let after = format!("after{}steps", steps.len());
        let mut after = Fixture::open(self.folder, &after)?;
        for (name, tensor) in self.params.entries() {
            if !after.has(name) {
                continue;
            }
            // A gradient that is zero but for rounding moves a weight by up to the rate per update, either way.
            after.compare(name, tensor, 2.0 * lr * steps.len() as f64)?;
            let difference = (tensor.detach() - after.get(name)?).abs().mean(Kind::Double).double_value(&[]);
            after.note(&format!("{name} (mean)"), difference, 0.01 * lr * steps.len() as f64, false);
        }
        checks.extend(after.checks);
        self.load(weights)?;
        Ok(checks)
    }
}

/// What a case gives.
struct Differentiated {
    terms: Vec<(String, f64)>,
    total: f64,
    gradients: Gradients,
    matches: Matches,
    target: Tensor,
}

/// The number of parameters, and how they start.
fn initial(model: &Model<'_>) -> Result<Vec<Check>, Error> {
    let file = model.folder.join("manifest.json");
    let total = number(model.manifest, &file, "/params/total")?;
    let mut checks = vec![Check::new("manifest/params.total", (model.params.count() as f64 - total).abs(), 0.0, false)];
    let Some(stats) = model.manifest.get("init_stats").and_then(Value::as_object) else { return Ok(checks) };
    for (upstream, wanted) in stats {
        let name = upstream.replace("transformer.decoder.segment_embed.", "segment_embed.");
        let tensor = model.params.entries().iter().find(|(n, _)| *n == name).map(|(_, t)| t.detach().to_kind(Kind::Double));
        let Some(tensor) = tensor else {
            checks.push(Check::new(format!("init/{upstream}"), f64::INFINITY, 0.0, false));
            continue;
        };
        let [mean, deviation, low, high] = ["mean", "std", "min", "max"].map(|key| number(wanted, &file, &format!("/{key}")));
        let (mean, deviation, low, high) = (mean?, deviation?, low?, high?);
        let got = |t: Tensor| t.double_value(&[]);
        let (n, ours) = (tensor.numel() as f64, got(tensor.mean(Kind::Double)));
        let spread = got((&tensor - ours).square().mean(Kind::Double).sqrt());
        let random = deviation > 0.0 && !["sampling_offsets.bias", "layers.2.bias"].iter().any(|part| name.ends_with(part));
        if random {
            // Both are draws: the error of a difference is larger by √2; of a deviation at most by that of a normal one.
            let error = deviation * (2.0 / n).sqrt();
            checks.push(Check::new(format!("init/{upstream}.mean (standard errors)"), (ours - mean).abs() / error, STANDARD_ERRORS, false));
            checks.push(Check::new(
                format!("init/{upstream}.std (standard errors)"),
                (spread - deviation).abs() / error,
                STANDARD_ERRORS,
                false,
            ));
        } else if n > 1.0 {
            let pairs = [(ours, mean), (spread, deviation), (got(tensor.min()), low), (got(tensor.max()), high)];
            let worst = pairs.iter().map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            checks.push(Check::new(format!("init/{upstream}"), worst, 1e-6, false));
        }
    }
    Ok(checks)
}

/// The input of a case; one that the file lacks is that of `full` with the padding set to zero.
fn input(f: &Fixture, case: &str) -> Result<Tensor, Error> {
    let key = format!("{case}/input");
    if f.has(&key) {
        return f.get(&key);
    }
    Ok(f.get("full/input")?.masked_fill(&f.get(&format!("{case}/mask"))?.unsqueeze(1), 0.0))
}

/// `None` for an input that is not padded.
fn padding(f: &Fixture, case: &str) -> Result<Option<Tensor>, Error> {
    let mask = f.get(&format!("{case}/mask"))?;
    Ok((mask.any().int64_value(&[]) != 0).then_some(mask))
}

/// The instances of the inputs, and their classes.
fn truth(train: &Fixture, batch: i64) -> Result<(Truth, Vec<Vec<i64>>), Error> {
    let (mut segments, mut labels) = (Vec::new(), Vec::new());
    for i in 0..batch {
        segments.push(train.get(&format!("target.{i}.segments"))?);
        labels.push(Vec::<i64>::try_from(train.get(&format!("target.{i}.labels"))?.view([-1])).expect("an integer array"));
    }
    let counts: Vec<usize> = labels.iter().map(Vec::len).collect();
    let truth = Truth::from_arrays(Tensor::cat(&segments, 0), Tensor::from_slice(&labels.concat()), &counts, device());
    Ok((truth, labels))
}

/// Percentage of matched queries `[B, Q, K]` whose surest class is wrong: a figure the release logs beside its losses.
fn class_error(logits: &Tensor, matches: &[Vec<(usize, usize)>], labels: &[Vec<i64>]) -> f64 {
    let surest = logits.argmax(2, false);
    let pairs = matches.iter().zip(labels).enumerate().flat_map(|(i, (pairs, labels))| pairs.iter().map(move |&(q, g)| (i, q, labels[g])));
    let right: Vec<bool> = pairs.map(|(i, q, label)| surest.int64_value(&[i as i64, q as i64]) == label).collect();
    100.0 * right.iter().filter(|right| !**right).count() as f64 / right.len() as f64
}

/// Compares detections as sets of (query, class). One that is missing counts unless it is as sure as the least sure one of
/// ours: there the cut falls between near-equal scores.
fn same_detections(f: &mut Fixture, key: &str, found: &[(usize, Detection)], duration: f64, tolerance: f64) -> Result<(), Error> {
    let integers = |name: &str| Ok::<_, Error>(Vec::<i64>::try_from(f.get(&format!("{key}.{name}"))?).expect("an integer array"));
    let (labels, queries) = (integers("labels")?, integers("query_ids")?);
    let (scores, segments) = (f.doubles(&format!("{key}.scores"))?, f.doubles(&format!("{key}.segments"))?);
    let least = found.last().map_or(0.0, |(_, d)| d.score);
    let (mut missing, mut of_score, mut of_segment) = (0, 0.0f64, 0.0f64);
    for (i, (&label, &query)) in labels.iter().zip(&queries).enumerate() {
        match found.iter().find(|(q, d)| (*q, d.label) == (query as usize, label as usize)) {
            Some((_, d)) => {
                of_score = of_score.max((d.score - scores[i]).abs());
                let borders = [(d.segment.start * duration, segments[2 * i]), (d.segment.end * duration, segments[2 * i + 1])];
                of_segment = borders.iter().map(|(a, b)| (a - b).abs()).fold(of_segment, f64::max);
            }
            None if (scores[i] - least).abs() <= tolerance => {}
            None => missing += 1,
        }
    }
    let missing = if labels.len() == found.len() { f64::from(missing) } else { f64::INFINITY };
    f.note(&format!("{key}.labels"), missing, 0.0, false);
    f.note(&format!("{key}.query_ids"), missing, 0.0, false);
    f.note(&format!("{key}.scores"), of_score, tolerance, false);
    f.note(&format!("{key}.segments"), of_segment, SECONDS.max(tolerance * duration), false);
    Ok(())
}
