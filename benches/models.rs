//! Every network at its published THUMOS14 size, on random features of 2,048 values: a training step and the detection in a
//! video of 2,304 cells.
//!
//! A step is set against what the cores can do: its floating-point operations (multiply-accumulates of the forward pass,
//! twice that again for the backward pass, two operations each) per second, over those of a large matrix product timed in
//! between. Random weights let far more candidates through than trained ones, so the share of the suppression is an upper
//! bound. `cargo bench -- ActionFormer` runs one network.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use etalon::base::Stream;
use etalon::config::settings::{Common, Preset, Temporal};
use etalon::config::{ActionFormerConfig, Arch, EtadConfig, GtadConfig, TadTrConfig, TemporalMaxerConfig, TriDetConfig};
use etalon::data::windows::{CellInstance, window_starts, window_starts_on_stride};
use etalon::nn::network::{Batch, Conventions, Network, Window};
use etalon::nn::optim::{Adam, AdamOptions, Gradients};
use etalon::nn::params::Params;
use etalon::nn::{macs, models, runtime};
use tch::{Device, Kind, Tensor};

use crate::step::{THREADS, gemm, median};

criterion_group!(benches, training_steps, detections);

const CHANNELS: i64 = 2048;
const CLASSES: i64 = 20;
const VIDEO: usize = 2304;

fn published() -> Vec<(&'static str, Arch)> {
    const THERE: &str = "every network has a THUMOS14 preset";
    let preset = Preset::Thumos14;
    vec![
        ("ActionFormer", Arch::Actionformer(ActionFormerConfig::preset(preset).expect(THERE))),
        ("ETAD", Arch::Etad(EtadConfig::preset(preset).expect(THERE))),
        ("G-TAD", Arch::Gtad(GtadConfig::preset(preset).expect(THERE))),
        ("TadTR", Arch::Tadtr(TadTrConfig::preset(preset).expect(THERE))),
        ("TemporalMaxer", Arch::Temporalmaxer(TemporalMaxerConfig::preset(preset).expect(THERE))),
        ("TriDet", Arch::Tridet(TriDetConfig::preset(preset).expect(THERE))),
    ]
}

struct Subject {
    common: Common,
    conventions: Conventions,
    params: Params,
    network: Box<dyn Network>,
}

impl Subject {
    fn new(arch: &Arch) -> Self {
        let common = arch.common().expect("a network has them").clone();
        let conventions = models::conventions(arch).expect("a network has them");
        let mut params = Params::new(0, Device::Cpu);
        let network = models::build(arch, &mut params, CHANNELS, Some(CLASSES)).expect("a network is built");
        Self { common, conventions, params, network }
    }

    /// Cells that an input of `cells` is padded to.
    fn padded(&self, cells: usize) -> usize {
        if self.common.temporal == Temporal::Whole { self.network.padded(cells) } else { self.common.window }
    }
}

fn random(inputs: usize, cells: usize) -> Tensor {
    tch::manual_seed(0);
    Tensor::randn([inputs as i64, CHANNELS, cells as i64], (Kind::Float, Device::Cpu))
}

/// Full inputs with an instance in every 64 cells.
fn batch(subject: &Subject) -> Batch {
    let (inputs, cells) = (subject.common.batch, subject.common.window);
    let mut rng = Stream::new(0, "bench/models");
    let mut truth = || {
        let mut instance = |slot: usize| {
            let start = slot as f64 * 64.0 + rng.between(0.0, 30.0);
            CellInstance { start, end: start + rng.between(4.0, 30.0), label: slot % CLASSES as usize }
        };
        (0..cells / 64).map(&mut instance).collect()
    };
    let truth = (0..inputs).map(|_| truth()).collect();
    Batch { x: random(inputs, subject.padded(cells)), valid: vec![cells; inputs], truth, rng: Stream::new(0, "bench/models/losses") }
}

/// Makes training steps and keeps their times.
struct Trainer {
    subject: Subject,
    adam: Adam,
    batch: Batch,
    macs: u64,
    seconds: Vec<f64>,
}

