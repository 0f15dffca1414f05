//! A cell in its own process: load, train, detect, evaluate; events go to the observer, results into the attempt's folder.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use super::error::Result;
use super::job::{Job, Made};
use super::prepare::Prepared;
use crate::base::Digest;
use crate::config::ModelConfig;
use crate::data::Dataset;
use crate::detectors::{self, Build};
use crate::event::{Event, Observer, Phase};
use crate::profile::machine;
use crate::protocol::Sample;
use crate::store::layout::write_detections;
use crate::store::record::{DetectionFacts, FrameFacts, SampleFacts, TrainingFacts};

/// Runs the job in `path` with the detector that `build` makes; its folder is the attempt's.
///
/// # Errors
/// Bad input, a failure of the detector, or of the disk. A result exists only on success.
pub fn run(path: &Path, build: Build, observer: &mut dyn Observer) -> Result<()> {
    let job = Job::read(path)?;
    let dir = path.parent().unwrap_or(Path::new("."));

    observer.observe(&Event::Phase { phase: Phase::Load });
    let prepared = Prepared::open(&job.experiment)?;
    let config = prepared.model(&job.model)?;
    let sample = prepared.sample(job.fraction, job.seed)?;
    let detector = build(config)?;
    let Prepared { corpus, split, .. } = &prepared;

    observer.observe(&Event::Phase { phase: Phase::Train });
    let work = detectors::Job {
        threads: job.threads,
        device: &job.device,
        deadline: job.deadline,
        ..prepared.work(&sample.videos, job.seed, dir)
    };
    let trained = detector.train(&work, observer)?;

    observer.observe(&Event::Phase { phase: Phase::Detect });
    let detectors::Detected { detections, macs, notes: detected } = detector.detect(&work, &trained, &split.test, observer)?;
    let digest = write_detections(dir, &detections)?;

    observer.observe(&Event::Phase { phase: Phase::Evaluate });
    let scores = prepared.evaluate(&detections)?;

    let mut notes = corpus.dataset.notes.clone();
    notes.extend(split.note());
    notes.extend(sample.note());
    notes.extend(trained.notes);
    notes.extend(detected);
    let frames = trained.frames.map(|f| FrameFacts { waited_s: f.waited_s, decode_s: f.decode_s, decoded: f.decoded });
    let training = TrainingFacts {
        steps: trained.steps,
        epochs: trained.epochs,
        parameters: trained.parameters,
        final_loss: trained.final_loss,
        frames,
    };
    let detection = DetectionFacts { macs, seconds: split.test.iter().map(|id| corpus.dataset.videos[id].duration).sum() };
    let facts = sample_facts(&corpus.dataset, &sample, &split.test);
    Made { sample: facts, scores, training, detection, detections: digest, libtorch: libtorch(config), notes }.write(dir)?;
    Ok(())
}

fn sample_facts(dataset: &Dataset, sample: &Sample, test: &[String]) -> SampleFacts {
    let drawn = || sample.videos.iter().map(|id| &dataset.videos[id]);
    let classes: BTreeSet<usize> = drawn().flat_map(|v| v.instances.iter().map(|i| i.label)).collect();
    SampleFacts {
        videos: sample.videos.len(),
        instances: dataset.instance_count(&sample.videos),
        seconds: drawn().map(|v| v.duration).sum(),
        classes: classes.len(),
        draws: sample.draws,
        digest: Digest::of_json(&sample.videos),
        test_videos: test.len(),
        test_instances: dataset.instance_count(test),
    }
}

fn libtorch(config: &ModelConfig) -> Option<String> {
    config.arch.common().and_then(|_| machine::libtorch().map(str::to_owned))
}

/// Writes events as JSON lines, each flushed: the parent reads them as they happen. A parent that no longer reads is gone,
/// and this process with it.
pub struct JsonLines<W>(pub W);

impl<W: Write> Observer for JsonLines<W> {
    fn observe(&mut self, event: &Event) {
        let mut line = serde_json::to_vec(event).expect("an event is plain data");
        line.push(b'\n');
        let _ = self.0.write_all(&line).and_then(|()| self.0.flush());
    }
}
