//! Whole curves drawn from the posterior, for questions about more than one size at a time.

use statrs::distribution::{ContinuousCDF, Normal};

use super::Posterior;
use super::evidence::Component;
use crate::base::Stream;

/// A curve at ascending sizes.
pub type Path = Vec<f64>;

impl Posterior {
    /// `count` equally probable curves of the expected error at the sizes `at` (ascending, t).
    pub fn paths(&self, count: usize, at: &[f64]) -> Vec<Path> {
        let mut stream = Stream::new(0, "curves/paths");
        // What the discrepancy between the sizes depends on is the same for all curves of one covariance.
        let below = at.iter().take_while(|&&t| t <= 0.0);
        let between: Vec<Vec<(Vec<f64>, f64)>> =
            self.levels.iter().map(|level| below.clone().map(|&t| level.between(&self.t, t)).collect()).collect();
        self.resampled(count).into_iter().map(|c| self.path(c, at, &between[c.level], &mut stream)).collect()
    }

    /// Components in proportion to their weights, by systematic resampling.
    fn resampled(&self, count: usize) -> Vec<&Component> {
        let mut kept = Vec::with_capacity(count);
        let mut sum = 0.0;
        for component in &self.components {
            sum += component.weight;
            while kept.len() < count && (kept.len() as f64 + 0.5) / count as f64 <= sum {
                kept.push(component);
            }
        }
        kept
    }

    /// `between` holds [`Level::between`](super::evidence::Level::between) at the sizes up to the largest.
    fn path(&self, c: &Component, at: &[f64], between: &[(Vec<f64>, f64)], stream: &mut Stream) -> Path {
        let level = &self.levels[c.level];
        let drop = draw_cut(c.uncut, c.drop.0, stream);
        let at_largest = c.at_largest + c.given_drop.0 * (drop - c.drop.0) + c.given_drop.1.sqrt() * stream.normal();
        let (below, takeoff, landing) = (stream.normal(), self.prior.takeoff(stream.uniform()), stream.uniform());
        let (mut walked, mut wandered) = (0.0, 0.0);
        let error = |(i, &t): (usize, &f64)| {
            let (shape, u) = c.shape.map_or((None, 0.0), |g| (Some(g), self.grid.u(g, t)));
            let expected = at_largest + drop * u;
            let value = if t > 0.0 {
                wandered += level.kappa * (t - walked).sqrt() * stream.normal();
                walked = t;
                let start = if shape.is_none() && t >= takeoff { self.floor + landing * (at_largest - self.floor) } else { expected };
                start + wandered
            } else {
                let (weights, variance) = &between[i];
                let residual = |i: usize| self.errors[i] - at_largest - shape.map_or(0.0, |g| drop * self.grid.rows[i][g]);
                expected + weights.iter().enumerate().map(|(i, a)| a * residual(i)).sum::<f64>() + variance.sqrt() * below
            };
            value.clamp(self.floor, 1.0)
        };
        at.iter().enumerate().map(error).collect()
    }
}

/// From the normal with (mean, sd) within 0..upper; `inside` is the mean of what is left of it.
fn draw_cut((mean, sd, upper): (f64, f64, f64), inside: f64, stream: &mut Stream) -> f64 {
    let uniform = stream.uniform();
    let Ok(normal) = Normal::new(mean, sd) else { return inside };
    let (low, high) = (normal.cdf(0.0), normal.cdf(upper));
    // Too far out for the inverse to have digits: all that is left lies close to its mean.
    if high - low < 1e-10 { inside } else { normal.inverse_cdf(low + uniform * (high - low)).clamp(0.0, upper) }
}
