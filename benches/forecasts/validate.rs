//! Nested cross-validation: every choice is made on curves of other data sets, and again of other domains, than those that judge it.
//!
//! A fold leaves out a fifth of the data sets of every domain, or a domain whole. On the rest a prior is learned ([`learn::priors`]);
//! what is printed are its forecasts of what was left out.

use std::collections::BTreeMap;

use etalon::curves::{Curve, Options, Prior, Record};
use etalon::stats::{mean, standard_deviation};
use rayon::prelude::*;

use super::designs::{Designed, LANGUAGE};
use super::engines::Answer;
use super::learn;
use super::reliability::{self, Said};
use super::worth::{Worth, levels, worth};

/// What is tried on each fold. The first three add one choice each; the last has seen the curves that judge it.
const ENGINES: [&str; 5] = [
    "broad belief, noise of single runs unbelieved",
    "+ a belief on the noise of single runs",
    "+ a learned belief, half and half",
    "learned belief alone",
    "shipped (has seen these curves)",
];
/// Of [`ENGINES`], the one whose forecasts are kept as the record.
const WHOLE: usize = 2;
const DOMAINS: [&str; 5] = ["classifiers", "detectors", "published", "halves", LANGUAGE];
const PARTS: usize = 5;

/// Which curves a fold leaves out.
#[derive(Clone, Copy)]
enum Fold {
    Part(usize),
    Domain(&'static str),
}

/// Forecasts of curves that had no part in them.
struct HeldOut<'a> {
    cases: Vec<&'a Designed>,
    answers: Vec<Answer>,
    said: Vec<Said>,
}

/// Prints the tables with `say`, and gives the record of held-out forecasts as a table for `src/curves/record.csv`.
pub fn run(all: &[Designed], say: &dyn Fn(&str)) -> String {
    say("\n| left out | curves | engine | median error | mean | CRPS | inside 90 | mean width 90 | relative CRPS |");
    say("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut held_out = HeldOut { cases: Vec::new(), answers: Vec::new(), said: Vec::new() };
    let mut changes = Vec::new();
    for fold in (0..PARTS).map(Fold::Part).chain(DOMAINS.map(Fold::Domain)) {
        changes.extend(fold.judge(all, &mut held_out, say));
    }
    say_changes(&changes, say);
    held_out.by_design(say);
    held_out.by_behaviour(say);
    reliability::table(&held_out.said, say);
    let everything: Vec<&Designed> = all.iter().collect();
    say(&format!("\nlearned from all of them, for src/curves/posterior/prior.rs: {:?}", learn::priors(&everything)[WHOLE]));
    held_out.record()
}

impl Fold {
    fn leaves_out(self, designed: &Designed) -> bool {
        match self {
            Self::Part(part) => part_of(&designed.case.group) == part,
            Self::Domain(domain) => domain == designed.domain,
        }
    }

    /// Prints what each engine is worth, and gives for each choice and each domain the change of the relative CRPS that it brought.
    fn judge<'a>(self, all: &'a [Designed], held_out: &mut HeldOut<'a>, say: &dyn Fn(&str)) -> Vec<Change<'a>> {
        let (test, train): (Vec<&Designed>, Vec<&Designed>) = all.iter().partition(|d| self.leaves_out(d));
        let [plain, noisy, whole] = learn::priors(&train);
        let alone = Prior { share: 0.0, ..whole.clone() };
        let mut base = BTreeMap::new();
        let name = match self {
            Self::Part(part) => format!("data sets, part {part}"),
            Self::Domain(domain) => domain.to_owned(),
        };
        let mut changes = Vec::new();
        let mut last: BTreeMap<&str, f64> = BTreeMap::new();
        for (engine, prior) in [plain, noisy, whole, alone, Prior::default()].iter().enumerate() {
            let answers = answers(&test, prior);
            // The first is the yardstick.
            if engine == 0 {
                base = crps(&test, &answers);
            }
            let relative = relative(&test, &answers, &base);
            let w = judged(&test, &answers.iter().collect::<Vec<_>>());
            let (curves, overall) = (test.len(), mean(&relative.values().copied().collect::<Vec<_>>()).unwrap_or(f64::NAN));
            say(&format!("| {name} | {curves} | {} | {} | {overall:.3} |", ENGINES[engine], row(&w)));
            let by_domain = domains_of(&relative);
            if matches!(self, Self::Part(_)) && (1..=WHOLE).contains(&engine) {
                changes.extend(by_domain.iter().map(|(domain, now)| Change { engine, domain, by: now - last[domain] }));
            }
            last = by_domain;
            if matches!(self, Self::Part(_)) && engine == WHOLE {
                // A point is a share.
                let shares: Vec<&Designed> = test.iter().copied().filter(|d| d.domain != LANGUAGE).collect();
                held_out.said.extend(reliability::said(&shares, prior));
                held_out.cases.extend(&test);
                held_out.answers.extend(answers);
            }
        }
        changes
    }
}

/// What one choice changed in one domain of one part of the data sets.
struct Change<'a> {
    engine: usize,
    domain: &'a str,
    by: f64,
}

