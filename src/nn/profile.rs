//! What the updates and the detection of a task cost: times of repeated work, and compute and memory counted on rounds of
//! their own, so that no counting is timed.

use std::path::Path;
use std::time::Instant;

use tch::{Cuda, Device};

use super::task::Task;
use super::train::{self, Around, Step};
use super::{macs, watch};
use crate::event::{Event, Observer, Phase};
use crate::profile::Compute;
use crate::profile::document::Steps;

/// What is repeated how often.
#[derive(Clone, Copy, Debug)]
pub struct Rounds<'a> {
    /// Videos to train on.
    pub train: &'a [String],
    /// Videos to detect in.
    pub test: &'a [String],
    /// Seed of the order of the training.
    pub seed: u64,
    /// Updates before the first timed one.
    pub warmup: u64,
    /// Timed updates.
    pub steps: u64,
    /// Videos timed at most.
    pub videos: usize,
}

/// Makes the rounds: `warmup` updates, the timed ones and a counted one; then the detection in a video (the last), in the
/// timed ones, and in the first of them once more, counted. The time of an update includes its wait for the batch.
///
/// # Errors
/// Bad features, or a loss that diverges; `checkpoint` names a file that does not exist and is not written.
pub fn measure(
    task: Task<'_>,
    rounds: Rounds<'_>,
    checkpoint: &Path,
    observer: &mut dyn Observer,
) -> Result<(Steps, Vec<Compute>), train::Error> {
    let (mut steps, mut compute) = (Steps::default(), Vec::new());
    let device = task.params().device();

    observer.observe(&Event::Phase { phase: Phase::Train });
    let mut task = task.shortened(rounds.warmup + rounds.steps + 1);
    let mut laps = Laps { rounds, device, last: Instant::now(), seconds: Vec::new(), compute: None };
    task.train_around(rounds.train, (rounds.seed, true), checkpoint, observer, &mut laps)?;
    steps.training_s = laps.seconds;
    compute.extend(laps.compute);

    observer.observe(&Event::Phase { phase: Phase::Detect });
    let timed = &rounds.test[..rounds.videos.min(rounds.test.len())];
    let detect = |video: &String| task.detect(std::slice::from_ref(video), &mut ());
    rounds.test.last().map(detect).transpose()?;
    for (done, video) in timed.iter().enumerate() {
        let started = Instant::now();
        detect(video)?;
        steps.detection_s.push(started.elapsed().as_secs_f64());
        steps.video_s.push(task.seconds(video));
        observer.observe(&Event::Progress { done: done as u64 + 1, total: timed.len() as u64, loss: None });
    }
    if let Some(video) = timed.first() {
        let what = format!("detection in a video of {:.1} s", task.seconds(video));
        let ((found, dispatched), counted) = macs::record(task.params(), what, || watch::dispatched(device, || detect(video)));
        found?;
        compute.push(Compute { dispatched, ..counted });
    }
    Ok((steps, compute))
}

/// Times the updates behind the warm-up, and counts the last one.
struct Laps<'a> {
    rounds: Rounds<'a>,
    device: Device,
    /// End of the update before.
    last: Instant,
    seconds: Vec<f64>,
    compute: Option<Compute>,
}

impl Around for Laps<'_> {
    fn update(&mut self, step: Step<'_>, update: &mut dyn FnMut()) {
        let Rounds { warmup, steps, .. } = self.rounds;
        if step.number == warmup + steps {
            let [inputs, cells] = step.inputs;
            let what = format!("training step of {inputs} inputs of {cells} cells");
            let (((), dispatched), counted) = macs::record(step.params, what, || watch::dispatched(self.device, update));
            self.compute = Some(Compute { dispatched, ..counted });
            return;
        }
        if step.number == 0 {
            // What came before the first batch is no part of an update.
            self.last = Instant::now();
        }
        update();
        if let Device::Cuda(index) = self.device {
            Cuda::synchronize(index as i64);
        }
        if step.number >= warmup {
            self.seconds.push(self.last.elapsed().as_secs_f64());
        }
        self.last = Instant::now();
    }
}
