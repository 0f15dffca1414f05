//! A mixture of normals cut to an admissible range: what the posterior says about the score at one size.

use super::normal::{cdf_fast, density};

/// One normal with its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Share, 0..1.
    pub weight: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub sd: f64,
}

/// A distribution over `range`: what the parts have beyond an end counts as lying at that end.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    parts: Vec<Part>,
    range: (f64, f64),
}

impl Mixture {
    /// Of `parts`, whose weights sum to 1. Parts that nearly coincide become one of the same mean and variance: thousands of
    /// shapes say the same.
    pub fn new(parts: Vec<Part>, range: (f64, f64)) -> Self {
        Self { parts: merged(parts), range }
    }

    /// Probability of at most `x`.
    pub fn cdf(&self, x: f64) -> f64 {
        match x {
            x if x < self.range.0 => 0.0,
            x if x >= self.range.1 => 1.0,
            x => self.parts.iter().map(|p| p.weight * cdf_fast((x - p.mean) / p.sd)).sum(),
        }
    }

    /// Mean.
    pub fn mean(&self) -> f64 {
        let (low, high) = self.range;
        let of = |p: &Part| {
            let (a, b) = ((low - p.mean) / p.sd, (high - p.mean) / p.sd);
            let (below, until) = (cdf_fast(a), cdf_fast(b));
            p.weight * (low * below + high * (1.0 - until) + p.mean * (until - below) + p.sd * (density(a) - density(b)))
        };
        self.parts.iter().map(of).sum::<f64>().clamp(low, high)
    }

    /// The values below which `probabilities` (ascending) lie.
    pub fn quantiles(&self, probabilities: &[f64]) -> Vec<f64> {
        let (low, high) = self.range;
        let reach = |sign: f64| self.parts.iter().map(move |p| p.mean + sign * 6.0 * p.sd);
        let least = reach(-1.0).fold(high, f64::min).max(low);
        let most = reach(1.0).fold(low, f64::max).min(high);
        let mut from = (least, self.cdf(least));
        let quantile = |&q: &f64| {
            let found = self.invert(q, from, (most, 1.0));
            from = (found, self.cdf(found));
            found
        };
        probabilities.iter().map(quantile).collect()
    }

    /// The value with probability `q` between two points of the distribution function: regula falsi with halving
    /// (Illinois), which is safe where it is flat and quick where it is smooth.
    fn invert(&self, q: f64, mut low: (f64, f64), mut high: (f64, f64)) -> f64 {
        const CLOSE: f64 = 1e-7;
        if low.1 >= q {
            return low.0;
        }
        let (mut at_low, mut at_high) = (low.1 - q, high.1 - q);
        for round in 0..100 {
            if high.0 - low.0 < CLOSE {
                break;
            }
            let x = match round % 3 {
                2 => f64::midpoint(low.0, high.0),
                _ => (low.0 - at_low * (high.0 - low.0) / (at_high - at_low)).clamp(low.0, high.0),
            };
            let value = self.cdf(x);
            if (value - q).abs() < 1e-9 {
                return x;
            }
            if value < q {
                low = (x, value);
                at_low = value - q;
                at_high *= 0.5;
            } else {
                high = (x, value);
                at_high = value - q;
                at_low *= 0.5;
            }
        }
        f64::midpoint(low.0, high.0)
    }
}

/// Parts whose standard deviations are within a sixth and whose means within a quarter of that of each other, as one.
fn merged(parts: Vec<Part>) -> Vec<Part> {
    const PER_UNIT: f64 = 6.5;
    const NEAR: f64 = 0.25;
    const LIGHTEST: f64 = 1e-12;
    let key = |p: &Part| {
        let spread = (p.sd.ln() * PER_UNIT).floor();
        let width = NEAR * (spread / PER_UNIT).exp();
        (spread as i64, (p.mean / width).floor() as i64)
    };
    // A shape that is not defined at a size, such as the inverse logarithm below its origin, says nothing there.
    let says = |p: &Part| p.weight > LIGHTEST && p.mean.is_finite() && p.sd.is_finite();
    let mut keyed: Vec<((i64, i64), Part)> = parts.into_iter().filter(says).map(|p| (key(&p), p)).collect();
    keyed.sort_unstable_by_key(|k| k.0);
    let mut merged: Vec<Part> = keyed.chunk_by(|a, b| a.0 == b.0).map(|group| Part::merge(group.iter().map(|g| &g.1))).collect();
    let total: f64 = merged.iter().map(|p| p.weight).sum();
    merged.iter_mut().for_each(|p| p.weight /= total);
    merged
}

impl Part {
    fn merge<'a>(parts: impl Iterator<Item = &'a Part> + Clone) -> Self {
        let sum = |of: &dyn Fn(&Part) -> f64| parts.clone().map(of).sum::<f64>();
        let weight = sum(&|p| p.weight);
        let mean = sum(&|p| p.weight * p.mean) / weight;
        let variance = sum(&|p| p.weight * (p.sd * p.sd + (p.mean - mean).powi(2))) / weight;
        Self { weight, mean, sd: variance.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(rows: &[(f64, f64, f64)]) -> Vec<Part> {
        rows.iter().map(|&(weight, mean, sd)| Part { weight, mean, sd }).collect()
    }

    #[test]
    fn quantiles_invert_the_distribution_function_and_ascend() {
        let mixture = Mixture::new(parts(&[(0.3, 0.2, 0.01), (0.5, 0.6, 0.1), (0.2, 0.61, 1e-5)]), (0.0, 1.0));
        let probabilities: Vec<f64> = (1..40).map(|i| f64::from(i) / 40.0).collect();
        let quantiles = mixture.quantiles(&probabilities);
        assert!(quantiles.is_sorted());
        for (q, x) in probabilities.iter().zip(&quantiles) {
            let (below, above) = (mixture.cdf(x - 1e-5), mixture.cdf(x + 1e-5));
            assert!(below <= q + 1e-4 && above >= q - 1e-4, "{q}: {x} {below} {above}");
        }
    }

    #[test]
    fn what_lies_beyond_an_end_lies_at_the_end() {
        let mixture = Mixture::new(parts(&[(1.0, 0.0, 0.1)]), (0.0, 1.0));
        assert_eq!(mixture.quantiles(&[0.05, 0.4])[..], [0.0, 0.0]);
        let mean = 0.1 / (2.0 * std::f64::consts::PI).sqrt();
        assert!((mixture.mean() - mean).abs() < 1e-6);
        assert_eq!((mixture.cdf(-1e-9), mixture.cdf(1.0)), (0.0, 1.0));
    }
}
