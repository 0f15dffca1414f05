//! The classic fit: one family by weighted least squares, for those who want its parameters. The only place that names
//! `argmin`.
//!
//! Ceiling and rise are solved in closed form within their bounds (no falling curve, no ceiling above the best possible
//! score), so Nelder–Mead only searches the shape, from the best shapes of the family's grid.

use argmin::core::{CostFunction, Error as ArgminError, Executor, State, TerminationReason, TerminationStatus};
use argmin::solver::neldermead::NelderMead;
use serde::Serialize;

use super::linalg::Cholesky;
use super::{CurveFamily, Kind, Shape};

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

/// Mean scores by size and what is known of their noise.
pub(super) struct Problem<'a> {
    pub family: &'static dyn CurveFamily,
    /// ln n, ascending.
    pub ln_n: &'a [f64],
    /// Mean scores in 0..1.
    pub mean: &'a [f64],
    /// Variances of the means.
    pub variances: &'a [f64],
    /// Highest score that is possible.
    pub best: f64,
}

/// A fitted curve `ceiling − rise · remaining(n)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fitted {
    pub ceiling: f64,
    pub rise: f64,
    pub shape: Shape,
    pub stop: Stop,
    /// Standard deviations of ceiling, rise and the shape's numbers (of the logarithm, for positive ones); `None` where
    /// the sizes cannot tell the parameters apart.
    pub spread: Option<Vec<f64>>,
    /// Sum of squared residuals over their variances.
    cost: f64,
}

impl Fitted {
    /// The score at `ln_n`.
    pub fn value(&self, family: &dyn CurveFamily, ln_n: f64) -> f64 {
        self.ceiling - self.rise * family.remaining(&self.shape, ln_n)
    }
}

