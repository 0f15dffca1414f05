//! An encoder, a detector and random frames: a training step without a data set.

use std::convert::Infallible;

use etalon::base::Stream;
use etalon::config::encoder::{Sampled, SnippetSampling, Training};
use etalon::config::settings::{Optimiser, Preset};
use etalon::config::{EncoderConfig, EtadConfig};
use etalon::data::windows::CellInstance;
use etalon::eval::Detection;
use etalon::nn::encoders::{Encoder, VideoEncoder};
use etalon::nn::end_to_end::optimiser::EncoderOptimiser;
use etalon::nn::end_to_end::sampling;
use etalon::nn::end_to_end::step::{Course, Place, step};
use etalon::nn::models::etad::network::EtadNetwork;
use etalon::nn::network::{Batch, Network, Term, Terms, VideoClasses, Window};
use etalon::nn::optim::{Adam, AdamOptions, Gradients};
use etalon::nn::params::Params;
use etalon::nn::watch;
use tch::{Device, Kind, Tensor};

/// Sizes of a step.
#[derive(Clone, Copy)]
pub struct Size {
    /// Videos per update.
    pub inputs: usize,
    /// Snippets of each.
    pub snippets: usize,
    /// Frames of a snippet.
    pub frames: i64,
    /// Width and height of a frame.
    pub side: i64,
    /// Channels of the encoder's first stage.
    pub width: i64,
}

impl Size {
    /// As it is called in tables.
    pub fn name(&self) -> String {
        let Self { inputs, snippets, frames, side, width } = self;
        format!("TSM-ResNet-18 of width {width}, {inputs} videos of {snippets} snippets of {frames} frames of {side}x{side}")
    }
}

/// What the features go to.
#[derive(Clone, Copy)]
pub enum Head {
    /// ETAD at its published size with this share of the proposals.
    Etad(f64),
    /// The mean square of the features: a detector that costs nothing.
    Nothing,
}

/// Everything that an update moves, and frames to do it with.
pub struct Rig {
    /// Its sizes.
    pub size: Size,
    encoder: VideoEncoder,
    encoder_optimiser: EncoderOptimiser,
    detector: Box<dyn Network>,
    params: Params,
    adam: Adam,
    /// `[B · T, L, H, W, 3]`, bytes.
    frames: Tensor,
    truth: Vec<Vec<CellInstance>>,
    rng: Stream,
}

/// Peaks of the parts of a step, each on its own, bytes.
pub struct Parts {
    /// A chunk: its frames, its activations, its backward pass.
    pub chunk: u64,
    /// The detector's step.
    pub detector: u64,
    /// Gradients of the detector's and of the encoder's weights.
    pub gradients: [u64; 2],
    /// Features of all snippets.
    pub features: u64,
}

impl Rig {
    /// Random weights, norms with the statistics of the frames, which are random too.
    pub fn new(size: Size, head: Head) -> Self {
        tch::manual_seed(0);
        let settings = format!("network = \"tsm-resnet18\"\nwidth = {}", size.width);
        let config: EncoderConfig = toml::from_str(&settings).expect("the settings are good");
        let mut encoder = VideoEncoder::new(&config, 0, Device::Cpu);
        let mut params = Params::new(0, Device::Cpu);
        let detector: Box<dyn Network> = match head {
            Head::Nothing => Box::new(MeanSquare),
            Head::Etad(ratio) => {
                let mut etad = EtadConfig { ratio, ..EtadConfig::preset(Preset::Activitynet).expect("ETAD has every preset") };
                (etad.common.window, etad.max_duration) = (size.snippets, size.snippets);
                Box::new(EtadNetwork::new(&mut params, &etad, encoder.channels(), None))
            }
        };
        let shape = [(size.inputs * size.snippets) as i64, size.frames, size.side, size.side, 3];
        let frames = Tensor::randint(256, shape, (Kind::Uint8, Device::Cpu));
        encoder.calibrate(std::iter::once(normalised(&frames.narrow(0, 0, 16))));
        let mut rng = Stream::new(0, "bench/end-to-end");
        let truth = (0..size.inputs).map(|_| {
            let start = rng.between(0.1, 0.5) * size.snippets as f64;
            vec![CellInstance { start, end: start + 0.25 * size.snippets as f64, label: 0 }]
        });
        let truth = truth.collect();
        let options = AdamOptions { rule: Optimiser::Adamw, weight_decay: 1e-4, spare_plain: false, slow: &[] };
        let (encoder_optimiser, adam) = (EncoderOptimiser::new(encoder.params(), &config), Adam::new(&params, options));
        Self { size, encoder, encoder_optimiser, detector, params, adam, frames, truth, rng }
    }

