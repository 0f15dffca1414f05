//! The posterior over curves: draws from every family × discrepancy (× noise level, when no size was repeated), weighted
//! by evidence.
//!
//! Model of the mean scores: y(n) = family(n) + κ·B(ln n) + seed noise, with B a Brownian motion anchored at the largest
//! observed size n_K. κ > 0 says that the formula is right only locally: far sizes count less, and a forecast widens by
//! κ² ln(n/n_K). Evidence and draws come from importance sampling around each mode, so a skewed posterior is not mistaken
//! for a normal one.

use super::family::{CurveFamily, Normal, Range};
use super::fit::{Mode, Problem, find_mode};
use super::linalg::Cholesky;
use super::observation::Observed;
use crate::base::Stream;

/// Strengths of the discrepancy per unit of √ln n, in score.
const KAPPAS: [f64; 5] = [0.0, 0.003, 0.008, 0.02, 0.05];
/// Scale of the exponential prior on κ.
const KAPPA_SCALE: f64 = 0.03;
/// Standard deviations of one observation, tried when no size was repeated, and the scale of their prior.
const SPARE_NOISE: [f64; 4] = [0.002, 0.005, 0.012, 0.03];
const SPARE_SCALE: f64 = 0.02;
/// Proposals per component, and draws kept in all.
const PROPOSALS: usize = 1536;
const DRAWS: usize = 2000;
/// Share of proposals taken from the prior, where the data say little.
const FROM_PRIOR: f64 = 0.2;
/// Degrees of freedom of the proposal around the mode: heavier tails than the posterior.
const FREEDOM: f64 = 4.0;

/// One family under one covariance.
pub(super) struct Component {
    pub family: &'static dyn CurveFamily,
    pub kappa: f64,
    /// Variance of one observation when it is not known from repetitions.
    pub spare: f64,
    pub mode: Mode,
    /// Share of the posterior, 0..1.
    pub weight: f64,
    noise: Cholesky,
}

/// A curve drawn from the posterior.
pub(super) struct Draw {
    /// Index into the components.
    pub component: usize,
    /// Parameters as the formula takes them.
    pub values: Vec<f64>,
    /// V⁻¹ (observed − fitted): carries what the residuals say about the discrepancy below n_K.
    pub pull: Vec<f64>,
}

/// Components and equally weighted draws.
pub(super) struct Posterior {
    pub components: Vec<Component>,
    pub draws: Vec<Draw>,
}

struct Proposal {
    component: usize,
    theta: Vec<f64>,
    log_weight: f64,
}

