//! Interpolated average precision of one ranked list (PASCAL VOC 2011).

/// Area under the precision envelope.
///
/// `hits` are the ranks (from 1, ascending) at which a detection matched an instance; `positives` is the number of
/// instances. Precision only falls between two hits, so the envelope needs no other rank.
pub(super) fn average_precision(hits: &[u32], positives: usize) -> f64 {
    let mut envelope = 0.0_f64;
    let mut area = 0.0;
    for (found, &rank) in hits.iter().enumerate().rev() {
        envelope = envelope.max((found + 1) as f64 / f64::from(rank));
        area += envelope;
    }
    area / positives as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: extend the precision-recall curve, take the running maximum from the right, sum the steps.
    fn by_definition(hits: &[u32], detections: u32, positives: usize) -> f64 {
        let mut curve = vec![(0.0, 0.0)];
        let mut found = 0.0;
        for rank in 1..=detections {
            found += f64::from(u8::from(hits.contains(&rank)));
            curve.push((found / positives as f64, found / f64::from(rank)));
        }
        curve.push((1.0, 0.0));
        for i in (0..curve.len() - 1).rev() {
            curve[i].1 = curve[i].1.max(curve[i + 1].1);
        }
        curve.windows(2).map(|pair| (pair[1].0 - pair[0].0) * pair[1].1).sum()
    }

    #[test]
    fn a_perfect_ranking_has_precision_one_and_an_empty_one_zero() {
        assert_eq!(average_precision(&[1, 2, 3], 3), 1.0);
        assert_eq!(average_precision(&[], 3), 0.0);
        assert_eq!(average_precision(&[2], 2), 0.25);
    }

    proptest! {
        #[test]
        fn summing_over_hits_equals_the_definition(matched in proptest::collection::vec(any::<bool>(), 1..60), missed in 0_usize..5) {
            let hits: Vec<u32> = (1..).zip(&matched).filter(|(_, hit)| **hit).map(|(rank, _)| rank).collect();
            let positives = (hits.len() + missed).max(1);
            let expected = by_definition(&hits, matched.len() as u32, positives);
            prop_assert!((average_precision(&hits, positives) - expected).abs() < 1e-12);
        }
    }
}
