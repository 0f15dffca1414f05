//! A fitted curve and the questions it answers about scores: at n videos, after more of them.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use super::families;
use super::family::CurveFamily;
use super::fit::{Problem, Stop};
use super::observation::{Direction, Observation, Observed, Size};
use super::posterior::prior::Prior;
use super::posterior::{Mixture, Path, Posterior};
use super::{Error, Warning};
use crate::stats::Interval;

/// How to fit.
#[derive(Clone)]
pub struct Options {
    /// Which way is better.
    pub direction: Direction,
    /// Probability of the intervals, 0..1.
    pub level: f64,
    /// Families to average over; with several, a curve that has not moved yet competes with them.
    pub families: Vec<&'static dyn CurveFamily>,
    /// The best score that is possible, where something (label noise, a bound of the metric) says so.
    pub ceiling: Option<f64>,
    /// Instances of the test set, where known: a score is never known better than a share of so many.
    pub test_instances: Option<f64>,
    /// An improvement that matters, in the scale of the observations.
    pub worthwhile: f64,
    /// What is believed before the curve is seen.
    pub prior: Prior,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direction: Direction::Increasing,
            level: 0.9,
            families: families::averaged(),
            ceiling: None,
            test_instances: None,
            worthwhile: 0.01,
            prior: Prior::default(),
        }
    }
}

/// A score at a size. All values in the scale of the observations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Training videos.
    pub n: f64,
    /// Median.
    pub median: f64,
    /// Mean.
    pub mean: f64,
    /// Where a repetition of the protocol (as many seeds as observed) would measure the mean score.
    #[serde(flatten)]
    pub interval: Interval,
}

/// A parameter of a family's best fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParameterValue {
    /// Name.
    pub name: &'static str,
    /// One phrase with the unit.
    pub meaning: &'static str,
    /// Of the best fit.
    pub value: f64,
    /// From the covariance at the fit; absent where the sizes cannot tell the parameters apart.
    #[serde(flatten)]
    pub interval: Option<Interval>,
}

/// What one family alone makes of the observations, by least squares.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FamilyFit {
    /// Family.
    pub name: &'static str,
    /// Its formula.
    pub formula: &'static str,
    /// Where it is used for learning curves.
    pub source: &'static str,
    /// Its share of the forecast, 0..1.
    pub weight: f64,
    /// Parameters of its best fit (of the rising, 0..1 curve when losses are fitted).
    pub parameters: Vec<ParameterValue>,
    /// Score at unlimited data, in the scale of the observations.
    pub asymptote: f64,
    /// Videos at which one more gains most; absent where the gain only shrinks.
    pub inflection: Option<f64>,
    /// Why the optimiser stopped.
    pub stop: Stop,
    /// Share of the variance of the mean scores explained; `None` for a flat curve.
    pub r2: Option<f64>,
    /// Observed minus fitted mean score per size.
    pub residuals: Vec<f64>,
    /// ln n to score, for figures.
    #[serde(skip)]
    pub line: Line,
}

/// The fitted curve of one family.
#[derive(Clone)]
pub struct Line {
    family: &'static dyn CurveFamily,
    fitted: super::fit::Fitted,
    scale: super::observation::Scale,
}

impl Line {
    /// The score at `n` videos, in the scale of the observations.
    pub fn at(&self, n: f64) -> f64 {
        self.scale.outward(self.fitted.value(self.family, n.ln()).clamp(0.0, 1.0))
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line({}, {:?})", self.family.name(), self.fitted)
    }
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.family.name() == other.family.name() && self.fitted == other.fitted
    }
}

/// A posterior over learning curves.
pub struct Curve {
    pub(super) observed: Observed,
    pub(super) posterior: Posterior,
    pub(super) level: f64,
    pub(super) worthwhile: f64,
}

/// A residual or a fall of this many standard errors is told.
const NOTEWORTHY: f64 = 3.0;
/// Sizes that span less than this factor say little about the shape.
const NARROW: f64 = 2.0;

impl Curve {
    /// Averages over the families of `options`.
    ///
    /// # Errors
    /// A size or score that is none, fewer than two different sizes, or a ceiling below a score.
    pub fn fit(observations: &[Observation], options: &Options) -> Result<Self, Error> {
        let observed = Observed::new(observations, options)?;
        let posterior = Posterior::new(&observed, &options.families, &options.prior);
        let Options { level, worthwhile, .. } = *options;
        Ok(Self { observed, posterior, level, worthwhile })
    }

