//! How good are the forecasts? Every method sees the same first sizes of real learning curves and is scored on what came.
//!
//! `cargo bench -- forecast` prints a table per set of curves, and the time of a fit. `cargo bench -- validate` judges
//! every choice by nested cross-validation over data sets and domains, and writes `src/curves/record.csv` (half an hour). The reference method in numpy takes part where
//! `ETALON_PEER_PYTHON` has numpy and scipy. `ETALON_SHARED` holds the curves.

mod cases;
mod designs;
mod engines;
mod learn;
mod reliability;
mod validate;
mod worth;

use std::path::{Path, PathBuf};
use std::time::Instant;

use criterion::{Criterion, criterion_group};
use etalon::curves::{Curve, Observation, Options, families};
use rayon::prelude::*;

use cases::Case;
use worth::{Worth, rmsle, worth};

criterion_group!(benches, forecasts, validated);

/// The folder with `curves/` and the reference method; without one the tables over whole sets of curves are left out, and that is
/// said.
fn recordings() -> Option<PathBuf> {
    let folder = std::env::var_os("ETALON_SHARED").map(PathBuf::from).filter(|folder| folder.join("curves").is_dir());
    if folder.is_none() {
        say("tables over whole sets of curves are left out: ETALON_SHARED names no folder with curves/");
    }
    folder
}

#[expect(clippy::print_stdout, reason = "the tables are what this bench is for")]
fn say(text: &str) {
    println!("{text}");
}

fn row(name: &str, w: &Worth) -> String {
    let intervals = match w.coverage {
        Some([c90, c80, c50]) => format!("{c90:.3} | {c80:.3} | {c50:.3} | {:.4} | {:.4}", w.width, w.interval_score),
        None => "| | | |".to_owned(),
    };
    let brier = w.brier.map_or(String::new(), |b| format!("{b:.3}"));
    format!("| {name} | {:.4} | {:.4} | {:.4} | {:.4} | {intervals} | {brier} |", w.median, w.mean, w.p90, w.crps)
}

fn table(name: &str, root: &Path, cases: &[Case]) {
    say(&format!("\n**{name}: {} curves**\n", cases.len()));
    say(
        "| engine | median error | mean | 90 % | CRPS | inside 90 | 80 | 50 | mean width 90 | interval score | integrated Brier | CPU ms |",
    );
    say("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut rows = engines::all(cases);
    match engines::reference(root, cases) {
        Ok(answers) => rows.push(answers),
        Err(why) => say(&format!("reference/gridbma.py did not run ({why}); set ETALON_PEER_PYTHON to a Python with numpy and scipy")),
    }
    let seen: Vec<&Case> = cases.iter().collect();
    for answers in rows {
        let worth = worth(&seen, &answers.answers.iter().collect::<Vec<_>>());
        say(&format!("{} {:.2} |", row(&answers.name, &worth), 1e3 * answers.seconds));
    }
}

/// Root mean squared error of the logarithm by domain, beside the last value and single families by least squares.
fn language(root: &Path) {
    let fitted = |case: &Case, families: Vec<_>| Curve::fit(&case.observations, &Options { families, ..case.options() }).expect("it fits");
    let ours = |case: &Case| {
        let curve = fitted(case, families::averaged());
        Box::new(move |n: f64| curve.forecast(n).median) as Box<dyn Fn(f64) -> f64>
    };
    let last = |case: &Case| {
        let value = case.means().last().map_or(0.0, |m| m.1);
        Box::new(move |_: f64| value) as Box<dyn Fn(f64) -> f64>
    };
    say("\n**M4 benchmark, language: the second half of the range from the first, RMSLE**\n");
    say("| domain | curves | etalon | last value | power3, least squares | m4 | broken-power |");
    say("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (domain, cases) in cases::language(root) {
        let alone = |name: &'static str| {
            rmsle(&cases, |case| {
                let line = fitted(case, vec![families::by_name(name).expect("it is a family")]).families().remove(0).line;
                Box::new(move |n| line.at(n))
            })
        };
        let values = [rmsle(&cases, ours), rmsle(&cases, last), alone("power3"), alone("m4"), alone("broken-power")];
        say(&format!("| {domain} | {} | {} |", cases.len(), values.map(|v| format!("{v:.5}")).join(" | ")));
    }
}

/// Seven sizes of five seeds.
fn typical() -> Vec<Observation> {
    let score =
        |n: f64, seed: u64| 0.7 - 0.6 * (1.0 + n / 40.0).powf(-0.8) + 0.004 * (seed as f64 - 2.0) * (1.0 + 0.3 * (n * seed as f64).sin());
    let of_size = |n: f64| (0..5).map(move |seed| Observation { n, score: score(n, seed), seed: Some(seed) });
    [20.0, 40.0, 60.0, 80.0, 120.0, 160.0, 200.0].into_iter().flat_map(of_size).collect()
}

fn forecasts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forecast");
    group.sample_size(20);
    let mut printed = false;
    let observations = typical();
    let forecast = |observations: &[Observation]| {
        let curve = Curve::fit(observations, &Options::default()).expect("it fits");
        [curve.forecast(400.0), curve.forecast(600.0)]
    };
    group.bench_function("7 sizes x 5 seeds, at 2x and 3x", |bencher| {
        if !std::mem::replace(&mut printed, true) {
            if let Some(root) = recordings() {
                table("LCDB 1.1, development half: up to a third of the data, asked at all of it", &root, &cases::classifiers(&root));
                table("ActionFormer on THUMOS14 and ActivityNet: 10, 20 and 40 %, asked at 100 %", &root, &cases::detectors(&root));
                language(&root);
            }
            let begun = Instant::now();
            (0..10_000).into_par_iter().for_each(|_| {
                std::hint::black_box(forecast(&observations));
            });
            say(&format!("\n10,000 curves of 7 sizes x 5 seeds with 2 forecasts each: {:.1} s\n", begun.elapsed().as_secs_f64()));
        }
        bencher.iter(|| forecast(&observations));
    });
    group.finish();
}

/// Nested cross-validation; only when asked for by name, because it takes long.
fn validated(_: &mut Criterion) {
    if !std::env::args().any(|a| a == "validate") {
        return;
    }
    let Some(root) = recordings() else { return };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let records = validate::run(&designs::all(&root, &here.join("tests/fixtures/curves")), &say);
    etalon::base::fsio::replace(&here.join("src/curves/record.csv"), records.as_bytes()).expect("the checkout can be written");
}
