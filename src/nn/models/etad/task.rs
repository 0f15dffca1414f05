//! ETAD on a data set: training batches from windows, and detection in whole videos.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::decode::{Scored, to_seconds, with_video_scores};
use super::labels::{boundary_curve, match_instances};
use super::losses::Draws;
use super::proposals::{Anchor, Lattice};
use super::{Batch, Etad, Inferred};
use crate::base::Stream;
use crate::config::EtadConfig;
use crate::config::etad::{Inference, ProposalSampling, Temporal};
use crate::data::windows::{CellInstance, instances_in_window, window_starts};
use crate::data::{Dataset, FeatureSource, features};
use crate::eval::{Detection, Detections, nms};
use crate::event::{Event, Observer};
use crate::nn::input::{InputSettings, Inputs, Standard};
use crate::nn::optim::{AdamOptions, Gradients};
use crate::nn::params::{self, Params};
use crate::nn::train::{self, Model, Plan};

/// The first convolution has this many groups.
const GROUPS: usize = 4;
/// Inputs per forward pass at inference.
const INFERENCE_BATCH: usize = 8;

/// Where class labels come from.
pub enum Labels {
    /// The class head, over this many classes.
    Head(usize),
    /// Video-level scores, `top` classes per video.
    External {
        /// Score per class by video.
        scores: BTreeMap<String, Vec<f64>>,
        /// Classes used.
        top: usize,
    },
}

/// A trained or trainable ETAD bound to a data set.
pub struct Task<'a> {
    config: EtadConfig,
    inputs: Inputs<'a>,
    labels: Labels,
    params: Params,
    network: Etad,
    lattice: Lattice,
    device: Device,
}

/// What a training gives besides the weights.
pub struct Outcome {
    /// Updates.
    pub steps: u64,
    /// Passes over the sample.
    pub epochs: f64,
    /// Mean cost over the last epoch.
    pub final_loss: f64,
    /// For the record.
    pub notes: Vec<String>,
}

/// A training input before it becomes tensors.
#[derive(Clone)]
struct Window {
    video: usize,
    start: usize,
    truth: Vec<CellInstance>,
}

/// A training batch in plain numbers.
pub struct Prepared {
    x: Vec<f32>,
    shape: [i64; 3],
    anchors: Vec<Vec<Anchor>>,
    start: Vec<f32>,
    end: Vec<f32>,
    matched: Vec<f32>,
    classes: Vec<i64>,
    /// `stages * 5 + 1` rows of N uniform draws.
    draws: Vec<f32>,
}

const DRAWS_PER_STAGE: usize = 5;

impl<'a> Task<'a> {
    /// A network with initial weights for `seed`.
    pub fn new(config: &EtadConfig, dataset: &'a Dataset, features: &'a FeatureSource, labels: Labels, seed: u64, device: Device) -> Self {
        let rescale = (config.temporal == Temporal::Rescale).then_some(config.window);
        let settings = InputSettings { pool: config.pool, rescale, multiple: GROUPS };
        let inputs = Inputs::new(dataset, features, settings, None);
        let mut params = Params::new(seed, device);
        let classes = if let Labels::Head(n) = labels { Some(n as i64) } else { None };
        let network = Etad::new(&mut params, config, inputs.channels() as i64, classes);
        let lattice = Lattice { time: config.window, max_duration: config.max_duration };
        Self { config: config.clone(), inputs, labels, params, network, lattice, device }
    }

    /// Number of trainable values.
    pub fn parameter_count(&self) -> u64 {
        self.params.count()
    }

