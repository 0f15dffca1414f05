//! A fitted curve and the questions it answers: the score at n videos, the videos a score needs.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal as StandardNormal};

use super::families;
use super::family::CurveFamily;
use super::fit::Stop;
use super::observation::{Direction, Observation, Observed, Size};
use super::posterior::{Component, Draw, Posterior};
use super::{Error, Warning};
use crate::base::Stream;
use crate::stats::{Interval, mean, quantile};

/// How to fit.
#[derive(Clone)]
pub struct Options {
    /// Which way is better.
    pub direction: Direction,
    /// Probability of the intervals, 0..1.
    pub level: f64,
    /// Families to mix.
    pub families: Vec<&'static dyn CurveFamily>,
}

impl Default for Options {
    fn default() -> Self {
        Self { direction: Direction::Increasing, level: 0.9, families: families::ALL.to_vec() }
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

/// The training videos that a score needs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reach {
    /// The score asked for.
    pub score: f64,
    /// Median of the videos needed; `None` when it is more likely than not that no amount within the horizon suffices.
    pub n_median: Option<f64>,
    /// Lower end; `None` as above.
    pub n_lower: Option<f64>,
    /// Upper end; `None` when it is unbounded, which is common.
    pub n_upper: Option<f64>,
    /// Probability of the interval.
    pub level: f64,
    /// Probability that at most `horizon` videos suffice.
    pub probability_reachable: f64,
    /// The largest number of videos considered.
    pub horizon: f64,
}

/// A parameter of a family's best fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParameterValue {
    /// Name.
    pub name: &'static str,
    /// One phrase with the unit.
    pub meaning: &'static str,
    /// At the posterior mode.
    pub value: f64,
    /// From the covariance at the mode.
    #[serde(flatten)]
    pub interval: Interval,
}

/// What one family makes of the observations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FamilyFit {
    /// Family.
    pub name: &'static str,
    /// Its formula.
    pub formula: &'static str,
    /// Its share of the forecast, 0..1.
    pub weight: f64,
    /// Parameters of its most probable fit (of the rising, 0..1 curve when losses are fitted).
    pub parameters: Vec<ParameterValue>,
    /// Score at unlimited data, in the scale of the observations.
    pub asymptote: f64,
    /// Why the optimiser stopped.
    pub stop: Stop,
    /// Share of the variance of the mean scores explained; `None` for a flat curve.
    pub r2: Option<f64>,
    /// Observed minus fitted mean score per size.
    pub residuals: Vec<f64>,
}

/// A posterior over learning curves.
pub struct Curve {
    observed: Observed,
    posterior: Posterior,
    families: Vec<FamilyFit>,
    level: f64,
    /// Per draw: the forward Brownian path at [`STEPS`] points, a normal for the discrepancy below n_K, one for seed noise.
    chances: Vec<Chance>,
}

struct Chance {
    path: Vec<f64>,
    below: f64,
    seed: f64,
}

/// Paths reach `HORIZON` times the largest observed size in `STEPS` equal steps of ln n.
const HORIZON: f64 = 100.0;
const STEPS: usize = 60;
/// Points per unit of ln n at which a target's first crossing is sought.
const SEARCH_DENSITY: f64 = 10.0;
/// A residual or a fall of this many standard errors is told.
const NOTEWORTHY: f64 = 3.0;

impl Curve {
    /// Fits every family of `options` and weighs them by evidence.
    ///
    /// # Errors
    /// A size or score that is none, or fewer than two different sizes.
    pub fn fit(observations: &[Observation], options: &Options) -> Result<Self, Error> {
        let observed = Observed::new(observations, options.direction)?;
        let posterior = Posterior::new(&observed, &options.families);
        let mut stream = Stream::new(0, "curves/paths");
        let step = (HORIZON.ln() / STEPS as f64).sqrt();
        let chances = (0..posterior.draws.len())
            .map(|_| {
                let mut sum = 0.0;
                let path = std::iter::once(0.0)
                    .chain((0..STEPS).map(|_| {
                        sum += step * stream.normal();
                        sum
                    }))
                    .collect();
                Chance { path, below: stream.normal(), seed: stream.normal() }
            })
            .collect();
        let mut curve = Self { observed, posterior, families: Vec::new(), level: options.level, chances };
        curve.families = options.families.iter().map(|&family| curve.family_fit(family)).collect();
        curve.families.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        Ok(curve)
    }

    /// Mean scores by size, ascending in n, in the scale of the observations.
    pub fn sizes(&self) -> Vec<Size> {
        let scale = &self.observed.scale;
        let outward = |s: &Size| Size { mean: scale.outward(s.mean), sd: s.sd.map(|sd| scale.length(sd)), ..*s };
        self.observed.sizes.iter().map(outward).collect()
    }

