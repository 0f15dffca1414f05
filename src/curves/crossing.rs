//! Two models on the same samples: from how many videos on the first leads, and how surely.
//!
//! The seeds are paired: one seed draws the same videos for both models, so only the differences matter. Seeds are
//! resampled by weight: a draw adds to each mean difference the deviations of its seeds, each times a standard normal of
//! that seed, scaled as Student's t for so few of them. At one size the probability is that of the paired t-test; over
//! sizes a seed keeps its weight, so what goes together stays together. Plain drawing with replacement would call five
//! differences of one sign a certainty.
//!
//! Only measured sizes are compared; between them the difference is a line in ln n. What happens beyond the largest size
//! is not said here.

use serde::Serialize;

use crate::base::Stream;
use crate::stats::{Interval, mean, standard_deviation};

/// The differences (first − second) of the scores at one size.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedSize {
    /// Training videos.
    pub n: f64,
    /// Seed and difference, for every seed that both models have.
    pub differences: Vec<(u64, f64)>,
}

/// From how many videos on the first model leads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crossing {
    /// Ascending in n.
    pub sizes: Vec<Lead>,
    /// Where the mean difference last turns in favour of the first model; `None` when it leads at all sizes, or not at the
    /// largest. Had it led at the smallest size too, the lead changed more than once.
    pub n: Option<f64>,
    /// `None` when no size has [`FEWEST_SEEDS`] seeds.
    pub chances: Option<Chances>,
}

/// Who leads at one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lead {
    /// Training videos.
    pub n: f64,
    /// Mean difference, first − second.
    pub mean: f64,
    /// Standard deviation of the difference over seeds; `None` for one.
    pub sd: Option<f64>,
    /// Paired seeds.
    pub seeds: usize,
    /// Probability that the first model leads here; `None` with too few seeds.
    pub probability: Option<f64>,
}

/// How surely the first model leads, and from where. Speaks of the sizes with [`FEWEST_SEEDS`] seeds or more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Chances {
    /// Probability that it leads at the largest size.
    pub at_largest: f64,
    /// Probability that it leads at every size.
    pub throughout: f64,
    /// Probability that it leads at the largest size and not at the smallest: it overtakes within what was measured.
    pub overtakes: f64,
    /// Videos from which on it leads, 0 for "before the smallest size" and infinite (`null` in JSON) for "not up to the
    /// largest".
    pub from: Interval,
}

/// With fewer paired seeds than this no probability is given.
pub const FEWEST_SEEDS: usize = 3;
/// Probability of the interval of [`Chances::from`].
const LEVEL: f64 = 0.9;
const DRAWS: usize = 4000;

impl Crossing {
    /// Compares two models on `sizes` (ascending in n, each with a seed at least); `None` without any.
    pub fn of(sizes: &[PairedSize]) -> Option<Self> {
        if sizes.is_empty() {
            return None;
        }
        let known: Vec<Resampled> = sizes.iter().filter(|s| s.differences.len() >= FEWEST_SEEDS).map(Resampled::of).collect();
        let draws = draw(&known);
        let mut probabilities = (0..known.len()).map(|i| share(&draws, |d| d[i] > 0.0));
        let lead = |s: &PairedSize| {
            let values: Vec<f64> = s.differences.iter().map(|d| d.1).collect();
            let probability = if values.len() >= FEWEST_SEEDS { probabilities.next() } else { None };
            Lead { n: s.n, mean: mean(&values).unwrap_or(0.0), sd: standard_deviation(&values), seeds: values.len(), probability }
        };
        let leads: Vec<Lead> = sizes.iter().map(lead).collect();
        let (at, means): (Vec<f64>, Vec<f64>) = leads.iter().map(|l| (l.n, l.mean)).unzip();
        let n = Some(leads_from(&at, &means)).filter(|n| *n > 0.0 && n.is_finite());
        let chances = (!known.is_empty()).then(|| Chances::of(&known, &draws));
        Some(Self { sizes: leads, n, chances })
    }
}

impl Chances {
    fn of(known: &[Resampled], draws: &[Vec<f64>]) -> Self {
        let at: Vec<f64> = known.iter().map(|s| s.n).collect();
        let mut from: Vec<f64> = draws.iter().map(|d| leads_from(&at, d)).collect();
        from.sort_by(f64::total_cmp);
        let throughout = share(&from, |&n| n == 0.0);
        let at_largest = share(&from, |n| n.is_finite());
        let overtakes = share(draws, |d| d[0] <= 0.0 && d[d.len() - 1] > 0.0);
        // The nearest rank: halfway between 0 or infinity and a size lies nothing.
        let end = |q: f64| from[(q * (from.len() - 1) as f64).round() as usize];
        let tail = (1.0 - LEVEL) / 2.0;
        let from = Interval { level: LEVEL, lower: end(tail), upper: end(1.0 - tail) };
        Self { at_largest, throughout, overtakes, from }
    }
}

