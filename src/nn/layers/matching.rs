//! One-to-one matching of predictions with instances at the least total cost.

/// The pairs (row, column) of the least total cost, ascending in the row, `min(rows, columns)` of them. `cost` is row-major.
///
/// A cost that is not finite (a diverged network) matches the first rows with the first columns: the loss that follows is
/// not finite either, and says so.
pub fn assign(rows: usize, columns: usize, cost: Vec<f64>) -> Vec<(usize, usize)> {
    assert_eq!(cost.len(), rows * columns, "a cost per row and column");
    match lsap::solve(rows, columns, &cost, false) {
        Ok((rows, columns)) => rows.into_iter().zip(columns).collect(),
        Err(_) => (0..rows.min(columns)).map(|i| (i, i)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    /// The least cost over all ways to give `columns` their own of `rows`.
    fn least(rows: &[usize], columns: usize, cost: &dyn Fn(usize, usize) -> f64) -> f64 {
        let Some(column) = columns.checked_sub(1) else { return 0.0 };
        let without = |i: usize| rows.iter().copied().filter(|&r| r != i).collect::<Vec<_>>();
        rows.iter().map(|&r| cost(r, column) + least(&without(r), column, cost)).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn no_other_assignment_is_cheaper() {
        let mut rng = Stream::new(0, "test/assign");
        for columns in 0..=4 {
            let cost: Vec<f64> = (0..6 * columns).map(|_| rng.normal()).collect();
            let pairs = assign(6, columns, cost.clone());
            assert_eq!(pairs.len(), columns);
            assert!(pairs.windows(2).all(|p| p[0].0 < p[1].0), "{pairs:?}");
            let total: f64 = pairs.iter().map(|&(r, c)| cost[r * columns + c]).sum();
            let best = least(&[0, 1, 2, 3, 4, 5], columns, &|r, c| cost[r * columns + c]);
            assert!((total - best).abs() < 1e-12, "{total} {best}");
        }
    }

    #[test]
    fn more_columns_than_rows_and_bad_costs_are_matched_too() {
        assert_eq!(assign(1, 3, vec![3.0, 1.0, 2.0]), [(0, 1)]);
        assert_eq!(assign(2, 1, vec![f64::NAN, 0.0]), [(0, 0)]);
    }
}
