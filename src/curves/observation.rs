//! Observed scores, gathered by size, and the seed noise around them.

use serde::{Deserialize, Serialize};

use super::family::geometric;
use super::{Error, Options};
use crate::stats::{mean, quantile, standard_deviation};

/// The score of one training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Training videos.
    pub n: f64,
    /// Score in 0..1 (or a loss, under [`Direction::Decreasing`]).
    pub score: f64,
    /// Seed, where it is known. Observations of equal `n` count as repetitions.
    pub seed: Option<u64>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Scores in 0..1.
    #[default]
    Increasing,
    /// Losses: not negative.
    Decreasing,
}

/// error · score at the largest size is taken to be no less.
const LEAST_SPREAD: f64 = 0.002;

/// All observations of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Training videos.
    pub n: f64,
    /// Mean score.
    pub mean: f64,
    /// Standard deviation over seeds; `None` for a single one.
    pub sd: Option<f64>,
    /// Number of observations.
    pub seeds: usize,
}

/// The observations in the scale that is fitted: a rising score in 0..1.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// Ascending in n.
    pub sizes: Vec<Size>,
    /// `None` when no size was repeated: the noise is then unknown and marginalised.
    pub noise: Option<Noise>,
    /// Back to the user's scale.
    pub scale: Scale,
    /// Least error that is possible, 0 without a known ceiling.
    least_error: f64,
    /// Instances of the test set, where known: a score is never known better than a share of so many.
    test_instances: Option<f64>,
}

impl Observed {
    pub fn new(observations: &[Observation], options: &Options) -> Result<Self, Error> {
        let scale = Scale::new(observations, options.direction);
        for (index, o) in observations.iter().enumerate() {
            if !(o.n > 0.0 && o.n.is_finite()) {
                return Err(Error::Size { index, n: o.n });
            }
            if !(0.0..=1.0).contains(&scale.inward(o.score)) {
                return Err(Error::Score { index, score: o.score });
            }
        }
        let mut sorted: Vec<(f64, f64)> = observations.iter().map(|o| (o.n, scale.inward(o.score))).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sizes: Vec<Size> = sorted.chunk_by(|a, b| a.0 == b.0).map(Size::of).collect();
        if sizes.len() < 2 {
            return Err(Error::TooFewSizes(sizes.len()));
        }
        let noise = Noise::new(&sizes);
        let least_error = options.ceiling.map_or(0.0, |ceiling| 1.0 - scale.inward(ceiling));
        let best = sizes.iter().map(|s| s.mean).fold(0.0, f64::max);
        match options.ceiling {
            Some(ceiling) if !(0.0..=1.0).contains(&least_error) || best > 1.0 - least_error => {
                return Err(Error::Ceiling { ceiling, best: scale.outward(best) });
            }
            _ => {}
        }
        Ok(Self { sizes, noise, scale, least_error, test_instances: options.test_instances })
    }

    /// Least error that is possible.
    pub fn least_error(&self) -> f64 {
        self.least_error
    }

    /// Unit of deviations of the error: it is 0 at either end of the scale, where scores cannot differ.
    pub fn unit(&self) -> f64 {
        let last = self.sizes[self.sizes.len() - 1].mean;
        (last * (1.0 - last)).max(LEAST_SPREAD).sqrt()
    }

    /// Variances of a single score to try where no size was repeated, with their ln weights for noise of (median, deviation of the
    /// logarithm) in units of [`Self::unit`]; one that is not used where the noise is known.
    pub fn spare_variances(&self, (median, spread): (f64, f64)) -> Vec<(f64, f64)> {
        if self.noise.is_some() {
            return vec![(0.0, 0.0)];
        }
        let of = |sd: f64| ((sd * self.unit()).powi(2), -0.5 * ((sd / median).ln() / spread).powi(2));
        geometric(5e-4, 0.15, 8).map(of).collect()
    }

    /// Whether the observations look like those of one long training: many sizes, none repeated.
    pub fn of_one_training(&self) -> bool {
        const MANY: usize = 9;
        self.noise.is_none() && self.fitted().len() >= MANY
    }

    /// The sizes that are fitted. Single runs over several decades leave out the oldest: no family follows so long a way, and
    /// without seeds a misfit there looks like noise everywhere.
    pub fn fitted(&self) -> &[Size] {
        const DECADES: f64 = 50.0;
        const FEWEST: usize = 5;
        let old = self.sizes.iter().filter(|s| self.noise.is_none() && s.n * DECADES < self.largest()).count();
        &self.sizes[old.min(self.sizes.len().saturating_sub(FEWEST))..]
    }

