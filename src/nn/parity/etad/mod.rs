//! The fixtures of ETAD.

mod network;
mod sgs;
mod trajectory;

use std::path::Path;

use tch::Tensor;

use self::network::{GRADIENT, OUTPUT, Small};
use super::fixture::{Error, Fixture, device};
use super::{Checked, encoders};
use crate::data::windows::rescale;
use crate::data::{Features, Segment};
use crate::eval::{Detection, nms};
use crate::nn::layers::boundaries::{boundary_curve, boundary_mask};
use crate::nn::layers::map_losses::balanced_cross_entropy;
use crate::nn::layers::roi_align::{Layout, Precision, RoiAlign};
use crate::nn::models::etad::labels::match_instances;
use crate::nn::models::etad::losses;
use crate::nn::models::etad::proposals::{Anchor, Lattice};
use crate::nn::models::etad::{Proposals, decode, overlap};
use crate::nn::network::{VideoClasses, with_video_classes};
use crate::nn::optim::Gradients;

/// Recomputes the fixtures of a folder, all of the network that the configuration of `detector_small` describes.
pub(super) fn check(folder: &Path, manifest: &serde_json::Value) -> Result<Checked, Error> {
    let small = Small::of(folder, manifest)?;
    let (mut checks, mut not_covered) = (Vec::new(), Vec::new());
    for name in manifest["fixtures"].as_object().into_iter().flat_map(|f| f.keys()) {
        let run: fn(&mut Fixture, &Small) -> Result<(), Error> = match name.as_str() {
            "detector_small" => detector,
            "roi_align" => |f, _| roi_align(f),
            "labels" => |f, _| labels(f),
            "losses" => |f, _| loss_functions(f),
            "postprocess" => |f, _| post_processing(f),
            "train_steps" => trajectory::check,
            "sgs" => sgs::check,
            "r2plus1d_parts" => |f, _| encoders::r2plus1d_parts(f),
            _ => {
                not_covered.push(name.clone());
                continue;
            }
        };
        let mut fixture = Fixture::open(folder, name)?;
        run(&mut fixture, &small)?;
        checks.extend(fixture.checks);
    }
    Ok(("etad".into(), checks, not_covered))
}

fn detector(f: &mut Fixture, small: &Small) -> Result<(), Error> {
    let (params, etad) = small.model()?;
    let batch = small.batch(f, f.get("input.x")?.set_requires_grad(true), "input.anchors", "gt.", "")?;
    let mut gradients = Gradients::none(&params);
    gradients.watch(&batch.x);
    let mut traces = Vec::new();
    let terms = etad.backward(&params, &batch, &mut gradients, |trace| traces.push(trace));
    for (i, trace) in traces.iter().enumerate() {
        f.compare(&format!("out.s{i}.anchors_in"), &trace.anchors, OUTPUT)?;
        f.compare(&format!("out.s{i}.iou"), &trace.iou, OUTPUT)?;
        f.compare(&format!("out.s{i}.reg"), &trace.reg, OUTPUT)?;
        f.compare(&format!("out.s{i}.anchors_out"), &trace.refined, OUTPUT)?;
    }
    for (name, value) in terms.read() {
        let key = format!("loss.{name}");
        if f.has(&key) {
            f.compare(&key, &Tensor::from(value), OUTPUT)?;
        }
    }
    if let Some(gradient) = gradients.of_watched() {
        f.compare("grad.input_x", &gradient, GRADIENT)?;
    }
    let total = gradients.norm().double_value(&[]);
    for ((name, _), gradient) in params.entries().iter().zip(gradients.as_slice()) {
        let norm = gradient.as_ref().map_or(0.0, |g| g.norm().double_value(&[]));
        f.compare_relative(&format!("gradnorm.{name}"), norm, GRADIENT)?;
        let key = format!("grad.{name}");
        if let Some(gradient) = gradient.as_ref().filter(|_| f.has(&key)) {
            // Relative to the largest element of the tensor, or a share of the whole gradient: what cancels is rounding.
            let largest = f.get(&key)?.abs().max().double_value(&[]).max(1e-3 * total);
            f.compare(&key, gradient, GRADIENT * largest)?;
        }
    }
    let lattice = small.lattice();
    let all: Vec<Anchor> = lattice.valid().into_iter().map(|(d, t)| lattice.anchor(d, t)).collect();
    let inferred = etad.infer(&f.get("input.x")?.narrow(0, 0, 1), &Proposals::new(&[all], device()));
    f.compare("infer.anchors_mean", &inferred.segments, OUTPUT)?;
    f.compare("infer.iou_mean", &inferred.iou, OUTPUT)?;
    f.compare("infer.tem", &Tensor::stack(&[inferred.start, inferred.end], 1), OUTPUT)
}