/// The mean difference at a size and each seed's part in its standard error.
struct Resampled {
    n: f64,
    mean: f64,
    parts: Vec<(u64, f64)>,
}

impl Resampled {
    fn of(size: &PairedSize) -> Self {
        let values: Vec<f64> = size.differences.iter().map(|d| d.1).collect();
        let centre = mean(&values).unwrap_or(0.0);
        let count = values.len() as f64;
        // Summed with standard normal weights, the parts have the variance of the mean.
        let scale = (count * (count - 1.0)).sqrt();
        Self { n: size.n, mean: centre, parts: size.differences.iter().map(|&(seed, d)| (seed, (d - centre) / scale)).collect() }
    }
}

/// Differences at each of `sizes`, as often as [`DRAWS`].
fn draw(sizes: &[Resampled]) -> Vec<Vec<f64>> {
    let mut seeds: Vec<u64> = sizes.iter().flat_map(|s| s.parts.iter().map(|p| p.0)).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let place = |seed: u64| seeds.binary_search(&seed).expect("every seed is listed");
    let placed: Vec<Vec<(usize, f64)>> = sizes.iter().map(|s| s.parts.iter().map(|&(seed, part)| (place(seed), part)).collect()).collect();
    let mut stream = Stream::new(0, "curves/crossing");
    let one = |_| {
        let weights: Vec<f64> = seeds.iter().map(|_| stream.normal()).collect();
        // The chi-squared variable of k degrees of freedom is the sum of the first k squares.
        let squares: Vec<f64> = seeds.iter().map(|_| stream.normal().powi(2)).collect();
        let at = |(size, parts): (&Resampled, &Vec<(usize, f64)>)| {
            let freedom = parts.len() - 1;
            let t_scale = (freedom as f64 / squares[..freedom].iter().sum::<f64>()).sqrt();
            size.mean + t_scale * parts.iter().map(|&(seed, part)| weights[seed] * part).sum::<f64>()
        };
        sizes.iter().zip(&placed).map(at).collect()
    };
    (0..if sizes.is_empty() { 0 } else { DRAWS }).map(one).collect()
}

/// The n from which on all differences are above 0: 0 when they all are, infinite when the last is not.
fn leads_from(at: &[f64], differences: &[f64]) -> f64 {
    match differences.iter().rposition(|&d| d <= 0.0) {
        None => 0.0,
        Some(last) if last + 1 == differences.len() => f64::INFINITY,
        Some(before) => {
            let (below, above) = (differences[before], differences[before + 1]);
            at[before] * (at[before + 1] / at[before]).powf(-below / (above - below))
        }
    }
}

