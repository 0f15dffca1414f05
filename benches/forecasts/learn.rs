//! Learns a prior from curves: the noise of single runs from a few candidates, the belief by coordinate descent from ignorance.

use std::collections::BTreeMap;

use etalon::curves::{Belief, Prior};

use super::designs::Designed;
use super::validate::{answers, base, cost};

/// One number of a belief.
type Knob = Box<dyn Fn(&mut Belief) -> &mut f64>;

const FAMILIES: [&str; 7] = ["power4", "m4", "logistic", "inverse-log", "broken-power", "weibull", "gompertz"];
const ROUNDS: usize = 3;
/// Curves of one kind that are looked at: more cost time and say the same.
const PER_KIND: usize = 100;

fn knobs() -> Vec<Knob> {
    let mut knobs: Vec<Knob> = vec![
        Box::new(|b| &mut b.course.0),
        Box::new(|b| &mut b.course.1),
        Box::new(|b| &mut b.slope.0),
        Box::new(|b| &mut b.slope.1),
        Box::new(|b| &mut b.beyond),
        Box::new(|b| &mut b.discrepancy),
        Box::new(|b| &mut b.exact),
    ];
    knobs.extend((0..FAMILIES.len()).map(|i| -> Knob { Box::new(move |b| &mut b.families[i].1) }));
    knobs
}

/// Where learning starts: all families alike, wide beliefs.
fn ignorance() -> Belief {
    Belief { families: FAMILIES.map(|name| (name, 0.0)).into(), slope: (-0.4, 0.8), discrepancy: 0.06, ..Belief::broad() }
}

/// No belief on the noise of single runs: every strength alike.
pub const UNBELIEVED: (f64, f64) = (0.01, 1e3);

/// The broad belief alone; with the noise of single runs that these curves suggest; and with the belief learned from them beside it.
pub fn priors(train: &[&Designed]) -> [Prior; 3] {
    let plain = Prior { share: 1.0, noise: UNBELIEVED, ..Prior::default() };
    let single: Vec<&Designed> = train.iter().copied().filter(|d| d.single_runs()).collect();
    let base = base(&single);
    let candidates = [0.01, 0.02, 0.03].into_iter().flat_map(|median| [0.8, 1.2].map(|spread| (median, spread)));
    let priced = candidates.map(|noise| {
        let prior = Prior { noise, ..plain.clone() };
        (cost(&single, &answers(&single, &prior), &base), prior)
    });
    let noisy = priced.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are candidates").1;
    let whole = Prior { learned: belief(train, noisy.noise), share: Prior::default().share, ..noisy.clone() };
    [plain, noisy, whole]
}

/// The belief that coordinate descent finds for these curves.
fn belief(train: &[&Designed], noise: (f64, f64)) -> Belief {
    let mut taken: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut picked: Vec<&Designed> = Vec::new();
    // Every eleventh: neighbours are of one data set.
    for offset in 0..11 {
        for designed in train.iter().skip(offset).step_by(11) {
            let count = taken.entry((designed.domain, designed.design)).or_default();
            if *count < PER_KIND {
                *count += 1;
                picked.push(designed);
            }
        }
    }
    let base = base(&picked);
    let score = |b: &Belief| {
        let prior = Prior { learned: b.clone(), share: 0.0, noise, ..Prior::default() };
        cost(&picked, &answers(&picked, &prior), &base)
    };
    let (knobs, mut belief) = (knobs(), ignorance());
    let mut steps: Vec<f64> = knobs.iter().map(|k| (0.4 * k(&mut belief).abs()).max(0.02)).collect();
    for (knob, step) in knobs.iter().zip(&mut steps) {
        if *knob(&mut belief) == 0.0 {
            *step = 0.5;
        }
    }
    let mut best = score(&belief);
    for _ in 0..ROUNDS {
        for (knob, step) in knobs.iter().zip(&mut steps) {
            let tried = [*step, -*step].map(|by| {
                let mut moved = belief.clone();
                *knob(&mut moved) += by;
                moved
            });
            let admissible = |b: &&Belief| b.discrepancy > 0.005 && b.slope.1 > 0.1;
            match tried.iter().filter(admissible).map(|b| (score(b), b)).find(|(cost, _)| *cost < best - 1e-4) {
                Some((cost, found)) => {
                    *step *= 1.3 * (*knob(&mut found.clone()) - *knob(&mut belief)).signum() * step.signum();
                    (best, belief) = (cost, found.clone());
                }
                None => *step *= 0.5,
            }
        }
    }
    belief
}