    /// Trains on `videos`; `fixed_steps` makes `config.steps` updates instead of `config.epochs` passes.
    ///
    /// # Errors
    /// See [`train::Error`].
    pub fn train(
        &mut self,
        videos: &[String],
        seed: u64,
        fixed_steps: bool,
        checkpoint: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, train::Error> {
        let mut notes: Vec<String> = self.inputs.padding_note().into_iter().collect();
        if self.config.standardise {
            self.inputs.standardise_on(videos)?;
        }
        self.inputs.keep(videos)?;
        let truths: Vec<(Vec<CellInstance>, usize)> =
            videos.iter().map(|v| Ok((self.inputs.truth(v), self.inputs.cell_count(v)?))).collect::<Result<_, features::Error>>()?;
        let passes = Passes { config: &self.config, seed, truths: &truths };
        let first = passes.batches(0).len() as u64;
        if first == 0 {
            return Err(train::Error::NoInstance(videos.len()));
        }
        let all_passes = || (0..u64::from(self.config.epochs)).map(|p| passes.batches(p).len() as u64).sum();
        let total = if fixed_steps { self.config.steps } else { all_passes() };
        let epochs = if fixed_steps { total as f64 / first as f64 } else { f64::from(self.config.epochs) };
        if fixed_steps && epochs < 1.0 {
            notes.push(format!("{total} updates are less than one pass over this sample ({first} batches)"));
        }
        let plan = Plan {
            total,
            checkpoint_every: total.div_ceil(u64::from(self.config.epochs)),
            epochs: self.config.epochs,
            lr: self.config.lr,
            schedule: self.config.schedule,
            clip: self.config.clip,
            adam: AdamOptions { rule: self.config.optimiser, weight_decay: self.config.weight_decay },
        };
        let loader = Loader { config: &self.config, inputs: &self.inputs, lattice: self.lattice, videos, seed };
        let trainee = Trainee { params: &self.params, network: &self.network, device: self.device };
        let batches = |skip: u64| {
            let windows = (0..).flat_map(|pass| passes.batches(pass)).skip(skip as usize);
            windows.zip(skip..).map(|(windows, step)| loader.prepare(&windows, step))
        };
        let final_loss = train::train(&trainee, &plan, batches, checkpoint, observer)?;
        Ok(Outcome { steps: total, epochs, final_loss, notes })
    }

    /// Writes weights and standardisation.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), params::Error> {
        let mut tensors: Vec<(String, Tensor)> = self.params.entries().iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
        if let Some(standard) = self.inputs.standard() {
            tensors.push(("input.mean".into(), Tensor::from_slice(&standard.mean)));
            tensors.push(("input.deviation".into(), Tensor::from_slice(&standard.deviation)));
        }
        params::save_tensors(path, tensors.iter().map(|(n, t)| (n.as_str(), t)))
    }

    /// Reads what [`Task::save`] wrote, or the authors' weights.
    ///
    /// # Errors
    /// The file is unreadable or belongs to another model.
    pub fn load(&mut self, path: &Path) -> Result<(), params::Error> {
        let (input, weights): (Vec<_>, Vec<_>) = params::read_tensors(path)?.into_iter().partition(|(n, _)| n.starts_with("input."));
        self.params.assign(&path.display().to_string(), weights)?;
        let find = |name: &str| input.iter().find(|(n, _)| n == name).map(|(_, t)| Vec::<f32>::try_from(t).expect("a float array"));
        if let (Some(mean), Some(deviation)) = (find("input.mean"), find("input.deviation")) {
            self.inputs.set_standard(Standard { mean, deviation });
        }
        Ok(())
    }

    /// Detects actions in `videos`.
    ///
    /// # Errors
    /// A feature file is bad.
    pub fn detect(&self, videos: &[String], observer: &mut dyn Observer) -> Result<Detections, features::Error> {
        let indices = match self.config.inference {
            Inference::All => self.lattice.valid(),
            Inference::Pyramid => self.lattice.pyramid(),
        };
        let anchors: Vec<Anchor> = indices.into_iter().map(|(d, t)| self.lattice.anchor(d, t)).collect();
        let mut detections = Detections::new();
        for (done, video) in videos.iter().enumerate() {
            detections.insert(video.clone(), self.detect_video(video, &anchors)?);
            observer.observe(&Event::Progress { done: done as u64 + 1, total: videos.len() as u64, loss: None });
        }
        Ok(detections)
    }