fn share<T>(items: &[T], holds: impl Fn(&T) -> bool) -> f64 {
    items.iter().filter(|item| holds(item)).count() as f64 / items.len() as f64
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{ContinuousCDF, StudentsT};

    use super::*;

    fn sizes(rows: &[(f64, &[f64])]) -> Vec<PairedSize> {
        let size = |&(n, differences): &(f64, &[f64])| PairedSize { n, differences: (0..).zip(differences.iter().copied()).collect() };
        rows.iter().map(size).collect()
    }

    #[test]
    fn the_means_cross_on_a_line_in_the_logarithm_of_n() {
        let crossing = Crossing::of(&sizes(&[(5.0, &[-0.1]), (20.0, &[-0.02]), (80.0, &[0.02])])).unwrap();
        assert!((crossing.n.unwrap() - 40.0).abs() < 1e-9);
        assert!(crossing.chances.is_none() && crossing.sizes.iter().all(|s| s.probability.is_none()));
        assert_eq!(Crossing::of(&[]), None);
    }

    #[test]
    fn one_size_gives_the_probability_of_the_paired_t_test() {
        let differences = [0.03, -0.01, 0.02, 0.01, 0.00];
        let crossing = Crossing::of(&sizes(&[(49.0, &differences)])).unwrap();
        let t = mean(&differences).unwrap() / (standard_deviation(&differences).unwrap() / 5f64.sqrt());
        let expected = StudentsT::new(0.0, 1.0, 4.0).unwrap().cdf(t);
        let chances = crossing.chances.unwrap();
        assert!((chances.at_largest - expected).abs() < 0.015, "{} {expected}", chances.at_largest);
        assert_eq!((chances.throughout, chances.overtakes, crossing.n), (chances.at_largest, 0.0, None));
    }

    #[test]
    fn a_lead_lost_and_regained_is_no_overtaking() {
        let rows: [(f64, &[f64]); 3] = [(5.0, &[0.20, 0.21, 0.19]), (10.0, &[-0.20, -0.21, -0.19]), (20.0, &[0.20, 0.21, 0.19])];
        let crossing = Crossing::of(&sizes(&rows)).unwrap();
        let chances = crossing.chances.unwrap();
        assert!((crossing.n.unwrap() - 200f64.sqrt()).abs() < 1e-9);
        assert!(chances.overtakes < 0.01 && chances.throughout < 0.01 && chances.at_largest > 0.99, "{chances:?}");
    }

    #[test]
    fn a_clear_overtaking_lies_between_its_sizes() {
        let rows: [(f64, &[f64]); 4] = [
            (5.0, &[-0.20, -0.22, -0.19, -0.21, -0.20]),
            (10.0, &[-0.05, -0.06, -0.04, -0.05, -0.05]),
            (20.0, &[0.05, 0.06, 0.05, 0.04, 0.05]),
            (40.0, &[0.10, 0.11, 0.10, 0.10, 0.09]),
        ];
        let crossing = Crossing::of(&sizes(&rows)).unwrap();
        let chances = crossing.chances.unwrap();
        assert!((crossing.n.unwrap() - 10.0 * 2f64.sqrt()).abs() < 0.01);
        assert!(chances.overtakes > 0.99 && chances.throughout == 0.0);
        assert!(10.0 < chances.from.lower && chances.from.lower < chances.from.upper && chances.from.upper < 20.0, "{chances:?}");
    }

    #[test]
    fn exchanging_the_models_mirrors_every_size() {
        let rows: [(f64, &[f64]); 2] = [(5.0, &[-0.02, 0.01, -0.03]), (10.0, &[0.05, -0.01, 0.02])];
        let mirrored: Vec<(f64, Vec<f64>)> = rows.iter().map(|(n, d)| (*n, d.iter().map(|x| -x).collect())).collect();
        let mirrored: Vec<(f64, &[f64])> = mirrored.iter().map(|(n, d)| (*n, d.as_slice())).collect();
        let (one, other) = (Crossing::of(&sizes(&rows)).unwrap(), Crossing::of(&sizes(&mirrored)).unwrap());
        for (a, b) in one.sizes.iter().zip(&other.sizes) {
            assert!((a.probability.unwrap() + b.probability.unwrap() - 1.0).abs() < 1e-12 && a.mean == -b.mean);
        }
        assert_eq!(other.n, None);
        assert!(one.n.is_some() && one == Crossing::of(&sizes(&rows)).unwrap());
    }

    #[test]
    fn seeds_that_go_together_at_all_sizes_give_one_answer_rather_than_many() {
        let noise: &[f64] = &[0.02, -0.02, 0.01, -0.01, 0.005];
        let together = Crossing::of(&sizes(&[(5.0, noise), (10.0, noise), (20.0, noise)])).unwrap().chances.unwrap();
        assert!(together.overtakes < 1e-12, "{together:?}");
        let others: [(f64, &[f64]); 3] =
            [(5.0, noise), (10.0, &[0.01, 0.005, 0.02, -0.02, -0.01]), (20.0, &[-0.02, 0.02, 0.01, -0.01, 0.005])];
        assert!(Crossing::of(&sizes(&others)).unwrap().chances.unwrap().overtakes > 0.1);
    }

    #[test]
    fn equal_scores_are_no_lead_and_sizes_of_too_few_seeds_have_no_probability() {
        let chances = Crossing::of(&sizes(&[(5.0, &[0.0, 0.0, 0.0])])).unwrap().chances.unwrap();
        assert_eq!((chances.at_largest, chances.from.lower), (0.0, f64::INFINITY));
        let crossing = Crossing::of(&sizes(&[(5.0, &[-0.1, -0.2]), (10.0, &[0.1, 0.2, 0.1])])).unwrap();
        assert_eq!((crossing.sizes[0].probability, crossing.sizes[0].seeds), (None, 2));
        assert!(crossing.sizes[1].probability.unwrap() > 0.9 && crossing.chances.unwrap().overtakes == 0.0);
    }
}