fn say_changes(changes: &[Change], say: &dyn Fn(&str)) {
    say("\n| choice | domain | change of the relative CRPS over five parts of the data sets | spread |\n| --- | --- | ---: | ---: |");
    for (engine, name) in ENGINES.iter().enumerate().take(WHOLE + 1).skip(1) {
        for domain in DOMAINS {
            let by: Vec<f64> = changes.iter().filter(|c| c.engine == engine && c.domain == domain).map(|c| c.by).collect();
            let (change, spread) = (mean(&by).unwrap_or(f64::NAN), standard_deviation(&by).unwrap_or(f64::NAN));
            say(&format!("| {name} | {domain}, {} parts | {change:+.4} | {spread:.4} |", by.len()));
        }
    }
}

impl HeldOut<'_> {
    fn worth(&self, at: &[usize]) -> Worth {
        let (cases, answers): (Vec<&Designed>, Vec<&Answer>) = at.iter().map(|&i| (self.cases[i], &self.answers[i])).unzip();
        judged(&cases, &answers)
    }

    fn by_design(&self, say: &dyn Fn(&str)) {
        say("\n| domain | design | curves | median error | mean | CRPS | inside 90 | mean width 90 |");
        say("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        for ((domain, design), at) in by_kind(&self.cases) {
            say(&format!("| {domain} | {design} | {} | {} |", at.len(), row(&self.worth(&at))));
        }
    }

    /// Classifiers' curves that get worse somewhere beside the others.
    fn by_behaviour(&self, say: &dyn Fn(&str)) {
        say("\n| classifiers, 5 to 8 sizes x 5 seeds, 3x | curves | median error | mean | CRPS | inside 90 | mean width 90 |");
        say("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        for (ill, name) in [(false, "never get worse"), (true, "get worse somewhere, by more than two points and three standard errors")] {
            let of = |d: &Designed| d.design == "5 to 8 sizes x 5 seeds, 3x" && d.ill_behaved == ill;
            let at: Vec<usize> = (0..self.cases.len()).filter(|&i| of(self.cases[i])).collect();
            say(&format!("| {name} | {} | {} |", at.len(), row(&self.worth(&at))));
        }
    }

    fn record(&self) -> String {
        const FEWEST: usize = 15;
        let mut kinds: BTreeMap<(usize, usize, u64), Vec<usize>> = BTreeMap::new();
        for (i, designed) in self.cases.iter().enumerate().filter(|c| c.1.domain != LANGUAGE) {
            let sizes: Vec<(f64, Vec<f64>)> = designed.case.sizes().collect();
            let seeds = sizes.iter().map(|s| s.1.len()).min().unwrap_or(1);
            let (k, seeds, times) = Record::kind(sizes.len(), seeds, designed.case.last().0 / sizes[sizes.len() - 1].0);
            kinds.entry((k, seeds, times as u64)).or_default().push(i);
        }
        let mut table = "sizes,seeds,times,curves,median_error,coverage,width\n".to_owned();
        for ((sizes, seeds, times), at) in kinds.iter().filter(|k| k.1.len() >= FEWEST) {
            let w = self.worth(at);
            table += &format!("{sizes},{seeds},{times},{},{:.4},{:.3},{:.4}\n", at.len(), w.median, inside(&w), w.width);
        }
        table
    }
}

