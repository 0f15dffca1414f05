//! Nested cross-validation: every choice is made on curves of other data sets, and again of other domains, than those that judge it.
//!
//! A fold leaves out a fifth of the data sets of every domain, or a domain whole. On the rest the learned belief is fitted, and the
//! share of the broad one and the noise of single runs are chosen; what is printed are the forecasts of what was left out.

use std::collections::BTreeMap;

use etalon::curves::{Curve, Options, Prior, Record};
use etalon::stats::{mean, standard_deviation};
use rayon::prelude::*;

use super::designs::Designed;
use super::engines::Answer;
use super::learn;
use super::worth::{Worth, levels, worth};

/// The engine with one of its choices taken back.
const LADDER: [&str; 3] =
    ["learned belief alone, noise unbelieved", "with a belief on the noise of single runs", "with a broad belief beside it"];

pub fn answers(cases: &[&Designed], prior: &Prior) -> Vec<Answer> {
    let answer = |designed: &&Designed| {
        let options = Options { prior: prior.clone(), ..designed.case.options() };
        let curve = Curve::fit(&designed.case.observations, &options).expect("a curve of the benchmark can be fitted");
        Answer { quantiles: curve.quantiles(designed.case.last().0, &levels()), reached: Vec::new() }
    };
    cases.par_iter().map(answer).collect()
}

fn judged(cases: &[&Designed], answers: &[&Answer]) -> Worth {
    worth(&cases.iter().map(|d| &d.case).collect::<Vec<_>>(), answers)
}

/// Mean over kinds (domain and design) of the CRPS, relative to that of the broad belief: no kind outweighs another by its scale
/// or its number of curves.
pub fn cost(cases: &[&Designed], answers: &[Answer], base: &BTreeMap<(&str, &str), f64>) -> f64 {
    let kinds = by_kind(cases);
    kinds.iter().map(|(kind, at)| crps(cases, answers, at) / base[kind]).sum::<f64>() / kinds.len() as f64
}

fn crps(cases: &[&Designed], answers: &[Answer], at: &[usize]) -> f64 {
    let (cases, answers): (Vec<&Designed>, Vec<&Answer>) = at.iter().map(|&i| (cases[i], &answers[i])).unzip();
    judged(&cases, &answers).crps
}

fn by_kind<'a>(cases: &[&'a Designed]) -> BTreeMap<(&'a str, &'a str), Vec<usize>> {
    let mut kinds: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (i, d) in cases.iter().enumerate() {
        kinds.entry((d.domain, d.design)).or_default().push(i);
    }
    kinds
}

/// CRPS of the broad belief by kind.
pub fn base<'a>(cases: &[&'a Designed]) -> BTreeMap<(&'a str, &'a str), f64> {
    let broad = answers(cases, &Prior { share: 1.0, ..Prior::default() });
    by_kind(cases).into_iter().map(|(kind, at)| (kind, crps(cases, &broad, &at))).collect()
}

/// The steps of [`LADDER`], each chosen on `train`.
fn chosen(train: &[&Designed]) -> [Prior; 3] {
    let base = base(train);
    let best = |candidates: Vec<Prior>| {
        let scored = candidates.into_iter().map(|p| (cost(train, &answers(train, &p), &base), p));
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are candidates").1
    };
    let plain = Prior { share: 0.0, noise: (0.01, 1e3), learned: learn::learn(train), ..Prior::default() };
    let noises = [0.01, 0.02, 0.03].into_iter().flat_map(|median| [0.8, 1.2].map(|spread| (median, spread)));
    let noisy = best(noises.map(|noise| Prior { noise, ..plain.clone() }).collect());
    let stacked = best([0.0, 0.2, 0.4, 0.6].map(|share| Prior { share, ..noisy.clone() }).into());
    [plain, noisy, stacked]
}

