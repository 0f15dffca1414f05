//! Do events come as often as their probability says? Two that money is decided on: an improvement that matters, and a target
//! reached by then.

use etalon::curves::{Curve, Direction, Options, Prior};
use etalon::stats::mean;
use rayon::prelude::*;

use super::designs::Designed;

/// What was said of an event, and whether it came.
#[derive(Clone, Copy)]
pub struct Said {
    pub event: Event,
    pub probability: f64,
    pub came: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// "Probability of 1 point or more", over what was measured last.
    Improves,
    /// "Reached by then", of targets a few points above what was measured last.
    Reached,
}

/// Upper ends of the bins of probability.
const BINS: [f64; 6] = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0];
/// Targets above the last measurement.
const ABOVE: [f64; 3] = [0.01, 0.03, 0.06];

pub fn said(cases: &[&Designed], prior: &Prior) -> Vec<Said> {
    let of = |designed: &&Designed| {
        let case = &designed.case;
        let options = Options { prior: prior.clone(), ..case.options() };
        let curve = Curve::fit(&case.observations, &options).expect("a curve of the benchmark can be fitted");
        let (n, truth) = case.last();
        let gain = curve.gain(n / curve.largest());
        let sign = if case.direction == Direction::Decreasing { -1.0 } else { 1.0 };
        let came = sign * (truth - gain.today) >= gain.worthwhile;
        let targets = ABOVE.map(|above| gain.today + sign * above);
        let reached = targets.into_iter().filter(|t| (0.0..=1.0).contains(t)).map(|target| {
            let came = case.came(target).last().is_some_and(|came| *came);
            Said { event: Event::Reached, probability: curve.requirement(target).probability(n), came }
        });
        let mut all = vec![Said { event: Event::Improves, probability: gain.probability, came }];
        all.extend(reached);
        all
    };
    cases.par_iter().flat_map_iter(of).collect()
}

/// A row per bin of probability.
pub fn table(said: &[Said], say: &dyn Fn(&str)) {
    say("\n| event | probability said | cases | mean said | came |\n| --- | --- | ---: | ---: | ---: |");
    for (event, name) in [(Event::Improves, "1 point or more"), (Event::Reached, "reached by then")] {
        let mut from = 0.0;
        for to in BINS {
            let within = |s: &&Said| s.event == event && s.probability >= from && (s.probability < to || to == 1.0);
            let bin: Vec<&Said> = said.iter().filter(within).collect();
            let of = |value: fn(&Said) -> f64| mean(&bin.iter().map(|s| value(s)).collect::<Vec<_>>()).unwrap_or(f64::NAN);
            let (said, came) = (of(|s| s.probability), of(|s| f64::from(u8::from(s.came))));
            say(&format!("| {name} | {from:.1} to {to:.1} | {} | {said:.2} | {came:.2} |", bin.len()));
            from = to;
        }
    }
}
