//! The most probable parameters of one family: a posterior mode by Nelder–Mead from several deterministic starts, its
//! covariance by the Gauss–Newton Hessian. The only place that names `argmin`.

use argmin::core::{CostFunction, Error as ArgminError, Executor, State, TerminationReason, TerminationStatus};
use argmin::solver::neldermead::NelderMead;
use serde::Serialize;

use super::linalg::Cholesky;
use super::{CurveFamily, Normal};
use crate::base::Stream;

/// Why the optimiser stopped. Not converging is a finding about the curve, not a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The simplex became flat.
    Converged,
    /// The iterations were used up; the best point seen is reported.
    IterationLimit,
    /// The optimiser gave up; the best start is reported.
    GaveUp,
}

/// One family against one covariance of the size means.
pub(super) struct Problem<'a> {
    pub family: &'a dyn CurveFamily,
    pub prior: &'a [Normal],
    pub n: &'a [f64],
    pub mean: &'a [f64],
    /// Factor of the covariance of `mean`.
    pub noise: &'a Cholesky,
}

impl Problem<'_> {
    /// Parameters as the formula takes them.
    pub fn values(&self, theta: &[f64]) -> Vec<f64> {
        self.family.parameters().iter().zip(theta).map(|(p, &t)| p.link.apply(t)).collect()
    }

    /// Observed minus fitted mean score, per size.
    pub fn residuals(&self, theta: &[f64]) -> Vec<f64> {
        let values = self.values(theta);
        self.n.iter().zip(self.mean).map(|(&n, mean)| mean - self.family.value(&values, n)).collect()
    }

    /// −ln(likelihood · prior) up to a constant that all families share.
    pub fn cost(&self, theta: &[f64]) -> f64 {
        let mut residuals = self.residuals(theta);
        self.noise.whiten(&mut residuals);
        let misfit: f64 = residuals.iter().map(|r| r * r).sum();
        let prior: f64 = self.prior.iter().zip(theta).map(|(p, t)| ((t - p.mean) / p.sd).powi(2) + 2.0 * p.sd.ln()).sum();
        let constant = theta.len() as f64 * (2.0 * std::f64::consts::PI).ln();
        0.5 * (misfit + prior + constant) + self.noise.half_log_determinant()
    }

    /// Factor of the posterior precision JᵀV⁻¹J + prior at `theta`: positive definite by construction.
    fn precision(&self, theta: &[f64]) -> Cholesky {
        const STEP: f64 = 1e-5;
        let columns: Vec<Vec<f64>> = (0..theta.len())
            .map(|k| {
                let at = |shift: f64| {
                    let mut moved = theta.to_vec();
                    moved[k] += shift;
                    self.residuals(&moved)
                };
                let mut column: Vec<f64> = at(-STEP).iter().zip(at(STEP)).map(|(low, high)| (low - high) / (2.0 * STEP)).collect();
                self.noise.whiten(&mut column);
                column
            })
            .collect();
        let entry = |i: usize, j: usize| {
            let dot: f64 = columns[i].iter().zip(&columns[j]).map(|(a, b)| a * b).sum();
            dot + if i == j { self.prior[i].sd.powi(-2) } else { 0.0 }
        };
        let matrix: Vec<Vec<f64>> = (0..theta.len()).map(|i| (0..theta.len()).map(|j| entry(i, j)).collect()).collect();
        let prior_only = || {
            let diagonal = |i: usize, j: usize| if i == j { self.prior[i].sd.powi(-2) } else { 0.0 };
            (0..theta.len()).map(|i| (0..theta.len()).map(|j| diagonal(i, j)).collect()).collect::<Vec<Vec<f64>>>()
        };
        // Rounding can spoil a nearly singular sum; the prior alone is then the honest, wider answer.
        Cholesky::new(&matrix).or_else(|| Cholesky::new(&prior_only())).expect("prior variances are positive")
    }
}

