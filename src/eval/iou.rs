//! Temporal intersection over union (tIoU) of two segments.

use crate::data::Segment;

/// Length of the intersection over length of the union, 0 for segments that do not meet.
///
/// Two empty segments have no union: the result is then NaN, and so it is when an inverted segment cancels the length of
/// the other one. Published evaluators count such a pair as a match, and so does [`evaluate`](super::evaluate).
#[inline]
pub fn tiou(a: Segment, b: Segment) -> f64 {
    let intersection = (a.end.min(b.end) - a.start.max(b.start)).max(0.0);
    intersection / (a.length() + b.length() - intersection)
}

/// [`tiou`] as the evaluators rank matches: an undefined overlap comes before every other one and passes every
/// threshold, since they test `tiou < threshold` and sort NaN last in ascending order.
#[inline]
pub(super) fn match_quality(detection: Segment, instance: Segment) -> f64 {
    let overlap = tiou(detection, instance);
    if overlap.is_nan() { f64::INFINITY } else { overlap }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: f64, end: f64) -> Segment {
        Segment { start, end }
    }

    #[test]
    fn overlap_is_common_time_over_covered_time() {
        assert_eq!(tiou(segment(0.0, 4.0), segment(2.0, 6.0)), 2.0 / 6.0);
        assert_eq!(tiou(segment(0.0, 1.0), segment(1.0, 2.0)), 0.0);
        assert_eq!(tiou(segment(0.0, 1.0), segment(5.0, 6.0)), 0.0);
        assert_eq!(tiou(segment(3.0, 5.0), segment(3.0, 5.0)), 1.0);
    }

    #[test]
    fn two_empty_segments_count_as_a_match() {
        assert!(tiou(segment(1.0, 1.0), segment(1.0, 1.0)).is_nan());
        assert_eq!(match_quality(segment(1.0, 1.0), segment(1.0, 1.0)), f64::INFINITY);
    }
}
