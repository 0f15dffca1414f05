//! One training step of the anchor-free detectors at their published size (batch 2, 2048 channels, 2304 cells; AdamW and
//! average included) and detection in one video of that length, in CPU seconds as the authors' code was recorded.

use criterion::{Criterion, criterion_group};
use etalon::base::Stream;
use etalon::config::settings::Preset;
use etalon::config::{ActionFormerConfig, TemporalMaxerConfig};
use etalon::data::windows::CellInstance;
use etalon::nn::models::actionformer::ActionFormer;
use etalon::nn::models::temporalmaxer::TemporalMaxer;
use etalon::nn::network::{Batch, Network, Window};
use etalon::nn::optim::{Adam, AdamOptions, Average, Gradients};
use etalon::nn::params::Params;
use etalon::nn::runtime;
use tch::{Device, Kind, Tensor};

criterion_group!(benches, published_size);

const THREADS: usize = 2;
const CHANNELS: i64 = 2048;
const TIME: i64 = 2304;
const CLASSES: i64 = 20;
const ROUNDS: usize = 3;

struct Trainer {
    params: Params,
    network: Box<dyn Network>,
    adam: Adam,
    average: Average,
}

impl Trainer {
    fn new(build: impl FnOnce(&mut Params) -> Box<dyn Network>) -> Self {
        let mut params = Params::new(0, Device::Cpu);
        let network = build(&mut params);
        let rule = etalon::config::settings::Optimiser::Adamw;
        let adam = Adam::new(&params, AdamOptions { rule, weight_decay: 0.05, spare_plain: true, slow: &[] });
        let average = Average::new(&params, 0.999);
        Self { params, network, adam, average }
    }

    fn step(&mut self, batch: &mut Batch) {
        let mut gradients = Gradients::none(&self.params);
        std::hint::black_box(self.network.backward(&self.params, batch, &mut gradients));
        gradients.clip(1.0);
        self.adam.step(&self.params, &gradients, 1e-4);
        self.average.update(&self.params);
    }

    fn detect(&self, x: &Tensor) {
        let found = tch::no_grad(|| self.network.detect(x, &[TIME as usize])).remove(0);
        std::hint::black_box(self.network.merge(vec![Window { start: 0, cells: TIME as usize, found }], None));
    }
}

/// Random features with fifteen instances in either input, one of which is padded.
fn batch() -> Batch {
    let mut rng = Stream::new(0, "bench/points");
    let mut instance = || {
        let start = rng.between(0.0, 2000.0);
        CellInstance { start, end: start + rng.between(3.0, 60.0), label: rng.below(CLASSES as usize) }
    };
    let truth = (0..2).map(|_| (0..15).map(|_| instance()).collect()).collect();
    let x = Tensor::randn([2, CHANNELS, TIME], (Kind::Float, Device::Cpu));
    let _ = x.get(1).narrow(1, 2100, TIME - 2100).zero_();
    Batch { x, valid: vec![TIME as usize, 2100], truth, rng }
}

#[expect(clippy::print_stdout, reason = "the CPU times are what this bench is for")]
fn published_size(_: &mut Criterion) {
    runtime::prepare(THREADS);
    let former = |params: &mut Params| -> Box<dyn Network> {
        let config = ActionFormerConfig::preset(Preset::Thumos14).expect("there is such a preset");
        Box::new(ActionFormer::new(params, &config, CHANNELS, Some(CLASSES)))
    };
    let maxer = |params: &mut Params| -> Box<dyn Network> {
        let config = TemporalMaxerConfig::preset(Preset::Thumos14).expect("there is such a preset");
        Box::new(TemporalMaxer::new(params, &config, CHANNELS, Some(CLASSES)))
    };
    let mut batch = batch();
    let cases = [("ActionFormer", Trainer::new(former), (11.98, 2.50)), ("TemporalMaxer", Trainer::new(maxer), (6.96, 0.84))];
    for (name, mut trainer, (step_recorded, video_recorded)) in cases {
        let video = batch.x.narrow(0, 0, 1);
        let step = median(|| trainer.step(&mut batch));
        let one = median(|| trainer.detect(&video));
        println!("{name}: training step {step:.2} CPU s (authors' {step_recorded}), one video {one:.2} CPU s (authors' {video_recorded})");
    }
}

fn median(mut work: impl FnMut()) -> f64 {
    work();
    let timed = |work: &mut dyn FnMut()| {
        let before = cpu_seconds();
        work();
        cpu_seconds() - before
    };
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| timed(&mut work)).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

/// Of this process, all threads.
fn cpu_seconds() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the struct it is given.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
