//! How much to collect, and in how many rounds, when nobody knows how much is needed.
//!
//! [`Plan::cheapest`] takes the probability F(n) that n videos suffice ([`Requirement::probability`](super::Requirement))
//! and minimises the expected cost of Mahmood et al., "Optimizing data collection for machine learning" (NeurIPS 2022):
//! c Σ (q_t − q_{t−1}) (1 − F(q_{t−1})) + P (1 − F(q_T)), the price of every round that is needed and the loss when the
//! last one was not enough. It says nothing about how the videos are chosen.

use serde::Serialize;

use super::HORIZON;

/// What a plan is chosen by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// Cheapest when missing the target costs so much, in the currency of [`Terms::cost`].
    FailureCost(f64),
    /// Cheapest of those that reach the target with this probability, 0..1.
    Confidence(f64),
}

/// What a collection may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Price of one more video, in any currency.
    pub cost: f64,
    /// Rounds at most.
    pub rounds: usize,
    /// What for.
    pub aim: Aim,
}

/// One round of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Round {
    /// Videos to have after it.
    pub videos: f64,
    /// Videos to add in it.
    pub add: f64,
    /// What they cost.
    pub cost: f64,
    /// Probability that the rounds before were not enough.
    pub probability_needed: f64,
    /// Probability that the target is reached after it.
    pub probability_reached: f64,
}

/// A collection in rounds, each of which is skipped once the target is reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Each adds something; empty when it is best to collect nothing.
    pub rounds: Vec<Round>,
    /// Expected cost of the rounds, with that of failure where it has one.
    pub expected_cost: f64,
    /// What it costs when every round is needed and none is enough.
    pub worst_cost: f64,
    /// Probability that the target is missed after the last round.
    pub failure_probability: f64,
}

/// No amount within the horizon reaches the target with the confidence asked for.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("not reachable with a confidence of {confidence}: the probability that up to {horizon:.0} videos suffice is {probability:.2}")]
pub struct Unreachable {
    /// Asked for, 0..1.
    pub confidence: f64,
    /// The largest number of videos considered.
    pub horizon: f64,
    /// Probability that so many suffice.
    pub probability: f64,
}

/// Sizes considered between what is there and the horizon.
const CANDIDATES: i32 = 400;

impl Plan {
    /// The cheapest plan from `have` videos on. `sufficient` is the probability that so many videos suffice; it must not fall.
    ///
    /// # Errors
    /// The confidence asked for is not reached within the horizon.
    pub fn cheapest(have: f64, sufficient: impl Fn(f64) -> f64, terms: &Terms) -> Result<Self, Unreachable> {
        let sizes = candidates(have);
        let chances: Vec<f64> = sizes.iter().map(|&n| sufficient(n)).collect();
        let chosen = cheapest(&sizes, &chances, terms)?;
        Ok(Self::of(have, &chosen, sufficient, terms))
    }

    /// The plan that has `sizes` (ascending) after its rounds; sizes that are there already are no rounds.
    pub fn of(have: f64, sizes: &[f64], sufficient: impl Fn(f64) -> f64, terms: &Terms) -> Self {
        let (mut rounds, mut before, mut expected_cost, mut worst_cost) = (Vec::new(), have, 0.0, 0.0);
        for &videos in sizes.iter().filter(|&&n| n > have) {
            let (add, probability_needed) = (videos - before, 1.0 - sufficient(before));
            let cost = terms.cost * add;
            expected_cost += cost * probability_needed;
            worst_cost += cost;
            rounds.push(Round { videos, add, cost, probability_needed, probability_reached: sufficient(videos) });
            before = videos;
        }
        let failure_probability = 1.0 - sufficient(before);
        if let Aim::FailureCost(loss) = terms.aim {
            expected_cost += loss * failure_probability;
            worst_cost += if failure_probability > 0.0 { loss } else { 0.0 };
        }
        Self { rounds, expected_cost, worst_cost, failure_probability }
    }
}

/// Whole numbers of videos from `have` to the horizon, evenly spaced in their logarithm.
fn candidates(have: f64) -> Vec<f64> {
    let step = HORIZON.ln() / f64::from(CANDIDATES);
    let mut sizes = vec![have];
    for i in 1..=CANDIDATES {
        let size = (have * (step * f64::from(i)).exp()).round();
        if size > sizes[sizes.len() - 1] {
            sizes.push(size);
        }
    }
    sizes
}