    fn detect_video(&self, video: &str, anchors: &[Anchor]) -> Result<Vec<Detection>, features::Error> {
        let cells = self.inputs.cells(video)?;
        let (window, channels) = (self.config.window, cells.channels);
        let cell = self.inputs.cell_seconds(video);
        let starts = window_starts(cells.time, window, self.config.stride);
        let mut found = Vec::new();
        for group in starts.chunks(INFERENCE_BATCH) {
            let mut x = vec![0.0f32; group.len() * window * channels];
            for (row, &start) in x.chunks_exact_mut(window * channels).zip(group) {
                let length = window.min(cells.time - start) * channels;
                row[..length].copy_from_slice(&cells.data[start * channels..][..length]);
            }
            let shape = [group.len() as i64, window as i64, channels as i64];
            let x = Tensor::from_slice(&x).view(shape).to_device(self.device).transpose(1, 2);
            let inferred = self.network.infer(&x, &vec![anchors.to_vec(); group.len()]);
            for (scored, &start) in split(&inferred, group.len()).zip(group) {
                let mut more = match &self.labels {
                    Labels::Head(_) => scored.class_aware(self.config.boundary_filter),
                    Labels::External { scores, top } => {
                        let best = scored.class_agnostic(self.config.boundary_filter, self.config.nms_sigma, self.config.nms_keep);
                        scores.get(video).map_or_else(Vec::new, |scores| with_video_scores(&best, scores, *top))
                    }
                };
                to_seconds(&mut more, start as f64 * cell, window as f64 * cell, self.inputs.duration(video));
                found.extend(more.into_iter().filter(|d| d.segment.length() > 0.0));
            }
        }
        let suppress = |candidates: &[Detection]| nms::soft_nms(candidates, self.config.nms_sigma, self.config.nms_keep);
        Ok(match &self.labels {
            Labels::Head(_) => {
                let mut kept = nms::per_class(&found, suppress);
                kept.truncate(self.config.nms_keep);
                kept
            }
            // One input was suppressed already; several overlap and are suppressed once more (OpenTAD).
            Labels::External { .. } if starts.len() > 1 => suppress(&found),
            Labels::External { .. } => found,
        })
    }
}

/// The inputs of an inferred batch, in plain numbers.
fn split(inferred: &Inferred, inputs: usize) -> impl Iterator<Item = Scored> {
    let flat =
        |t: &Tensor| Vec::<f32>::try_from(t.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view([-1])).expect("a float tensor");
    let (segments, iou) = (flat(&inferred.segments), flat(&inferred.iou));
    let (start, end) = (flat(&inferred.start), flat(&inferred.end));
    let classes = inferred.classes.as_ref().map(flat);
    let part = move |all: &[f32], b: usize| {
        let size = all.len() / inputs;
        all[b * size..][..size].to_vec()
    };
    let pairs = |flat: Vec<f32>| flat.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    (0..inputs).map(move |b| Scored {
        segments: pairs(part(&segments, b)),
        iou: pairs(part(&iou, b)),
        boundaries: (part(&start, b), part(&end, b)),
        classes: classes.as_ref().map(|c| part(c, b)),
    })
}

/// Which windows each pass over the sample trains on: a pure function of (seed, pass).
struct Passes<'a> {
    config: &'a EtadConfig,
    seed: u64,
    /// Instances and number of cells per video.
    truths: &'a [(Vec<CellInstance>, usize)],
}

impl Passes<'_> {
    /// Batches of windows that hold at least one instance, shuffled; an incomplete last batch only when it is the only one.
    fn batches(&self, pass: u64) -> Vec<Vec<Window>> {
        let mut rng = Stream::new(self.seed, &format!("train/pass/{pass}"));
        let window = self.config.window;
        let mut windows = Vec::new();
        for (video, (truth, cells)) in self.truths.iter().enumerate() {
            let last = cells.saturating_sub(window);
            for start in window_starts(*cells, window, self.config.stride) {
                let half = (self.config.stride / 2) as f64;
                let shift = if self.config.jitter { rng.between(-half, half).round() } else { 0.0 };
                let start = (start as f64 + shift).clamp(0.0, last as f64) as usize;
                let truth = instances_in_window(truth, start, window, self.config.keep_share);
                if !truth.is_empty() {
                    windows.push(Window { video, start, truth });
                }
            }
        }
        rng.shuffle(&mut windows);
        let batch = self.config.batch;
        let whole = if windows.len() >= batch { windows.len() / batch * batch } else { windows.len() };
        windows[..whole].chunks(batch).map(<[Window]>::to_vec).collect()
    }
}

