//! How good are the forecasts? Every engine sees the same first sizes of real learning curves and is scored on the last one.
//!
//! `cargo bench -- forecast` prints a table per set of curves: error of the median, continuous ranked probability score (twice
//! the mean pinball loss over 19 levels), share of the truth inside intervals, width and interval score, time. The reference
//! method in numpy takes part where `ETALON_PEER_PYTHON` has numpy and scipy. `ETALON_SHARED` holds the curves.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use criterion::{Criterion, criterion_group};
use etalon::curves::{Curve, CurveFamily, Observation, Options, families};
use rayon::prelude::*;

criterion_group!(benches, forecasts);

/// Levels of the quantiles: 5 % to 95 %.
const LEVELS: usize = 19;

fn levels() -> Vec<f64> {
    (1..=LEVELS).map(|i| i as f64 / (LEVELS + 1) as f64).collect()
}

/// A curve cut off, and what came.
struct Case {
    observations: Vec<Observation>,
    at: f64,
    truth: f64,
    /// The truth is a mean over fresh seeds rather than an expectation.
    measured: bool,
}

impl Case {
    /// Mean score per size, ascending.
    fn means(&self) -> Vec<(f64, f64)> {
        let mut sums: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for o in &self.observations {
            let sum = sums.entry(o.n as u64).or_default();
            *sum = (sum.0 + o.score, sum.1 + 1.0);
        }
        sums.into_iter().map(|(n, (sum, count))| (n as f64, sum / count)).collect()
    }
}

type Row = BTreeMap<String, String>;

fn table(path: &Path) -> Vec<Row> {
    let mut reader = csv::Reader::from_path(path).unwrap_or_else(|e| panic!("{}: {e}; set ETALON_SHARED", path.display()));
    reader.deserialize().map(|row| row.expect("a table of strings")).collect()
}

fn grouped(rows: Vec<Row>) -> BTreeMap<String, Vec<Row>> {
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry(row["curve_id"].clone()).or_default().push(row);
    }
    groups
}

fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is no number in {row:?}"))
}

/// Errors of classifiers; sizes up to a third are seen, the full size is asked.
fn lcdb(shared: &Path) -> Vec<Case> {
    let case = |rows: Vec<Row>| {
        let last = rows.iter().find(|r| r["is_last"] == "1")?;
        let seen = rows.iter().filter(|r| r["role"] == "fit");
        let of_row = |row: &Row| {
            let n = number(row, "n");
            (0..5u64).map(|s| Observation { n, score: 1.0 - number(row, &format!("s{s}")), seed: Some(s) }).collect::<Vec<_>>()
        };
        let truth = 1.0 - number(last, "truth");
        Some(Case { observations: seen.flat_map(of_row).collect(), at: number(last, "n"), truth, measured: false })
    };
    grouped(table(&shared.join("curves/lcdb_third_dev.csv"))).into_values().filter_map(case).collect()
}

/// mAP of ActionFormer, five seeds; 10, 20 and 40 % are seen, 100 % is asked.
fn detection(shared: &Path) -> Vec<Case> {
    let case = |rows: Vec<Row>| {
        let of =
            |row: &Row| Observation { n: number(row, "n_videos"), score: number(row, "score"), seed: Some(number(row, "seed") as u64) };
        let at = |share: &str| rows.iter().filter(|r| r["fraction"] == share).map(of).collect::<Vec<_>>();
        let full = at("1.0");
        let truth = full.iter().map(|o| o.score).sum::<f64>() / full.len() as f64;
        let observations = ["0.1", "0.2", "0.4"].iter().flat_map(|share| at(share)).collect();
        Case { observations, at: full[0].n, truth, measured: true }
    };
    grouped(table(&shared.join("curves/tad_actionformer_5seeds.csv"))).into_values().map(case).collect()
}

/// A method: quantiles of the score asked for; a single number for a method without intervals.
type Engine = Box<dyn Fn(&Case) -> Vec<f64> + Sync>;