impl Problem<'_> {
    /// The best fit from the best shapes of the grid.
    pub fn solve(&self) -> Fitted {
        const STARTS: usize = 3;
        let largest = self.ln_n[self.ln_n.len() - 1];
        let mut starts: Vec<(f64, Vec<f64>)> = self
            .family
            .grid(largest - self.ln_n[0])
            .iter()
            .map(|shape| {
                let theta = self.theta(&self.moved(shape, largest));
                (self.levels(&self.shape(&theta)).2, theta)
            })
            .collect();
        starts.sort_by(|a, b| a.0.total_cmp(&b.0));
        starts.truncate(STARTS);
        let fits = starts.into_iter().map(|(_, start)| self.descend(start));
        let mut best = fits.min_by(|a, b| a.cost.total_cmp(&b.cost)).expect("a grid has a shape");
        best.spread = self.spread(&best);
        best
    }

    /// The shape with its sizes multiplied by e^`by`.
    fn moved(&self, shape: &Shape, by: f64) -> Shape {
        let mut moved = *shape;
        for (number, parameter) in moved.iter_mut().zip(self.family.parameters()) {
            if parameter.kind == Kind::Size {
                *number += by;
            }
        }
        moved
    }

    /// The numbers of a shape without bounds.
    fn theta(&self, shape: &Shape) -> Vec<f64> {
        let of = |(parameter, number): (&super::Parameter, &f64)| match parameter.kind {
            Kind::Size => *number,
            Kind::Positive => number.ln(),
        };
        self.family.parameters().iter().zip(shape).map(of).collect()
    }

    fn shape(&self, theta: &[f64]) -> Shape {
        let mut shape = Shape::default();
        for ((number, parameter), theta) in shape.iter_mut().zip(self.family.parameters()).zip(theta) {
            *number = match parameter.kind {
                Kind::Size => *theta,
                Kind::Positive => theta.clamp(-20.0, 20.0).exp(),
            };
        }
        shape
    }

    /// Ceiling and rise of least squares within their bounds, and the cost.
    fn levels(&self, shape: &Shape) -> (f64, f64, f64) {
        let s: Vec<f64> = self.ln_n.iter().map(|&t| self.family.remaining(shape, t)).collect();
        let sum = |f: &dyn Fn(usize) -> f64| (0..s.len()).map(|i| f(i) / self.variances[i]).sum::<f64>();
        let (sw, ss, sss) = (sum(&|_| 1.0), sum(&|i| s[i]), sum(&|i| s[i] * s[i]));
        let (sy, ssy) = (sum(&|i| self.mean[i]), sum(&|i| s[i] * self.mean[i]));
        // With the ceiling known: of the shortfall on what remains.
        let below = |ceiling: f64| (ceiling, ((ceiling * ss - ssy) / sss).max(0.0));
        let (ceiling, rise) = if self.family.grounded() {
            let made = sum(&|i| (1.0 - s[i]) * (1.0 - s[i]));
            let ceiling = (sum(&|i| (1.0 - s[i]) * self.mean[i]) / made).clamp(0.0, self.best);
            (ceiling, ceiling)
        } else {
            let det = sw * sss - ss * ss;
            let rise = (ss * sy - sw * ssy) / det;
            let ceiling = (sy + rise * ss) / sw;
            match () {
                () if !(rise > 0.0 && ceiling.is_finite()) => (sy / sw, 0.0),
                () if ceiling > self.best => below(self.best),
                () => (ceiling, rise),
            }
        };
        let cost = sum(&|i| (self.mean[i] - ceiling + rise * s[i]).powi(2));
        (ceiling, rise, if cost.is_finite() { cost } else { f64::MAX })
    }

    /// A shape far outside of what the sizes could show costs a little, so that the search comes back.
    fn cost(&self, theta: &[f64]) -> f64 {
        const WIDE: f64 = 6.0;
        let (first, last) = (self.ln_n[0], self.ln_n[self.ln_n.len() - 1]);
        let outside = |(parameter, theta): (&super::Parameter, &f64)| match parameter.kind {
            Kind::Size => (first - WIDE - theta).max(theta - last - WIDE).max(0.0),
            Kind::Positive => (theta.abs() - 4.0).max(0.0),
        };
        let strays: f64 = self.family.parameters().iter().zip(theta).map(outside).map(|x| x * x).sum();
        self.levels(&self.shape(theta)).2 + strays
    }

    fn descend(&self, start: Vec<f64>) -> Fitted {
        const ITERATIONS: u64 = 400;
        const FLAT: f64 = 1e-8;
        const STEP: f64 = 0.25;
        if start.is_empty() {
            let (ceiling, rise, cost) = self.levels(&Shape::default());
            return Fitted { ceiling, rise, shape: Shape::default(), stop: Stop::Converged, spread: None, cost };
        }
        let mut simplex = vec![start.clone()];
        simplex.extend((0..start.len()).map(|k| {
            let mut corner = start.clone();
            corner[k] += STEP;
            corner
        }));
        let solver = NelderMead::new(simplex).with_sd_tolerance(FLAT).expect("the tolerance is positive");
        let run = Executor::new(Cost(self), solver).configure(|state| state.max_iters(ITERATIONS)).run();
        let (theta, stop) = match &run {
            Ok(result) => match (result.state.get_best_param(), result.state.get_termination_status()) {
                (Some(best), TerminationStatus::Terminated(TerminationReason::SolverConverged)) => (best.clone(), Stop::Converged),
                (Some(best), TerminationStatus::Terminated(TerminationReason::MaxItersReached)) => (best.clone(), Stop::IterationLimit),
                _ => (start, Stop::GaveUp),
            },
            Err(_) => (start, Stop::GaveUp),
        };
        let shape = self.shape(&theta);
        let (ceiling, rise, cost) = self.levels(&shape);
        Fitted { ceiling, rise, shape, stop, spread: None, cost }
    }

    /// Standard deviations from the Gauss–Newton Hessian at the fit.
    fn spread(&self, fitted: &Fitted) -> Option<Vec<f64>> {
        const STEP: f64 = 1e-5;
        let theta = self.theta(&fitted.shape);
        let s: Vec<f64> = self.ln_n.iter().map(|&t| self.family.remaining(&fitted.shape, t)).collect();
        let scaled = |column: Vec<f64>| -> Vec<f64> { column.iter().zip(self.variances).map(|(x, v)| x / v.sqrt()).collect() };
        let mut columns = vec![scaled(vec![1.0; s.len()]), scaled(s.iter().map(|s| -s).collect())];
        if self.family.grounded() {
            columns = vec![scaled(s.iter().map(|s| 1.0 - s).collect())];
        }
        for k in 0..theta.len() {
            let at = |by: f64| {
                let mut moved = theta.clone();
                moved[k] += by;
                let shape = self.shape(&moved);
                self.ln_n.iter().map(|&t| -fitted.rise * self.family.remaining(&shape, t)).collect::<Vec<f64>>()
            };
            columns.push(scaled(at(STEP).iter().zip(at(-STEP)).map(|(high, low)| (high - low) / (2.0 * STEP)).collect()));
        }
        if columns.len() > s.len() {
            return None;
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        // Scaled to a unit diagonal, so that "singular" does not depend on the units.
        let norms: Vec<f64> = columns.iter().map(|c| dot(c, c).sqrt()).collect();
        let entry = |i: usize, j: usize| dot(&columns[i], &columns[j]) / (norms[i] * norms[j]);
        let matrix: Vec<Vec<f64>> = (0..columns.len()).map(|i| (0..columns.len()).map(|j| entry(i, j)).collect()).collect();
        let variances = Cholesky::new(&matrix)?.inverse_diagonal();
        let mut spread: Vec<f64> = variances.iter().zip(&norms).map(|(v, norm)| v.sqrt() / norm).collect();
        if self.family.grounded() {
            spread.insert(1, spread[0]);
        }
        spread.iter().all(|s| s.is_finite()).then_some(spread)
    }
}