    /// Mean scores by size, ascending in n, in the scale of the observations.
    pub fn sizes(&self) -> Vec<Size> {
        let scale = &self.observed.scale;
        let outward = |s: &Size| Size { mean: scale.outward(s.mean), sd: s.sd.map(|sd| scale.length(sd)), ..*s };
        self.observed.sizes.iter().map(outward).collect()
    }

    /// Seeds of the size that has the fewest.
    pub(super) fn fewest_seeds(&self) -> usize {
        self.observed.sizes.iter().map(|s| s.seeds).min().unwrap_or(0)
    }

    /// The largest observed size.
    pub fn largest(&self) -> f64 {
        self.observed.largest()
    }

    /// The score that a repetition of the protocol would measure at `n` videos.
    pub fn forecast(&self, n: f64) -> Forecast {
        self.summarise(n, &self.measured(n))
    }

    /// The expected score at `n` videos: [`Self::forecast`] without the seed noise of a fresh measurement.
    pub fn expected(&self, n: f64) -> Forecast {
        self.summarise(n, &self.errors(n))
    }

    /// Quantiles of what [`Self::forecast`] summarises, at `probabilities` (0..1, ascending).
    pub fn quantiles(&self, n: f64, probabilities: &[f64]) -> Vec<f64> {
        self.outward(&self.measured(n), probabilities)
    }

    /// `count` equally probable curves of the expected score at the sizes `n` (ascending), in the scale of the observations.
    pub fn paths(&self, count: usize, n: &[f64]) -> Vec<Path> {
        let at: Vec<f64> = n.iter().map(|n| (n / self.largest()).ln()).collect();
        let mut paths = self.posterior.paths(count, &at);
        paths.iter_mut().flatten().for_each(|error| *error = self.observed.scale.outward(1.0 - *error));
        paths
    }

    /// Variance of a single seed's score at `n` videos, in the scale of the observations.
    pub fn seed_variance(&self, n: f64) -> f64 {
        let variance = self.observed.seed_variance(n, self.observed.typical_spare());
        self.observed.scale.length(self.observed.scale.length(variance))
    }

    /// The families with their share of the forecast, heaviest first, each fitted alone. An average holds the constant too.
    pub fn families(&self) -> Vec<FamilyFit> {
        let (mut weights, constant) = self.posterior.weights();
        if weights.len() > 1 {
            weights.push((&families::Constant, constant));
        }
        let ln_n: Vec<f64> = self.observed.fitted().iter().map(|s| s.n.ln()).collect();
        let mean: Vec<f64> = self.observed.fitted().iter().map(|s| s.mean).collect();
        let variances = self.observed.variances(self.observed.typical_spare());
        let best = 1.0 - self.observed.least_error();
        let fit = |&(family, weight): &(&'static dyn CurveFamily, f64)| {
            let problem = Problem { family, ln_n: &ln_n, mean: &mean, variances: &variances, best };
            self.family_fit(&problem, weight)
        };
        let mut fits: Vec<FamilyFit> = weights.iter().map(fit).collect();
        fits.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        fits
    }

    /// What to keep in mind about the fit itself. `families` as [`Self::families`] gives them.
    pub fn warnings(&self, families: &[FamilyFit]) -> Vec<Warning> {
        let sizes = &self.observed.sizes;
        let mut warnings = Vec::new();
        if sizes.len() < 4 {
            warnings.push(Warning::FewSizes(sizes.len()));
        }
        let span = self.largest() / sizes[0].n;
        if span < NARROW {
            warnings.push(Warning::NarrowSpan(span));
        }
        let fewest = self.fewest_seeds();
        if fewest < 3 {
            warnings.push(Warning::FewSeeds(fewest));
        }
        if self.observed.identical() {
            warnings.push(Warning::Identical);
        }
        warnings.extend(self.observed.floor().map(Warning::Floor));
        warnings.extend(self.largest_fall());
        warnings.extend(self.largest_misfit(families));
        warnings.extend(self.gap());
        let unsettled = |f: &&FamilyFit| f.stop != Stop::Converged && (f.weight > 0.05 || families.len() == 1);
        warnings.extend(families.iter().filter(unsettled).map(|f| Warning::NotConverged(f.name)));
        warnings
    }

    /// ln(n / n_K).
    fn t(&self, n: f64) -> f64 {
        (n / self.largest()).ln()
    }

    pub(super) fn errors(&self, n: f64) -> Mixture {
        self.posterior.at(self.t(n), |_| 0.0)
    }

    fn measured(&self, n: f64) -> Mixture {
        self.posterior.at(self.t(n), |spare| self.observed.fresh_variance(n, spare))
    }