fn mixture(families: Vec<&'static dyn CurveFamily>) -> Engine {
    Box::new(move |case| {
        let options = Options { families: families.clone(), ..Options::default() };
        match Curve::fit(&case.observations, &options) {
            Ok(curve) => curve.quantiles(case.at, &levels()),
            Err(error) => panic!("a curve of the benchmark cannot be fitted: {error}"),
        }
    })
}

fn engines() -> Vec<(String, Engine)> {
    let last = |case: &Case| vec![case.means().last().map_or(0.0, |m| m.1)];
    // The last step in ln n, dying off by a third per step of the same length: what a cautious forecaster would draw.
    let damped = |case: &Case| {
        const PHI: f64 = 0.33;
        let means = case.means();
        let (&[(n0, y0), (n1, y1)], true) = (&[means[means.len() - 2], means[means.len() - 1]], means.len() > 1) else { return vec![0.0] };
        let steps = (case.at / n1).ln() / (n1 / n0).ln();
        let gain = (y1 - y0) * PHI * (1.0 - PHI.powf(steps)) / (1.0 - PHI);
        vec![(y1 + gain).clamp(0.0, 1.0)]
    };
    let mut engines: Vec<(String, Engine)> = vec![
        ("etalon".to_owned(), mixture(families::averaged())),
        ("last value".to_owned(), Box::new(last)),
        ("damped trend".to_owned(), Box::new(damped)),
    ];
    engines.extend(families::ALL.iter().map(|&family| (format!("{} alone", family.name()), mixture(vec![family]))));
    engines
}

/// What a method's answers are worth.
struct Worth {
    median: f64,
    mean: f64,
    p90: f64,
    crps: f64,
    /// Of the intervals 90, 80 and 50; `None` for a single number.
    coverage: Option<[f64; 3]>,
    width: f64,
    interval_score: f64,
}

fn worth(cases: &[Case], answers: &[Vec<f64>]) -> Worth {
    let mut errors: Vec<f64> = cases.iter().zip(answers).map(|(c, a)| (a[a.len() / 2] - c.truth).abs()).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let pinball = |(case, answer): (&Case, &Vec<f64>)| {
        if answer.len() == 1 {
            return (answer[0] - case.truth).abs();
        }
        let loss = |(q, level): (&f64, f64)| if case.truth >= *q { level * (case.truth - q) } else { (1.0 - level) * (q - case.truth) };
        2.0 * mean(&answer.iter().zip(levels()).map(loss).collect::<Vec<_>>())
    };
    let crps = mean(&cases.iter().zip(answers).map(pinball).collect::<Vec<_>>());
    let inside = |low: usize| {
        let hit = |(c, a): (&Case, &Vec<f64>)| f64::from(u8::from((a[low]..=a[LEVELS - 1 - low]).contains(&c.truth)));
        mean(&cases.iter().zip(answers).map(hit).collect::<Vec<_>>())
    };
    let interval = answers.iter().all(|a| a.len() == LEVELS);
    let ends = |a: &Vec<f64>| (a[0], a[a.len() - 1]);
    let score = |(c, a): (&Case, &Vec<f64>)| {
        let (low, high) = ends(a);
        (high - low) + 20.0 * ((low - c.truth).max(0.0) + (c.truth - high).max(0.0))
    };
    let interval_score = mean(&cases.iter().zip(answers).map(score).collect::<Vec<_>>());
    let width = mean(&answers.iter().map(|a| ends(a).1 - ends(a).0).collect::<Vec<_>>());
    let average = mean(&errors);
    errors.sort_by(f64::total_cmp);
    let at = |q: f64| errors[((errors.len() - 1) as f64 * q).round() as usize];
    let coverage = interval.then(|| [inside(0), inside(1), inside(4)]);
    Worth { median: at(0.5), mean: average, p90: at(0.9), crps, coverage, width, interval_score }
}