struct Cost<'a>(&'a Problem<'a>);

impl CostFunction for Cost<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, theta: &Vec<f64>) -> Result<f64, ArgminError> {
        Ok(self.0.cost(theta))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::families;

    fn fit(name: &str, n: &[f64], score: impl Fn(f64) -> f64) -> Fitted {
        let family = families::by_name(name).unwrap();
        let ln_n: Vec<f64> = n.iter().map(|n| n.ln()).collect();
        let mean: Vec<f64> = n.iter().map(|&n| score(n)).collect();
        Problem { family, ln_n: &ln_n, mean: &mean, variances: &vec![1e-6; n.len()], best: 1.0 }.solve()
    }

    const SIZES: [f64; 8] = [10.0, 20.0, 40.0, 60.0, 80.0, 120.0, 160.0, 200.0];

    #[test]
    fn noiseless_curves_give_their_parameters_back() {
        let logistic = fit("logistic", &SIZES, |n| 0.7 - 0.6 / (1.0 + (n / 60.0).powf(1.3)));
        assert_eq!(logistic.stop, Stop::Converged);
        let [half, slope, ..] = logistic.shape;
        assert!((logistic.ceiling - 0.7).abs() < 1e-3 && (logistic.rise - 0.6).abs() < 1e-3, "{logistic:?}");
        assert!((half.exp() - 60.0).abs() < 0.5 && (slope - 1.3).abs() < 0.01, "{logistic:?}");
        let power = fit("power3", &SIZES, |n| 0.8 - 2.0 * n.powf(-0.5));
        assert!((power.ceiling - 0.8).abs() < 1e-3 && (power.rise - 2.0).abs() < 0.02 && (power.shape[0] - 0.5).abs() < 3e-3, "{power:?}");
        let hill = fit("hill", &SIZES, |n| 0.9 * n / (n + 50.0));
        assert!((hill.ceiling - 0.9).abs() < 1e-3 && hill.rise == hill.ceiling, "{hill:?}");
    }

    #[test]
    fn every_family_fits_every_kind_of_curve_within_bounds() {
        let curves: [fn(f64) -> f64; 4] = [|_| 0.3, |n| 0.9 - n / 400.0, |n| n / 210.0, |n| f64::from(u8::from(n > 50.0))];
        for family in families::ALL {
            for curve in curves {
                let fitted = fit(family.name(), &SIZES, curve);
                assert!((0.0..=1.0).contains(&fitted.ceiling) && fitted.rise >= 0.0, "{}: {fitted:?}", family.name());
                assert!(SIZES.iter().all(|n| fitted.value(family, n.ln()).is_finite()), "{}", family.name());
            }
        }
    }
}
