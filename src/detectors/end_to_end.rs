//! Detectors that look at the videos themselves: an encoder in front of a network, frozen, trained along, or trained before
//! at low fidelity.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::native::{CHECKPOINT, WEIGHTS, guarded, origin_notes, task};
use super::{Detected, Detector, Error, FrameFacts, Job, Trained};
use crate::base::{Digest, Stream};
use crate::config::ModelConfig;
use crate::config::encoder::{EncoderConfig, Training};
use crate::data::features::ByVideo;
use crate::data::video::VideoSource;
use crate::data::{FeatureSource, Features};
use crate::event::{Event, Observer};
use crate::nn::encoders::{Encoder, VideoEncoder};
use crate::nn::end_to_end::extract;
use crate::nn::end_to_end::frames::Camera;
use crate::nn::end_to_end::joint::{self, Joint};
use crate::nn::task::{Outcome, Task};
use crate::nn::{macs, models, runtime};
use crate::protocol::settings::Budget;

/// File of the trained encoder inside the attempt's folder.
const ENCODER: &str = "encoder.safetensors";

/// The encoder when its own training is over and the detector's is not (LoFi).
const ENCODER_DONE: &str = "checkpoint/encoder.safetensors";

/// State of a joint training that another one follows.
const FIRST_CHECKPOINT: &str = "checkpoint/joint.safetensors";

/// Snippets that the batch-norm statistics of a random encoder are measured on.
const CALIBRATION: usize = 64;

/// The detector that a configuration with an encoder asks for.
pub fn build(config: &ModelConfig) -> Option<Box<dyn Detector>> {
    let encoder = config.encoder.clone()?;
    Some(Box::new(EndToEnd { config: config.clone(), encoder }))
}

struct EndToEnd {
    config: ModelConfig,
    encoder: EncoderConfig,
}

/// An encoder and what it looks at.
pub(super) struct Eye<'a> {
    encoder: VideoEncoder,
    camera: Camera,
    source: &'a VideoSource,
}

impl EndToEnd {
    /// The eye as a training starts with it, and a sentence for the record.
    fn eye<'a>(&self, job: &Job<'a>) -> Result<(Eye<'a>, String), Error> {
        Eye::open(&self.encoder, source(job)?, (job.seed, job.device), job.train)
    }

    fn jointly(
        &self,
        eye: &Eye<'_>,
        task: &mut Task<'_>,
        job: &Job<'_>,
        checkpoint: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(Outcome, f64), Error> {
        let classes = task.classes();
        let slower = |times: usize| {
            let arch = self.config.arch.at(times);
            models::build(&arch, &mut task.params().again(), task.channels(), classes).expect("the architecture is a network")
        };
        let networks: BTreeMap<usize, _> = joint::slower(&self.encoder).into_iter().map(|times| (times, slower(times))).collect();
        let joint = Joint { encoder: &eye.encoder, config: &self.encoder, camera: &eye.camera };
        let budget = (job.seed, job.budget == Budget::Steps);
        Ok(joint::train(task, &joint, networks, job.train, budget, checkpoint, observer)?)
    }
}

fn source<'a>(job: &Job<'a>) -> Result<&'a VideoSource, Error> {
    job.videos.ok_or_else(|| Error::Input("the experiment has no `dataset.videos` for the encoder to read".into()))
}

impl<'a> Eye<'a> {
    /// An encoder with pretrained weights, or with random ones and the statistics of `sample`; and a sentence for the record.
    pub(super) fn open(
        config: &EncoderConfig,
        source: &'a VideoSource,
        (seed, device): (u64, &str),
        sample: &[String],
    ) -> Result<(Self, String), Error> {
        let mut eye = Self::blind(config, source, (seed, device))?;
        let note = if let Some(path) = &config.weights {
            let text = eye.encoder.start_from(path)?;
            format!("encoder: {text}; what they have seen before, beyond this sample, shows in the score")
        } else {
            eye.calibrate(sample, seed)?;
            format!("the encoder starts from random weights, its batch-norm statistics measured on {CALIBRATION} snippets of the sample")
        };
        Ok((eye, note))
    }

    /// An encoder whose weights are still to come.
    fn blind(config: &EncoderConfig, source: &'a VideoSource, (seed, device): (u64, &str)) -> Result<Self, Error> {
        let device = runtime::device(device).map_err(Error::Input)?;
        let encoder = VideoEncoder::new(config, seed, device);
        Ok(Self { encoder, camera: Camera::new(source, &config.frames), source })
    }

    fn calibrate(&mut self, sample: &[String], seed: u64) -> Result<(), Error> {
        let mut everywhere: Vec<(usize, usize)> = Vec::new();
        for (index, video) in sample.iter().enumerate() {
            everywhere.extend((0..self.source.snippets(video)).map(|snippet| (index, snippet)));
        }
        let chosen = Stream::new(seed, "encoder/calibration").choose(everywhere.len(), CALIBRATION);
        let chosen = chosen.into_iter().map(|at| everywhere[at]).collect();
        let views = sample.iter().map(|video| (video.clone(), self.camera.central())).collect();
        // All at once: the statistics of a chunk would be those of a few videos.
        let mut reel = self.camera.roll(views, vec![chosen]);
        let clips = self.camera.clips(&mut reel, self.encoder.params().device())?;
        self.encoder.calibrate(std::iter::once(clips));
        Ok(())
    }

    /// Values per snippet.
    pub(super) fn channels(&self) -> usize {
        self.encoder.channels() as usize
    }