/// Prints the tables with `say`, and gives the records of held-out forecasts as a table for `src/curves/record.csv`.
pub fn run(all: &[Designed], say: &dyn Fn(&str)) -> String {
    let mut held_out: Vec<(&Designed, Answer)> = Vec::new();
    say("\n| left out | curves | engine | median error | mean | CRPS | inside 90 | mean width 90 | relative CRPS |");
    say("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut gains: [Vec<f64>; 3] = Default::default();
    let domains = ["classifiers", "detectors", "published", "halves"];
    for fold in
        (0..5).map(|part| (format!("data sets, part {part}"), Some(part), None)).chain(domains.map(|d| (d.to_owned(), None, Some(d))))
    {
        let (name, part, domain) = fold;
        let out = |d: &&Designed| part.is_some_and(|part| fifth(&d.case.group) == part) || domain == Some(d.domain);
        let (test, train): (Vec<&Designed>, Vec<&Designed>) = all.iter().partition(out);
        let base = base(&test);
        let priors = chosen(&train);
        let shipped = Prior::default();
        let mut last = f64::NAN;
        for (step, prior) in priors.iter().chain([&Prior { share: 1.0, ..shipped.clone() }, &shipped]).enumerate() {
            let said = answers(&test, prior);
            let w = judged(&test, &said.iter().collect::<Vec<_>>());
            let relative = cost(&test, &said, &base);
            let engine =
                LADDER.get(step).copied().unwrap_or(if step == 3 { "broad belief alone" } else { "shipped (has seen these curves)" });
            let coverage = w.coverage.map_or(f64::NAN, |c| c[0]);
            say(&format!(
                "| {name} | {} | {engine} | {:.4} | {:.4} | {:.4} | {coverage:.3} | {:.4} | {relative:.3} |",
                test.len(),
                w.median,
                w.mean,
                w.crps,
                w.width
            ));
            if part.is_some() && step < 3 {
                gains[step].push(if step == 0 { relative } else { relative - last });
                last = relative;
            }
            if part.is_some() && step == 2 {
                held_out.extend(test.iter().copied().zip(said));
            }
        }
    }
    say("\n| choice | change of the relative CRPS over five parts of the data sets | spread |\n| --- | ---: | ---: |");
    for (step, of) in LADDER.iter().zip(&gains) {
        let (change, spread) = (mean(of).unwrap_or(f64::NAN), standard_deviation(of).unwrap_or(f64::NAN));
        say(&format!("| {step} | {change:+.4} | {spread:.4} |"));
    }
    say(
        "\n| domain | design | curves | median error | mean | CRPS | inside 90 | mean width 90 |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    );
    let cases: Vec<&Designed> = held_out.iter().map(|h| h.0).collect();
    for ((domain, design), at) in by_kind(&cases) {
        let w = of(&held_out, &at);
        let coverage = w.coverage.map_or(f64::NAN, |c| c[0]);
        say(&format!(
            "| {domain} | {design} | {} | {:.4} | {:.4} | {:.4} | {coverage:.3} | {:.4} |",
            at.len(),
            w.median,
            w.mean,
            w.crps,
            w.width
        ));
    }
    records(&held_out)
}

fn of(held_out: &[(&Designed, Answer)], at: &[usize]) -> Worth {
    let (cases, answers): (Vec<&Designed>, Vec<&Answer>) = at.iter().map(|&i| (held_out[i].0, &held_out[i].1)).unzip();
    judged(&cases, &answers)
}

fn records(held_out: &[(&Designed, Answer)]) -> String {
    let mut kinds: BTreeMap<(usize, usize, u64), Vec<usize>> = BTreeMap::new();
    for (i, (designed, _)) in held_out.iter().enumerate() {
        let sizes: Vec<(f64, Vec<f64>)> = designed.case.sizes().collect();
        let seeds = sizes.iter().map(|s| s.1.len()).min().unwrap_or(1);
        let (k, seeds, times) = Record::kind(sizes.len(), seeds, designed.case.last().0 / sizes[sizes.len() - 1].0);
        kinds.entry((k, seeds, times as u64)).or_default().push(i);
    }
    let mut table = "sizes,seeds,times,curves,median_error,coverage,width\n".to_owned();
    for ((sizes, seeds, times), at) in kinds.iter().filter(|k| k.1.len() >= 15) {
        let w = of(held_out, at);
        let coverage = w.coverage.map_or(f64::NAN, |c| c[0]);
        table += &format!("{sizes},{seeds},{times},{},{:.4},{coverage:.3},{:.4}\n", at.len(), w.median, w.width);
    }
    table
}

/// Of five parts of the data sets, the one of this group.
fn fifth(group: &str) -> usize {
    group.bytes().fold(7usize, |hash, byte| (hash * 31 + usize::from(byte)) % 100_003) % 5
}
