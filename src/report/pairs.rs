//! Every two models of a report on the samples they share.

use super::model::{FractionRow, ModelReport, Pair};
use crate::curves::{Crossing, PairedSize};

/// Compares all models, best first. Of two, the one ahead at the largest fraction they share is named first.
pub fn of(models: &[ModelReport]) -> Vec<Pair> {
    let others = |i: usize| models[i + 1..].iter().map(move |other| pair(&models[i], other));
    (0..models.len()).flat_map(others).collect()
}

fn pair(one: &ModelReport, other: &ModelReport) -> Pair {
    let (ahead, behind) = if leads(one, other) { (one, other) } else { (other, one) };
    let crossing = Crossing::of(&paired(ahead, behind));
    let instances = crossing.as_ref().and_then(|c| c.n).and_then(|n| instances_at(&ahead.fractions, n));
    Pair { ahead: ahead.name.clone(), behind: behind.name.clone(), crossing, instances }
}

fn leads(one: &ModelReport, other: &ModelReport) -> bool {
    paired(one, other).last().is_none_or(|size| size.differences.iter().map(|d| d.1).sum::<f64>() >= 0.0)
}

/// The differences one − other at every fraction of which both have a seed.
fn paired(one: &ModelReport, other: &ModelReport) -> Vec<PairedSize> {
    let at = |row: &FractionRow| {
        let twin = other.fractions.iter().find(|f| f.percent == row.percent)?;
        let difference = |&(seed, score): &(u64, f64)| {
            let (_, rival) = twin.seeds.iter().find(|(s, _)| *s == seed)?;
            Some((seed, score - rival))
        };
        let differences: Vec<_> = row.seeds.iter().filter_map(difference).collect();
        (!differences.is_empty()).then_some(PairedSize { n: row.videos, differences })
    };
    one.fractions.iter().filter_map(at).collect()
}

/// Instances in a sample of `n` videos, on lines between the fractions.
fn instances_at(rows: &[FractionRow], n: f64) -> Option<f64> {
    let (below, above) = rows.windows(2).map(|w| (&w[0], &w[1])).find(|(a, b)| a.videos <= n && n <= b.videos && a.videos < b.videos)?;
    Some(below.instances + (above.instances - below.instances) * (n - below.videos) / (above.videos - below.videos))
}
