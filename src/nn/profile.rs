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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::points::Points;
    use crate::config::settings::{Common, Precision, Preset, Temporal};
    use crate::config::{ActionFormerConfig, Arch, EtadConfig, GtadConfig, TadTrConfig, TemporalMaxerConfig, TriDetConfig};
    use crate::data::synthetic::{SyntheticConfig, generate};
    use crate::nn::formulation::Formulation;
    use crate::nn::models;
    use crate::nn::task::Labels;
    use crate::profile::compute::Dispatched;

    const PRESETS: [Preset; 3] = [Preset::Activitynet, Preset::Thumos14, Preset::Laptop];

    fn small(common: Common) -> Common {
        Common { window: 64, stride: 32, batch: 3, ..common }
    }

    fn narrow(points: Points) -> Points {
        Points { head_dim: 24, ..points }
    }

    /// Small versions of every model and preset: all the paths, few values.
    fn networks() -> Vec<(String, Arch)> {
        let mut all = Vec::new();
        for preset in PRESETS {
            let mut add = |arch: Option<Arch>| {
                all.extend(arch.map(|arch| (format!("{arch:?}").split('(').next().unwrap().to_owned() + &format!(" {preset:?}"), arch)))
            };
            add(EtadConfig::preset(preset).ok().map(|c| {
                let sizes =
                    EtadConfig { max_duration: 48, hidden: 32, roi_channels: 16, roi_bins: 8, fc: 16, fc_inner: 16, ratio: 0.02, ..c };
                Arch::Etad(EtadConfig { common: small(sizes.common), ..sizes })
            }));
            add(GtadConfig::preset(preset).ok().map(|c| {
                let context_bins = if c.context_bins == c.roi_bins { 4 } else { 2 };
                let sizes = GtadConfig { max_duration: 48, hidden: 64, roi_bins: 4, context_bins, map_wide: 32, map_channels: 16, ..c };
                Arch::Gtad(GtadConfig { common: small(sizes.common), ..sizes })
            }));
            add(TadTrConfig::preset(preset).ok().map(|c| {
                let sizes = TadTrConfig { dim: 32, heads: 2, feed_forward: 16, queries: 8, ..c };
                Arch::Tadtr(TadTrConfig { common: small(sizes.common), ..sizes })
            }));
            add(ActionFormerConfig::preset(preset).ok().map(|c| {
                let sizes = ActionFormerConfig { dim: 32, heads: 2, points: narrow(c.points), ..c };
                Arch::Actionformer(ActionFormerConfig { common: small(sizes.common), ..sizes })
            }));
            add(TemporalMaxerConfig::preset(preset).ok().map(|c| {
                let sizes = TemporalMaxerConfig { dim: 32, points: narrow(c.points), ..c };
                Arch::Temporalmaxer(TemporalMaxerConfig { common: small(sizes.common), ..sizes })
            }));
            add(TriDetConfig::preset(preset).ok().map(|c| {
                let sizes = TriDetConfig { dim: 32, mlp_dim: 40, points: narrow(c.points), ..c };
                Arch::Tridet(TriDetConfig { common: small(sizes.common), ..sizes })
            }));
        }
        all
    }

    /// What `measure` says of a network on generated videos of 6 channels.
    fn measured(arch: &Arch, steps: u64) -> (Steps, Vec<Compute>) {
        let (dataset, features) = generate(&SyntheticConfig { videos: 6, channels: 6, ..SyntheticConfig::default() });
        let videos: Vec<String> = dataset.videos.keys().cloned().collect();
        let (common, conventions) = (arch.common().unwrap(), models::conventions(arch).unwrap());
        let labels = Labels::Network(dataset.classes.len());
        let task = Task::new(common, conventions, (&dataset, &features), labels, (7, Device::Cpu), |params, channels, classes| {
            models::build(arch, params, channels, classes).unwrap()
        });
        let rounds = Rounds { train: &videos[..4], test: &videos[4..], seed: 7, warmup: 1, steps, videos: 9 };
        let dir = tempfile::tempdir().unwrap();
        measure(task, rounds, &dir.path().join("checkpoint"), &mut ()).unwrap()
    }

    /// Our formulas and the dispatcher agree to the last operation, forward and backward, in every model. What is apart is
    /// said: a convolution by one value per channel is computed element by element (TriDet), which the dispatcher shows as
    /// `addcmul` and has no product for.
    #[test]
    fn analytic_compute_is_what_libtorch_dispatches() {
        let mut apart = Vec::new();
        for (name, arch) in networks() {
            let (_, compute) = measured(&arch, 1);
            assert_eq!(compute.len(), 2, "{name}");
            for counted in &compute {
                let scales: u64 = counted.layers.iter().filter(|l| l.kind == "scale").map(|l| l.forward_macs + l.backward_macs).sum();
                let dispatched = counted.dispatched.as_ref().unwrap();
                let products = counted.flop() - 2 * scales;
                let backward = counted.what.starts_with("training") == (counted.backward_macs > 0);
                if products != dispatched.flop || !backward || counted.forward_macs == 0 {
                    apart.push(format!(
                        "{name}, {}: analytic {products}, dispatched {}: {:?}\n{:#?}",
                        counted.what, dispatched.flop, dispatched.by_operator, counted.layers
                    ));
                }
                let of_layers: u64 = counted.layers.iter().map(|l| l.parameters).sum();
                assert_eq!(of_layers, counted.parameters, "{name}");
            }
        }
        assert!(apart.is_empty(), "{}", apart.join("\n"));
    }

    /// What an update and a detection dispatch in the device formulation.
    fn counts(arch: &Arch) -> [Dispatched; 2] {
        let (_, compute) = Formulation::Device.force(|| measured(arch, 1));
        [0, 1].map(|i| compute[i].dispatched.clone().expect("no other profiler is open"))
    }

    /// Operators and host reads per update and per detected video, which decide how fast a GPU is, as they were when they were
    /// last looked at. `ETALON_COUNTS=new` writes the file anew.
    #[test]
    #[cfg_attr(not(target_arch = "x86_64"), ignore = "libtorch takes other paths on other processors")]
    #[expect(clippy::disallowed_methods, reason = "a test writes what it compares with, when asked to")]
    fn no_more_operators_and_host_reads_than_recorded() {
        type Counts = BTreeMap<String, BTreeMap<String, u64>>;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/counts.json");
        let mut now = Counts::new();
        for (name, arch) in networks().into_iter().filter(|(name, _)| !name.ends_with("Laptop")) {
            for (what, seen) in ["update", "detection"].into_iter().zip(counts(&arch)) {
                let all = seen.by_operator.iter().chain(&seen.uncounted).map(|o| (o.name.clone(), o.calls));
                let totals = [("operators".to_owned(), seen.operators), ("host reads".to_owned(), seen.host_reads)];
                now.insert(format!("{name}, {what}"), all.chain(totals).collect());
            }
        }
        if std::env::var_os("ETALON_COUNTS").is_some() {
            std::fs::write(&path, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
        }
        let recorded: Counts = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut more = Vec::new();
        for (what, counts) in &now {
            let recorded = &recorded[what];
            if ["operators", "host reads"].iter().any(|total| counts[*total] > recorded[*total]) {
                let grown = counts.iter().filter(|(name, calls)| **calls > recorded.get(*name).copied().unwrap_or(0));
                let grown = grown.map(|(name, calls)| format!("{name} {} -> {calls}", recorded.get(name).copied().unwrap_or(0)));
                more.push(format!("{what}: {}", grown.collect::<Vec<_>>().join(", ")));
            }
        }
        assert!(more.is_empty(), "{}", more.join("\n"));
    }

    #[test]
    fn every_network_trains_and_detects_in_bfloat16_in_both_formulations() {
        for (name, mut arch) in networks().into_iter().filter(|(name, _)| !name.ends_with("Laptop")) {
            arch.common_mut().unwrap().precision = Precision::Bfloat16;
            for formulation in [Formulation::Host, Formulation::Device] {
                let (_, compute) = formulation.force(|| measured(&arch, 1));
                assert!(compute.iter().all(|counted| counted.forward_macs > 0), "{name}");
            }
        }
    }

    #[test]
    fn rounds_are_timed_apart_from_the_counted_ones_which_are_alike() {
        let arch = Arch::Temporalmaxer(TemporalMaxerConfig {
            dim: 32,
            common: Common { temporal: Temporal::Windows, ..small(TemporalMaxerConfig::preset(Preset::Laptop).unwrap().common) },
            points: narrow(TemporalMaxerConfig::preset(Preset::Laptop).unwrap().points),
            ..TemporalMaxerConfig::preset(Preset::Laptop).unwrap()
        });
        let (steps, first) = measured(&arch, 3);
        assert_eq!((steps.training_s.len(), steps.detection_s.len(), steps.video_s.len()), (3, 2, 2));
        assert!(steps.training_s.iter().chain(&steps.detection_s).all(|&seconds| seconds > 0.0 && seconds < 600.0));
        assert_eq!(first[0].what, "training step of 3 inputs of 64 cells");
        // After as many updates, the same step: the same operators, and the same tensors.
        let (_, again) = measured(&arch, 3);
        assert_eq!(first[0].dispatched, again[0].dispatched);
        let memory = first[0].dispatched.as_ref().and_then(|seen| seen.memory).unwrap();
        let input = 3 * 64 * 6 * 4;
        assert!(memory.allocations > 50 && memory.peak_bytes > input && memory.peak_bytes <= memory.allocated_bytes, "{memory:?}");
    }
}
