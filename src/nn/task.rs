//! A network on a data set: training on a sample, and detection in whole videos.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::clips::{Clip, Loader, Passes, Prepared, Source};
use super::input::{InputSettings, Inputs, Standard};
use super::macs;
use super::network::{Batch, Conventions, Network, Terms, VideoClasses, Window};
use super::optim::{AdamOptions, Gradients};
use super::params::{self, Params};
use super::train::{self, Around, Model, Plan};
use super::weights::{self, Weights};
use super::{precision, transfer};
use crate::config::settings::{Common, Precision, Temporal};
use crate::data::windows::{window_starts, window_starts_on_stride};
use crate::data::{Dataset, FeatureSource, Segment, features};
use crate::eval::{Detection, Detections};
use crate::event::{Event, Observer};

/// Where class labels come from.
pub enum Labels {
    /// The network, over this many classes.
    Network(usize),
    /// Video-level scores: the network is class-agnostic.
    External {
        /// Score per class by video.
        scores: BTreeMap<String, Vec<f64>>,
        /// Classes used.
        top: usize,
    },
}

/// A trained or trainable network bound to a data set.
pub struct Task<'a> {
    pub(super) common: Common,
    conventions: Conventions,
    pub(super) inputs: Inputs<'a>,
    labels: Labels,
    pub(super) params: Params,
    pub(super) network: Box<dyn Network>,
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

/// How a training goes on a sample.
pub(super) struct Schedule {
    /// The sampled videos.
    pub sources: Vec<Source>,
    /// Updates.
    pub total: u64,
    /// Passes over the sample.
    pub epochs: f64,
    /// For the record.
    pub notes: Vec<String>,
}

impl Schedule {
    /// What the training gave.
    pub fn outcome(self, final_loss: f64) -> Outcome {
        Outcome { steps: self.total, epochs: self.epochs, final_loss, notes: self.notes }
    }
}

impl<'a> Task<'a> {
    /// Binds what `build(params, channels, classes)` makes to a data set, with initial weights for `seed`.
    pub fn new(
        common: &Common,
        conventions: Conventions,
        (dataset, features): (&'a Dataset, &'a FeatureSource),
        labels: Labels,
        (seed, device): (u64, Device),
        build: impl FnOnce(&mut Params, i64, Option<i64>) -> Box<dyn Network>,
    ) -> Self {
        let settings = InputSettings {
            pool: common.pool,
            rescale: (common.temporal == Temporal::Rescale).then_some(common.window),
            linear: conventions.linear_rescale,
            multiple: conventions.channel_multiple.max(1),
            centres: conventions.centres,
        };
        let inputs = Inputs::new(dataset, features, settings, None);
        precision::prepare(common.precision, common.deterministic);
        let mut params = Params::new(seed, device);
        let classes = if let Labels::Network(n) = labels { Some(n as i64) } else { None };
        let network = build(&mut params, inputs.channels() as i64, classes);
        Self { common: common.clone(), conventions, inputs, labels, params, network }
    }

    /// Number of trainable values.
    pub fn parameter_count(&self) -> u64 {
        self.params.count()
    }

    /// The same task with a training of `updates` updates in one pass, which leaves no checkpoint; for measurements.
    pub fn shortened(mut self, updates: u64) -> Self {
        (self.common.steps, self.common.epochs) = (updates, 1);
        self
    }

    /// Classes that the network tells apart; `None` where it is class-agnostic.
    pub fn classes(&self) -> Option<i64> {
        if let Labels::Network(n) = self.labels { Some(n as i64) } else { None }
    }

    /// Values per cell.
    pub fn channels(&self) -> i64 {
        self.inputs.channels() as i64
    }

    /// What is trained.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Seconds of a video.
    pub fn seconds(&self, video: &str) -> f64 {
        self.inputs.duration(video)
    }