impl Trainer {
    fn new(arch: &Arch) -> Self {
        let subject = Subject::new(arch);
        let Conventions { spare_plain, slow, .. } = subject.conventions;
        let options = AdamOptions { rule: subject.common.optimiser, weight_decay: subject.common.weight_decay, spare_plain, slow };
        let (adam, batch) = (Adam::new(&subject.params, options), batch(&subject));
        Self { subject, adam, batch, macs: 0, seconds: Vec::new() }
    }

    fn step(&mut self) {
        let begun = Instant::now();
        let Self { subject: Subject { params, network, common, .. }, adam, batch, .. } = self;
        let mut gradients = Gradients::none(params);
        let (terms, macs) = macs::count(|| network.backward(params, batch, &mut gradients));
        assert!(terms.read().iter().all(|(_, value)| value.is_finite()), "{terms:?}");
        adam.step(params, &gradients, common.lr);
        self.macs = macs;
        self.seconds.push(begun.elapsed().as_secs_f64());
    }
}

#[expect(clippy::print_stdout, reason = "the share of the peak is what this bench is for")]
fn training_steps(criterion: &mut Criterion) {
    runtime::prepare(THREADS);
    let mut group = criterion.benchmark_group("training step");
    group.sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(1));
    for (name, arch) in published() {
        let mut trainer = None;
        group.bench_function(name, |bencher| {
            let trainer = trainer.get_or_insert_with(|| Trainer::new(&arch));
            bencher.iter(|| trainer.step());
        });
        let Some(Trainer { subject, macs, seconds, .. }) = trainer else { continue };
        let (step, peak) = (median(seconds), gemm(Kind::Float));
        let reached = macs as f64 * 6.0 / step / 1e9;
        println!(
            "{name}: {} parameters, {} x {} cells, {:.1} GMACs forward; {step:.2} s a step = {reached:.0} GFLOP/s, {:.0} % of the GEMM peak of {peak:.0}",
            subject.params.count(),
            subject.common.batch,
            subject.common.window,
            macs as f64 / 1e9,
            100.0 * reached / peak
        );
    }
    group.finish();
}

/// Seconds of the forward passes and of the merging with its suppression.
fn detect(subject: &Subject, video: &Tensor) -> (f64, f64) {
    let Common { window, stride, test_stride, temporal, .. } = subject.common;
    let stride = if test_stride == 0 { stride } else { test_stride };
    let starts = match temporal {
        Temporal::Whole => vec![0],
        _ if subject.conventions.short_last => window_starts_on_stride(VIDEO, window, stride),
        _ => window_starts(VIDEO, window, stride),
    };
    let time = subject.padded(VIDEO) as i64;
    let begun = Instant::now();
    let mut windows = Vec::new();
    for group in starts.chunks(subject.conventions.inference_batch.max(1)) {
        let valid: Vec<usize> = group.iter().map(|start| (time as usize).min(VIDEO - start)).collect();
        let input =
            |(&start, &cells): (&usize, &usize)| video.narrow(2, start as i64, cells as i64).constant_pad_nd([0, time - cells as i64]);
        let x = Tensor::cat(&group.iter().zip(&valid).map(input).collect::<Vec<_>>(), 0);
        let found = tch::no_grad(|| subject.network.detect(&x, &valid));
        windows.extend(group.iter().zip(valid).zip(found).map(|((&start, cells), found)| Window { start, cells, found }));
    }
    let forward = begun.elapsed().as_secs_f64();
    std::hint::black_box(subject.network.merge(windows, None));
    (forward, begun.elapsed().as_secs_f64() - forward)
}

#[expect(clippy::print_stdout, reason = "the share of the suppression is what this bench is for")]
fn detections(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("detection in 2,304 cells");
    group.sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(1));
    let video = random(1, VIDEO);
    for (name, arch) in published() {
        let (mut subject, mut times) = (None, Vec::new());
        group.bench_function(name, |bencher| {
            let subject = subject.get_or_insert_with(|| Subject::new(&arch));
            bencher.iter(|| times.push(detect(subject, &video)));
        });
        if times.is_empty() {
            continue;
        }
        let (forward, merging): (Vec<f64>, Vec<f64>) = times.into_iter().unzip();
        let (forward, merging) = (median(forward), median(merging));
        println!("{name}: {:.3} s a video, of it suppression {:.1} %", forward + merging, 100.0 * merging / (forward + merging));
    }
    group.finish();
}
