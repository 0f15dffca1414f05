//! Which training to run next, so that a forecast becomes as narrow as a budget of time allows.
//!
//! [`choose`] is a pure function of what is known of each model ([`Known`]) and what could be run ([`Open`]). A model of
//! which little is known is first trained at the start design: the smallest, middle and largest size. Then one more seed at
//! size n takes Cov(f(n), f(N))² / (Var f(n) + seed variance) off the variance of the forecast f(N), the covariances being
//! those of curves drawn from the posterior; the training that takes most per second is next. It runs nothing itself.

use super::{Curve, Observation, Options};

/// A training that could be run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Open {
    /// Training videos.
    pub n: f64,
    /// Somebody runs it already: it cannot be chosen, but what it will say and cost counts.
    pub pending: bool,
}

/// One model: what was measured and what is left.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Scores so far.
    pub observations: Vec<Observation>,
    /// Wall seconds of trainings so far, with their training videos.
    pub costs: Vec<(f64, f64)>,
    /// Every size the experiment plans, done or not.
    pub planned: Vec<f64>,
    /// Trainings that have no score; of equal sizes, the first is preferred.
    pub open: Vec<Open>,
}

/// Why a training is next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// No curve goes through fewer sizes.
    Start,
    /// It narrows the interval of the forecast by so much, in the scale of the scores.
    Narrows(f64),
}

/// The training to run next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Position of the model.
    pub model: usize,
    /// Position in [`Known::open`].
    pub open: usize,
    /// Why.
    pub reason: Reason,
    /// Wall seconds it will take; `None` when nothing of the model has been timed.
    pub cost: Option<f64>,
}

/// Sizes from which a curve is worth weighing.
const START: usize = 3;
const PATHS: usize = 1000;
/// A training never counts as shorter than this, in seconds: starting it takes as long.
const SHORTEST: f64 = 1e-3;

/// The training to run next for the forecast at `target` videos, of those that take at most `left` seconds together with
/// what is pending; `None` when there is none. Unknown costs count as nothing while anything is left, since somebody has to find out.
pub fn choose(models: &[Known], target: f64, left: f64, options: &Options) -> Option<Choice> {
    let pending: f64 = models.iter().map(Known::pending_cost).sum();
    let affordable = |choice: &Choice| pending < left && choice.cost.unwrap_or(0.0) + pending <= left;
    let starts = models.iter().enumerate().flat_map(|(model, known)| known.starts(model));
    let cheapest = starts.filter(affordable).min_by(|a, b| a.cost.unwrap_or(0.0).total_cmp(&b.cost.unwrap_or(0.0)));
    if cheapest.is_some() {
        return cheapest;
    }
    let steps = models.iter().enumerate().flat_map(|(model, known)| known.steps(model, target, options));
    steps.filter(|(choice, _)| affordable(choice)).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(choice, _)| choice)
}

/// Wall seconds of a training on `n` videos: the line through the known costs by least squares, in proportion to n while
/// only one size is known; `None` before the first.
fn predicted_cost(known: &[(f64, f64)], n: f64) -> Option<f64> {
    let count = known.len() as f64;
    let (sum_n, sum_cost) = known.iter().fold((0.0, 0.0), |sum, k| (sum.0 + k.0, sum.1 + k.1));
    let (centre, mean) = (sum_n / count, sum_cost / count);
    let spread: f64 = known.iter().map(|k| (k.0 - centre).powi(2)).sum();
    let together: f64 = known.iter().map(|k| (k.0 - centre) * (k.1 - mean)).sum();
    match known {
        [] => None,
        _ if spread == 0.0 => Some(mean * n / centre),
        // More videos do not train faster, and none trains for free.
        _ => {
            let slope = (together / spread).max(0.0);
            let line = mean + slope * (n - centre);
            Some(if line > 0.0 { line } else { mean * n / centre })
        }
    }
}

impl Known {
    fn cost(&self, n: f64) -> Option<f64> {
        predicted_cost(&self.costs, n)
    }

    fn pending_cost(&self) -> f64 {
        self.open.iter().filter(|o| o.pending).filter_map(|o| self.cost(o.n)).sum()
    }

