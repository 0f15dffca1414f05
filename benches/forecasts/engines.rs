//! Methods that answer the same questions.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use etalon::curves::{Curve, CurveFamily, Direction, Options, families};
use rayon::prelude::*;

use super::cases::Case;
use super::worth::levels;

/// What a method says about one case.
pub struct Answer {
    /// Quantiles of the score at the largest size asked; a single number for a method without intervals.
    pub quantiles: Vec<f64>,
    /// Probability that each target is reached by each size of the case's grid.
    pub reached: Vec<Vec<f64>>,
}

/// Answers of a method and the seconds that one curve took it.
pub struct Answers {
    pub name: String,
    pub answers: Vec<Answer>,
    pub seconds: f64,
}

/// Answers of every method in this process.
pub fn all(cases: &[Case]) -> Vec<Answers> {
    let last = |case: &Case| {
        let value = case.means().last().map_or(0.0, |m| m.1);
        Box::new(move |_: f64| value) as Box<dyn Fn(f64) -> f64>
    };
    let mut rows = vec![averaged("etalon", cases, families::averaged())];
    rows.push(single("last value", cases, last));
    rows.push(single("damped trend", cases, damped));
    rows.extend(families::ALL.iter().map(|&family| averaged(&format!("{} alone", family.name()), cases, vec![family])));
    rows
}

fn averaged(name: &str, cases: &[Case], families: Vec<&'static dyn CurveFamily>) -> Answers {
    let answer = |case: &Case| {
        let options = Options { families: families.clone(), ..case.options() };
        let curve = Curve::fit(&case.observations, &options).expect("a curve of the benchmark can be fitted");
        let reached = |target: &f64| {
            let requirement = curve.requirement(*target);
            case.grid().iter().map(|&n| requirement.probability(n)).collect()
        };
        Answer { quantiles: curve.quantiles(case.last().0, &levels()), reached: case.targets.iter().map(reached).collect() }
    };
    let timed: Vec<&Case> = cases.iter().cycle().take(400).collect();
    let begun = cpu_seconds();
    for case in &timed {
        let curve = Curve::fit(&case.observations, &Options { families: families.clone(), ..case.options() }).expect("it fits");
        std::hint::black_box(curve.forecast(case.last().0));
    }
    let seconds = (cpu_seconds() - begun) / timed.len() as f64;
    Answers { name: name.to_owned(), answers: cases.par_iter().map(answer).collect(), seconds }
}

/// CPU time of this thread: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps the times of threads");
    let ns: f64 = stat.split_whitespace().next().and_then(|f| f.parse().ok()).expect("the first number is nanoseconds");
    ns / 1e9
}

/// A method that draws one curve.
fn single(name: &str, cases: &[Case], draw: impl Fn(&Case) -> Box<dyn Fn(f64) -> f64>) -> Answers {
    let answer = |case: &Case| {
        let curve = draw(case);
        let good = |n: f64, target: f64| if case.direction == Direction::Decreasing { curve(n) <= target } else { curve(n) >= target };
        let reached = |target: &f64| case.grid().iter().map(|&n| f64::from(u8::from(good(n, *target)))).collect();
        Answer { quantiles: vec![curve(case.last().0)], reached: case.targets.iter().map(reached).collect() }
    };
    Answers { name: name.to_owned(), answers: cases.iter().map(answer).collect(), seconds: 0.0 }
}

/// The last step in ln n, dying off by a third per step of the same length: what a cautious forecaster would draw.
fn damped(case: &Case) -> Box<dyn Fn(f64) -> f64> {
    const PHI: f64 = 0.33;
    let means = case.means();
    let [(n0, y0), (n1, y1)] = [means[means.len() - 2], means[means.len() - 1]];
    Box::new(move |n| {
        let steps = (n / n1).ln() / (n1 / n0).ln();
        (y1 + (y1 - y0) * PHI * (1.0 - PHI.powf(steps)) / (1.0 - PHI)).clamp(0.0, 1.0)
    })
}

/// The reference method in numpy on all cases; the reason where Python lacks what it needs.
pub fn reference(root: &Path, cases: &[Case]) -> Result<Answers, String> {
    const DRIVER: &str = r#"
import json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np, gridbma
cases, levels = json.load(sys.stdin)
answers, spent = [], 0.0
for case in cases:
    began = time.process_time()
    x, y = np.array(case["n"], float), np.array(case["error"])
    v = gridbma.noise_var(x, np.array(case["sd"]), m=5)
    grid = gridbma.Grid(x)
    post = grid.posterior(y, v)
    m, s2, _ = grid.predictive(post, [case["at"]])
    spent += time.process_time() - began
    q = gridbma.mix_quantiles(post["W"], m[:, 0], np.sqrt(s2[:, 0] + (v[-1] if case["measured"] else 0.0)), levels)
    reached = []
    if case["targets"]:
        paths = np.minimum.accumulate(grid.draws(post, case["grid"], 1000, np.random.default_rng(0)), 1)
        reached = [(paths <= target).mean(0).tolist() for target in case["targets"]]
    answers.append([np.clip(q, 0, 1).tolist(), reached])
json.dump([answers, spent], sys.stdout)
"#;
    let error = |case: &Case, score: f64| if case.direction == Direction::Decreasing { score } else { 1.0 - score };
    let encode = |case: &Case| {
        let sizes: Vec<(f64, Vec<f64>)> = case.sizes().collect();
        let sd: Vec<f64> = sizes.iter().map(|(_, scores)| etalon::stats::standard_deviation(scores).unwrap_or(0.0)).collect();
        let n: Vec<f64> = sizes.iter().map(|s| s.0).collect();
        let means: Vec<f64> = case.means().iter().map(|m| error(case, m.1)).collect();
        let targets: Vec<f64> = case.targets.iter().map(|&t| error(case, t)).collect();
        // Its interval is for the expected score, as published, unless what came is a mean over as many seeds.
        let measured = case.direction == Direction::Increasing;
        serde_json::json!({ "n": n, "error": means, "sd": sd, "at": case.last().0, "measured": measured, "targets": targets, "grid": case.grid() })
    };
    let input = serde_json::json!([cases.iter().map(encode).collect::<Vec<_>>(), levels()]).to_string();
    let python = std::env::var("ETALON_PEER_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.env("OMP_NUM_THREADS", "1").arg("-c").arg(DRIVER).arg(root.join("reference"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).map_err(|e| e.to_string())?;
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    let last = || String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
    type Said = (Vec<f64>, Vec<Vec<f64>>);
    let (answers, seconds): (Vec<Said>, f64) = serde_json::from_slice(&output.stdout).map_err(|_| last())?;
    let outward = |(case, (errors, reached)): (&Case, Said)| {
        let rising = case.direction == Direction::Increasing;
        let quantiles = if rising { errors.iter().rev().map(|e| 1.0 - e).collect() } else { errors };
        Answer { quantiles, reached }
    };
    let answers: Vec<Answer> = cases.iter().zip(answers).map(outward).collect();
    Ok(Answers { name: "reference/gridbma.py".to_owned(), seconds: seconds / answers.len() as f64, answers })
}
