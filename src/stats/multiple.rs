//! Keeping the probability of a false alarm where several questions are asked, or one question several times.

/// Error probability per look that keeps the whole at `0.05` when the data are looked at up to `looks` times (Pocock 1977);
/// `None` for no look or more than five.
pub fn pocock(looks: usize) -> Option<f64> {
    const LEVELS: [f64; 5] = [0.05, 0.0294, 0.0221, 0.0182, 0.0158];
    LEVELS.get(looks.checked_sub(1)?).copied()
}

/// The level each of several hypotheses is tested at so that any false alarm among them has probability `alpha` (Holm 1979):
/// the smallest p-value is held against `alpha / m`, and each next one against a larger share as long as all before it
/// were significant.
pub fn holm(p_values: &[f64], alpha: f64) -> Vec<f64> {
    let m = p_values.len();
    let mut order: Vec<usize> = (0..m).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let (mut levels, mut rejected) = (vec![0.0; m], 0);
    for (rank, &at) in order.iter().enumerate() {
        levels[at] = alpha / (m - rejected) as f64;
        if rejected == rank && p_values[at] <= levels[at] {
            rejected += 1;
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_gives_the_next_hypothesis_more_only_after_a_rejection() {
        let level = |p: &[f64]| holm(p, 0.06);
        assert_eq!(level(&[0.5, 0.01, 0.025]), [0.06, 0.02, 0.03]);
        // The second is not significant at 0.03, so the third is tested no more generously.
        assert_eq!(level(&[0.04, 0.01, 0.035]), [0.03, 0.02, 0.03]);
        assert_eq!(level(&[0.04]), [0.06]);
        assert_eq!(level(&[]), [0.0; 0]);
    }

    #[test]
    fn more_looks_make_each_stricter() {
        let levels: Vec<f64> = (1..=5).map(|looks| pocock(looks).unwrap()).collect();
        assert!(levels.is_sorted_by(|a, b| a > b));
        assert_eq!((pocock(0), pocock(6)), (None, None));
    }
}
