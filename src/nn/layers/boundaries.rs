//! Startness and endness per cell: their targets, and the cells that may hold a boundary (BMN's rules, which ETAD and G-TAD
//! share).

/// Startness or endness per cell: the share of the cell inside a region 3 cells wide around a boundary, the largest over
/// the boundaries. `boundaries` in 0..1 of the input.
pub fn boundary_curve(boundaries: impl Iterator<Item = f64> + Clone, time: usize) -> Vec<f32> {
    let cell = 1.0 / time as f64;
    let share = |j: usize, g: f64| {
        let (low, high) = (j as f64 * cell, (j + 1) as f64 * cell);
        (high.min(g + 1.5 * cell) - low.max(g - 1.5 * cell)).max(0.0) / (cell + 1e-6)
    };
    (0..time).map(|j| boundaries.clone().map(|g| share(j, g)).fold(0.0, f64::max) as f32).collect()
}

/// Cells that may hold a boundary: above half of the curve's maximum or a strict local maximum (outside counts as 0).
pub fn boundary_mask(p: &[f32]) -> Vec<bool> {
    let half = 0.5 * p.iter().copied().fold(0.0, f32::max);
    let at = |j: isize| usize::try_from(j).ok().and_then(|j| p.get(j)).copied().unwrap_or(0.0);
    (0..p.len()).map(|j| p[j] > half || (p[j] > at(j as isize - 1) && p[j] > at(j as isize + 1))).collect()
}