/// Makes batches on the loader's thread.
struct Loader<'a> {
    config: &'a EtadConfig,
    inputs: &'a Inputs<'a>,
    lattice: Lattice,
    videos: &'a [String],
    seed: u64,
}

impl Loader<'_> {
    fn prepare(&self, windows: &[Window], step: u64) -> Result<Prepared, features::Error> {
        let mut rng = Stream::new(self.seed, &format!("train/step/{step}"));
        let (time, channels) = (self.config.window, self.inputs.channels());
        let mut batch = Prepared {
            x: vec![0.0; windows.len() * time * channels],
            shape: [windows.len() as i64, time as i64, channels as i64],
            anchors: Vec::with_capacity(windows.len()),
            start: Vec::new(),
            end: Vec::new(),
            matched: Vec::new(),
            classes: Vec::new(),
            draws: Vec::new(),
        };
        for (window, x) in windows.iter().zip(batch.x.chunks_exact_mut(time * channels)) {
            let cells = self.inputs.cells(&self.videos[window.video])?;
            let length = time.min(cells.time - window.start) * channels;
            x[..length].copy_from_slice(&cells.data[window.start * channels..][..length]);
            if self.config.noise > 0.0 {
                x[..length].iter_mut().for_each(|v| *v += (self.config.noise * rng.normal()) as f32);
            }
            let truth: Vec<(f64, f64)> = window.truth.iter().map(|i| (i.start / time as f64, i.end / time as f64)).collect();
            let anchors = match self.config.sampling {
                ProposalSampling::Guided => {
                    let truth: Vec<Anchor> = truth.iter().map(|&(s, e)| (s as f32, e as f32)).collect();
                    self.lattice.draw_guided(&truth, self.lattice.sample_size(self.config.ratio), &mut rng)
                }
                published => self.lattice.draw(published, self.config.ratio, &mut rng),
            };
            batch.start.extend(boundary_curve(truth.iter().map(|t| t.0), time));
            batch.end.extend(boundary_curve(truth.iter().map(|t| t.1), time));
            for index in match_instances(&anchors, &truth).expect("only windows with an instance are trained on") {
                batch.matched.extend([truth[index].0 as f32, truth[index].1 as f32]);
                batch.classes.push(window.truth[index].label as i64);
            }
            batch.anchors.push(anchors);
        }
        let rows = self.config.stage_tiou.len() * DRAWS_PER_STAGE + 1;
        batch.draws = (0..rows * batch.classes.len()).map(|_| rng.uniform_f32()).collect();
        Ok(batch)
    }
}

struct Trainee<'a> {
    params: &'a Params,
    network: &'a Etad,
    device: Device,
}