pub fn answers(cases: &[&Designed], prior: &Prior) -> Vec<Answer> {
    let answer = |designed: &&Designed| {
        let options = Options { prior: prior.clone(), ..designed.case.options() };
        let curve = Curve::fit(&designed.case.observations, &options).expect("a curve of the benchmark can be fitted");
        Answer { quantiles: curve.quantiles(designed.case.last().0, &levels()), reached: Vec::new() }
    };
    cases.par_iter().map(answer).collect()
}

/// Domain and design.
type Kind<'a> = (&'a str, &'a str);

/// Mean over kinds of the CRPS, relative to that of the broad belief: no kind outweighs another by its scale or its number of curves.
pub fn cost(cases: &[&Designed], answers: &[Answer], base: &BTreeMap<Kind, f64>) -> f64 {
    mean(&relative(cases, answers, base).into_values().collect::<Vec<_>>()).unwrap_or(f64::NAN)
}

/// CRPS of the broad belief by kind.
pub fn base<'a>(cases: &[&'a Designed]) -> BTreeMap<Kind<'a>, f64> {
    let broad = Prior { share: 1.0, noise: learn::UNBELIEVED, ..Prior::default() };
    crps(cases, &answers(cases, &broad))
}

fn relative<'a>(cases: &[&'a Designed], answers: &[Answer], base: &BTreeMap<Kind, f64>) -> BTreeMap<Kind<'a>, f64> {
    crps(cases, answers).into_iter().map(|(kind, crps)| (kind, crps / base[&kind])).collect()
}

fn crps<'a>(cases: &[&'a Designed], answers: &[Answer]) -> BTreeMap<Kind<'a>, f64> {
    let of = |at: &[usize]| {
        let (cases, answers): (Vec<&Designed>, Vec<&Answer>) = at.iter().map(|&i| (cases[i], &answers[i])).unzip();
        judged(&cases, &answers).crps
    };
    by_kind(cases).into_iter().map(|(kind, at)| (kind, of(&at))).collect()
}

/// Mean over the designs of each domain.
fn domains_of<'a>(relative: &BTreeMap<Kind<'a>, f64>) -> BTreeMap<&'a str, f64> {
    let mut domains: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for ((domain, _), value) in relative {
        domains.entry(domain).or_default().push(*value);
    }
    domains.into_iter().map(|(domain, values)| (domain, mean(&values).unwrap_or(f64::NAN))).collect()
}

fn by_kind<'a>(cases: &[&'a Designed]) -> BTreeMap<Kind<'a>, Vec<usize>> {
    let mut kinds: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
    for (i, d) in cases.iter().enumerate() {
        kinds.entry((d.domain, d.design)).or_default().push(i);
    }
    kinds
}

fn judged(cases: &[&Designed], answers: &[&Answer]) -> Worth {
    worth(&cases.iter().map(|d| &d.case).collect::<Vec<_>>(), answers)
}

fn inside(w: &Worth) -> f64 {
    w.coverage.map_or(f64::NAN, |c| c[0])
}

fn row(w: &Worth) -> String {
    format!("{:.4} | {:.4} | {:.4} | {:.3} | {:.4}", w.median, w.mean, w.crps, inside(w), w.width)
}

/// Of five parts of the data sets, the one of this group.
fn part_of(group: &str) -> usize {
    group.bytes().fold(7usize, |hash, byte| (hash * 31 + usize::from(byte)) % 100_003) % PARTS
}
