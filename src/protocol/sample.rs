//! The videos a cell trains on.
//!
//! - *independent*: uniform without replacement, afresh for every (fraction, seed).
//! - *nested*: per seed one random order of the training part, of which a fraction is the beginning.
//! - *stratified*: greedy; each step takes, of a few random videos, the one that keeps the instance counts of all classes
//!   closest (chi-square) to their share.
//!
//! The every-class rule redraws up to a cap and keeps the draw that lacks the fewest classes. A redrawn nested order must
//! serve all fractions alike, so there the order whose beginning covers the most classes the earliest is kept: it depends
//! on the seed alone, never on which fractions an experiment lists.

use std::collections::BTreeSet;

use super::Error;
use super::settings::{ProtocolConfig, Sampling};
use crate::base::{Percent, Stream};
use crate::data::Dataset;

/// Random videos that a stratified step chooses from: enough to balance, few enough that seeds still give different samples.
const CANDIDATES: usize = 4;

/// Drawn videos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Identifiers in ascending order.
    pub videos: Vec<String>,
    /// Draws made until the coverage rule held (1 without a rule).
    pub draws: u32,
    /// Classes of the training part that the sample lacks (only looked at under a coverage rule).
    pub missing_classes: usize,
}

impl Sample {
    /// Draws `fraction` of `train`. The same arguments give the same videos on every machine.
    ///
    /// # Errors
    /// The fraction rounds to no video.
    pub fn draw(dataset: &Dataset, train: &[String], settings: &ProtocolConfig, fraction: Percent, seed: u64) -> Result<Self, Error> {
        let count = fraction.of(train.len());
        if count == 0 {
            return Err(Error::NoVideos { fraction, videos: train.len() });
        }
        let pool = Pool::new(dataset, train);
        let max_draws = settings.coverage.map_or(1, |coverage| coverage.max_draws.max(1));
        let (indices, draws) = match settings.sampling {
            Sampling::Nested => {
                let (mut order, draws) = pool.nested_order(seed, max_draws);
                order.truncate(count);
                (order, draws)
            }
            Sampling::Independent => pool.best_draw(max_draws, |draw| {
                Stream::new(seed, &format!("sample/independent/{fraction}/{draw}")).choose(train.len(), count)
            }),
            Sampling::Stratified => {
                pool.best_draw(max_draws, |draw| pool.stratified(Stream::new(seed, &format!("sample/stratified/{fraction}/{draw}")), count))
            }
        };
        let missing_classes = if settings.coverage.is_some() { pool.missing(&indices) } else { 0 };
        let mut videos: Vec<String> = indices.into_iter().map(|i| train[i].clone()).collect();
        videos.sort_unstable();
        Ok(Self { videos, draws, missing_classes })
    }

    /// A sentence for the record when the coverage rule could not be kept.
    pub fn note(&self) -> Option<String> {
        (self.missing_classes > 0).then(|| {
            let classes = if self.missing_classes == 1 { "class" } else { "classes" };
            format!("the best of {} draws lacks {} {classes} of the training part", self.draws, self.missing_classes)
        })
    }
}

/// The training part as class counts.
struct Pool {
    /// Per video, its (class, instances) pairs.
    counts: Vec<Vec<(usize, f64)>>,
    /// Per class, instances in all.
    totals: Vec<f64>,
}

impl Pool {
    fn new(dataset: &Dataset, train: &[String]) -> Self {
        let mut totals = vec![0.0; dataset.classes.len()];
        let counts = train.iter().map(|id| {
            let mut counts: Vec<(usize, f64)> = Vec::new();
            for instance in &dataset.videos[id].instances {
                totals[instance.label] += 1.0;
                match counts.iter_mut().find(|(class, _)| *class == instance.label) {
                    Some((_, n)) => *n += 1.0,
                    None => counts.push((instance.label, 1.0)),
                }
            }
            counts
        });
        Self { counts: counts.collect(), totals }
    }

    fn classes(&self) -> usize {
        self.totals.iter().filter(|&&n| n > 0.0).count()
    }

    fn missing(&self, indices: &[usize]) -> usize {
        let present: BTreeSet<usize> = indices.iter().flat_map(|&i| &self.counts[i]).map(|&(class, _)| class).collect();
        self.classes() - present.len()
    }