fn roi_align(f: &mut Fixture) -> Result<(), Error> {
    for case in 0.. {
        let key = |what: &str| format!("case{case}.{what}");
        if !f.has(&key("feature")) {
            break;
        }
        let feature = f.get(&key("feature"))?.transpose(1, 2).contiguous();
        let rois = f.floats(&key("rois"))?;
        let wanted = f.get(&key("out"))?;
        let (time, bins) = (feature.size()[1], wanted.size()[2]);
        let mut boxes = vec![Vec::new(); feature.size()[0] as usize];
        let mut order: Vec<Vec<i64>> = vec![Vec::new(); boxes.len()];
        for (row, roi) in rois.chunks_exact(3).enumerate() {
            boxes[roi[0] as usize].push((roi[1], roi[2]));
            order[roi[0] as usize].push(row as i64);
        }
        let order = Tensor::from_slice(&order.concat()).to_device(device());
        let counts: Vec<usize> = boxes.iter().map(Vec::len).collect();
        let flat: Vec<f32> = boxes.concat().into_iter().flat_map(|(start, end)| [start, end]).collect();
        let flat = Tensor::from_slice(&flat).view([-1, 2]).to_device(device());
        // The manifest's fourth case is the only half-cell aligned one.
        let align = RoiAlign::with(&flat, &Layout::new(&counts, device()), time, bins, case == 3);
        let restore = order.argsort(0, false);
        let output = align.forward(&feature, Precision::Float).transpose(1, 2).index_select(0, &restore);
        f.compare(&key("out"), &output, 1e-6)?;
        let upstream = f.get(&key("grad_out"))?.index_select(0, &order).transpose(1, 2).contiguous();
        f.compare(&key("grad_feature"), &align.backward(&upstream).transpose(1, 2), 5e-5)?;
    }
    for key in f.keys("resize.in_") {
        let input = f.get(&key)?; // [C, T]
        let (channels, time) = (input.size()[0] as usize, input.size()[1] as usize);
        let data = Vec::try_from(input.transpose(0, 1).contiguous().reshape([-1])).expect("a float array");
        let output = rescale(&Features { time, channels, data }, 128);
        let output = Tensor::from_slice(&output.data).view([128, channels as i64]).transpose(0, 1);
        f.compare(&key.replace("in_", "out128_"), &output, 1e-6)?;
    }
    Ok(())
}

fn labels(f: &mut Fixture) -> Result<(), Error> {
    for key in f.keys("") {
        let Some(set) = key.strip_suffix(".anchors_map") else { continue };
        let size = f.get(&key)?.size();
        let lattice = Lattice { time: size[1] as usize, max_duration: size[0] as usize };
        let (mut map, mut valid, mut grid) = (Vec::new(), Vec::new(), Vec::new());
        let on_grid = lattice.grid(0.06);
        for d in 0..lattice.max_duration {
            for t in 0..lattice.time {
                let inside = d + t < lattice.time;
                let (s, e) = if inside { lattice.anchor(d, t) } else { (0.0, 0.0) };
                map.extend([s, e]);
                valid.push(f32::from(inside));
                grid.push(f32::from(on_grid.contains(&(d, t))));
            }
        }
        f.compare(&key, &Tensor::from_slice(&map), 0.0)?;
        f.compare(&format!("{set}.valid_mask"), &Tensor::from_slice(&valid), 0.0)?;
        f.compare(&format!("{set}.grid_mask"), &Tensor::from_slice(&grid), 0.0)?;
        let all: Vec<Anchor> = lattice.valid().into_iter().map(|(d, t)| lattice.anchor(d, t)).collect();
        for video in 0.. {
            let key = |what: &str| format!("{set}.v{video}.{what}");
            if !f.has(&key("duration")) {
                break;
            }
            let duration = f.doubles(&key("duration"))?[0];
            let segments = f.doubles(&key("segments_sec"))?;
            let truth: Vec<(f64, f64)> =
                segments.chunks_exact(2).map(|s| ((s[0] / duration).clamp(0.0, 1.0), (s[1] / duration).clamp(0.0, 1.0))).collect();
            let start = boundary_curve(truth.iter().map(|t| t.0), lattice.time);
            let end = boundary_curve(truth.iter().map(|t| t.1), lattice.time);
            f.compare(&key("gt_start"), &Tensor::from_slice(&start), 1e-6)?;
            f.compare(&key("gt_end"), &Tensor::from_slice(&end), 1e-6)?;
            let matched = match_instances(&all, &truth).unwrap_or_default();
            let boxes: Vec<f32> = matched.iter().flat_map(|&i| [truth[i].0 as f32, truth[i].1 as f32]).collect();
            let boxes = Tensor::from_slice(&boxes).view([-1, 2]);
            let proposals: Vec<f32> = all.iter().flat_map(|&(s, e)| [s, e]).collect();
            f.compare(&key("gt_bbox_all_valid"), &boxes, 1e-6)?;
            f.compare(&key("gt_iou_all_valid"), &overlap(&Tensor::from_slice(&proposals).view([-1, 2]), &boxes), 1e-6)?;
        }
    }
    Ok(())
}