    /// Variance of each fitted size's mean: the size's own, shrunk towards the trend over sizes (5 seeds know their spread to
    /// ± 35 % only). `spare` is used when no size was repeated.
    pub fn variances(&self, spare: f64) -> Vec<f64> {
        let of = |s: &Size| match &self.noise {
            None => spare / s.seeds as f64,
            Some(noise) => {
                let (freedom, own) = ((s.seeds - 1) as f64, s.sd.unwrap_or(0.0).powi(2));
                let shrunk = (freedom * own + Noise::PRIOR_FREEDOM * noise.variance(s.n)) / (freedom + Noise::PRIOR_FREEDOM);
                shrunk / s.seeds as f64
            }
        };
        self.fitted().iter().map(|s| of(s).max(self.sampling(s.mean)).max(Noise::LEAST)).collect()
    }

    /// Variance a fresh measurement at `n` has, made like the observed ones (as many seeds as usual).
    pub fn fresh_variance(&self, n: f64, spare: f64) -> f64 {
        self.seed_variance(n, spare) / self.usual_seeds() as f64
    }

    /// Median number of observations per size.
    pub fn usual_seeds(&self) -> usize {
        let mut seeds: Vec<usize> = self.sizes.iter().map(|s| s.seeds).collect();
        seeds.sort_unstable();
        seeds[seeds.len() / 2]
    }

    /// Variance of a single seed's score at `n`.
    pub fn seed_variance(&self, n: f64, spare: f64) -> f64 {
        self.noise.as_ref().map_or(spare, |noise| noise.variance(n))
    }

    /// Variance of a single score for questions that need one number: of a part of the curve's roughness, where no size was repeated.
    pub fn typical_spare(&self) -> f64 {
        (0.5 * roughness(&self.sizes)).powi(2).max(Noise::LEAST)
    }

    /// Whether every observation is the same number, which says nothing about noise.
    pub fn identical(&self) -> bool {
        self.sizes.iter().all(|s| s.mean == self.sizes[0].mean && s.sd.is_none_or(|sd| sd == 0.0))
    }

    /// The best score, where it is next to zero.
    pub fn floor(&self) -> Option<f64> {
        const NEXT_TO_ZERO: f64 = 0.03;
        let best = self.sizes.iter().map(|s| s.mean).fold(0.0, f64::max);
        (best < NEXT_TO_ZERO).then(|| self.scale.outward(best))
    }

    /// Variance that a share has because the test set is finite; seeds do not average it away.
    fn sampling(&self, score: f64) -> f64 {
        self.test_instances.map_or(0.0, |count| score * (1.0 - score) / count)
    }

    pub fn largest(&self) -> f64 {
        self.sizes[self.sizes.len() - 1].n
    }
}

impl Size {
    fn of(group: &[(f64, f64)]) -> Self {
        let scores: Vec<f64> = group.iter().map(|g| g.1).collect();
        let centre = mean(&scores).expect("a group has a member");
        Self { n: group[0].0, mean: centre, sd: standard_deviation(&scores), seeds: scores.len() }
    }
}

/// Standard deviation of the mean scores around lines through their neighbours in ln n, by the median.
fn roughness(sizes: &[Size]) -> f64 {
    /// Median of |x| of a standard normal.
    const MEDIAN: f64 = 0.674_49;
    let off = |w: &[Size]| {
        let [a, b, c] = [0, 1, 2].map(|i| (w[i].n.ln(), w[i].mean));
        let part = (b.0 - a.0) / (c.0 - a.0);
        let expected = a.1 + part * (c.1 - a.1);
        (b.1 - expected).abs() / (1.0 + part * part + (1.0 - part) * (1.0 - part)).sqrt()
    };
    let mut off: Vec<f64> = sizes.windows(3).map(off).collect();
    off.sort_by(f64::total_cmp);
    quantile(&off, 0.5).unwrap_or(0.01) / MEDIAN
}

/// Seed variance as a log-linear function of ln n, with a mild ridge on the slope.
#[derive(Clone, Debug)]
pub(super) struct Noise {
    level: f64,
    slope: f64,
    centre: f64,
    /// Observed sizes: outside, the trend is held constant.
    range: (f64, f64),
}

impl Noise {
    /// Weight of the trend against a size's own variance, in degrees of freedom.
    const PRIOR_FREEDOM: f64 = 4.0;
    /// A mean is never known better than this (standard deviation 1e-4).
    const LEAST: f64 = 1e-8;
    const RIDGE: f64 = 2.0;