/// A posterior mode.
#[derive(Clone, Debug)]
pub(super) struct Mode {
    pub theta: Vec<f64>,
    pub stop: Stop,
    /// Factor of the precision of `theta`.
    pub precision: Cholesky,
}

/// The best mode found from `warm` or, without it, from the prior's mean and the best of many draws from the prior.
pub(super) fn find_mode(problem: &Problem<'_>, warm: Option<&[f64]>) -> Mode {
    let starts = warm.map_or_else(|| scattered_starts(problem), |theta| vec![theta.to_vec()]);
    let best = starts.into_iter().map(|start| descend(problem, start)).min_by(|a, b| a.1.total_cmp(&b.1));
    let (theta, _, stop) = best.expect("there is a start");
    let precision = problem.precision(&theta);
    Mode { theta, stop, precision }
}

fn scattered_starts(problem: &Problem<'_>) -> Vec<Vec<f64>> {
    const TRIED: usize = 64;
    const KEPT: usize = 3;
    let mut stream = Stream::new(0, &format!("curves/starts/{}", problem.family.name()));
    let mut starts: Vec<Vec<f64>> = (0..TRIED).map(|_| problem.prior.iter().map(|p| p.mean + p.sd * stream.normal()).collect()).collect();
    starts.sort_by(|a, b| problem.cost(a).total_cmp(&problem.cost(b)));
    starts.truncate(KEPT);
    starts.push(problem.prior.iter().map(|p| p.mean).collect());
    starts
}

struct Cost<'a>(&'a Problem<'a>);

impl CostFunction for Cost<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, theta: &Vec<f64>) -> Result<f64, ArgminError> {
        Ok(self.0.cost(theta))
    }
}

fn descend(problem: &Problem<'_>, start: Vec<f64>) -> (Vec<f64>, f64, Stop) {
    const ITERATIONS: u64 = 800;
    const FLAT: f64 = 1e-7;
    let mut simplex = vec![start.clone()];
    for (k, prior) in problem.prior.iter().enumerate() {
        let mut corner = start.clone();
        corner[k] += 0.3 * prior.sd;
        simplex.push(corner);
    }
    let solver = NelderMead::new(simplex).with_sd_tolerance(FLAT).expect("the tolerance is positive");
    let run = Executor::new(Cost(problem), solver).configure(|state| state.max_iters(ITERATIONS)).run();
    let gave_up = || (start.clone(), problem.cost(&start), Stop::GaveUp);
    let Ok(result) = run else { return gave_up() };
    let Some(best) = result.state.get_best_param() else {
        return gave_up();
    };
    let stop = match result.state.get_termination_status() {
        TerminationStatus::Terminated(TerminationReason::SolverConverged) => Stop::Converged,
        TerminationStatus::Terminated(TerminationReason::MaxItersReached) => Stop::IterationLimit,
        _ => Stop::GaveUp,
    };
    (best.clone(), result.state.get_best_cost(), stop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::{Range, families};

    #[test]
    fn a_noiseless_curve_gives_its_parameters_back() {
        let family = families::by_name("hill").unwrap();
        let truth = [0.7, 0.01, 60.0, 1.3];
        let n: Vec<f64> = (1..=10).map(|i| f64::from(i) * 20.0).collect();
        let mean: Vec<f64> = n.iter().map(|&n| family.value(&truth, n)).collect();
        let noise =
            Cholesky::new(&(0..10).map(|i| (0..10).map(|j| if i == j { 1e-8 } else { 0.0 }).collect()).collect::<Vec<_>>()).unwrap();
        let prior = family.prior(&Range { low: n[0].ln(), high: n[9].ln() });
        let problem = Problem { family, prior: &prior, n: &n, mean: &mean, noise: &noise };
        let mode = find_mode(&problem, None);
        let values = problem.values(&mode.theta);
        assert_eq!(mode.stop, Stop::Converged);
        assert!((values[0] - 0.7).abs() < 0.01 && (values[2] - 60.0).abs() < 2.0, "{values:?}");
    }
}
