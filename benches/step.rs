//! One ETAD training step at the published size (batch 16, 512 channels, 128 cells, 495 proposals, 24 bins): criterion's
//! time of ours, then ours and eager PyTorch by turns on the same cores, as a ratio.
//!
//! The peer is `etad_pytorch.py` of the reference folder. It needs a Python with torch 2.11.0 and torchvision 0.26.0, named by
//! `ETALON_PEER_PYTHON`; without it only our times are printed, and that is said.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use criterion::{Criterion, criterion_group};
use etalon::base::Stream;
use etalon::config::EtadConfig;
use etalon::config::etad::ProposalSampling;
use etalon::config::settings::{Optimiser, Preset};
use etalon::nn::layers::boundaries::boundary_curve;
use etalon::nn::layers::roi_align::{Precision, RoiAlign};
use etalon::nn::models::etad::labels::match_instances;
use etalon::nn::models::etad::losses::Draws;
use etalon::nn::models::etad::proposals::{Anchor, Lattice};
use etalon::nn::models::etad::{Batch, Etad, Proposals};
use etalon::nn::optim::{Adam, AdamOptions, Gradients};
use etalon::nn::params::Params;
use etalon::nn::runtime;
use tch::{Device, Tensor};

criterion_group!(benches, training_step);

pub const THREADS: usize = 2;
const BATCH: usize = 16;
const CHANNELS: i64 = 512;
const TIME: usize = 128;
/// Rounds of the comparison: three steps of each side by turns.
const ROUNDS: usize = 5;
const STEPS_PER_ROUND: usize = 3;

struct Trainer {
    params: Params,
    network: Etad,
    adam: Adam,
    batch: Batch,
}

impl Trainer {
    fn new(autocast: bool) -> Self {
        let config = EtadConfig { autocast, ..EtadConfig::preset(Preset::Activitynet).expect("ETAD has every preset") };
        let mut params = Params::new(0, Device::Cpu);
        let network = Etad::new(&mut params, &config, CHANNELS, None);
        let adam = Adam::new(&params, AdamOptions { spare_plain: false, slow: &[], rule: Optimiser::Adamw, weight_decay: 1e-4 });
        Self { params, network, adam, batch: batch() }
    }

    fn step(&mut self) -> f64 {
        let mut gradients = Gradients::none(&self.params);
        let terms = self.network.backward(&self.params, &self.batch, &mut gradients, |_| {});
        self.adam.step(&self.params, &gradients, 1e-3);
        terms.read().last().map_or(f64::NAN, |(_, cost)| *cost)
    }
}

/// Random features and one instance per input, as the peer draws them.
fn batch() -> Batch {
    let mut rng = Stream::new(0, "bench/step");
    let lattice = Lattice { time: TIME, max_duration: TIME };
    let (mut start, mut end, mut matched) = (Vec::new(), Vec::new(), Vec::new());
    let mut anchors: Vec<Vec<Anchor>> = Vec::new();
    for _ in 0..BATCH {
        let from = rng.between(0.0, 0.7);
        let truth = [(from, from + rng.between(0.05, 0.25))];
        let drawn = lattice.draw(ProposalSampling::Random, 0.06, &mut rng);
        start.extend(boundary_curve(truth.iter().map(|t| t.0), TIME));
        end.extend(boundary_curve(truth.iter().map(|t| t.1), TIME));
        for index in match_instances(&drawn, &truth).expect("there is an instance") {
            matched.extend([truth[index].0 as f32, truth[index].1 as f32]);
        }
        anchors.push(drawn);
    }
    let n = matched.len() / 2;
    let mut uniform = || Tensor::from_slice(&(0..n).map(|_| rng.uniform_f32()).collect::<Vec<_>>());
    let draws = (0..3).map(|_| Draws { class: Tensor::stack(&[uniform(), uniform(), uniform()], 0), mid: uniform(), low: uniform() });
    let draws = draws.collect();
    let class_draw = uniform();
    let x: Vec<f32> = (0..BATCH * CHANNELS as usize * TIME).map(|_| rng.normal() as f32).collect();
    Batch {
        x: Tensor::from_slice(&x).view([BATCH as i64, CHANNELS, TIME as i64]),
        boundaries: Tensor::from_slice(&[start, end].concat()).view([2, BATCH as i64, TIME as i64]),
        matched: Tensor::from_slice(&matched).view([-1, 2]),
        classes: Tensor::zeros([n as i64], (tch::Kind::Int64, Device::Cpu)),
        draws,
        class_draw,
        proposals: Proposals::new(&anchors, Device::Cpu),
    }
}

