//! Whole trainings from frames, on the built-in corpus rendered.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::extract;
use super::frames::Camera;
use super::joint::{self, Joint};
use crate::base::{Digest, Stream};
use crate::config::{Arch, EncoderConfig, EtadConfig};
use crate::data::synthetic::{self, SyntheticConfig};
use crate::data::video::{CacheConfig, Snippets, VideoSource, VideosConfig};
use crate::data::windows::CellInstance;
use crate::data::{Dataset, FeatureSource};
use crate::nn::encoders::{Encoder, VideoEncoder};
use crate::nn::models;
use crate::nn::network::Batch;
use crate::nn::optim::Gradients;
use crate::nn::params::Params;
use crate::nn::task::{Labels, Task};

/// Four rendered videos, and a place for their frames.
struct Scene {
    folder: tempfile::TempDir,
    dataset: Dataset,
    source: VideoSource,
    videos: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = SyntheticConfig { videos: 4, channels: 6, classes: 2, snippets: [64, 64], ..SyntheticConfig::default() };
        let config = VideosConfig {
            size: [24, 24],
            snippets: Snippets::Stride(4),
            clip: 2,
            cache: CacheConfig { path: Some(folder.path().join("cache")), ..CacheConfig::default() },
            ..VideosConfig::default()
        };
        let (dataset, _) = synthetic::generate(&settings);
        let source = VideoSource::rendered(&config, &settings, &dataset).unwrap();
        let videos = dataset.videos.keys().cloned().collect();
        Self { folder, dataset, source, videos }
    }

    /// Trains for `steps` updates from the checkpoint in `name`, if any; gives the detector's weights and the encoder's.
    fn train(&self, training: &str, steps: u64, name: &str) -> Vec<f32> {
        let text = format!("network = 'tsm-resnet18'\nwidth = 8\nlr = 1e-3\nchunk = 3\n{training}");
        let config: EncoderConfig = toml::from_str(&text).unwrap();
        let laptop = format!(
            "preset = 'laptop'\nwindow = 32\nmax_duration = 16\nstride = 32\nhidden = 32\nroi_channels = 16\nfc = 16\nfc_inner = 16\nbatch = 2\nepochs = 2\nschedule = 'step'\nsteps = {steps}"
        );
        let etad: EtadConfig = toml::from_str(&laptop).unwrap();
        let arch = Arch::Etad(etad);
        let camera = Camera::new(&self.source, &config.frames);
        let encoder = VideoEncoder::new(&config, 5, Device::Cpu);
        let (features, _) = extract::collect((&encoder, &camera, &self.source), &self.videos, Device::Cpu, &mut ()).unwrap();
        let features = FeatureSource::in_memory(encoder.channels() as usize, features, Digest::of_bytes(b"test"));
        let labels = Labels::Network(self.dataset.classes.len());
        let mut task = Task::new(
            arch.common().unwrap(),
            models::conventions(&arch).unwrap(),
            (&self.dataset, &features),
            labels,
            (5, Device::Cpu),
            |params, channels, classes| models::build(&arch, params, channels, classes).unwrap(),
        );
        let slower: BTreeMap<usize, _> = joint::slower(&config)
            .into_iter()
            .map(|times| (times, models::build(&arch.at(times), &mut task.params().again(), task.channels(), task.classes()).unwrap()))
            .collect();
        let joint = Joint { encoder: &encoder, config: &config, camera: &camera };
        let checkpoint = self.folder.path().join(name);
        let (outcome, _) = joint::train(&mut task, &joint, slower, &self.videos, (5, true), &checkpoint, &mut ()).unwrap();
        assert_eq!(outcome.steps, steps);
        let (found, _) = task.detect(&self.videos, &mut ()).unwrap();
        assert!(found.values().any(|detections| !detections.is_empty()), "{training}");
        let weights = task.params().entries().iter().map(|(_, t)| t.shallow_clone()).chain(encoder.tensors().into_iter().map(|(_, t)| t));
        weights.flat_map(|t| Vec::<f32>::try_from(t.reshape([-1])).unwrap()).collect()
    }
}

