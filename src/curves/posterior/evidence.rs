//! How well each shape explains the mean scores under one covariance, with level and drop integrated in closed form.

use super::grid::Grid;
use super::normal::Truncated;
use super::prior::{BELIEFS, Prior};
use crate::curves::linalg::Cholesky;

/// One covariance of the mean errors: seed noise plus a Brownian discrepancy anchored at the largest size.
pub struct Level {
    /// Standard deviation of the discrepancy per square root of ln n.
    pub kappa: f64,
    /// Variance of a fresh measurement where no size was repeated; else unused.
    pub spare: f64,
    /// ln prior weight under each belief.
    ln_prior: [f64; BELIEFS],
    factor: Cholesky,
}

impl Level {
    /// `t` as in [`Grid::new`], `variances` of the mean errors.
    pub fn new(t: &[f64], variances: &[f64], spare: f64, kappa: f64, ln_prior: [f64; BELIEFS]) -> Self {
        let entry = |i: usize, j: usize| kappa * kappa * (-t[i]).min(-t[j]) + if i == j { variances[i] } else { 0.0 };
        let matrix: Vec<Vec<f64>> = (0..t.len()).map(|i| (0..t.len()).map(|j| entry(i, j)).collect()).collect();
        let factor = Cholesky::new(&matrix).expect("noise variances are positive and the Brownian kernel is not negative");
        Self { kappa, spare, ln_prior, factor }
    }

    /// Weights a of the residuals in the discrepancy at `t` < 0, and its variance given them.
    pub fn between(&self, sizes: &[f64], t: f64) -> (Vec<f64>, f64) {
        let covariance: Vec<f64> = sizes.iter().map(|s| self.kappa * self.kappa * (-s).min(-t)).collect();
        let mut weights = covariance.clone();
        self.factor.solve(&mut weights);
        let explained: f64 = weights.iter().zip(&covariance).map(|(a, k)| a * k).sum();
        (weights, (self.kappa * self.kappa * -t - explained).max(0.0))
    }
}

/// One shape under one covariance: a normal distribution of (level, drop), with drop cut to what the ceiling allows.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// Share of the forecast.
    pub weight: f64,
    /// ln of the unnormalised weight under each belief.
    ln_weight: [f64; BELIEFS],
    /// Shape in the grid; `None` for the constant.
    pub shape: Option<usize>,
    /// Which covariance.
    pub level: usize,
    /// Mean error at the largest size, given that the drop is admissible.
    pub at_largest: f64,
    /// Mean and variance of the admissible drop.
    pub drop: (f64, f64),
    /// Change of the mean level per unit of drop, and the level's variance given the drop.
    pub given_drop: (f64, f64),
    /// Mean, standard deviation and upper end of the drop before it is cut.
    pub uncut: (f64, f64, f64),
}

/// Weights below e^−PRUNE of the largest are left out.
const PRUNE: f64 = 7.0;
/// How much the later terms of a weight may still add.
const SLACK: f64 = 4.0;
/// Shapes per pass over the sizes, so that their sums stay in the cache.
const CHUNK: usize = 256;

/// The components of all shapes under `levels`, normalised. `errors` are the mean errors by size, `floor` the least
/// error that is possible; `constant` lets a curve that has not moved compete.
pub fn components(grid: &Grid, levels: &[Level], errors: &[f64], floor: f64, prior: &Prior, constant: bool) -> Vec<Component> {
    let grounded: Vec<bool> = grid.grounded().collect();
    let mut found =
        Found { grid, prior, floor, last: errors.len() - 1, components: Vec::with_capacity(2048), best: [f64::NEG_INFINITY; BELIEFS] };
    for (index, level) in levels.iter().enumerate() {
        let whitened = Whitened::new(level, errors);
        if constant {
            found.constant(&whitened, level, index);
        }
        let mut sums = [[0.0; CHUNK]; 4];
        for start in (0..grid.shapes.len()).step_by(CHUNK) {
            let end = (start + CHUNK).min(grid.shapes.len());
            whitened.sum(grid, start..end, &mut sums);
            for g in start..end {
                let [su, suu, suy, _] = sums.each_ref().map(|s| s[g - start]);
                let candidate = if grounded[g] { whitened.grounded(su, suu, suy) } else { whitened.free(su, suu, suy, grid.to_come[g]) };
                let Some(candidate) = candidate else { continue };
                let ln_weight = std::array::from_fn(|b| candidate.ln_evidence + level.ln_prior[b] + grid.ln_prior[g][b]);
                if found.matters(&ln_weight, PRUNE + SLACK) {
                    found.take(candidate, ln_weight, g, index);
                }
            }
        }
    }
    found.normalised()
}

