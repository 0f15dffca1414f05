//! A bootstrap interval that corrects for bias and skewness (BCa, Efron 1987).

use statrs::distribution::{ContinuousCDF, Normal};

use super::Interval;
use super::sample::{mean, quantile};
use crate::base::seed::Stream;

/// Interval of the median at `level` (0..1) from `resamples` resamples; `None` below three values.
pub fn median_interval(values: &[f64], level: f64, resamples: usize, stream: &mut Stream) -> Option<Interval> {
    if values.len() < 3 {
        return None;
    }
    let point = median(values)?;
    let mut drawn = vec![0.0; values.len()];
    let mut medians = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        drawn.fill_with(|| values[stream.below(values.len())]);
        medians.extend(median(&drawn));
    }
    medians.sort_unstable_by(f64::total_cmp);

    let normal = Normal::new(0.0, 1.0).ok()?;
    // Ties count half: a median repeats among resamples.
    let (below, up_to) = (medians.partition_point(|m| *m < point), medians.partition_point(|m| *m <= point));
    let share = (below + up_to) as f64 / 2.0 / resamples.max(1) as f64;
    let bias = normal.inverse_cdf(share.clamp(0.5 / resamples as f64, 1.0 - 0.5 / resamples as f64));
    let skew = acceleration(values)?;
    let end = |probability: f64| {
        let z = bias + normal.inverse_cdf(probability);
        quantile(&medians, normal.cdf(bias + z / (1.0 - skew * z)))
    };
    Some(Interval { level, lower: end((1.0 - level) / 2.0)?, upper: end((1.0 + level) / 2.0)? })
}

/// Skewness of the median's influence, from leaving out each value in turn; 0 where it has no influence at all.
fn acceleration(values: &[f64]) -> Option<f64> {
    let without = |left_out: usize| {
        let rest: Vec<f64> = values.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, v)| *v).collect();
        median(&rest)
    };
    let medians: Vec<f64> = (0..values.len()).filter_map(without).collect();
    let centre = mean(&medians)?;
    let sum = |power: i32| medians.iter().map(|m| (centre - m).powi(power)).sum::<f64>();
    let spread = sum(2);
    Some(if spread > 0.0 { sum(3) / (6.0 * spread.powf(1.5)) } else { 0.0 })
}

/// The median; `None` for an empty sample.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut ascending = values.to_vec();
    ascending.sort_unstable_by(f64::total_cmp);
    quantile(&ascending, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_covers_the_median_about_as_often_as_it_says() {
        let mut stream = Stream::new(1, "bootstrap-coverage");
        let covered = (0..300).filter(|_| {
            // Skewed: the median of exp(z) is 1.
            let values: Vec<f64> = (0..25).map(|_| stream.normal().exp()).collect();
            median_interval(&values, 0.9, 400, &mut stream).unwrap().contains(1.0)
        });
        let share = covered.count() as f64 / 300.0;
        assert!((0.84..=0.97).contains(&share), "{share}");
    }

    #[test]
    fn equal_values_have_an_interval_of_no_width_and_two_have_none() {
        let mut stream = Stream::new(1, "bootstrap");
        let interval = median_interval(&[0.5; 8], 0.95, 200, &mut stream).unwrap();
        assert_eq!((interval.lower, interval.upper), (0.5, 0.5));
        assert_eq!(median_interval(&[1.0, 2.0], 0.95, 200, &mut stream), None);
    }
}