    /// The families, most probable first.
    pub fn families(&self) -> &[FamilyFit] {
        &self.families
    }

    /// The largest observed size.
    pub fn largest(&self) -> f64 {
        self.observed.largest()
    }

    /// The score at `n` videos.
    pub fn forecast(&self, n: f64) -> Forecast {
        self.summarise(n, self.scores(n, true))
    }

    /// The expected score at `n` videos: [`Self::forecast`] without the seed noise of a fresh measurement.
    pub fn expected(&self, n: f64) -> Forecast {
        self.summarise(n, self.scores(n, false))
    }

    /// Quantiles at `probabilities` (0..1) of what [`Self::forecast`] (`measured`) or [`Self::expected`] summarises.
    pub fn quantiles(&self, n: f64, measured: bool, probabilities: &[f64]) -> Vec<f64> {
        let scores = self.scores(n, measured);
        probabilities.iter().map(|&q| quantile(&scores, q).expect("there are draws")).collect()
    }

    /// The draws' scores at `n` videos, ascending, in the scale of the observations.
    fn scores(&self, n: f64, measured: bool) -> Vec<f64> {
        let score = |(draw, chance): (&Draw, &Chance)| {
            let expected = self.score(draw, chance, n);
            let noise = if measured { self.observed.fresh_variance(n, self.component(draw).spare).sqrt() * chance.seed } else { 0.0 };
            self.observed.scale.outward((expected + noise).clamp(0.0, 1.0))
        };
        let mut scores: Vec<f64> = self.posterior.draws.iter().zip(&self.chances).map(score).collect();
        scores.sort_by(f64::total_cmp);
        scores
    }

    /// The videos at which the expected score first reaches `score`.
    pub fn reach(&self, score: f64) -> Reach {
        let target = self.observed.scale.inward(score);
        let (first, largest) = (self.observed.sizes[0].n, self.observed.largest());
        let (low, high) = (first.ln(), (largest * HORIZON).ln());
        let points = ((high - low) * SEARCH_DENSITY).ceil() as usize;
        let grid: Vec<f64> = (0..=points).map(|i| (low + (high - low) * i as f64 / points as f64).exp()).collect();
        let mut needed: Vec<f64> =
            self.posterior.draws.iter().zip(&self.chances).map(|(draw, chance)| self.first_crossing(draw, chance, target, &grid)).collect();
        needed.sort_by(f64::total_cmp);
        let reached = needed.iter().filter(|n| n.is_finite()).count() as f64 / needed.len() as f64;
        let at = |q: f64| quantile(&needed, q).filter(|n| n.is_finite());
        let tail = (1.0 - self.level) / 2.0;
        Reach {
            score,
            n_median: at(0.5),
            n_lower: at(tail),
            n_upper: at(1.0 - tail),
            level: self.level,
            probability_reachable: reached,
            horizon: largest * HORIZON,
        }
    }

    /// What to keep in mind about the fit itself.
    pub fn warnings(&self) -> Vec<Warning> {
        let sizes = self.sizes();
        let mut warnings = Vec::new();
        if sizes.len() < 4 {
            warnings.push(Warning::FewSizes(sizes.len()));
        }
        let fewest = sizes.iter().map(|s| s.seeds).min().unwrap_or(0);
        if fewest < 3 {
            warnings.push(Warning::FewSeeds(fewest));
        }
        warnings.extend(self.largest_fall());
        warnings.extend(self.largest_misfit());
        let unsettled = |f: &&FamilyFit| f.stop != Stop::Converged && f.weight > 0.05;
        warnings.extend(self.families.iter().filter(unsettled).map(|f| Warning::NotConverged(f.name)));
        warnings
    }

    fn component(&self, draw: &Draw) -> &Component {
        &self.posterior.components[draw.component]
    }

    /// A draw's score at `n`, in the fitted scale: family plus discrepancy.
    fn score(&self, draw: &Draw, chance: &Chance, n: f64) -> f64 {
        let component = self.component(draw);
        let largest = self.observed.largest();
        let family = component.family.value(&draw.values, n);
        let discrepancy = if component.kappa == 0.0 {
            0.0
        } else if n >= largest {
            component.kappa * along(&chance.path, (n / largest).ln())
        } else {
            let distances: Vec<f64> = self.observed.sizes.iter().map(|s| (largest / s.n).ln()).collect();
            let (mean, variance) = component.discrepancy_below(&draw.pull, (largest / n).ln(), &distances);
            mean + variance.sqrt() * chance.below
        };
        (family + discrepancy).clamp(0.0, 1.0)
    }