struct Found<'a> {
    grid: &'a Grid,
    prior: &'a Prior,
    floor: f64,
    /// Index of the largest size.
    last: usize,
    components: Vec<Component>,
    best: [f64; BELIEFS],
}

/// Sums over sizes in the coordinates where residuals are independent with variance 1.
struct Whitened {
    /// Rows of L⁻¹.
    rows: Vec<Vec<f64>>,
    ones: Vec<f64>,
    errors: Vec<f64>,
    sw: f64,
    sy: f64,
    syy: f64,
    half_ln_det: f64,
}

/// A normal (level, drop) before the drop is cut.
struct Candidate {
    ln_evidence: f64,
    level: f64,
    drop: f64,
    drop_variance: f64,
    /// Of the level with the drop.
    covariance: f64,
    level_variance: f64,
}

impl Whitened {
    fn new(level: &Level, errors: &[f64]) -> Self {
        let size = errors.len();
        let whiten = |mut b: Vec<f64>| {
            level.factor.whiten(&mut b);
            b
        };
        let columns: Vec<Vec<f64>> = (0..size).map(|j| whiten((0..size).map(|i| f64::from(u8::from(i == j))).collect())).collect();
        let rows = (0..size).map(|i| (0..=i).map(|j| columns[j][i]).collect()).collect();
        let (ones, errors) = (whiten(vec![1.0; size]), whiten(errors.to_vec()));
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum();
        let (sw, sy, syy) = (dot(&ones, &ones), dot(&errors, &ones), dot(&errors, &errors));
        Self { rows, sw, sy, syy, half_ln_det: level.factor.half_log_determinant(), ones, errors }
    }

    /// Σu, Σu², Σuy of the shapes in `range`; the fourth row is scratch.
    fn sum(&self, grid: &Grid, range: std::ops::Range<usize>, sums: &mut [[f64; CHUNK]; 4]) {
        let count = range.len();
        let [su, suu, suy, row] = sums.each_mut().map(|s| &mut s[..count]);
        su.fill(0.0);
        suu.fill(0.0);
        suy.fill(0.0);
        for (i, weights) in self.rows.iter().enumerate() {
            row.fill(0.0);
            for (weight, u) in weights.iter().zip(&grid.rows) {
                for (sum, u) in row.iter_mut().zip(&u[range.clone()]) {
                    *sum += weight * u;
                }
            }
            for g in 0..count {
                su[g] += self.ones[i] * row[g];
                suu[g] += row[g] * row[g];
                suy[g] += self.errors[i] * row[g];
            }
        }
    }

    /// Level and drop both free.
    fn free(&self, su: f64, suu: f64, suy: f64, to_come: f64) -> Option<Candidate> {
        let det = self.sw * suu - su * su;
        if !(det > 1e-12 * self.sw * suu && det.is_finite() && to_come.is_finite()) {
            return None;
        }
        let drop = (self.sw * suy - su * self.sy) / det;
        let level = (suu * self.sy - su * suy) / det;
        let misfit = (self.syy - level * self.sy - drop * suy).max(0.0);
        let ln_evidence = -self.half_ln_det - 0.5 * (misfit + det.ln());
        Some(Candidate { ln_evidence, level, drop, drop_variance: self.sw / det, covariance: -su / det, level_variance: suu / det })
    }