/// What a training from frames rests on: the gradient of the features is that of the cost. The detectors that are not here make
/// choices (which segments, which neighbours) that move the cost without a gradient; ETAD's is compared with the release's.
#[test]
fn detectors_give_the_gradient_of_their_features() {
    for text in [
        "actionformer = { preset = 'laptop', pool = 1, window = 64, levels = 3 }",
        "temporalmaxer = { preset = 'laptop', pool = 1, window = 64, levels = 3 }",
        "tridet = { preset = 'laptop', pool = 1, window = 64, levels = 3 }",
    ] {
        let arch: BTreeMap<String, Arch> = toml::from_str(&format!("arch.{text}")).unwrap();
        let arch = &arch["arch"];
        let window = arch.common().unwrap().window as i64;
        let mut params = Params::new(3, Device::Cpu);
        let network = models::build(arch, &mut params, 16, Some(2)).unwrap();
        let memory = network.memory();
        let run = |x: &Tensor| {
            // The same draws every time.
            network.recall(&memory);
            tch::manual_seed(1);
            let truth = vec![vec![CellInstance { start: 4.0, end: 13.5, label: 0 }, CellInstance { start: 20.0, end: 29.0, label: 1 }]; 2];
            let mut batch = Batch { x: x.shallow_clone(), valid: vec![window as usize; 2], truth, rng: Stream::new(9, "test") };
            let mut gradients = Gradients::none(&params);
            gradients.watch(x);
            let terms = network.backward(&params, &mut batch, &mut gradients);
            (terms.read().last().unwrap().1, gradients.of_watched().unwrap())
        };
        tch::manual_seed(0);
        let x = Tensor::randn([2, 16, window], (Kind::Float, Device::Cpu));
        let (_, gradient) = run(&x.copy().set_requires_grad(true));
        // Uphill, so that what is compared is large beside the rounding of the cost.
        let step = &gradient / gradient.norm() * 0.05;
        let [ahead, behind] = [&x + &step, &x - &step].map(|x| run(&x.set_requires_grad(true)).0);
        let slope = (ahead - behind) / 0.1;
        let expected = gradient.norm().double_value(&[]);
        assert!((slope / expected - 1.0).abs() < 0.05, "{text}: {slope} instead of {expected}");
    }
}

#[test]
fn trainings_from_frames_differ_where_they_should_and_only_there() {
    let scene = Scene::new();
    let plain = scene.train("training = 'plain'", 2, "a");
    let again = scene.train("training = 'plain'", 2, "b");
    assert!(plain == again, "the same seed gives the same weights");
    let mean = |other: &[f32]| plain.iter().zip(other).map(|(a, b)| (a - b).abs()).sum::<f32>() / plain.len() as f32;
    let checkpointed = scene.train("training = 'checkpointed'", 2, "c");
    let sampled = scene.train("training.sampled = { ratio = 0.2 }", 2, "d");
    // Adam amplifies the rounding of gradients near zero to a whole step, for single weights.
    assert!(10.0 * mean(&checkpointed) < mean(&sampled), "{} {}", mean(&checkpointed), mean(&sampled));
}

#[test]
fn a_training_from_frames_that_is_interrupted_goes_on_to_the_same_weights() {
    let scene = Scene::new();
    for (training, name) in [("training.sampled = { ratio = 0.3 }", "s"), ("training.lofi = { fidelity = 'long-cycle' }", "l")] {
        // Four updates leave a checkpoint after the second: a shorter training stands for an interrupted one.
        let _ = scene.train(training, 4, name);
        assert!(scene.folder.path().join(name).exists(), "{training}");
        assert!(scene.train(training, 7, name) == scene.train(training, 7, &format!("{name}-whole")), "{training}");
    }
}