fn training_step(criterion: &mut Criterion) {
    runtime::prepare(THREADS);
    let mut group = criterion.benchmark_group("ETAD training step, 2 threads");
    group.sample_size(10);
    let mut asked = false;
    for (name, autocast) in [("float32", false), ("bfloat16 heads", true)] {
        group.bench_function(name, |b| {
            asked = true;
            let mut trainer = Trainer::new(autocast);
            b.iter(|| trainer.step());
        });
    }
    group.finish();
    if asked {
        compare();
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "the ratio is what this bench is for")]
fn compare() {
    let (mut float, mut half) = (Trainer::new(false), Trainer::new(true));
    let (mut ours, mut ours_half, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let timed = |trainer: &mut Trainer, times: &mut Vec<f64>| {
        for _ in 0..STEPS_PER_ROUND {
            let start = Instant::now();
            std::hint::black_box(trainer.step());
            times.push(start.elapsed().as_secs_f64());
        }
    };
    for _ in 0..ROUNDS {
        timed(&mut float, &mut ours);
        timed(&mut half, &mut ours_half);
        theirs.extend(peer());
    }
    let align = roi_align(&float.batch);
    let products = HEAD_FLOP / (gemm(tch::Kind::Float) * 1e9);
    println!(
        "of a float32 step: RoI align of three stages, forward and backward, {align:.3} s; the heads' matrix products at the GEMM peak would take {products:.3} s"
    );
    println!("gemm peak, float32: {:.0} GFLOP/s, bfloat16: {:.0} GFLOP/s", gemm(tch::Kind::Float), gemm(tch::Kind::BFloat16));
    println!("median step of ours: float32 {:.3} s, bfloat16 {:.3} s", median(ours.clone()), median(ours_half.clone()));
    if theirs.is_empty() {
        println!("peer not timed: set ETALON_PEER_PYTHON to a Python with torch 2.11.0, torchvision 0.26.0 and safetensors");
    } else {
        let peer = median(theirs);
        let (float, half) = (peer / median(ours), peer / median(ours_half));
        println!("median step of eager PyTorch {peer:.3} s: {float:.2} times ours in float32, {half:.2} times ours in bfloat16");
        println!("peak resident memory: ours (both networks of this process) {:.2} GiB, peer {:.2} GiB", own_peak(), children_peak());
    }
}

/// Floating-point operations of the proposal heads in one step: 2.85 million multiply-adds per proposal and stage, forward,
/// and twice that backward.
const HEAD_FLOP: f64 = 2.85e6 * 2.0 * 3.0 * 3.0 * 495.0 * BATCH as f64;

/// Seconds of planning, forward and backward of RoI align for three stages of the published size.
fn roi_align(batch: &Batch) -> f64 {
    let cells = &batch.proposals.segments * TIME as f64;
    let (start, end) = (cells.select(1, 0), cells.select(1, 1));
    let margin = (&end - &start) * 0.5;
    let boxes = Tensor::stack(&[start - &margin, end + margin], 1);
    let features = Tensor::randn([BATCH as i64, TIME as i64, 128], (tch::Kind::Float, Device::Cpu));
    let times = (0..5).map(|_| {
        let start = Instant::now();
        for _ in 0..3 {
            let align = RoiAlign::plan(&boxes, &batch.proposals.layout, TIME as i64, 24);
            let aligned = align.forward(&features, Precision::Float);
            let _ = std::hint::black_box(align.backward(&aligned));
        }
        start.elapsed().as_secs_f64()
    });
    median(times.collect())
}

/// GFLOP/s of a 2048-cubed matrix product: what the step could reach at best.
pub fn gemm(kind: tch::Kind) -> f64 {
    const N: i64 = 2048;
    let a = Tensor::randn([N, N], (tch::Kind::Float, Device::Cpu)).to_kind(kind);
    let times = (0..7).map(|_| {
        let start = Instant::now();
        let _ = std::hint::black_box(a.matmul(&a));
        start.elapsed().as_secs_f64()
    });
    2.0 * (N as f64).powi(3) / median(times.collect()) / 1e9
}

/// Median wall seconds of one step of the reference, if it can be run.
fn peer() -> Option<f64> {
    let python = std::env::var_os("ETALON_PEER_PYTHON")?;
    let reference = PathBuf::from(std::env::var_os("ETALON_SHARED")?).join("reference/etad_pytorch.py");
    let steps = STEPS_PER_ROUND.to_string();
    let threads = THREADS.to_string();
    let arguments = ["time", "--batch", "16", "--channels", "512", "--steps", &steps, "--threads", &threads];
    let output = Command::new(python).arg(reference).args(arguments).output().expect("the peer starts");
    assert!(output.status.success(), "the peer failed: {}", String::from_utf8_lossy(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the peer prints one JSON line");
    line["step_wall_s"].as_f64()
}

fn own_peak() -> f64 {
    usage(libc::RUSAGE_SELF)
}

fn children_peak() -> f64 {
    usage(libc::RUSAGE_CHILDREN)
}

fn usage(who: libc::c_int) -> f64 {
    // SAFETY: rusage is plain data for which zero is valid, and getrusage fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    usage.ru_maxrss as f64 / f64::from(1 << 20)
}