    /// The first draw with every class, or the one that lacks the fewest, and the number of draws made.
    fn best_draw(&self, max_draws: u32, draw: impl Fn(u32) -> Vec<usize>) -> (Vec<usize>, u32) {
        let mut best = draw(0);
        if max_draws == 1 {
            return (best, 1);
        }
        let mut lacking = self.missing(&best);
        for made in 1..max_draws {
            if lacking == 0 {
                return (best, made);
            }
            let next = draw(made);
            let missing = self.missing(&next);
            if missing < lacking {
                (best, lacking) = (next, missing);
            }
        }
        (best, max_draws)
    }

    /// The order, of `max_draws`, that shows its last new class the earliest.
    fn nested_order(&self, seed: u64, max_draws: u32) -> (Vec<usize>, u32) {
        let order = |draw: u32| {
            let mut order: Vec<usize> = (0..self.counts.len()).collect();
            Stream::new(seed, &format!("sample/nested/{draw}")).shuffle(&mut order);
            order
        };
        let orders = (0..max_draws).map(order);
        // `min_by_key` keeps the first of equals.
        let best = if max_draws == 1 { orders.into_iter().next() } else { orders.min_by_key(|order| self.covering_length(order)) };
        (best.expect("at least one draw is made"), max_draws)
    }

    /// Videos at the beginning of `order` until every class has appeared.
    fn covering_length(&self, order: &[usize]) -> usize {
        let mut seen = BTreeSet::new();
        let classes = self.classes();
        for (taken, &i) in order.iter().enumerate() {
            seen.extend(self.counts[i].iter().map(|&(class, _)| class));
            if seen.len() == classes {
                return taken + 1;
            }
        }
        order.len()
    }

    fn stratified(&self, mut stream: Stream, count: usize) -> Vec<usize> {
        let mut left: Vec<usize> = (0..self.counts.len()).collect();
        let share = 1.0 / left.len() as f64;
        let mut drawn = vec![0.0; self.totals.len()];
        let mut chosen = Vec::with_capacity(count);
        for step in 1..=count {
            let candidates = CANDIDATES.min(left.len());
            // The candidates are a random part of what is left, moved to the front.
            for slot in 0..candidates {
                let other = slot + stream.below(left.len() - slot);
                left.swap(slot, other);
            }
            let progress = step as f64 * share;
            let gain = |&slot: &usize| self.change(&drawn, &self.counts[left[slot]], progress);
            let best = (0..candidates).min_by(|a, b| gain(a).total_cmp(&gain(b))).expect("the sample is no larger than the pool");
            let taken = left.swap_remove(best);
            for &(class, n) in &self.counts[taken] {
                drawn[class] += n;
            }
            chosen.push(taken);
        }
        chosen
    }