impl Model for Trainee<'_> {
    type Batch = Prepared;

    fn params(&self) -> &Params {
        self.params
    }

    fn backward(&self, batch: Prepared, gradients: &mut Gradients) -> Vec<(String, f64)> {
        let device = self.device;
        let [inputs, time, _] = batch.shape;
        let floats = |values: &[f32], shape: &[i64]| Tensor::from_slice(values).view(shape).to_device(device);
        let n = batch.classes.len() as i64;
        let draws = floats(&batch.draws, &[-1, n]);
        let of_stage = |i: i64| {
            let row = |k: i64| draws.get(i * DRAWS_PER_STAGE as i64 + k);
            Draws { iou_class: row(0), iou_mid: row(1), iou_low: row(2), start: row(3), end: row(4) }
        };
        let stages = (draws.size()[0] - 1) / DRAWS_PER_STAGE as i64;
        let batch = Batch {
            x: floats(&batch.x, &batch.shape).transpose(1, 2).contiguous(),
            start: floats(&batch.start, &[inputs, time]),
            end: floats(&batch.end, &[inputs, time]),
            matched: floats(&batch.matched, &[-1, 2]),
            classes: Tensor::from_slice(&batch.classes).to_device(device),
            draws: (0..stages).map(of_stage).collect(),
            class_draw: draws.get(draws.size()[0] - 1),
            anchors: batch.anchors,
        };
        self.network.backward(self.params, &batch, gradients, |_| {}).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::etad::{Preset, Schedule};
    use crate::data::synthetic::{SyntheticConfig, generate};

    fn corpus() -> (Dataset, FeatureSource) {
        generate(&SyntheticConfig { videos: 6, channels: 6, ..SyntheticConfig::default() })
    }

    fn small(preset: Preset) -> EtadConfig {
        EtadConfig {
            window: 64,
            stride: 32,
            max_duration: 48,
            hidden: 32,
            roi_channels: 16,
            roi_bins: 8,
            fc: 16,
            fc_inner: 16,
            ratio: 0.02,
            steps: 6,
            epochs: 3,
            batch: 4,
            ..EtadConfig::preset(preset)
        }
    }

    fn task<'a>(config: &EtadConfig, (dataset, features): &'a (Dataset, FeatureSource), labels: Labels) -> Task<'a> {
        Task::new(config, dataset, features, labels, 7, Device::Cpu)
    }

    fn videos((dataset, _): &(Dataset, FeatureSource)) -> Vec<String> {
        dataset.videos.keys().cloned().collect()
    }

    #[test]
    fn every_preset_trains_and_detects_inside_the_videos() {
        let corpus = corpus();
        let all = videos(&corpus);
        let classes = corpus.0.classes.len();
        for preset in [Preset::Activitynet, Preset::Thumos14, Preset::Laptop] {
            for external in [false, true] {
                let labels = if external {
                    let scores = all.iter().map(|v| (v.clone(), (0..classes).map(|c| c as f64 / classes as f64).collect())).collect();
                    Labels::External { scores, top: 2 }
                } else {
                    Labels::Head(classes)
                };
                let dir = tempfile::tempdir().unwrap();
                let mut task = task(&small(preset), &corpus, labels);
                let outcome = task.train(&all, 7, true, &dir.path().join("c"), &mut ()).unwrap();
                assert!(outcome.steps == 6 && outcome.notes[0].contains("zero-padded from 6 to 8"), "{:?}", outcome.notes);
                let found = task.detect(&all, &mut ()).unwrap();
                assert!(found.values().any(|d| !d.is_empty()), "{preset:?}");
                for (video, detections) in &found {
                    let duration = corpus.0.videos[video].duration;
                    for d in detections {
                        assert!(0.0 <= d.segment.start && d.segment.start < d.segment.end && d.segment.end <= duration, "{preset:?} {d:?}");
                        assert!(d.score.is_finite() && (!external || d.label >= classes - 2));
                    }
                }
            }
        }
    }

    #[test]
    fn a_resumed_training_ends_like_an_uninterrupted_one() {
        let corpus = corpus();
        let all = videos(&corpus);
        let weights = |steps: &[u64]| {
            let dir = tempfile::tempdir().unwrap();
            let mut last = Vec::new();
            for &stop in steps {
                // A shorter training stands for an interrupted one: the step schedule is constant so early.
                let config = EtadConfig { schedule: Schedule::Step, steps: stop, epochs: 6, ..small(Preset::Laptop) };
                let mut task = task(&config, &corpus, Labels::Head(corpus.0.classes.len()));
                task.train(&all, 7, true, &dir.path().join("c"), &mut ()).unwrap();
                last = task.params.entries().iter().map(|(_, t)| Vec::<f32>::try_from(t.view([-1])).unwrap()).collect();
            }
            last
        };
        // Two updates leave a checkpoint after the first; the rest goes on from there.
        assert_eq!(weights(&[2, 5]), weights(&[5]));
    }
}