    /// Sizes that are measured or being measured, ascending.
    fn seen(&self) -> Vec<f64> {
        distinct(self.observations.iter().map(|o| o.n).chain(self.open.iter().filter(|o| o.pending).map(|o| o.n)))
    }

    /// Whether the curve goes through enough sizes, or as many as the experiment has.
    fn is_started(&self, sizes: usize) -> bool {
        sizes >= START.min(distinct(self.planned.iter().copied()).len())
    }

    /// The trainings of the start design that are left: at the smallest, middle and largest size and, should those have
    /// failed, at any other.
    fn starts(&self, model: usize) -> Vec<Choice> {
        let seen = self.seen();
        if self.is_started(seen.len()) {
            return Vec::new();
        }
        let planned = distinct(self.planned.iter().copied());
        let design = [0, planned.len() / 2, planned.len().saturating_sub(1)].map(|i| planned[i]);
        let first = |n: &f64| self.open.iter().position(|o| !o.pending && o.n == *n).filter(|_| !seen.contains(n));
        let choice = |open: usize| Choice { model, open, reason: Reason::Start, cost: self.cost(self.open[open].n) };
        let designed: Vec<Choice> = distinct(design).iter().filter_map(first).map(choice).collect();
        if designed.is_empty() { planned.iter().filter_map(first).map(choice).collect() } else { designed }
    }

    /// One more seed at every size, with the variance it takes off the forecast per second.
    fn steps(&self, model: usize, target: f64, options: &Options) -> Vec<(Choice, f64)> {
        let sizes = distinct(self.open.iter().map(|o| o.n));
        let measured = distinct(self.observations.iter().map(|o| o.n)).len();
        if sizes.is_empty() || !self.is_started(measured) {
            return Vec::new();
        }
        let Ok(curve) = Curve::fit(&self.observations, options) else { return Vec::new() };
        let mut joint = Joint::new(&curve, &sizes, target);
        self.open.iter().filter(|o| o.pending).for_each(|o| joint.learn(o.n));
        let width = curve.expected(target).interval.width();
        let step = |&n: &f64| {
            let open = self.open.iter().position(|o| !o.pending && o.n == n)?;
            let (cost, taken) = (self.cost(n), joint.taken(n));
            let narrows = width * (joint.variance().sqrt() - (joint.variance() - taken).max(0.0).sqrt()) / joint.drawn.sqrt();
            let reason = Reason::Narrows(if narrows.is_finite() { narrows } else { 0.0 });
            Some((Choice { model, open, reason, cost }, taken / cost.unwrap_or(0.0).max(SHORTEST)))
        };
        sizes.iter().filter_map(step).collect()
    }
}