    /// Hands the features of each of `videos` to `take`; returns the seconds waited for frames.
    pub(super) fn extract(
        &self,
        videos: &[String],
        observer: &mut dyn Observer,
        mut take: impl FnMut(&str, &Features) -> Result<(), Error>,
    ) -> Result<f64, Error> {
        let seen = (&self.encoder as &dyn Encoder, &self.camera, self.source);
        extract::extract(seen, videos, self.encoder.params().device(), observer, |video, _, features| take(video, &features))
    }

    /// Features of `videos` at full fidelity, and the seconds waited for frames.
    fn features(&self, videos: &[String], observer: &mut dyn Observer) -> Result<(FeatureSource, f64), Error> {
        let device = self.encoder.params().device();
        let seen = (&self.encoder as &dyn Encoder, &self.camera, self.source);
        let (features, waited) = extract::collect(seen, videos, device, observer)?;
        Ok((self.source_of(features), waited))
    }

    /// Features of the right size without content, for a training that makes its own.
    fn blank(&self, videos: &[String]) -> FeatureSource {
        let channels = self.channels();
        let of = |video: &String| {
            let time = self.source.snippets(video);
            (video.clone(), (self.source.period(video), Features { time, channels, data: vec![0.0; time * channels] }))
        };
        self.source_of(videos.iter().map(of).collect())
    }

    fn source_of(&self, features: ByVideo) -> FeatureSource {
        // Never asked for: cells are known by their videos.
        FeatureSource::in_memory(self.channels(), features, Digest::of_bytes(b"features of an encoder"))
    }
}

impl Detector for EndToEnd {
    fn train(&self, job: &Job<'_>, observer: &mut dyn Observer) -> Result<Trained, Error> {
        runtime::prepare(job.threads);
        guarded(|| {
            let (eye, note) = self.eye(job)?;
            let mut notes = vec![note];
            let checkpoint = job.dir.join(CHECKPOINT);
            let fixed_steps = job.budget == Budget::Steps;
            let standardise = self.config.arch.common().is_some_and(|common| common.standardise);
            let mut steps = 0;
            // What standardises the features of a joint training is measured on the encoder as it starts.
            let initial = |eye: &Eye<'_>| if standardise { eye.features(job.train, &mut ()) } else { Ok((eye.blank(job.train), 0.0)) };
            let (features, mut waited_s) = match &self.encoder.training {
                Training::Frozen => eye.features(job.train, &mut ())?,
                Training::Plain | Training::Checkpointed | Training::Sampled(_) => initial(&eye)?,
                Training::Lofi(_) => {
                    let done = job.dir.join(ENCODER_DONE);
                    let mut waited_s = 0.0;
                    if done.exists() {
                        eye.encoder.load(&done)?;
                        observer.observe(&Event::Note { text: "resumed with the encoder trained at low fidelity".into() });
                    } else {
                        let (features, waited_before) = initial(&eye)?;
                        let mut head = task(&self.config, job, &features)?;
                        let (outcome, waited) = self.jointly(&eye, &mut head, job, &job.dir.join(FIRST_CHECKPOINT), observer)?;
                        (steps, waited_s) = (outcome.steps, waited_before + waited);
                        eye.encoder.save(&done)?;
                    }
                    let (features, waited) = eye.features(job.train, &mut ())?;
                    notes.push(
                        "LoFi: the encoder was trained with a detector at low fidelity, then this detector from scratch on its features"
                            .into(),
                    );
                    (features, waited_s + waited)
                }
            };
            let mut task = task(&self.config, job, &features)?;
            let started = self.config.init.as_deref().map(|path| task.start_from(path)).transpose()?;
            let outcome = match &self.encoder.training {
                Training::Frozen | Training::Lofi(_) => task.train(job.train, job.seed, fixed_steps, &checkpoint, observer)?,
                Training::Plain | Training::Checkpointed | Training::Sampled(_) => {
                    let (outcome, waited) = self.jointly(&eye, &mut task, job, &checkpoint, observer)?;
                    waited_s += waited;
                    outcome
                }
            };
            let artifact = job.dir.join(WEIGHTS);
            task.save(&artifact)?;
            eye.encoder.save(&job.dir.join(ENCODER))?;
            notes.extend(outcome.notes);
            notes.extend(origin_notes(&self.config, started, outcome.steps));
            let decoded = eye.source.decoded();
            let trained = if self.encoder.is_trained() { eye.encoder.params().count() } else { 0 };
            Ok(Trained {
                artifact,
                steps: steps + outcome.steps,
                epochs: outcome.epochs,
                parameters: Some(task.parameter_count() + trained),
                final_loss: Some(outcome.final_loss).filter(|l| l.is_finite()),
                frames: Some(FrameFacts { waited_s, decode_s: decoded.seconds, decoded: decoded.frames }),
                notes,
            })
        })
    }

    fn detect(&self, job: &Job<'_>, trained: &Trained, videos: &[String], observer: &mut dyn Observer) -> Result<Detected, Error> {
        runtime::prepare(job.threads);
        guarded(|| {
            let eye = Eye::blind(&self.encoder, source(job)?, (job.seed, job.device))?;
            let folder: PathBuf = trained.artifact.parent().unwrap_or(Path::new(".")).to_owned();
            eye.encoder.load(&folder.join(ENCODER))?;
            let (features, of_encoder) = macs::count(|| eye.features(videos, observer));
            let (features, _) = features?;
            let mut task = task(&self.config, job, &features)?;
            task.load(&trained.artifact)?;
            let (detections, of_detector) = task.detect(videos, observer)?;
            Ok(Detected { detections, macs: Some(of_encoder + of_detector), ..Detected::default() })
        })
    }
}