    /// How much adding `counts` changes the chi-square distance of `drawn` to the share `progress` of every class.
    fn change(&self, drawn: &[f64], counts: &[(usize, f64)], progress: f64) -> f64 {
        let term = |class: usize, n: f64| {
            let expected = progress * self.totals[class];
            (n - expected).powi(2) / self.totals[class]
        };
        counts.iter().map(|&(class, n)| term(class, drawn[class] + n) - term(class, drawn[class])).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::Split;
    use crate::protocol::settings::{Coverage, CoverageRule};
    use crate::protocol::testing::{corpus, settings};

    fn percent(value: f64) -> Percent {
        Percent::new(value).unwrap()
    }

    fn with(sampling: Sampling, max_draws: Option<u32>) -> ProtocolConfig {
        let coverage = max_draws.map(|max_draws| Coverage { rule: CoverageRule::EveryClass, max_draws });
        ProtocolConfig { sampling, coverage, ..settings() }
    }

    fn draw(dataset: &Dataset, settings: &ProtocolConfig, fraction: f64, seed: u64) -> Sample {
        let train = Split::new(dataset, settings).unwrap().train;
        Sample::draw(dataset, &train, settings, percent(fraction), seed).unwrap()
    }

    #[test]
    fn the_sampled_videos_are_pinned() {
        let dataset = corpus(50, 5);
        let mut golden = String::new();
        for (name, sampling) in [("independent", Sampling::Independent), ("nested", Sampling::Nested), ("stratified", Sampling::Stratified)]
        {
            for seed in [0, 1] {
                let sample = draw(&dataset, &with(sampling, None), 10.0, seed);
                golden.push_str(&format!("{name} {seed}: {}\n", sample.videos.join(" ")));
            }
        }
        let split = Split::new(&dataset, &settings()).unwrap();
        golden.push_str(&format!("test: {}", split.test.join(" ")));
        insta::assert_snapshot!(golden, @r"
        independent 0: v002 v020 v025 v040
        independent 1: v009 v027 v044 v045
        nested 0: v019 v027 v039 v046
        nested 1: v001 v009 v036 v044
        stratified 0: v002 v003 v009 v016
        stratified 1: v000 v007 v024 v040
        test: v011 v012 v013 v017 v030 v031 v033 v037 v041 v042
        ");
    }

    #[test]
    fn the_whole_part_is_the_same_sample_however_it_is_drawn() {
        let dataset = corpus(30, 3);
        let train = Split::new(&dataset, &settings()).unwrap().train;
        for sampling in [Sampling::Independent, Sampling::Nested, Sampling::Stratified] {
            assert_eq!(draw(&dataset, &with(sampling, None), 100.0, 3).videos, train);
        }
    }

    #[test]
    fn a_fraction_of_no_video_is_refused_with_the_smallest_that_works() {
        let dataset = corpus(10, 2);
        let train: Vec<String> = dataset.videos.keys().take(3).cloned().collect();
        let error = Sample::draw(&dataset, &train, &settings(), percent(10.0), 0).unwrap_err().to_string();
        assert!(error.contains("10 % of 3") && error.contains("16.67 %"), "{error}");
        assert_eq!(percent(16.67).of(3), 1);
    }

    #[test]
    fn every_class_appears_when_the_cap_allows_and_the_best_draw_is_noted_when_not() {
        let dataset = corpus(60, 6);
        let enough = draw(&dataset, &with(Sampling::Independent, Some(1000)), 20.0, 0);
        assert_eq!((enough.missing_classes, enough.note()), (0, None));
        let capped = draw(&dataset, &with(Sampling::Independent, Some(5)), 2.0, 0);
        assert_eq!((capped.videos.len(), capped.draws), (1, 5));
        assert!(capped.note().unwrap().contains("best of 5 draws"), "{capped:?}");
        let once = draw(&dataset, &with(Sampling::Independent, Some(1)), 2.0, 0);
        assert!(capped.missing_classes <= once.missing_classes);
    }

    #[test]
    fn stratified_samples_keep_class_shares_better_than_independent_ones() {
        let dataset = corpus(100, 6);
        let train = Split::new(&dataset, &settings()).unwrap().train;
        let pool = Pool::new(&dataset, &train);
        let distance = |sampling| -> f64 {
            let of_seed = |seed| {
                let sample = draw(&dataset, &with(sampling, None), 20.0, seed);
                let mut drawn = vec![0.0; pool.totals.len()];
                for id in &sample.videos {
                    dataset.videos[id].instances.iter().for_each(|i| drawn[i.label] += 1.0);
                }
                drawn.iter().zip(&pool.totals).map(|(n, total)| (n - 0.2 * total).powi(2) / total).sum::<f64>()
            };
            (0..10).map(of_seed).sum()
        };
        let (stratified, independent) = (distance(Sampling::Stratified), distance(Sampling::Independent));
        assert!(stratified < 0.3 * independent, "{stratified} against {independent}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_sample_is_a_sorted_subset_of_the_right_size(
            videos in 5usize..60, fraction in 10.0f64..100.0, seed: u64, which in 0usize..3, cover: bool,
        ) {
            let sampling = [Sampling::Independent, Sampling::Nested, Sampling::Stratified][which];
            let dataset = corpus(videos, 4);
            let settings = with(sampling, cover.then_some(20));
            let train = Split::new(&dataset, &settings).unwrap().train;
            let count = percent(fraction).of(train.len());
            prop_assume!(count > 0);
            let sample = Sample::draw(&dataset, &train, &settings, percent(fraction), seed).unwrap();
            prop_assert_eq!(sample.videos.len(), count);
            prop_assert!(sample.videos.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(sample.videos.iter().all(|id| train.contains(id)));
            prop_assert_eq!(&sample, &Sample::draw(&dataset, &train, &settings, percent(fraction), seed).unwrap());
        }

        #[test]
        fn a_larger_nested_sample_contains_the_smaller(
            videos in 5usize..60, a in 10.0f64..100.0, b in 10.0f64..100.0, seed: u64, cover: bool,
        ) {
            let dataset = corpus(videos, 4);
            let settings = with(Sampling::Nested, cover.then_some(20));
            let small = Split::new(&dataset, &settings).unwrap().train.len();
            prop_assume!(percent(a.min(b)).of(small) > 0);
            let (small, large) = (draw(&dataset, &settings, a.min(b), seed), draw(&dataset, &settings, a.max(b), seed));
            prop_assert!(small.videos.iter().all(|id| large.videos.contains(id)));
        }
    }
}