    fn new(sizes: &[Size]) -> Option<Self> {
        let points: Vec<(f64, f64)> =
            sizes.iter().filter_map(|s| s.sd.map(|sd| (s.n.ln(), sd.powi(2).max(Self::LEAST).ln() + log_bias(s.seeds - 1)))).collect();
        let centre = mean(&points.iter().map(|p| p.0).collect::<Vec<_>>())?;
        let level = mean(&points.iter().map(|p| p.1).collect::<Vec<_>>())?;
        let covariance: f64 = points.iter().map(|(t, z)| (t - centre) * z).sum();
        let spread: f64 = points.iter().map(|(t, _)| (t - centre).powi(2)).sum();
        let range = (sizes[0].n.ln(), sizes[sizes.len() - 1].n.ln());
        Some(Self { level, slope: covariance / (spread + Self::RIDGE), centre, range })
    }

    /// Variance of a single seed's score at `n`.
    fn variance(&self, n: f64) -> f64 {
        let t = n.ln().clamp(self.range.0, self.range.1);
        (self.level + self.slope * (t - self.centre)).exp()
    }
}

/// −E ln(χ²_k / k): how much the logarithm of a variance of k degrees of freedom is too low on average.
fn log_bias(freedom: usize) -> f64 {
    // The error of the asymptotic series is below 0.01 from k = 2; k = 1 is exact.
    let k = freedom as f64;
    if freedom == 1 { 1.270_362_8 } else { 1.0 / k + 1.0 / (3.0 * k * k) }
}

/// Between the user's scale and a rising score in 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    direction: Direction,
    unit: f64,
}

impl Scale {
    fn new(observations: &[Observation], direction: Direction) -> Self {
        let largest = observations.iter().map(|o| o.score).fold(0.0, f64::max);
        // A loss above 1 has no natural upper end: room for twice the worst one seen.
        let unit = if direction == Direction::Decreasing && largest > 1.0 && largest.is_finite() { 2.0 * largest } else { 1.0 };
        Self { direction, unit }
    }

    /// From the user's scale.
    pub fn inward(&self, score: f64) -> f64 {
        match self.direction {
            Direction::Increasing => score,
            Direction::Decreasing => 1.0 - score / self.unit,
        }
    }

    /// To the user's scale.
    pub fn outward(&self, score: f64) -> f64 {
        match self.direction {
            Direction::Increasing => score,
            Direction::Decreasing => (1.0 - score) * self.unit,
        }
    }

    /// A length in the user's scale.
    pub fn length(&self, width: f64) -> f64 {
        width * self.unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(rows: &[(f64, f64)]) -> Vec<Observation> {
        rows.iter().map(|&(n, score)| Observation { n, score, seed: None }).collect()
    }

    #[test]
    fn equal_sizes_are_repetitions_whatever_their_order() {
        let observed = Observed::new(&observe(&[(20.0, 0.4), (10.0, 0.1), (20.0, 0.6)]), &Options::default()).unwrap();
        let sizes: Vec<_> = observed.sizes.iter().map(|s| (s.n, s.seeds)).collect();
        assert_eq!(sizes, [(10.0, 1), (20.0, 2)]);
        assert!((observed.sizes[1].mean - 0.5).abs() < 1e-15);
    }

    #[test]
    fn one_lucky_size_without_spread_is_not_trusted_blindly() {
        let rows: Vec<(f64, f64)> =
            (1..=5).flat_map(|i| [-1.0, 0.0, 1.0].map(|e| (f64::from(i) * 10.0, 0.5 + if i == 3 { 0.0 } else { e * 0.02 }))).collect();
        let observed = Observed::new(&observe(&rows), &Options::default()).unwrap();
        let variances = observed.variances(0.0);
        assert!(variances[2] > 1e-6 && variances[2] < variances[0], "{variances:?}");
    }

    #[test]
    fn percentages_and_bad_sizes_are_refused_with_their_position() {
        assert_eq!(
            Observed::new(&observe(&[(1.0, 0.5), (2.0, 45.0)]), &Options::default()).unwrap_err(),
            Error::Score { index: 1, score: 45.0 }
        );
        assert_eq!(Observed::new(&observe(&[(0.0, 0.5)]), &Options::default()).unwrap_err(), Error::Size { index: 0, n: 0.0 });
        assert_eq!(Observed::new(&observe(&[(5.0, 0.5), (5.0, 0.5)]), &Options::default()).unwrap_err(), Error::TooFewSizes(1));
    }

    #[test]
    fn losses_above_one_keep_their_scale() {
        let observed =
            Observed::new(&observe(&[(1.0, 5.0), (2.0, 3.0)]), &Options { direction: Direction::Decreasing, ..Options::default() })
                .unwrap();
        assert!((observed.scale.outward(observed.sizes[1].mean) - 3.0).abs() < 1e-12);
        assert!(observed.sizes[1].mean > observed.sizes[0].mean);
    }
}