    fn first_crossing(&self, draw: &Draw, chance: &Chance, target: f64, grid: &[f64]) -> f64 {
        let mut before: Option<(f64, f64)> = None;
        for &n in grid {
            let score = self.score(draw, chance, n);
            if score >= target {
                return match before {
                    Some((below, low)) if score > low => (below.ln() + (n / below).ln() * (target - low) / (score - low)).exp(),
                    _ => n,
                };
            }
            before = Some((n, score));
        }
        f64::INFINITY
    }

    fn summarise(&self, n: f64, scores: Vec<f64>) -> Forecast {
        let at = |q: f64| quantile(&scores, q).expect("there are draws");
        let tail = (1.0 - self.level) / 2.0;
        let interval = Interval { level: self.level, lower: at(tail), upper: at(1.0 - tail) };
        Forecast { n, median: at(0.5), mean: mean(&scores).expect("there are draws"), interval }
    }

    fn family_fit(&self, family: &'static dyn CurveFamily) -> FamilyFit {
        let of_family = || self.posterior.components.iter().filter(|c| c.family.name() == family.name());
        let best = of_family().max_by(|a, b| a.weight.total_cmp(&b.weight)).expect("every family has components");
        let z = StandardNormal::standard().inverse_cdf(0.5 + self.level / 2.0);
        let spread = best.mode.precision.inverse_diagonal();
        let parameters: Vec<ParameterValue> = family
            .parameters()
            .iter()
            .zip(&best.mode.theta)
            .zip(&spread)
            .map(|((p, &theta), variance)| {
                let end = |side: f64| p.link.apply(theta + side * z * variance.sqrt());
                let interval = Interval { level: self.level, lower: end(-1.0), upper: end(1.0) };
                ParameterValue { name: p.name, meaning: p.meaning, value: p.link.apply(theta), interval }
            })
            .collect();
        let values: Vec<f64> = parameters.iter().map(|p| p.value).collect();
        let sizes = &self.observed.sizes;
        let residuals: Vec<f64> = sizes.iter().map(|s| s.mean - family.value(&values, s.n)).collect();
        let centre = sizes.iter().map(|s| s.mean).sum::<f64>() / sizes.len() as f64;
        let total: f64 = sizes.iter().map(|s| (s.mean - centre).powi(2)).sum();
        let unexplained: f64 = residuals.iter().map(|r| r * r).sum();
        let sign = self.observed.scale.outward(1.0) - self.observed.scale.outward(0.0);
        FamilyFit {
            name: family.name(),
            formula: family.formula(),
            weight: of_family().map(|c| c.weight).sum(),
            parameters,
            asymptote: self.observed.scale.outward(family.asymptote(&values)),
            stop: best.mode.stop,
            r2: (total > 1e-12).then(|| 1.0 - unexplained / total),
            residuals: residuals.iter().map(|r| r * sign).collect(),
        }
    }

    fn spare(&self) -> f64 {
        self.posterior.components.iter().map(|c| c.weight * c.spare).sum()
    }

    fn largest_fall(&self) -> Option<Warning> {
        let variances = self.observed.variances(self.spare());
        let falls = self
            .observed
            .sizes
            .windows(2)
            .zip(variances.windows(2))
            .map(|(sizes, v)| (sizes[1].n, (sizes[0].mean - sizes[1].mean) / (v[0] + v[1]).sqrt()));
        falls.filter(|f| f.1 > NOTEWORTHY).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(n, z)| Warning::NotMonotone { n, z })
    }

    fn largest_misfit(&self) -> Option<Warning> {
        let best = self.families.first()?;
        let variances = self.observed.variances(self.spare());
        let unit = self.observed.scale.length(1.0);
        let standard = |((size, r), v): ((&Size, &f64), &f64)| (size.n, (r / unit).abs() / v.sqrt());
        let worst = self.observed.sizes.iter().zip(&best.residuals).zip(&variances).map(standard).max_by(|a, b| a.1.total_cmp(&b.1));
        worst.filter(|w| w.1 > NOTEWORTHY).map(|(n, z)| Warning::Misfit { n, z })
    }
}

/// A path's value at `distance` = ln(n / n_K), interpolated; beyond its end it grows as a Brownian motion's scale does.
fn along(path: &[f64], distance: f64) -> f64 {
    let position = distance / HORIZON.ln() * STEPS as f64;
    if position >= STEPS as f64 {
        return path[STEPS] * (position / STEPS as f64).sqrt();
    }
    let (index, share) = (position.floor() as usize, position.fract());
    path[index] + share * (path[index + 1] - path[index])
}