    /// The chunks of an update, snippets drawn as a training draws them.
    pub fn course(&mut self, training: &Training) -> Course {
        let Size { inputs, snippets, .. } = self.size;
        let sampled = match training {
            Training::Sampled(sampled) => Some(*sampled),
            Training::Checkpointed => Some(Sampled { ratio: 1.0, strategy: SnippetSampling::Block }),
            Training::Frozen | Training::Plain | Training::Lofi(_) => None,
        };
        let drawn: Option<Vec<_>> = sampled.map(|sampled| {
            let of = |truth: &Vec<CellInstance>| sampling::draw(sampled, CHUNK, snippets, truth, &mut self.rng);
            self.truth.iter().map(of).collect()
        });
        Course::new(snippets, CHUNK, &vec![snippets; inputs], drawn.as_deref())
    }

    /// One update of encoder and detector, in the order of a training.
    pub fn step(&mut self, course: &Course) {
        let mut of_detector = Gradients::none(&self.params);
        {
            let mut asked = course.asked();
            let frames = || Ok::<_, Infallible>(self.clips(asked.next().expect("a step asks for as many chunks as it has")));
            let detector = |x: &Tensor| self.detect(x, &mut of_detector);
            let Ok((terms, of_encoder)) = step((&self.encoder, self.encoder.params()), course, None, frames, detector);
            assert!(terms.read().iter().all(|(_, value)| value.is_finite()), "{terms:?}");
            self.encoder_optimiser.step(self.encoder.params(), &of_encoder, 5e-7);
        }
        self.adam.step(&self.params, &of_detector, 1e-4);
    }

    /// Loss terms of the detector on features `[B, C, T]`, and their gradient there.
    fn detect(&self, x: &Tensor, gradients: &mut Gradients) -> (Terms, Option<Tensor>) {
        gradients.watch(x);
        let valid = vec![self.size.snippets; self.size.inputs];
        let mut batch = Batch { x: x.shallow_clone(), valid, truth: self.truth.clone(), rng: Stream::new(0, "bench/end-to-end/losses") };
        let terms = self.detector.backward(&self.params, &mut batch, gradients);
        (terms, gradients.of_watched())
    }

    /// Features of all snippets without gradients, `chunk` of every video at a time.
    pub fn features(&self, chunk: usize) -> Tensor {
        let Size { inputs, snippets, .. } = self.size;
        let course = Course::new(snippets, chunk, &vec![snippets; inputs], None);
        let vectors: Vec<Tensor> = course.forward.iter().map(|places| tch::no_grad(|| self.encoder.forward(&self.clips(places)))).collect();
        Tensor::cat(&vectors, 0)
    }

    /// `[n, 3, L, H, W]`, as a camera makes them.
    fn clips(&self, places: &[Place]) -> Tensor {
        let rows: Vec<i64> = places.iter().map(|&(input, cell)| (input * self.size.snippets + cell) as i64).collect();
        normalised(&self.frames.index_select(0, &Tensor::from_slice(&rows)))
    }

    /// Most tensor memory at once of a whole update, bytes.
    pub fn peak(&mut self, training: &Training) -> u64 {
        let course = self.course(training);
        self.step(&course);
        peak(|| self.step(&course))
    }

    /// What the cost model is made of.
    pub fn parts(&self) -> Parts {
        let Size { inputs, snippets, .. } = self.size;
        let course = Course::new(snippets, CHUNK, &vec![snippets; inputs], None);
        let places = &course.forward[0];
        let chunk = || {
            let loss = self.encoder.forward(&self.clips(places)).sum(Kind::Float);
            Gradients::none(self.encoder.params()).add(self.encoder.params(), &loss, &[]);
        };
        let x = Tensor::randn([inputs as i64, self.encoder.channels(), snippets as i64], (Kind::Float, Device::Cpu));
        let x = x.set_requires_grad(true);
        let detector = || drop(self.detect(&x, &mut Gradients::none(&self.params)));
        chunk();
        detector();
        let bytes = |params: &Params| 4 * params.count();
        Parts {
            chunk: peak(chunk),
            detector: peak(detector),
            gradients: [bytes(&self.params), bytes(self.encoder.params())],
            features: 4 * x.numel() as u64,
        }
    }
}

/// Snippets of every video that go through the encoder at once.
pub const CHUNK: usize = 4;

fn normalised(frames: &Tensor) -> Tensor {
    let mut clips = frames.to_kind(Kind::Float);
    let _ = clips.g_mul_scalar_(1.0 / 57.0);
    let _ = clips.g_sub_scalar_(102.0 / 57.0);
    clips.permute([0, 4, 1, 2, 3])
}

fn peak(work: impl FnOnce()) -> u64 {
    let ((), seen) = watch::dispatched(Device::Cpu, work);
    seen.and_then(|seen| seen.memory).expect("no other profiler is open").peak_bytes
}

/// The loss of [`Head::Nothing`].
struct MeanSquare;

impl Network for MeanSquare {
    fn losses(&self, batch: &mut Batch) -> Vec<Term> {
        vec![Term { name: "square", value: batch.x.square().mean(Kind::Float), weight: 1.0 }]
    }

    fn detect(&self, _: &Tensor, valid: &[usize]) -> Vec<Vec<Detection>> {
        vec![Vec::new(); valid.len()]
    }

    fn merge(&self, _: Vec<Window>, _: Option<VideoClasses<'_>>) -> Vec<Detection> {
        Vec::new()
    }
}
