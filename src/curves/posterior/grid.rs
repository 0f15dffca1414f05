//! The shapes that are averaged over, seen from one curve's sizes.

use std::ops::Range;

use super::prior::{BELIEFS, Prior};
use crate::curves::{CurveFamily, Shape};

/// Every shape of some families at the sizes of one curve.
///
/// The error (1 − score) is written as `level + drop · u`: for most families u is 0 at the largest size and 1 at the
/// smallest, so that level and drop are the error at n_K and what was gained over the observed range. A grounded family
/// has level 1 and u = −(share of the rise made).
pub struct Grid {
    families: Vec<Block>,
    pub shapes: Vec<Shape>,
    /// ln prior weight of each shape under each belief.
    pub ln_prior: Vec<[f64; BELIEFS]>,
    /// u at each size, a row per size.
    pub rows: Vec<Vec<f64>>,
    /// Per shape: u = (remaining − origin) / span.
    origin: Vec<f64>,
    span: Vec<f64>,
    /// −u at unlimited data.
    pub to_come: Vec<f64>,
}

struct Block {
    family: &'static dyn CurveFamily,
    shapes: Range<usize>,
}

impl Grid {
    /// `t` holds ln(n / n_K), ascending up to 0.
    pub fn new(families: &[&'static dyn CurveFamily], t: &[f64], prior: &Prior) -> Self {
        let mut blocks = Vec::with_capacity(families.len());
        let (mut shapes, mut ln_prior) = (Vec::new(), Vec::new());
        let beliefs = prior.beliefs().map(|(_, belief)| {
            let total: f64 = families.iter().map(|f| belief.of_family(f.name()).exp()).sum();
            (belief, total.ln())
        });
        for &family in families {
            let grid = family.grid(-t[0]);
            blocks.push(Block { family, shapes: shapes.len()..shapes.len() + grid.len() });
            let among = (grid.len() as f64).ln();
            ln_prior.extend(grid.iter().map(|shape| {
                beliefs.map(|(belief, total)| {
                    // A family that is used alone is believed in.
                    let of_family = if total.is_finite() { belief.of_family(family.name()) - total } else { 0.0 };
                    of_family - among + belief.of_shape(family.parameters(), shape)
                })
            }));
            shapes.extend(grid);
        }
        let count = shapes.len();
        let mut grid = Self {
            families: blocks,
            shapes,
            ln_prior,
            rows: Vec::new(),
            origin: vec![0.0; count],
            span: vec![1.0; count],
            to_come: Vec::new(),
        };
        let remaining: Vec<Vec<f64>> = t.iter().map(|&t| grid.remaining(t)).collect();
        let (first, last) = (&remaining[0], &remaining[t.len() - 1]);
        for block in &grid.families {
            for g in block.shapes.clone() {
                let span = first[g] - last[g];
                if block.family.grounded() {
                    grid.origin[g] = 1.0;
                } else if span > 1e-12 * first[g] && span.is_finite() {
                    (grid.origin[g], grid.span[g]) = (last[g], span);
                } else {
                    // Has no step within the observed range: the constant says the same.
                    grid.ln_prior[g] = [f64::NEG_INFINITY; BELIEFS];
                }
            }
        }
        let seen = |remaining: &[f64]| remaining.iter().zip(&grid.origin).zip(&grid.span).map(|((s, o), d)| (s - o) / d).collect();
        grid.rows = remaining.iter().map(|s| seen(s)).collect();
        grid.to_come = grid.origin.iter().zip(&grid.span).map(|(o, d)| o / d).collect();
        grid
    }

    /// What remains of every shape at `t`.
    fn remaining(&self, t: f64) -> Vec<f64> {
        let mut remaining = vec![0.0; self.shapes.len()];
        for block in &self.families {
            block.family.remaining_of(&self.shapes[block.shapes.clone()], t, &mut remaining[block.shapes.clone()]);
        }
        remaining
    }

    /// u of one shape at `t`.
    pub fn u(&self, g: usize, t: f64) -> f64 {
        (self.family(g).remaining(&self.shapes[g], t) - self.origin[g]) / self.span[g]
    }

    /// The family of a shape.
    pub fn family(&self, g: usize) -> &'static dyn CurveFamily {
        self.families.iter().find(|b| b.shapes.contains(&g)).expect("every shape has a family").family
    }

    /// The families and their shapes.
    pub fn blocks(&self) -> impl Iterator<Item = (&'static dyn CurveFamily, Range<usize>)> {
        self.families.iter().map(|b| (b.family, b.shapes.clone()))
    }

    /// For each shape, whether its level is fixed at 1.
    pub fn grounded(&self) -> impl Iterator<Item = bool> {
        self.families.iter().flat_map(|b| b.shapes.clone().map(|_| b.family.grounded()))
    }
}