/// The sizes to have after each round, by dynamic programming: `least[j]` is the least expected price of having `sizes[j]`.
fn cheapest(sizes: &[f64], chances: &[f64], terms: &Terms) -> Result<Vec<f64>, Unreachable> {
    let price = |from: usize, to: usize| terms.cost * (sizes[to] - sizes[from]) * (1.0 - chances[from]);
    let mut least: Vec<f64> = (0..sizes.len()).map(|j| price(0, j)).collect();
    // For every further round, the size to have before it; itself where the round is not worth it.
    let mut before: Vec<Vec<usize>> = Vec::new();
    for _ in 1..terms.rounds {
        let over = |j: usize| (0..j).map(|i| (least[i] + price(i, j), i)).fold((least[j], j), |a, b| if b.0 < a.0 { b } else { a });
        let round: Vec<(f64, usize)> = (0..sizes.len()).map(over).collect();
        if round.iter().enumerate().all(|(j, r)| r.1 == j) {
            break;
        }
        least = round.iter().map(|r| r.0).collect();
        before.push(round.iter().map(|r| r.1).collect());
    }
    let (first, loss) = match terms.aim {
        Aim::FailureCost(loss) => (0, loss),
        Aim::Confidence(confidence) => {
            let enough = chances.iter().position(|&p| p >= confidence).ok_or_else(|| Unreachable {
                confidence,
                horizon: sizes[sizes.len() - 1],
                probability: chances[chances.len() - 1],
            });
            (enough?, 0.0)
        }
    };
    let total = |j: usize| least[j] + loss * (1.0 - chances[j]);
    let mut last = (first..sizes.len()).fold(first, |best, j| if total(j) < total(best) { j } else { best });
    let mut chosen = vec![sizes[last]];
    for round in before.iter().rev() {
        last = round[last];
        chosen.push(sizes[last]);
    }
    chosen.reverse();
    chosen.dedup();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A distribution of what is needed: the chances at ascending sizes.
    fn chances(steps: &[f64], reachable: f64) -> Vec<f64> {
        let sum: f64 = steps.iter().sum();
        steps
            .iter()
            .scan(0.0, |reached, step| {
                *reached += step / sum * reachable;
                Some(reached.min(1.0))
            })
            .collect()
    }

    fn terms(rounds: usize, aim: Aim) -> Terms {
        Terms { cost: 2.0, rounds, aim }
    }

    /// What the formula of the paper gives for the sizes, written out.
    fn cost(sizes: &[f64], all: &[f64], chances: &[f64], terms: &Terms) -> f64 {
        let chance = |n: f64| chances[all.iter().position(|&s| s == n).unwrap()];
        let mut before = all[0];
        let mut sum = 0.0;
        for &n in sizes {
            sum += terms.cost * (n - before) * (1.0 - chance(before));
            before = n;
        }
        if let Aim::FailureCost(loss) = terms.aim { sum + loss * (1.0 - chance(before)) } else { sum }
    }

    /// Every way to have non-descending sizes after `rounds` rounds.
    fn every_plan(all: &[f64], rounds: usize) -> Vec<Vec<f64>> {
        (0..rounds).fold(vec![vec![]], |plans, _| {
            let longer = |plan: &Vec<f64>| {
                let from = plan.last().copied().unwrap_or(all[0]);
                all.iter().filter(|&&n| n >= from).map(|&n| [plan.as_slice(), &[n]].concat()).collect::<Vec<_>>()
            };
            plans.iter().flat_map(longer).collect()
        })
    }

    fn scene() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        let steps = prop::collection::vec(0.0f64..1.0, 7).prop_filter("some chance", |s| s.iter().sum::<f64>() > 0.1);
        let gaps = prop::collection::vec(1.0f64..30.0, 7);
        (steps, gaps, 0.05f64..1.0).prop_map(|(steps, gaps, reachable)| {
            let sizes = gaps
                .iter()
                .scan(10.0, |n, gap| {
                    *n += gap.round();
                    Some(*n)
                })
                .collect();
            (sizes, chances(&steps, reachable))
        })
    }

    proptest! {
        #[test]
        fn no_plan_at_all_is_cheaper((sizes, chances) in scene(), rounds in 1usize..4, loss in 0.0f64..1000.0) {
            let terms = terms(rounds, Aim::FailureCost(loss));
            let found = cost(&cheapest(&sizes, &chances, &terms).unwrap(), &sizes, &chances, &terms);
            let best = every_plan(&sizes, rounds).iter().map(|p| cost(p, &sizes, &chances, &terms)).fold(f64::INFINITY, f64::min);
            prop_assert!((found - best).abs() < 1e-9, "{found} instead of {best}");
        }

        #[test]
        fn no_plan_of_that_confidence_is_cheaper((sizes, chances) in scene(), rounds in 1usize..4, confidence in 0.05f64..1.0) {
            let terms = terms(rounds, Aim::Confidence(confidence));
            let reached = |plan: &[f64]| chances[sizes.iter().position(|s| s == plan.last().unwrap()).unwrap()];
            let plans = every_plan(&sizes, rounds);
            let best = plans.iter().filter(|p| reached(p) >= confidence).map(|p| cost(p, &sizes, &chances, &terms)).reduce(f64::min);
            match cheapest(&sizes, &chances, &terms) {
                Ok(plan) => {
                    prop_assert!(reached(&plan) >= confidence);
                    prop_assert!((cost(&plan, &sizes, &chances, &terms) - best.unwrap()).abs() < 1e-9);
                }
                Err(error) => prop_assert!(best.is_none() && error.probability < confidence),
            }
        }

        #[test]
        fn more_rounds_never_cost_more((sizes, chances) in scene(), rounds in 1usize..6, loss in 0.0f64..1000.0) {
            let cost_of = |rounds| {
                let terms = terms(rounds, Aim::FailureCost(loss));
                cost(&cheapest(&sizes, &chances, &terms).unwrap(), &sizes, &chances, &terms)
            };
            prop_assert!(cost_of(rounds + 1) <= cost_of(rounds) + 1e-9);
        }

        #[test]
        fn a_dearer_failure_is_never_made_likelier((sizes, chances) in scene(), rounds in 1usize..4, loss in 0.0f64..500.0, more in 1.0f64..500.0) {
            let last = |loss| {
                let plan = cheapest(&sizes, &chances, &terms(rounds, Aim::FailureCost(loss))).unwrap();
                chances[sizes.iter().position(|s| s == plan.last().unwrap()).unwrap()]
            };
            prop_assert!(last(loss + more) >= last(loss));
        }

        #[test]
        fn rounds_ascend_in_whole_videos_and_their_totals_are_their_sums(
            middle in 1.2f64..40.0, spread in 0.05f64..1.0, have in 3u32..500, rounds in 1usize..5, loss in 0.0f64..1e5,
        ) {
            let have = f64::from(have);
            let sufficient = |n: f64| 1.0 / (1.0 + (-((n / have).ln() - middle.ln()) / spread).exp());
            let plan = Plan::cheapest(have, sufficient, &terms(rounds, Aim::FailureCost(loss))).unwrap();
            prop_assert!(plan.rounds.len() <= rounds);
            prop_assert!(plan.rounds.iter().all(|r| r.add >= 1.0 && r.videos.fract() == 0.0 && r.cost == 2.0 * r.add));
            prop_assert!(plan.rounds.windows(2).all(|w| w[0].videos < w[1].videos && w[0].probability_needed >= w[1].probability_needed));
            let end = plan.rounds.last().map_or(have, |r| r.videos);
            let spent: f64 = plan.rounds.iter().map(|r| r.cost).sum();
            prop_assert!((spent - 2.0 * (end - have)).abs() < 1e-6 && (plan.worst_cost - spent - loss).abs() < 1e-6);
            prop_assert!((plan.failure_probability - 1.0 + sufficient(end)).abs() < 1e-12);
            prop_assert!(plan.expected_cost <= plan.worst_cost + 1e-9);
            // Nothing and everything are candidates too.
            prop_assert!(plan.expected_cost <= loss * (1.0 - sufficient(have)) + 1e-9);
        }
    }

    #[test]
    fn the_candidates_are_many_whole_and_reach_the_horizon() {
        let sizes = candidates(40.0);
        assert!(sizes.len() >= 200 && sizes.windows(2).all(|w| w[0] < w[1]), "{}", sizes.len());
        assert_eq!((sizes[0], sizes[1], sizes[sizes.len() - 1]), (40.0, 41.0, 4000.0));
        assert_eq!(candidates(0.5).last(), Some(&50.0));
    }

    #[test]
    fn a_target_that_is_reached_needs_no_round() {
        for aim in [Aim::FailureCost(1e9), Aim::Confidence(0.99)] {
            let plan = Plan::cheapest(40.0, |_| 1.0, &terms(3, aim)).unwrap();
            assert_eq!(plan, Plan { rounds: vec![], expected_cost: 0.0, worst_cost: 0.0, failure_probability: 0.0 });
        }
    }

    #[test]
    fn a_cheap_failure_is_taken_instead_of_a_dear_collection() {
        let plan = Plan::cheapest(40.0, |n| if n >= 80.0 { 1.0 } else { 0.0 }, &terms(3, Aim::FailureCost(79.0))).unwrap();
        assert_eq!((plan.rounds.len(), plan.expected_cost, plan.failure_probability), (0, 79.0, 1.0));
        let plan = Plan::cheapest(40.0, |n| if n >= 80.0 { 1.0 } else { 0.0 }, &terms(3, Aim::FailureCost(90.0))).unwrap();
        assert_eq!((plan.rounds.len(), plan.failure_probability), (1, 0.0));
        assert!(plan.rounds[0].videos >= 80.0 && plan.rounds[0].videos <= 81.0);
    }

    #[test]
    fn an_unreachable_confidence_says_what_is_reachable() {
        let error = Plan::cheapest(40.0, |n| if n >= 80.0 { 0.5 } else { 0.0 }, &terms(3, Aim::Confidence(0.9))).unwrap_err();
        assert_eq!(error, Unreachable { confidence: 0.9, horizon: 4000.0, probability: 0.5 });
        assert!(error.to_string().contains("is 0.50"), "{error}");
    }
}