    /// Trains on `videos`, unless no update is asked for; `fixed_steps` makes `common.steps` updates instead of `common.epochs` passes.
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
        self.train_around(videos, (seed, fixed_steps), checkpoint, observer, &mut ())
    }

    /// As [`Task::train`], with something going on around every update.
    ///
    /// # Errors
    /// See [`train::Error`].
    pub fn train_around(
        &mut self,
        videos: &[String],
        (seed, fixed_steps): (u64, bool),
        checkpoint: &Path,
        observer: &mut dyn Observer,
        around: &mut dyn Around,
    ) -> Result<Outcome, train::Error> {
        let schedule = match self.schedule(videos, (seed, fixed_steps))? {
            Ok(schedule) => schedule,
            Err(untrained) => return Ok(untrained),
        };
        let Schedule { sources, total, .. } = &schedule;
        let passes = Passes { common: &self.common, seed, sources };
        let class_agnostic = self.is_class_agnostic();
        let loader = Loader { common: &self.common, inputs: &self.inputs, videos, seed, class_agnostic };
        let padded = self.padding();
        let batches = |skip: u64| {
            let clips = (0..).flat_map(|pass| passes.batches(pass)).skip(skip as usize);
            clips.zip(skip..).map(|(clips, step)| loader.prepare(&clips, padded(&clips), step).map_err(train::Error::from))
        };
        let trainee = Trainee { params: &self.params, network: &*self.network, precision: self.common.precision };
        let final_loss = train::train(&trainee, &self.plan(*total), batches, checkpoint, observer, around)?;
        Ok(schedule.outcome(final_loss))
    }

    /// How a training on `videos` goes, their inputs standardised and kept; what it gives at once where no update is asked for.
    pub(super) fn schedule(
        &mut self,
        videos: &[String],
        (seed, fixed_steps): (u64, bool),
    ) -> Result<Result<Schedule, Outcome>, train::Error> {
        let mut notes: Vec<String> = self.inputs.padding_note().into_iter().collect();
        // Weights that brought their own standardisation keep it.
        if self.common.standardise && self.inputs.standard().is_none() {
            self.inputs.standardise_on(videos)?;
        }
        if (if fixed_steps { self.common.steps } else { u64::from(self.common.epochs) }) == 0 {
            return Ok(Err(Outcome { steps: 0, epochs: 0.0, final_loss: f64::NAN, notes }));
        }
        self.inputs.keep(videos)?;
        let margin = if self.conventions.margin { self.inputs.offset() } else { 0.0 };
        let source = |video: &String| Ok(Source { truth: self.inputs.truth(video), cells: self.inputs.cell_count(video)?, margin });
        let sources: Vec<Source> = videos.iter().map(source).collect::<Result<_, features::Error>>()?;
        let time = |cells: usize| match self.common.temporal {
            Temporal::Whole => self.network.padded(cells.min(self.common.window)),
            Temporal::Rescale | Temporal::Windows => self.common.window,
        };
        if let Some(longest) = self.network.longest()
            && let Some((video, source)) = videos.iter().zip(&sources).find(|(_, source)| time(source.cells) > longest)
        {
            return Err(train::Error::TooLong { video: video.clone(), cells: time(source.cells), longest });
        }
        let passes = Passes { common: &self.common, seed, sources: &sources };
        let first = passes.batches(0).len() as u64;
        if first == 0 {
            return Err(train::Error::NoInstance(videos.len()));
        }
        let all_passes = || (0..u64::from(self.common.epochs)).map(|p| passes.batches(p).len() as u64).sum();
        let total = if fixed_steps { self.common.steps } else { all_passes() };
        let epochs = if fixed_steps { total as f64 / first as f64 } else { f64::from(self.common.epochs) };
        if fixed_steps && epochs < 1.0 {
            notes.push(format!("{total} updates are less than one pass over this sample ({first} batches)"));
        }
        Ok(Ok(Schedule { sources, total, epochs, notes }))
    }

    /// The loop's settings for `total` updates.
    pub(super) fn plan(&self, total: u64) -> Plan<'_> {
        Plan {
            total,
            checkpoint_every: total.div_ceil(u64::from(self.common.epochs)),
            common: &self.common,
            adam: AdamOptions {
                rule: self.common.optimiser,
                weight_decay: self.common.weight_decay,
                spare_plain: self.conventions.spare_plain,
                slow: self.conventions.slow,
            },
        }
    }

    /// Whether labels come from elsewhere.
    pub(super) fn is_class_agnostic(&self) -> bool {
        matches!(self.labels, Labels::External { .. })
    }

    /// Cells that the inputs of a batch are padded to. The network lives on this thread, so its rule is tabulated for the
    /// loader's.
    fn padding(&self) -> impl Fn(&[Clip]) -> usize + Send + use<> {
        let window = self.common.window;
        let table: Option<Vec<usize>> =
            (self.common.temporal == Temporal::Whole).then(|| (0..=window).map(|cells| self.network.padded(cells)).collect());
        move |clips| match &table {
            Some(table) => table[clips.iter().map(|c| c.cells).max().unwrap_or(0)],
            None => window,
        }
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

    /// Reads what [`Task::save`] wrote.
    ///
    /// # Errors
    /// The file is unreadable or belongs to another model.
    pub fn load(&mut self, path: &Path) -> Result<(), params::Error> {
        self.take_over(path, params::read_tensors(path)?)
    }

    /// Starts from pretrained weights instead of random ones: the authors' checkpoint, a safetensors file, or what
    /// [`Task::save`] wrote, whose standardisation then stays in force. Returns a sentence for the record.
    ///
    /// # Errors
    /// The file is unreadable, belongs to another model, or holds what is no number.
    pub fn start_from(&mut self, path: &Path) -> Result<String, params::Error> {
        let Weights { tensors, place } = weights::read(path)?;
        let finite = |t: &Tensor| !t.is_floating_point() || t.isfinite().all().int64_value(&[]) != 0;
        if let Some((name, _)) = tensors.iter().find(|(_, t)| !finite(t)) {
            return Err(params::Error::NotFinite { path: path.display().to_string(), name: name.clone() });
        }
        let count = tensors.len();
        self.take_over(path, tensors)?;
        let place = place.map_or(String::new(), |key| format!(", `{key}` of the checkpoint"));
        Ok(format!("the weights start from {} ({count} tensors{place})", path.display()))
    }

    fn take_over(&mut self, path: &Path, tensors: Vec<(String, Tensor)>) -> Result<(), params::Error> {
        let origin = path.display().to_string();
        let (input, weights): (Vec<_>, Vec<_>) = tensors.into_iter().partition(|(n, _)| n.starts_with("input."));
        self.params.assign(&origin, weights).map_err(|error| match error {
            params::Error::Mismatch { path, mut misfit } => {
                misfit.classes = Some(self.classes().unwrap_or(0));
                params::Error::Mismatch { path, misfit }
            }
            other => other,
        })?;
        let channels = self.inputs.channels();
        let find = |name: &str| {
            let (_, tensor) = input.iter().find(|(n, _)| n == name)?;
            Vec::<f32>::try_from(tensor.to_kind(Kind::Float).reshape([-1])).ok().filter(|values| values.len() == channels)
        };
        match (find("input.mean"), find("input.deviation")) {
            (Some(mean), Some(deviation)) => self.inputs.set_standard(Standard { mean, deviation }),
            _ if input.is_empty() => {}
            _ => {
                let reason = format!("its `input.mean` and `input.deviation` are not for {channels} channels");
                return Err(params::Error::Checkpoint { path: origin, reason });
            }
        }
        Ok(())
    }

    /// Detects actions in `videos`; also says how many multiply-accumulates that took.
    ///
    /// # Errors
    /// A feature file is bad, or a video too long for the network.
    pub fn detect(&self, videos: &[String], observer: &mut dyn Observer) -> Result<(Detections, u64), train::Error> {
        let (mut detections, mut total) = (Detections::new(), 0);
        for (done, video) in videos.iter().enumerate() {
            let (found, macs) = macs::count(|| tch::no_grad(|| self.detect_video(video)));
            detections.insert(video.clone(), found?);
            total += macs;
            observer.observe(&Event::Progress { done: done as u64 + 1, total: videos.len() as u64, loss: None });
        }
        Ok((detections, total))
    }

    fn detect_video(&self, video: &str) -> Result<Vec<Detection>, train::Error> {
        let cells = self.inputs.cells(video)?;
        let Common { window, stride, test_stride, temporal, .. } = self.common;
        let stride = if test_stride == 0 { stride } else { test_stride };
        let (starts, time) = match temporal {
            Temporal::Whole => (vec![0], self.network.padded(cells.time)),
            _ if self.conventions.short_last => (window_starts_on_stride(cells.time, window, stride), window),
            _ => (window_starts(cells.time, window, stride), window),
        };
        if let Some(longest) = self.network.longest().filter(|&longest| time > longest) {
            return Err(train::Error::TooLong { video: video.to_owned(), cells: cells.time, longest });
        }
        let channels = cells.channels;
        let mut windows = Vec::with_capacity(starts.len());
        for group in starts.chunks(self.conventions.inference_batch.max(1)) {
            let valid: Vec<usize> = group.iter().map(|start| time.min(cells.time - start)).collect();
            let mut x = vec![0.0f32; group.len() * time * channels];
            for ((row, &start), &valid) in x.chunks_exact_mut(time * channels).zip(group).zip(&valid) {
                row[..valid * channels].copy_from_slice(&cells.data[start * channels..][..valid * channels]);
            }
            let x = to_input(&x, [group.len(), time, channels], self.params.device());
            let found = precision::within(self.common.precision, self.params.device(), || self.network.detect(&x, &valid));
            windows.extend(group.iter().zip(valid).zip(found).map(|((&start, cells), found)| Window { start, cells, found }));
        }
        let found = match &self.labels {
            Labels::Network(_) => self.network.merge(windows, None),
            Labels::External { scores, top } => match scores.get(video) {
                Some(scores) => self.network.merge(windows, Some(VideoClasses { scores, top: *top })),
                None => Vec::new(),
            },
        };
        Ok(self.in_seconds(video, found))
    }

    /// From cells of a video to seconds, inside of it; what lies outside is dropped.
    fn in_seconds(&self, video: &str, found: Vec<Detection>) -> Vec<Detection> {
        let (cell, offset, duration) = (self.inputs.cell_seconds(video), self.inputs.offset(), self.inputs.duration(video));
        let second = |cells: f64| ((cells + offset) * cell).clamp(0.0, duration);
        let segment = |s: Segment| Segment { start: second(s.start), end: second(s.end) };
        let moved = found.into_iter().map(|d| Detection { segment: segment(d.segment), ..d });
        moved.filter(|d| d.segment.length() > 0.0).collect()
    }
}