/// The reference method on all cases; `None` with a remark where Python lacks what it needs.
fn reference(shared: &Path, cases: &[Case]) -> Result<(Vec<Vec<f64>>, f64), String> {
    const DRIVER: &str = r#"
import json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np, gridbma
cases, levels = json.load(sys.stdin)
answers, began = [], time.process_time()
for case in cases:
    x = np.array(case["n"], float)
    y = 1 - np.array(case["mean"])
    v = gridbma.noise_var(x, np.array(case["sd"]), m=5)
    grid = gridbma.Grid(x)
    post = grid.posterior(y, v)
    m, s2, _ = grid.predictive(post, [case["at"]])
    extra = v[-1] if case["measured"] else 0.0
    q = gridbma.mix_quantiles(post["W"], m[:, 0], np.sqrt(s2[:, 0] + extra), 1 - np.array(levels))
    answers.append(np.clip(1 - q, 0, 1).tolist())
json.dump([answers, time.process_time() - began], sys.stdout)
"#;
    let sd = |case: &Case, n: f64, mean: f64| {
        let scores: Vec<f64> = case.observations.iter().filter(|o| o.n == n).map(|o| o.score).collect();
        (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (scores.len() - 1) as f64).sqrt()
    };
    let encode = |case: &Case| {
        let means = case.means();
        let (n, y): (Vec<f64>, Vec<f64>) = means.iter().copied().unzip();
        let sd: Vec<f64> = means.iter().map(|&(n, mean)| sd(case, n, mean)).collect();
        serde_json::json!({ "n": n, "mean": y, "sd": sd, "at": case.at, "measured": case.measured })
    };
    let input = serde_json::json!([cases.iter().map(encode).collect::<Vec<_>>(), levels()]).to_string();
    let python = std::env::var("ETALON_PEER_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.env("OMP_NUM_THREADS", "1").arg("-c").arg(DRIVER).arg(shared.join("reference"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).map_err(|e| e.to_string())?;
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let last = || String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
    serde_json::from_slice(&output.stdout).map_err(|_| last())
}

#[expect(clippy::print_stdout, reason = "the tables are what this bench is for")]
fn score(name: &str, shared: &Path, cases: &[Case]) {
    println!("\n{name}: {} curves\n", cases.len());
    println!("| engine | median error | mean | 90 % | CRPS | inside 90 | 80 | 50 | mean width 90 | interval score | ms a curve |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let row = |engine: &str, answers: &[Vec<f64>], ms: f64| {
        let w = worth(cases, answers);
        let intervals = match w.coverage {
            Some([c90, c80, c50]) => format!("{c90:.3} | {c80:.3} | {c50:.3} | {:.4} | {:.4}", w.width, w.interval_score),
            None => "| | | |".to_owned(),
        };
        println!("| {engine} | {:.4} | {:.4} | {:.4} | {:.4} | {intervals} | {ms:.2} |", w.median, w.mean, w.p90, w.crps);
    };
    for (engine, answer) in engines() {
        let begun = Instant::now();
        let timed = cases.iter().take(20).map(&answer).count();
        let ms = begun.elapsed().as_secs_f64() * 1e3 / timed as f64;
        row(&engine, &cases.par_iter().map(&answer).collect::<Vec<_>>(), ms);
    }
    match reference(shared, cases) {
        Ok((answers, seconds)) => row("reference/gridbma.py", &answers, 1e3 * seconds / cases.len() as f64),
        Err(why) => println!("\nreference/gridbma.py did not run ({why}); set ETALON_PEER_PYTHON to a Python with numpy and scipy"),
    }
}

fn forecasts(criterion: &mut Criterion) {
    let shared = std::env::var_os("ETALON_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    let mut group = criterion.benchmark_group("forecast");
    group.sample_size(10);
    let mut printed = false;
    group.bench_function("one curve", |bencher| {
        let (classifiers, detectors) = (lcdb(&shared), detection(&shared));
        if !std::mem::replace(&mut printed, true) {
            score("LCDB 1.1, development half: up to a third of the data, asked at all of it", &shared, &classifiers);
            score("ActionFormer on THUMOS14 and ActivityNet: 10, 20 and 40 %, asked at 100 %", &shared, &detectors);
        }
        let engine = mixture(families::averaged());
        bencher.iter(|| engine(&detectors[0]));
    });
    group.finish();
}
