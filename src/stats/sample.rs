//! Statistics of a sample. Every function answers `None` where the sample is too small for an answer: absent is never 0.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::{Estimate, Interval};

/// Arithmetic mean; `None` for an empty sample.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation (divisor n − 1); `None` below two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let centre = mean(values)?;
    let squares: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Standard error of the mean; `None` below two values.
pub fn standard_error(values: &[f64]) -> Option<f64> {
    standard_deviation(values).map(|sd| sd / (values.len() as f64).sqrt())
}

/// The mean with Student's t interval at `level` (0..1); `None` for an empty sample.
pub fn t_interval(values: &[f64], level: f64) -> Option<Estimate> {
    let point = mean(values)?;
    let interval = standard_error(values).map(|error| {
        let freedom = (values.len() - 1) as f64;
        let t = StudentsT::new(0.0, 1.0, freedom).expect("at least one degree of freedom").inverse_cdf(0.5 + level / 2.0);
        Interval { level, lower: point - t * error, upper: point + t * error }
    });
    Some(Estimate { point, interval })
}

/// Quantile `q` (0..1) of values in ascending order, interpolated linearly (type 7); `None` for an empty sample.
pub fn quantile(ascending: &[f64], q: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(last);
    // Equal neighbours are returned as they are, so that infinities do not turn into NaN.
    let (low, high) = (ascending[below], ascending[above]);
    Some(if low == high || share == 0.0 { low } else { low + share * (high - low) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_t_interval_of_five_values_is_the_tabulated_one() {
        // t(0.975, 4) = 2.776445; sd of 1..5 is sqrt(2.5).
        let estimate = t_interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95).unwrap();
        let half = 2.776_445_105 * (2.5f64 / 5.0).sqrt();
        assert_eq!(estimate.point, 3.0);
        assert!((estimate.interval.unwrap().upper - 3.0 - half).abs() < 1e-6);
    }

    #[test]
    fn one_value_has_a_mean_but_no_spread() {
        assert_eq!(t_interval(&[0.4], 0.9), Some(Estimate { point: 0.4, interval: None }));
        assert_eq!((mean(&[]), standard_error(&[1.0])), (None, None));
    }

    #[test]
    fn quantiles_interpolate_and_keep_infinities() {
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 3.0], 0.5), Some(1.5));
        assert_eq!(quantile(&[1.0, f64::INFINITY, f64::INFINITY], 0.9), Some(f64::INFINITY));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
