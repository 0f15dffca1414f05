//! The posterior over learning curves: every shape of every family × several discrepancies, weighed by evidence.
//!
//! No restarts, no local optima and no random numbers: shapes and discrepancies lie on fixed grids, level and drop are
//! integrated in closed form, and the prediction at a size is a mixture of normals. All values here are errors
//! (1 − score) of the fitted scale, all sizes t = ln(n / n_K).

mod draws;
mod evidence;
mod grid;
mod mixture;
mod normal;
pub mod prior;

pub use draws::Path;
pub use mixture::{Mixture, Part};

use evidence::{Component, Level};
use grid::Grid;

use prior::{DISCREPANCIES, Prior};

use super::CurveFamily;
use super::observation::Observed;

/// What the observations say.
pub struct Posterior {
    grid: Grid,
    levels: Vec<Level>,
    components: Vec<Component>,
    t: Vec<f64>,
    errors: Vec<f64>,
    floor: f64,
    prior: Prior,
}

impl Posterior {
    /// Averages over `families`; with several, a curve that has not moved yet competes with them.
    pub fn new(observed: &Observed, families: &[&'static dyn CurveFamily], prior: &Prior) -> Self {
        let prior = if observed.of_one_training() { prior.of_one_training() } else { prior.clone() };
        let largest = observed.largest().ln();
        let t: Vec<f64> = observed.fitted().iter().map(|s| s.n.ln() - largest).collect();
        let errors: Vec<f64> = observed.fitted().iter().map(|s| 1.0 - s.mean).collect();
        let best = 1.0 - errors.iter().copied().fold(1.0, f64::min);
        let prior = prior.at_level(best);
        let grid = Grid::new(families, &t, &prior);
        let level = |spare: f64, ln_spare: f64, kappa: f64| {
            let ln_prior = prior.beliefs().map(|(_, belief)| ln_spare + belief.of_discrepancy(kappa));
            Level::new(&t, &observed.variances(spare), spare, kappa * observed.unit(), ln_prior)
        };
        let levels: Vec<Level> = observed
            .spare_variances(prior.noise)
            .into_iter()
            .flat_map(|(spare, ln_spare)| DISCREPANCIES.map(|kappa| level(spare, ln_spare, kappa)))
            .collect();
        let floor = observed.least_error();
        let components = evidence::components(&grid, &levels, &errors, floor, &prior, families.len() > 1);
        Self { grid, levels, components, t, errors, floor, prior }
    }

    /// The error at `t`. `fresh` is the variance of a new measurement there, given the spare variance of a level.
    pub fn at(&self, t: f64, fresh: impl Fn(f64) -> f64) -> Mixture {
        let views: Vec<View> = self.levels.iter().map(|level| View::new(self, level, t, fresh(level.spare))).collect();
        let stay = self.prior.stays(t);
        let mut parts = Vec::with_capacity(self.components.len() + 8);
        let mut known = (usize::MAX, 0.0);
        let mut constant: Vec<(f64, f64)> = Vec::new();
        for c in &self.components {
            let view = &views[c.level];
            let Some(g) = c.shape else {
                let part = view.part(c, None, 0.0);
                parts.push(Part { weight: part.weight * stay, ..part });
                constant.push((c.weight * (1.0 - stay), c.at_largest));
                continue;
            };
            if known.0 != g {
                known = (g, self.grid.u(g, t));
            }
            parts.push(view.part(c, Some((&self.grid, g)), known.1));
        }
        if stay < 1.0 {
            parts.extend(constant.into_iter().flat_map(|(weight, from)| prior::taken_off(weight, from, self.floor)));
        }
        Mixture::new(parts, (self.floor, 1.0))
    }

    /// What the error loses from the largest size to `t` > 0.
    pub fn gain(&self, t: f64) -> Mixture {
        let stay = self.prior.stays(t);
        let mut parts = Vec::with_capacity(self.components.len());
        for c in &self.components {
            let spread = (self.levels[c.level].kappa.powi(2) * t).max(1e-14);
            match c.shape {
                Some(g) => {
                    let per_drop = self.grid.u(g, 0.0) - self.grid.u(g, t);
                    parts.push(Part { weight: c.weight, mean: per_drop * c.drop.0, sd: (per_drop * per_drop * c.drop.1 + spread).sqrt() });
                }
                None => {
                    parts.push(Part { weight: c.weight * stay, mean: 0.0, sd: spread.sqrt() });
                    let landed = prior::taken_off(c.weight * (1.0 - stay), c.at_largest, self.floor);
                    parts.extend(landed.map(|part| Part { mean: c.at_largest - part.mean, ..part }));
                }
            }
        }
        Mixture::new(parts, (-1.0, 1.0))
    }

    /// Families with their share of the weight, and the share of the constant.
    pub fn weights(&self) -> (Vec<(&'static dyn CurveFamily, f64)>, f64) {
        let of = |holds: &dyn Fn(Option<usize>) -> bool| {
            self.components.iter().filter(|c| holds(c.shape)).map(|c| c.weight).fold(0.0, |sum, w| sum + w)
        };
        let families = self.grid.blocks().map(|(family, shapes)| (family, of(&|g| g.is_some_and(|g| shapes.contains(&g))))).collect();
        (families, of(&|g| g.is_none()))
    }
}

/// How one covariance sees one size: the error there is `offset + level · h + drop · (u − Σ a u_i)` plus noise.
struct View {
    offset: f64,
    h: f64,
    weights: Vec<f64>,
    variance: f64,
}

impl View {
    fn new(posterior: &Posterior, level: &Level, t: f64, fresh: f64) -> Self {
        if t >= 0.0 {
            return Self { offset: 0.0, h: 1.0, weights: Vec::new(), variance: level.kappa * level.kappa * t + fresh };
        }
        let (weights, variance) = level.between(&posterior.t, t);
        let offset = weights.iter().zip(&posterior.errors).map(|(a, y)| a * y).sum();
        Self { offset, h: 1.0 - weights.iter().sum::<f64>(), weights, variance: variance + fresh }
    }

    /// The prediction of one component. `u` is that of its shape at the size.
    fn part(&self, c: &Component, shape: Option<(&Grid, usize)>, u: f64) -> Part {
        let through = shape.map_or(0.0, |(grid, g)| self.weights.iter().zip(&grid.rows).map(|(a, row)| a * row[g]).sum());
        let slope = u - through;
        let (per_drop, level_variance) = c.given_drop;
        let along = self.h * per_drop + slope;
        let variance = self.h * self.h * level_variance + along * along * c.drop.1 + self.variance;
        Part { weight: c.weight, mean: self.offset + self.h * c.at_largest + slope * c.drop.0, sd: variance.max(1e-14).sqrt() }
    }
}
