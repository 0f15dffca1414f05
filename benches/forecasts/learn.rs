//! Learns the prior from the development curves: coordinate descent on what forecasts of the fitted sizes are worth, once on
//! all data sets and, for an honest number, five times on four fifths of them.

use etalon::curves::{Curve, Options, Prior};
use rayon::prelude::*;

use super::cases::Case;
use super::engines::Answer;
use super::worth::{Worth, levels, worth};

/// One number of the prior: its name, and how to reach it.
type Knob = (String, Box<dyn Fn(&mut Prior) -> &mut f64 + Sync>);

fn knobs() -> Vec<Knob> {
    fn knob(name: &str, reach: impl Fn(&mut Prior) -> &mut f64 + Sync + 'static) -> Knob {
        (name.to_owned(), Box::new(reach))
    }
    let mut knobs = vec![
        knob("course.0", |p| &mut p.course.0),
        knob("course.1", |p| &mut p.course.1),
        knob("constant", |p| &mut p.constant),
        knob("ln takeoffs", |p| &mut p.takeoffs),
        knob("slope.0", |p| &mut p.slope.0),
        knob("slope.1", |p| &mut p.slope.1),
        knob("beyond", |p| &mut p.beyond),
        knob("discrepancy", |p| &mut p.discrepancy),
        knob("exact", |p| &mut p.exact),
    ];
    knobs.extend((0..ignorance().families.len()).map(|i| knob(ignorance().families[i].0, move |p| &mut p.families[i].1)));
    knobs
}

/// Where learning starts: all families alike, wide beliefs.
fn ignorance() -> Prior {
    let names = ["power4", "m4", "logistic", "inverse-log", "broken-power", "weibull", "gompertz"];
    Prior {
        families: names.map(|name| (name, 0.0)).into(),
        slope: (-0.4, 0.8),
        beyond: 0.0,
        course: (0.0, 0.0),
        constant: -6.0,
        takeoffs: 0.1,
        discrepancy: 0.06,
        exact: 0.0,
    }
}

pub fn of(cases: &[&Case], prior: &Prior) -> Worth {
    let answer = |case: &&Case| {
        let options = Options { prior: prior.clone(), ..case.options() };
        let curve = Curve::fit(&case.observations, &options).expect("a curve of the benchmark can be fitted");
        Answer { quantiles: curve.quantiles(case.last().0, &levels()), reached: Vec::new() }
    };
    let answers: Vec<Answer> = cases.par_iter().map(answer).collect();
    worth(cases, &answers.iter().collect::<Vec<_>>())
}

/// Sum of relative scores of classifiers and detectors; coverage outside of 89 to 91 % and wide intervals on detection curves
/// cost extra.
fn cost(classifiers: &[&Case], detectors: &[&Case], prior: &Prior) -> f64 {
    let (c, d) = (of(classifiers, prior), of(detectors, prior));
    let covered = |w: &Worth| w.coverage.map_or(0.0, |c| c[0]);
    let off = (0.89 - covered(&c)).max(covered(&c) - 0.91).max(0.0);
    let of_detectors = 0.15 * d.crps / 0.015 + 0.1 * d.median.max(0.0065) / 0.009 + 1.5 * (0.94 - covered(&d)).max(0.0);
    2.0 * c.crps / 0.02
        + 1.5 * c.mean / 0.025
        + 0.1 * c.interval_score / 0.17
        + 4.0 * off
        + of_detectors
        + 10.0 * (d.width - 0.105).max(0.0)
}

/// The prior that coordinate descent finds for these curves.
pub fn learn(classifiers: &[&Case], detectors: &[&Case], rounds: usize) -> Prior {
    let knobs = knobs();
    let mut prior = ignorance();
    let mut steps: Vec<f64> = knobs
        .iter()
        .map(|(_, knob)| (0.4 * knob(&mut prior).abs()).clamp(0.02, 0.8).max(if knob(&mut prior) == &0.0 { 0.5 } else { 0.0 }))
        .collect();
    let mut best = cost(classifiers, detectors, &prior);
    for _ in 0..rounds {
        for ((_, knob), step) in knobs.iter().zip(&mut steps) {
            let tried = [*step, -*step].map(|by| {
                let mut moved = prior.clone();
                *knob(&mut moved) += by;
                moved
            });
            let admissible = |p: &&Prior| p.takeoffs > 0.01 && p.discrepancy > 0.005 && p.slope.1 > 0.1;
            let better =
                tried.iter().filter(admissible).map(|p| (cost(classifiers, detectors, p), p)).find(|(cost, _)| *cost < best - 1e-4);
            match better {
                Some((cost, found)) => {
                    *step *= if *knob(&mut found.clone()) > *knob(&mut prior) { 1.3 } else { -1.3 } * step.signum();
                    (best, prior) = (cost, found.clone());
                }
                None => *step *= 0.5,
            }
        }
    }
    prior
}

/// Of five parts of the data sets, the one of this case.
pub fn fold(cases: &[Case], case: &Case) -> usize {
    let mut groups: Vec<&str> = cases.iter().map(|c| c.group.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    groups.binary_search(&case.group.as_str()).expect("it is listed") % 5
}
