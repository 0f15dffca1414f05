//! Training encoder and detector together: memory and time of an update, by how gradients reach the encoder.
//!
//! `cargo bench -- end-to-end`. Memory is what libtorch's allocator handed out at most during one update (forward, detector,
//! second forward, both optimisers) beyond what was there before it, exact to the byte; times are medians over rounds in
//! which all rows take a turn.

mod rig;
mod videos;

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use etalon::config::encoder::{Sampled, SnippetSampling, Training};
use etalon::nn::runtime;

use self::rig::{CHUNK, Head, Parts, Rig, Size};
use crate::step::{THREADS, median};

criterion_group!(benches, end_to_end);

const SMALL: Size = Size { inputs: 4, snippets: 128, frames: 4, side: 56, width: 16 };
const PUBLISHED: Size = Size { inputs: 2, snippets: 32, frames: 8, side: 112, width: 64 };

/// Share of the proposals that the release trains with.
const PROPOSALS: f64 = 0.06;

const ROUNDS: usize = 5;

fn end_to_end(criterion: &mut Criterion) {
    runtime::prepare(THREADS);
    let (mut step, mut chunks, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let mut rig = None;
    let mut group = criterion.benchmark_group("end-to-end");
    group.sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(1));
    group.bench_function("update, a third of the snippets", |bencher| {
        let rig = rig.get_or_insert_with(|| Rig::new(SMALL, Head::Etad(PROPOSALS)));
        bencher.iter(|| {
            let course = rig.course(&sampled(0.3));
            step.push(timed(|| rig.step(&course)));
        });
    });
    group.bench_function("features, in chunks and at once by turns", |bencher| {
        let rig = rig.get_or_insert_with(|| Rig::new(SMALL, Head::Etad(PROPOSALS)));
        bencher.iter(|| {
            chunks.push(timed(|| drop(rig.features(CHUNK))));
            whole.push(timed(|| drop(rig.features(SMALL.snippets))));
        });
    });
    group.finish();
    // Not asked for.
    let Some(rig) = rig else { return };
    drop(rig);
    if !chunks.is_empty() {
        forward(chunks, whole);
    }
    if !step.is_empty() {
        memory(SMALL, &rows());
        growth();
        memory(PUBLISHED, &rows()[..5]);
        videos::waiting();
        times(SMALL, &rows(), ROUNDS);
        times(PUBLISHED, &rows()[..3], 3);
    }
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn sampled(ratio: f64) -> Training {
    Training::Sampled(Sampled { ratio, strategy: SnippetSampling::Random })
}

/// A way to train: its name, where gradients flow, and the detector's share of proposals.
type Row = (String, Training, f64);

fn rows() -> Vec<Row> {
    use SnippetSampling::{Block, Grid, LabelGuided};
    let third = |strategy| Training::Sampled(Sampled { ratio: 0.3, strategy });
    let ratios = [0.3, 0.1, 0.5, 1.0].map(|ratio| (format!("sampled, {ratio}"), sampled(ratio), PROPOSALS));
    let strategies = [("grid", Grid), ("block", Block), ("label-guided", LabelGuided)];
    let strategies = strategies.map(|(name, strategy)| (format!("sampled, 0.3, {name}"), third(strategy), PROPOSALS));
    let proposals = [0.02, 0.3].map(|share| (format!("sampled, 0.3; proposals {share}"), sampled(0.3), share));
    let all = [("plain".into(), Training::Plain, PROPOSALS), ("checkpointed".into(), Training::Checkpointed, PROPOSALS)];
    all.into_iter().chain(ratios).chain(strategies).chain(proposals).collect()
}

/// One rig for every share of proposals, and which of them each row uses.
fn rigs(size: Size, rows: &[Row]) -> (Vec<Rig>, Vec<usize>) {
    let mut shares: Vec<f64> = rows.iter().map(|(_, _, share)| *share).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    let of_row = rows.iter().map(|(_, _, share)| shares.iter().position(|other| other == share).expect("listed above")).collect();
    (shares.into_iter().map(|share| Rig::new(size, Head::Etad(share))).collect(), of_row)
}

/// The peak of an update, and the cost model against it.
#[expect(clippy::print_stdout, reason = "the table is what this bench is for")]
fn memory(size: Size, rows: &[Row]) {
    println!("\n{}\n", size.name());
    println!("| gradients | peak MiB | of plain | predicted | deviation |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let (mut rigs, of_row) = rigs(size, rows);
    let mut parts: Vec<Option<Parts>> = rigs.iter().map(|_| None).collect();
    let mut plain = None;
    for ((name, training, _), &at) in rows.iter().zip(&of_row) {
        let peak = rigs[at].peak(training) as f64;
        let of_plain = peak / *plain.get_or_insert(peak);
        let parts = parts[at].get_or_insert_with(|| rigs[at].parts());
        let model = predicted(training, parts).map_or("| | |".to_owned(), |expected| {
            format!("| {:.1} | {:+.1} % |", mebibytes(expected), 100.0 * (peak / expected as f64 - 1.0))
        });
        println!("| {name} | {:.1} | {of_plain:.3} {model}", mebibytes(peak as u64));
    }
    for (Parts { chunk, detector, gradients, features }, share) in parts.iter().flatten().zip(["fewest", "more", "most"]) {
        let [chunk, detector, features] = [*chunk, *detector, *features].map(mebibytes);
        let [of_detector, of_encoder] = gradients.map(mebibytes);
        println!(
            "parts, {share} proposals: a chunk {chunk:.1}, the detector {detector:.1}, features {features:.1}, gradients {of_detector:.1} and {of_encoder:.1} MiB"
        );
    }
}

/// Seconds of an update, all rows by turns.
#[expect(clippy::print_stdout, reason = "the table is what this bench is for")]
fn times(size: Size, rows: &[Row], rounds: usize) {
    println!("\n{}: seconds an update, median of {rounds}\n", size.name());
    println!("| gradients | s | of plain |");
    println!("| --- | ---: | ---: |");
    let (mut rigs, of_row) = rigs(size, rows);
    let mut times = vec![Vec::new(); rows.len()];
    for _ in 0..rounds {
        for (((_, training, _), times), &at) in rows.iter().zip(&mut times).zip(&of_row) {
            let course = rigs[at].course(training);
            times.push(timed(|| rigs[at].step(&course)));
        }
    }
    let times: Vec<f64> = times.into_iter().map(median).collect();
    for ((name, ..), time) in rows.iter().zip(&times) {
        println!("| {name} | {time:.2} | {:.2} |", time / times[0]);
    }
}

/// One chunk or the detector, whichever needs more, and what lies beside it: the features, and, beside a chunk, what is
/// already known of both gradients.
fn predicted(training: &Training, parts: &Parts) -> Option<u64> {
    let Parts { chunk, detector, gradients, features } = parts;
    let beside_chunk = features + gradients.iter().sum::<u64>();
    matches!(training, Training::Sampled(_) | Training::Checkpointed).then(|| (features + detector).max(beside_chunk + chunk))
}

/// How the peak grows with the number of snippets.
#[expect(clippy::print_stdout, reason = "the table is what this bench is for")]
fn growth() {
    println!("\nPeak MiB by snippets per video\n");
    println!("| detector | snippets | plain | sampled, 0.3 | of plain | features | without them | detector alone |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (name, head) in [("ETAD", Head::Etad(PROPOSALS)), ("none", Head::Nothing)] {
        for snippets in [64, 128, 256] {
            let mut rig = Rig::new(Size { snippets, ..SMALL }, head);
            let [plain, sampled] = [Training::Plain, sampled(0.3)].map(|training| rig.peak(&training));
            let Parts { features, detector, .. } = rig.parts();
            println!(
                "| {name} | {snippets} | {:.1} | {:.2} | {:.3} | {:.2} | {:.2} | {:.2} |",
                mebibytes(plain),
                mebibytes(sampled),
                sampled as f64 / plain as f64,
                mebibytes(features),
                mebibytes(sampled - features),
                mebibytes(detector)
            );
        }
    }
}

#[expect(clippy::print_stdout, reason = "the ratio is what this bench is for")]
fn forward(chunks: Vec<f64>, whole: Vec<f64>) {
    let ratios = chunks.iter().zip(&whole).map(|(chunks, whole)| chunks / whole).collect();
    let (ratio, chunks, whole) = (median(ratios), median(chunks), median(whole));
    println!("\nforward without gradients: {chunks:.3} s in chunks of {CHUNK}, {whole:.3} s at once, ratio {ratio:.3} by turns");
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