/// `[B, T, C]` numbers as a `[B, C, T]` tensor.
fn to_input(x: &[f32], shape: [usize; 3], device: Device) -> Tensor {
    let shape = shape.map(|n| n as i64);
    transfer::send_slice(x, &shape, device).transpose(1, 2).contiguous()
}

struct Trainee<'a> {
    params: &'a Params,
    network: &'a dyn Network,
    precision: Precision,
}

impl Trainee<'_> {
    /// On the network's device.
    fn batch(&self, prepared: Prepared) -> Batch {
        let Prepared { x, shape, valid, truth, mut rng } = prepared;
        // What libtorch draws itself (dropout) follows from the update too, so a resumed training draws the same.
        tch::manual_seed((rng.uniform() * (1u64 << 53) as f64) as i64);
        Batch { x: to_input(&x, shape, self.params.device()), valid, truth, rng }
    }
}

impl Model for Trainee<'_> {
    type Batch = Prepared;

    fn inputs(batch: &Prepared) -> [usize; 2] {
        [batch.shape[0], batch.shape[1]]
    }

    fn params(&self) -> &Params {
        self.params
    }

    fn backward(&self, batch: Prepared, gradients: &mut Gradients) -> Result<Terms, train::Error> {
        let mut batch = self.batch(batch);
        let work = || self.network.backward(self.params, &mut batch, gradients);
        Ok(precision::within(self.precision, self.params.device(), work))
    }

    fn stage(&self, batch: Prepared) -> Result<Vec<Tensor>, Prepared> {
        if self.params.device().is_cuda() && self.network.is_regular() {
            Ok(self.network.inputs(&mut self.batch(batch)))
        } else {
            Err(batch)
        }
    }

    fn backward_from(&self, inputs: &[Tensor], gradients: &mut Gradients) -> Terms {
        precision::within(self.precision, self.params.device(), || self.network.backward_from(self.params, inputs, gradients))
    }

    fn memory(&self) -> Vec<f64> {
        self.network.memory()
    }

    fn recall(&self, memory: &[f64]) {
        self.network.recall(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EtadConfig;
    use crate::config::settings::{Preset, Schedule};
    use crate::data::synthetic::{SyntheticConfig, generate};
    use crate::nn::models::etad::network::{CONVENTIONS, EtadNetwork};

    fn corpus() -> (Dataset, FeatureSource) {
        generate(&SyntheticConfig { videos: 6, channels: 6, ..SyntheticConfig::default() })
    }

    fn small(preset: Preset) -> EtadConfig {
        let preset = EtadConfig::preset(preset).unwrap();
        EtadConfig {
            common: Common { window: 64, stride: 32, steps: 6, epochs: 3, batch: 4, ..preset.common },
            max_duration: 48,
            hidden: 32,
            roi_channels: 16,
            roi_bins: 8,
            fc: 16,
            fc_inner: 16,
            ratio: 0.02,
            ..preset
        }
    }

    fn task<'a>(config: &EtadConfig, (dataset, features): &'a (Dataset, FeatureSource), labels: Labels) -> Task<'a> {
        Task::new(&config.common, CONVENTIONS, (dataset, features), labels, (7, Device::Cpu), |params, channels, classes| {
            Box::new(EtadNetwork::new(params, config, channels, classes))
        })
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
                    Labels::Network(classes)
                };
                let dir = tempfile::tempdir().unwrap();
                let mut task = task(&small(preset), &corpus, labels);
                let outcome = task.train(&all, 7, true, &dir.path().join("c"), &mut ()).unwrap();
                assert!(outcome.steps == 6 && outcome.notes[0].contains("zero-padded from 6 to 8"), "{:?}", outcome.notes);
                let (found, macs) = task.detect(&all, &mut ()).unwrap();
                assert!(macs > 0);
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
    fn a_step_from_its_inputs_is_the_step_of_its_batch() {
        let corpus = corpus();
        let all = videos(&corpus);
        for preset in [Preset::Activitynet, Preset::Laptop] {
            let config = small(preset);
            let mut task = task(&config, &corpus, Labels::Network(corpus.0.classes.len()));
            let Ok(schedule) = task.schedule(&all, (7, true)).unwrap() else { panic!("there is something to learn") };
            let clips = Passes { common: &task.common, seed: 7, sources: &schedule.sources }.batches(0).remove(0);
            let loader = Loader { common: &task.common, inputs: &task.inputs, videos: &all, seed: 7, class_agnostic: false };
            let trainee = Trainee { params: &task.params, network: &*task.network, precision: Precision::Float32 };
            let prepared = || loader.prepare(&clips, 64, 0).unwrap();
            let [mut of_batch, mut of_inputs] = [Gradients::none(&task.params), Gradients::none(&task.params)];
            let terms = trainee.backward(prepared(), &mut of_batch).unwrap().read();
            let inputs = task.network.inputs(&mut trainee.batch(prepared()));
            assert!(task.network.is_regular() && inputs.iter().all(|t| t.defined()));
            assert_eq!(trainee.backward_from(&inputs, &mut of_inputs).read(), terms);
            assert_eq!(of_inputs.norm().double_value(&[]), of_batch.norm().double_value(&[]));
        }
    }

    /// Takes ten cells and finds nothing.
    struct Short;

    impl Network for Short {
        fn losses(&self, _: &mut Batch) -> Vec<crate::nn::network::Term> {
            unreachable!("no input fits")
        }

        fn detect(&self, _: &Tensor, _: &[usize]) -> Vec<Vec<Detection>> {
            unreachable!("no input fits")
        }

        fn merge(&self, _: Vec<Window>, _: Option<VideoClasses<'_>>) -> Vec<Detection> {
            Vec::new()
        }

        fn longest(&self) -> Option<usize> {
            Some(10)
        }
    }

    #[test]
    fn a_video_too_long_for_the_network_is_named_and_never_cut() {
        let corpus = corpus();
        let all = videos(&corpus);
        let common = Common { temporal: Temporal::Whole, ..small(Preset::Laptop).common };
        let labels = Labels::Network(corpus.0.classes.len());
        let mut task =
            Task::new(&common, Conventions::default(), (&corpus.0, &corpus.1), labels, (7, Device::Cpu), |_, _, _| Box::new(Short));
        let detected = task.detect(&all, &mut ()).map(|_| ()).unwrap_err().to_string();
        let dir = tempfile::tempdir().unwrap();
        let trained = task.train(&all, 7, true, &dir.path().join("c"), &mut ()).map(|_| ()).unwrap_err().to_string();
        for text in [detected, trained] {
            assert!(text.contains(&format!("video {:?}", all[0])) && text.contains("more than the 10"), "{text}");
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
                let small = small(Preset::Laptop);
                let common = Common { schedule: Schedule::Step, steps: stop, epochs: 6, ..small.common };
                let config = EtadConfig { common, ..small };
                let mut task = task(&config, &corpus, Labels::Network(corpus.0.classes.len()));
                task.train(&all, 7, true, &dir.path().join("c"), &mut ()).unwrap();
                last = task.params.entries().iter().map(|(_, t)| Vec::<f32>::try_from(t.view([-1])).unwrap()).collect();
            }
            last
        };
        // Two updates leave a checkpoint after the first; the rest goes on from there.
        assert_eq!(weights(&[2, 5]), weights(&[5]));
    }
}