/// Ascending, each once.
fn distinct(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

/// The expected scores at the sizes that can be measured and, last, at the target: as jointly normal.
#[derive(Clone)]
pub(super) struct Joint {
    sizes: Vec<f64>,
    noise: Vec<f64>,
    covariance: Vec<Vec<f64>>,
    /// Variance of the target before anything was learnt.
    drawn: f64,
}

impl Joint {
    /// At `sizes` and `target`.
    pub fn new(curve: &Curve, sizes: &[f64], target: f64) -> Self {
        let at = distinct(sizes.iter().copied().chain([target]));
        let paths = curve.paths(PATHS, &at);
        let column = |n: f64| {
            let index = at.iter().position(|&a| a == n).expect("the size was asked for");
            let values: Vec<f64> = paths.iter().map(|p| p[index]).collect();
            let mean = values.iter().sum::<f64>() / PATHS as f64;
            values.into_iter().map(|v| v - mean).collect::<Vec<f64>>()
        };
        let columns: Vec<Vec<f64>> = sizes.iter().copied().chain([target]).map(column).collect();
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>() / (PATHS - 1) as f64;
        let covariance: Vec<Vec<f64>> = columns.iter().map(|a| columns.iter().map(|b| product(a, b)).collect()).collect();
        let drawn = covariance[sizes.len()][sizes.len()];
        Self { sizes: sizes.to_vec(), noise: sizes.iter().map(|&n| curve.seed_variance(n)).collect(), covariance, drawn }
    }

    /// Variance of the expected score at the target.
    fn variance(&self) -> f64 {
        let target = self.sizes.len();
        self.covariance[target][target]
    }

    /// What one more seed at `n` takes off it.
    fn taken(&self, n: f64) -> f64 {
        let Some(i) = self.sizes.iter().position(|&s| s == n) else { return 0.0 };
        let spread = self.covariance[i][i] + self.noise[i];
        if spread > 0.0 { self.covariance[i][self.sizes.len()].powi(2) / spread } else { 0.0 }
    }

    /// Share of the target's standard deviation that was taken off since the beginning.
    pub fn narrowed(&self) -> f64 {
        if self.drawn > 0.0 { 1.0 - (self.variance() / self.drawn).clamp(0.0, 1.0).sqrt() } else { 0.0 }
    }

    /// Goes on as if one more seed at `n` had been measured.
    pub fn learn(&mut self, n: f64) {
        let Some(i) = self.sizes.iter().position(|&s| s == n) else { return };
        let spread = self.covariance[i][i] + self.noise[i];
        if spread <= 0.0 {
            return;
        }
        let learnt = self.covariance[i].clone();
        for (row, a) in self.covariance.iter_mut().zip(&learnt) {
            row.iter_mut().zip(&learnt).for_each(|(c, b)| *c -= a * b / spread);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observe(n: f64, seeds: u64) -> Vec<Observation> {
        (0..seeds).map(|s| Observation { n, score: 0.7 * n / (n + 20.0) + 0.01 * (s as f64 - 1.0), seed: Some(s) }).collect()
    }

    /// Three seeds at each of the sizes seen, timed as `seconds` says, and two seeds open at every size.
    fn known(seen: &[f64], seconds: impl Fn(f64) -> f64) -> Known {
        let planned = vec![10.0, 20.0, 40.0, 80.0];
        Known {
            observations: seen.iter().flat_map(|&n| observe(n, 3)).collect(),
            costs: seen.iter().map(|&n| (n, seconds(n))).collect(),
            open: planned.iter().flat_map(|&n| [Open { n, pending: false }; 2]).collect(),
            planned,
        }
    }

    fn next(models: &[Known], left: f64) -> Option<Choice> {
        choose(models, 160.0, left, &Options::default())
    }

    #[test]
    fn a_model_begins_at_the_smallest_middle_and_largest_size_cheapest_first() {
        let mut model = known(&[], |n| n);
        let mut order = Vec::new();
        while let Some(Choice { open, reason: Reason::Start, .. }) = next(std::slice::from_ref(&model), 1e9) {
            let n = model.open.remove(open).n;
            order.push(n);
            model.observations.extend(observe(n, 1));
            model.costs.push((n, n));
        }
        assert_eq!(order, [10.0, 40.0, 80.0]);
    }

    #[test]
    fn another_size_stands_in_for_a_part_of_the_start_design_that_cannot_be_run() {
        let mut model = known(&[10.0, 40.0], |n| n);
        model.open.retain(|o| o.n == 20.0);
        assert_eq!(next(&[model.clone()], 1e9).map(|c| (c.open, c.reason)), Some((0, Reason::Start)));
        model.open.clear();
        assert_eq!(next(&[model], 1e9), None);
    }

    #[test]
    fn an_experiment_of_two_sizes_starts_with_both() {
        let mut model = known(&[10.0, 40.0], |n| n);
        model.planned = vec![10.0, 40.0];
        model.open.retain(|o| o.n <= 40.0 && o.n != 20.0);
        assert!(matches!(next(&[model], 1e9), Some(Choice { reason: Reason::Narrows(by), .. }) if by >= 0.0));
    }

    #[test]
    fn of_equal_costs_the_size_nearest_the_target_teaches_most() {
        let model = known(&[10.0, 20.0, 40.0, 80.0], |_| 60.0);
        let choice = next(std::slice::from_ref(&model), 1e9).unwrap();
        assert_eq!((model.open[choice.open].n, choice.cost), (80.0, Some(60.0)));
        assert!(matches!(choice.reason, Reason::Narrows(by) if by > 0.0));
    }

    #[test]
    fn the_same_knowledge_for_less_time_is_preferred() {
        let seen = [10.0, 20.0, 40.0, 80.0];
        let (dear, cheap) = (known(&seen, |n| 50.0 * n), known(&seen, |n| n));
        for (models, expected) in [([dear.clone(), cheap.clone()], 1), ([cheap, dear], 0)] {
            assert_eq!(next(&models, 1e9).unwrap().model, expected);
        }
    }

    #[test]
    fn what_the_budget_does_not_cover_is_not_chosen() {
        let model = known(&[10.0, 20.0, 40.0, 80.0], |n| n);
        assert_eq!(next(std::slice::from_ref(&model), 9.0), None);
        let choice = next(std::slice::from_ref(&model), 25.0).unwrap();
        assert!(choice.cost.unwrap() <= 25.0);
        assert_eq!(next(&[known(&[], |n| n)], 1.0).map(|c| c.cost), Some(None), "nobody knows what the first one takes");
        assert_eq!(next(&[known(&[], |n| n)], 0.0), None);
    }

    #[test]
    fn what_is_pending_is_neither_chosen_nor_forgotten() {
        let mut model = known(&[10.0, 20.0, 40.0, 80.0], |_| 60.0);
        let alone = next(std::slice::from_ref(&model), 1e9).unwrap();
        model.open[alone.open].pending = true;
        let beside = next(std::slice::from_ref(&model), 1e9).unwrap();
        assert_ne!(alone.open, beside.open);
        let (Reason::Narrows(first), Reason::Narrows(second)) = (alone.reason, beside.reason) else { panic!("both are steps") };
        assert!(second < first, "{second} after {first}");
        assert_eq!(next(std::slice::from_ref(&model), 119.0), None, "the pending one takes 60 s of it");
    }

    #[test]
    fn a_cost_is_a_line_in_the_videos_once_two_sizes_are_known() {
        assert_eq!(predicted_cost(&[], 10.0), None);
        assert_eq!(predicted_cost(&[(10.0, 5.0), (10.0, 7.0)], 40.0), Some(24.0));
        assert!((predicted_cost(&[(10.0, 30.0), (20.0, 40.0), (40.0, 60.0)], 80.0).unwrap() - 100.0).abs() < 1e-9);
        // Faster on more videos is chance; below zero is in proportion.
        assert_eq!(predicted_cost(&[(10.0, 30.0), (20.0, 20.0)], 80.0), Some(25.0));
        assert!(predicted_cost(&[(100.0, 1.0), (200.0, 100.0)], 10.0).unwrap() > 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn only_open_trainings_are_chosen_and_never_for_more_than_is_left(
            kept in prop::collection::vec(any::<bool>(), 8), pending in prop::collection::vec(any::<bool>(), 8),
            seen in prop::sample::subsequence(vec![10.0, 20.0, 40.0, 80.0], 0..=4), left in 0.0f64..300.0,
        ) {
            let mut model = known(&seen, |n| 5.0 + n);
            model.open.iter_mut().zip(&pending).for_each(|(o, &p)| o.pending = p);
            let mut kept = kept.iter();
            model.open.retain(|_| *kept.next().unwrap());
            match next(std::slice::from_ref(&model), left) {
                Some(choice) => {
                    prop_assert!(!model.open[choice.open].pending);
                    prop_assert!(choice.cost.unwrap_or(0.0) + model.pending_cost() <= left && left > 0.0);
                    let first = model.open.iter().position(|o| !o.pending && o.n == model.open[choice.open].n);
                    prop_assert_eq!(first, Some(choice.open));
                }
                None => {
                    let free = |o: &&Open| !o.pending && model.cost(o.n).unwrap_or(0.0) + model.pending_cost() <= left;
                    let unstarted = !model.is_started(distinct(model.observations.iter().map(|o| o.n)).len());
                    // Two fewer reasons to stop: nothing affordable, or a curve that waits for what is pending.
                    prop_assert!(!model.open.iter().any(|o| free(&o)) || unstarted);
                }
            }
        }
    }
}