fn loss_functions(f: &mut Fixture) -> Result<(), Error> {
    let compare = |f: &mut Fixture, key: String, leaf: &Tensor, loss: Tensor, grad: String| -> Result<(), Error> {
        f.compare(&key, &loss, OUTPUT)?;
        if f.has(&grad) {
            f.compare(&grad, &Tensor::run_backward(&[loss], &[leaf], false, false)[0], OUTPUT)?;
        }
        Ok(())
    };
    for case in ["bal_typical", "bal_allneg", "bal_allpos"] {
        let p = f.get(&format!("{case}.pred"))?.set_requires_grad(true);
        let loss = balanced_cross_entropy(&f.get(&format!("{case}.gt"))?.unsqueeze(0), &p.unsqueeze(0)).squeeze();
        compare(f, format!("{case}.loss"), &p, loss, format!("{case}.grad"))?;
    }
    for case in ["typical", "no_pos", "pos_majority", "no_mid"] {
        let get = |what: &str| f.get(&format!("{case}.{what}"));
        let leaf = |what: &str| Ok::<_, Error>(get(what)?.detach().copy().set_requires_grad(true));
        let (gt, greg) = (get("gt")?, get("greg")?);
        let (bce, mid, low) = (get("draw_bce")?, get("draw_mid")?, get("draw_low")?);
        let (p, reg) = (leaf("pred")?, leaf("reg")?);
        for key in f.keys(&format!("{case}.bce_sample_")).into_iter().chain(f.keys(&format!("{case}.smoothl1_"))) {
            let Some(threshold) = key.rsplit('_').next().and_then(|t| t.parse::<f64>().ok()) else { continue };
            let grad = format!("{key}.grad");
            if key.contains("bce") {
                let threshold = Tensor::from(threshold as f32).to_device(device());
                let loss = losses::sampled_cross_entropy(&p, &gt, &threshold, &bce);
                compare(f, key, &p, loss, grad)?;
            } else {
                let loss = losses::smooth_l1_above(&reg.unsqueeze(1), &greg.unsqueeze(1), &gt, threshold).squeeze();
                compare(f, key, &reg, loss, grad)?;
            }
        }
        let loss = losses::sampled_square_error(&p, &gt, &mid, &low);
        compare(f, format!("{case}.l2_sample"), &p, loss, format!("{case}.l2_sample.grad"))?;
    }
    Ok(())
}

fn post_processing(f: &mut Fixture) -> Result<(), Error> {
    for key in f.keys("boundary.") {
        let Some(case) = key.strip_suffix(".in") else { continue };
        let mask: Vec<f32> = boundary_mask(&f.floats(&key)?).into_iter().map(f32::from).collect();
        f.compare(&format!("{case}.mask"), &Tensor::from_slice(&mask), 0.0)?;
    }
    for key in f.keys("nms.") {
        let Some((case, sigma)) = key.split_once(".out_sigma") else { continue };
        let rows = f.doubles(&format!("{case}.in"))?;
        let candidate = |r: &[f64]| Detection { segment: Segment { start: r[0], end: r[1] }, label: 0, score: r[2] };
        let candidates: Vec<Detection> = rows.chunks_exact(3).map(candidate).collect();
        let kept = nms::soft_nms(&candidates, sigma.parse().expect("a number in the key"), 100);
        let flat: Vec<f64> = kept.iter().flat_map(|c| [c.segment.start, c.segment.end, c.score]).collect();
        f.compare(&key, &Tensor::from_slice(&flat), 1e-12)?;
    }
    let pairs = |flat: Vec<f32>| flat.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    let scored = decode::Scored {
        segments: pairs(f.floats("video.pred_anchors")?),
        iou: pairs(f.floats("video.pred_iou")?),
        boundaries: (f.floats("video.pred_start")?, f.floats("video.pred_end")?),
        classes: None,
    };
    let duration = f.doubles("video.duration")?[0];
    let class_scores = f.doubles("video.cls_score")?;
    let mut out = with_video_classes(&scored.class_agnostic(true, 0.35, 100), VideoClasses { scores: &class_scores, top: 2 }, |p, c| p * c);
    decode::to_seconds(&mut out, 0.0, duration, duration);
    f.compare(
        "video.out_segment",
        &Tensor::from_slice(&out.iter().flat_map(|d| [d.segment.start, d.segment.end]).collect::<Vec<_>>()),
        1e-9,
    )?;
    f.compare("video.out_score", &Tensor::from_slice(&out.iter().map(|d| d.score).collect::<Vec<_>>()), 1e-9)?;
    f.compare("video.out_class", &Tensor::from_slice(&out.iter().map(|d| d.label as i64).collect::<Vec<_>>()), 0.0)
}
