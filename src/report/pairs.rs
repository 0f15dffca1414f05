//! Every two models of a report on the samples they share.

use super::model::{FractionRow, ModelReport, Pair, Prospect};
use crate::curves::{Crossing, Curve, PairedSize};

/// Curves drawn of each model to say who would be ahead.
const DRAWS: usize = 2000;
/// Multiples of the data at which that is said.
const TIMES: [f64; 2] = [2.0, 3.0];

/// A model and its curve, where it has one.
type Fitted = (ModelReport, Option<Curve>);

/// Compares all models, best first. Of two, the one ahead at the largest fraction they share is named first.
pub fn of(models: &[Fitted]) -> Vec<Pair> {
    let others = |i: usize| models[i + 1..].iter().map(move |other| pair(&models[i], other));
    (0..models.len()).flat_map(others).collect()
}

fn pair(one: &Fitted, other: &Fitted) -> Pair {
    let ((ahead, curve), (behind, rival)) = if leads(&one.0, &other.0) { (one, other) } else { (other, one) };
    let crossing = Crossing::of(&paired(ahead, behind));
    let instances = crossing.as_ref().and_then(|c| c.n).and_then(|n| instances_at(&ahead.fractions, n));
    let largest = crossing.as_ref().and_then(|c| c.sizes.last()).map(|s| s.n);
    let prospects = match (curve, rival, largest) {
        (Some(curve), Some(rival), Some(largest)) => prospects(curve, rival, largest),
        _ => Vec::new(),
    };
    Pair { ahead: ahead.name.clone(), behind: behind.name.clone(), crossing, instances, prospects }
}

fn prospects(curve: &Curve, rival: &Curve, largest: f64) -> Vec<Prospect> {
    let sizes = TIMES.map(|times| times * largest);
    let (paths, rivals) = (curve.paths(DRAWS, &sizes), rival.paths(DRAWS, &sizes));
    let at = |paths: &[Vec<f64>], i: usize| paths.iter().map(|p| p[i]).collect();
    let of = |(i, times): (usize, f64)| Prospect { times, n: sizes[i], probability: above(at(&paths, i), at(&rivals, i)) };
    TIMES.into_iter().enumerate().map(of).collect()
}

/// Share of all pairs of a draw of each in which the first is above; a tie counts half. Every draw meets every other, since
/// the draws of two curves come from the same random numbers and would not be independent side by side.
fn above(draws: Vec<f64>, mut rivals: Vec<f64>) -> f64 {
    rivals.sort_by(f64::total_cmp);
    let wins = |d: &f64| {
        let (below, up_to) = (rivals.partition_point(|r| r < d), rivals.partition_point(|r| r <= d));
        (below + up_to) as f64 / 2.0
    };
    draws.iter().map(wins).sum::<f64>() / (draws.len() * rivals.len()) as f64
}

fn leads(one: &ModelReport, other: &ModelReport) -> bool {
    paired(one, other).last().is_none_or(|size| size.differences.iter().map(|d| d.1).sum::<f64>() >= 0.0)
}

/// The differences one − other at every fraction of which both have a seed.
fn paired(one: &ModelReport, other: &ModelReport) -> Vec<PairedSize> {
    let at = |row: &FractionRow| {
        let twin = other.fractions.iter().find(|f| f.percent == row.percent)?;
        differences(row, twin)
    };
    one.fractions.iter().filter_map(at).collect()
}

/// The differences one − other over the seeds of a fraction that both have; `None` without any.
pub fn differences(one: &FractionRow, other: &FractionRow) -> Option<PairedSize> {
    let difference = |&(seed, score): &(u64, f64)| {
        let (_, rival) = other.seeds.iter().find(|(s, _)| *s == seed)?;
        Some((seed, score - rival))
    };
    let differences: Vec<_> = one.seeds.iter().filter_map(difference).collect();
    (!differences.is_empty()).then_some(PairedSize { n: one.videos, differences })
}

/// Instances in a sample of `n` videos, on lines between the fractions.
fn instances_at(rows: &[FractionRow], n: f64) -> Option<f64> {
    let (below, above) = rows.windows(2).map(|w| (&w[0], &w[1])).find(|(a, b)| a.videos <= n && n <= b.videos && a.videos < b.videos)?;
    Some(below.instances + (above.instances - below.instances) * (n - below.videos) / (above.videos - below.videos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_draw_meets_every_other_and_a_tie_counts_half() {
        assert_eq!(above(vec![3.0, 1.0], vec![2.0, 1.0]), 0.625);
        assert_eq!(above(vec![0.5; 3], vec![0.5; 3]), 0.5);
        assert_eq!(above(vec![1.0], vec![0.0, 0.5]), 1.0);
    }
}
