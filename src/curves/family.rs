//! What a curve family is: the shape of the way from no data to unlimited data, without its two levels.

/// A family of learning curves, `score(n) = ceiling − rise · remaining(n)`.
///
/// A family knows only its shape: how much of the rise is still to come at n videos. Ceiling and rise enter linearly, so
/// the posterior integrates them in closed form and only the shape needs a grid or an optimiser. All arithmetic is in
/// ln n, and a shape's sizes are logarithms too, so no unit of n is special.
///
/// ```
/// use etalon::curves::families;
/// let logistic = families::by_name("logistic").unwrap();
/// // Half of the rise at 50 videos, steepness 1 in ln n: a fifth is left at 200.
/// assert!((logistic.remaining(&[50f64.ln(), 1.0, 0.0, 0.0], 200f64.ln()) - 0.2).abs() < 1e-12);
/// ```
pub trait CurveFamily: Sync {
    /// Name on the command line and in reports.
    fn name(&self) -> &'static str;

    /// The formula in text.
    fn formula(&self) -> &'static str;

    /// Where the formula is used for learning curves.
    fn source(&self) -> &'static str;

    /// What the first numbers of a [`Shape`] mean.
    fn parameters(&self) -> &'static [Parameter];

    /// The part of the rise still to come at `ln_n`: falls with n, towards 0.
    fn remaining(&self, shape: &Shape, ln_n: f64) -> f64;

    /// The shapes to average over where the largest observed size is 1 (`ln n = 0`) and the smallest lies `span` below it
    /// in ln n. Covers what the data could tell apart and the inflections beyond them.
    fn grid(&self, span: f64) -> Vec<Shape>;

    /// Videos at which one more video gains most; `None` where the gain only shrinks.
    fn inflection(&self, shape: &Shape) -> Option<f64> {
        let _ = shape;
        None
    }

    /// Whether the score without data is 0, which ties the rise to the ceiling.
    fn grounded(&self) -> bool {
        false
    }

    /// [`Self::remaining`] of many shapes.
    fn remaining_of(&self, shapes: &[Shape], ln_n: f64, into: &mut [f64]) {
        for (out, shape) in into.iter_mut().zip(shapes) {
            *out = self.remaining(shape, ln_n);
        }
    }
}

/// Up to four numbers; those that a family has no parameter for are 0.
pub type Shape = [f64; 4];

/// A number of a shape, with its meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Name in output.
    pub name: &'static str,
    /// One phrase with the unit.
    pub meaning: &'static str,
    /// What kind of number.
    pub kind: Kind,
}

/// How a number of a shape is stored and what scaling n does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The logarithm of a number of videos.
    Size,
    /// A positive number without a unit.
    Positive,
}

impl Parameter {
    pub(super) const fn size(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning, kind: Kind::Size }
    }

    pub(super) const fn positive(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning, kind: Kind::Positive }
    }

    /// The number for people: videos rather than their logarithm.
    pub fn outward(&self, stored: f64) -> f64 {
        match self.kind {
            Kind::Size => stored.exp(),
            Kind::Positive => stored,
        }
    }
}

/// `count` numbers from `low` to `high`, equally far apart.
pub(super) fn linear(low: f64, high: f64, count: usize) -> impl Iterator<Item = f64> + Clone {
    (0..count).map(move |i| low + (high - low) * i as f64 / (count - 1) as f64)
}

/// `count` numbers from `low` to `high`, each the same multiple of the one before.
pub(super) fn geometric(low: f64, high: f64, count: usize) -> impl Iterator<Item = f64> + Clone {
    linear(low.ln(), high.ln(), count).map(f64::exp)
}

/// Shapes of a characteristic size (ln) and a second number.
pub(super) fn pairs(sizes: impl Iterator<Item = f64>, numbers: impl Iterator<Item = f64> + Clone) -> Vec<Shape> {
    sizes.flat_map(|size| numbers.clone().map(move |number| [size, number, 0.0, 0.0])).collect()
}

/// ln(1 + eˣ) without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