    /// Quantiles of the score from the distribution of the error.
    pub(super) fn outward(&self, errors: &Mixture, probabilities: &[f64]) -> Vec<f64> {
        let rising = self.observed.scale.outward(1.0) > self.observed.scale.outward(0.0);
        // A loss is an error in another unit; a score runs the other way.
        let mirrored: Vec<f64> = if rising { probabilities.iter().rev().map(|q| 1.0 - q).collect() } else { probabilities.to_vec() };
        let mut values: Vec<f64> = errors.quantiles(&mirrored).into_iter().map(|e| self.observed.scale.outward(1.0 - e)).collect();
        if rising {
            values.reverse();
        }
        values
    }

    pub(super) fn summarise(&self, n: f64, errors: &Mixture) -> Forecast {
        let tail = (1.0 - self.level) / 2.0;
        let ends = self.outward(errors, &[tail, 0.5, 1.0 - tail]);
        let interval = Interval { level: self.level, lower: ends[0], upper: ends[2] };
        Forecast { n, median: ends[1], mean: self.observed.scale.outward(1.0 - errors.mean()), interval }
    }

    fn family_fit(&self, problem: &Problem<'_>, weight: f64) -> FamilyFit {
        let family = problem.family;
        let fitted = problem.solve();
        let z = Normal::standard().inverse_cdf(0.5 + self.level / 2.0);
        let interval = |lower, upper| Interval { level: self.level, lower, upper };
        let spread = |k: usize| fitted.spread.as_ref().map(|s| z * s[k]);
        let level = |name, meaning, value: f64, k: usize| {
            let ends = spread(k).map(|s| interval((value - s).max(0.0), value + s));
            ParameterValue { name, meaning, value, interval: ends }
        };
        let mut parameters =
            vec![level("ceiling", "score at unlimited data", fitted.ceiling, 0), level("rise", "factor of what remains", fitted.rise, 1)];
        parameters.extend(family.parameters().iter().zip(&fitted.shape).enumerate().map(|(k, (p, &stored))| {
            let value = p.outward(stored);
            // Both kinds are spread on the logarithm.
            let ends = spread(k + 2).map(|s| interval(value * (-s).exp(), value * s.exp()));
            ParameterValue { name: p.name, meaning: p.meaning, value, interval: ends }
        }));
        let residual = |s: &Size| s.mean - fitted.value(family, s.n.ln());
        let centre = problem.mean.iter().sum::<f64>() / problem.mean.len() as f64;
        let total: f64 = problem.mean.iter().map(|y| (y - centre).powi(2)).sum();
        let unexplained: f64 = self.observed.fitted().iter().map(|s| residual(s).powi(2)).sum();
        let scale = self.observed.scale;
        let sign = scale.outward(1.0) - scale.outward(0.0);
        FamilyFit {
            name: family.name(),
            formula: family.formula(),
            source: family.source(),
            weight,
            parameters,
            asymptote: scale.outward(fitted.ceiling),
            inflection: family.inflection(&fitted.shape),
            stop: fitted.stop,
            r2: (total > 1e-12).then(|| 1.0 - unexplained / total),
            residuals: self.observed.sizes.iter().map(|s| residual(s) * sign).collect(),
            line: Line { family, fitted, scale },
        }
    }

    fn largest_fall(&self) -> Option<Warning> {
        let variances = self.observed.variances(self.observed.typical_spare());
        let falls = self
            .observed
            .fitted()
            .windows(2)
            .zip(variances.windows(2))
            .map(|(sizes, v)| (sizes[1].n, (sizes[0].mean - sizes[1].mean) / (v[0] + v[1]).sqrt()));
        falls.filter(|f| f.1 > NOTEWORTHY).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(n, z)| Warning::NotMonotone { n, z })
    }

    /// The size that even the family that fits best leaves far off.
    fn largest_misfit(&self, families: &[FamilyFit]) -> Option<Warning> {
        let variances = self.observed.variances(self.observed.typical_spare());
        let unit = self.observed.scale.length(1.0);
        let sizes = self.observed.fitted();
        let worst = |fit: &FamilyFit| {
            let residuals = &fit.residuals[fit.residuals.len() - sizes.len()..];
            let off = |((size, r), v): ((&Size, &f64), &f64)| (size.n, (r / unit).abs() / v.sqrt());
            sizes.iter().zip(residuals).zip(&variances).map(off).max_by(|a, b| a.1.total_cmp(&b.1))
        };
        let least = families.iter().filter_map(worst).min_by(|a, b| a.1.total_cmp(&b.1));
        least.filter(|w| w.1 > NOTEWORTHY).map(|(n, z)| Warning::Misfit { n, z })
    }
}