impl Posterior {
    pub fn new(observed: &Observed, families: &[&'static dyn CurveFamily]) -> Self {
        let n: Vec<f64> = observed.sizes.iter().map(|s| s.n).collect();
        let mean: Vec<f64> = observed.sizes.iter().map(|s| s.mean).collect();
        let range = Range { low: n[0].ln(), high: n[n.len() - 1].ln() };
        let spares: &[f64] = if observed.noise.is_some() { &[0.0] } else { &SPARE_NOISE };

        let mut components = Vec::new();
        let mut proposals = Vec::new();
        for &family in families {
            let prior = family.prior(&range);
            let mut warm: Option<Vec<f64>> = None;
            for spare in spares {
                for kappa in KAPPAS {
                    let spare_variance = spare * spare;
                    let noise = covariance(&n, &observed.variances(spare_variance), kappa);
                    let problem = Problem { family, prior: &prior, n: &n, mean: &mean, noise: &noise };
                    let mode = find_mode(&problem, warm.as_deref());
                    warm = Some(mode.theta.clone());
                    let log_prior = -kappa / KAPPA_SCALE - spare / SPARE_SCALE;
                    propose(&problem, &mode, components.len(), log_prior, &mut proposals);
                    components.push(Component { family, kappa, spare: spare_variance, mode, weight: 0.0, noise });
                }
            }
        }
        let draws = resample(&mut components, &proposals);
        let draws = draws.into_iter().map(|p| Draw::new(p, &components[p.component], &n, &mean)).collect();
        Self { components, draws }
    }
}

impl Draw {
    fn new(proposal: &Proposal, component: &Component, n: &[f64], mean: &[f64]) -> Self {
        let links = component.family.parameters();
        let values: Vec<f64> = links.iter().zip(&proposal.theta).map(|(p, &t)| p.link.apply(t)).collect();
        let mut pull: Vec<f64> = n.iter().zip(mean).map(|(&n, mean)| mean - component.family.value(&values, n)).collect();
        component.noise.solve(&mut pull);
        Self { component: proposal.component, values, pull }
    }
}

impl Component {
    /// Mean and variance of the discrepancy at a size below the largest one, given a draw's residuals.
    /// `distance` is ln(n_K / n) of that size, `distances` the same of the observed ones.
    pub fn discrepancy_below(&self, pull: &[f64], distance: f64, distances: &[f64]) -> (f64, f64) {
        let variance = self.kappa * self.kappa;
        if variance == 0.0 {
            return (0.0, 0.0);
        }
        let mut covariance: Vec<f64> = distances.iter().map(|d| variance * d.min(distance)).collect();
        let mean = covariance.iter().zip(pull).map(|(c, p)| c * p).sum();
        self.noise.whiten(&mut covariance);
        let explained: f64 = covariance.iter().map(|c| c * c).sum();
        (mean, (variance * distance - explained).max(0.0))
    }
}

/// Seed noise plus the Brownian discrepancy anchored at the largest size.
fn covariance(n: &[f64], variances: &[f64], kappa: f64) -> Cholesky {
    let largest = n[n.len() - 1];
    let distance = |i: usize| (largest / n[i]).ln();
    let entry = |i: usize, j: usize| kappa * kappa * distance(i).min(distance(j)) + if i == j { variances[i] } else { 0.0 };
    let matrix: Vec<Vec<f64>> = (0..n.len()).map(|i| (0..n.len()).map(|j| entry(i, j)).collect()).collect();
    Cholesky::new(&matrix).expect("noise variances are positive and the Brownian kernel is not negative")
}

/// Importance sampling of one component: heavy-tailed draws around the mode and some from the prior.
fn propose(problem: &Problem<'_>, mode: &Mode, component: usize, log_prior: f64, into: &mut Vec<Proposal>) {
    let dimension = mode.theta.len() as f64;
    let mut stream = Stream::new(component as u64, &format!("curves/proposals/{}", problem.family.name()));
    // ln of the multivariate t density's constant, for the factor of the precision at hand.
    let t_constant = ln_gamma_ratio(FREEDOM, dimension) - 0.5 * dimension * (FREEDOM * std::f64::consts::PI).ln()
        + mode.precision.half_log_determinant();
    for index in 0..PROPOSALS {
        let mut step: Vec<f64> = (0..mode.theta.len()).map(|_| stream.normal()).collect();
        let theta: Vec<f64> = if (index as f64) < FROM_PRIOR * PROPOSALS as f64 {
            problem.prior.iter().zip(&step).map(|(p, z)| p.mean + p.sd * z).collect()
        } else {
            let chi_square: f64 = (0..FREEDOM as usize).map(|_| stream.normal().powi(2)).sum();
            mode.precision.whiten_transposed(&mut step);
            mode.theta.iter().zip(&step).map(|(t, s)| t + s * (FREEDOM / chi_square).sqrt()).collect()
        };
        let offset: Vec<f64> = theta.iter().zip(&mode.theta).map(|(t, m)| t - m).collect();
        let around = t_constant - 0.5 * (FREEDOM + dimension) * (mode.precision.quadratic(&offset) / FREEDOM).ln_1p();
        let from_prior: f64 = problem.prior.iter().zip(&theta).map(|(p, &t)| log_density(p, t)).sum();
        let proposal = ln_add((1.0 - FROM_PRIOR).ln() + around, FROM_PRIOR.ln() + from_prior);
        let log_weight = log_prior - problem.cost(&theta) - proposal;
        into.push(Proposal { component, theta, log_weight });
    }
}

/// Turns weighted proposals into equally weighted ones (systematic resampling) and sets each component's weight.
/// Families share the prior equally, whatever their number of components, because all have the same grid.
fn resample<'a>(components: &mut [Component], proposals: &'a [Proposal]) -> Vec<&'a Proposal> {
    let largest = proposals.iter().map(|p| p.log_weight).filter(|w| w.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    let weight = |p: &Proposal| {
        if p.log_weight.is_finite() { (p.log_weight - largest).exp() } else { 0.0 }
    };
    let total: f64 = proposals.iter().map(weight).sum();
    let mut kept = Vec::with_capacity(DRAWS);
    let mut sum = 0.0;
    for proposal in proposals {
        let share = weight(proposal) / total;
        components[proposal.component].weight += share;
        sum += share;
        while kept.len() < DRAWS && (kept.len() as f64 + 0.5) / DRAWS as f64 <= sum {
            kept.push(proposal);
        }
    }
    kept
}

fn log_density(normal: &Normal, x: f64) -> f64 {
    -0.5 * ((x - normal.mean) / normal.sd).powi(2) - normal.sd.ln() - 0.5 * (2.0 * std::f64::consts::PI).ln()
}

/// ln(Γ((ν + d)/2) / Γ(ν/2)).
fn ln_gamma_ratio(freedom: f64, dimension: f64) -> f64 {
    use statrs::function::gamma::ln_gamma;
    ln_gamma(f64::midpoint(freedom, dimension)) - ln_gamma(freedom / 2.0)
}

fn ln_add(a: f64, b: f64) -> f64 {
    let (high, low) = (a.max(b), a.min(b));
    high + (low - high).exp().ln_1p()
}