    /// Level fixed at 1.
    fn grounded(&self, su: f64, suu: f64, suy: f64) -> Option<Candidate> {
        if !(suu > 0.0 && suu.is_finite()) {
            return None;
        }
        let (sry, srr) = (suy - su, self.syy - 2.0 * self.sy + self.sw);
        let drop = sry / suu;
        let ln_evidence = -self.half_ln_det - 0.5 * ((srr - drop * sry).max(0.0) + suu.ln());
        Some(Candidate { ln_evidence, level: 1.0, drop, drop_variance: 1.0 / suu, covariance: 0.0, level_variance: 0.0 })
    }
}

impl Found<'_> {
    fn constant(&mut self, whitened: &Whitened, level: &Level, index: usize) {
        let at_largest = whitened.sy / whitened.sw;
        let misfit = (whitened.syy - at_largest * whitened.sy).max(0.0);
        let ln_evidence = -whitened.half_ln_det - 0.5 * (misfit + whitened.sw.ln());
        let beliefs = self.prior.beliefs();
        let ln_weight = std::array::from_fn(|b| ln_evidence + level.ln_prior[b] + beliefs[b].1.constant);
        let given_drop = (0.0, 1.0 / whitened.sw);
        let drop = (0.0, 0.0);
        self.push(Component { weight: 0.0, ln_weight, shape: None, level: index, at_largest, drop, given_drop, uncut: (0.0, 0.0, 0.0) });
    }

    fn take(&mut self, c: Candidate, mut ln_weight: [f64; BELIEFS], g: usize, level: usize) {
        const LEAST: f64 = 1e-4;
        let sd = c.drop_variance.sqrt();
        let upper = ((c.level - self.floor) / self.grid.to_come[g].max(1e-9)).max(LEAST);
        let cut = Truncated::new(c.drop, sd, upper);
        let slope = c.covariance / c.drop_variance;
        let at_level = c.level + slope * (cut.mean - c.drop);
        let error = (at_level + cut.mean * self.grid.rows[self.last][g] - self.floor).max(1e-3);
        let rest = (at_level - self.floor - self.grid.to_come[g] * cut.mean) / error;
        for (ln_weight, (_, belief)) in ln_weight.iter_mut().zip(self.prior.beliefs()) {
            *ln_weight += cut.ln_mass + belief.of_course(rest.clamp(0.0, 1.0));
        }
        let given_drop = (slope, (c.level_variance - c.covariance * slope).max(0.0));
        let (drop, uncut) = ((cut.mean, cut.variance), (c.drop, sd, upper));
        self.push(Component { weight: 0.0, ln_weight, shape: Some(g), level, at_largest: at_level, drop, given_drop, uncut });
    }

    fn push(&mut self, component: Component) {
        if component.ln_weight.iter().all(|w| w.is_finite() || *w == f64::NEG_INFINITY) {
            for (best, ln_weight) in self.best.iter_mut().zip(component.ln_weight) {
                *best = best.max(ln_weight);
            }
            self.components.push(component);
        }
    }

    /// Whether a weight is within `below` of the best under some belief.
    fn matters(&self, ln_weight: &[f64; BELIEFS], below: f64) -> bool {
        ln_weight.iter().zip(self.best).any(|(w, best)| *w > best - below)
    }

    /// The beliefs mixed in their shares.
    fn normalised(mut self) -> Vec<Component> {
        let mut components = std::mem::take(&mut self.components);
        components.retain(|c| self.matters(&c.ln_weight, PRUNE));
        for (b, (share, _)) in self.prior.beliefs().into_iter().enumerate() {
            let of = |c: &Component| (c.ln_weight[b] - self.best[b]).exp();
            let total: f64 = components.iter().map(of).sum();
            for c in &mut components {
                c.weight += share * of(c) / total;
            }
        }
        components
    }
}
