//! Logistic in n: an S-curve on the linear axis that saturates early, the most cautious about more data.

use crate::curves::family::{CEILING, CEILING_PRIOR};
use crate::curves::{CurveFamily, Link, Normal, Parameter, Range};

pub(super) struct Logistic;

impl CurveFamily for Logistic {
    fn name(&self) -> &'static str {
        "logistic"
    }

    fn formula(&self) -> &'static str {
        "ceiling / (1 + exp(−(n − middle)/width))"
    }

    fn source(&self) -> &'static str {
        "logistic growth; fitted to limited-data detection curves in the literature"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[
            CEILING,
            Parameter { name: "middle", meaning: "videos at half of the ceiling", link: Link::Log },
            Parameter { name: "width", meaning: "videos over which the rise spreads", link: Link::Log },
        ]
    }

    fn prior(&self, range: &Range) -> Vec<Normal> {
        vec![CEILING_PRIOR, range.of_size(), range.of_size()]
    }

    fn value(&self, values: &[f64], n: f64) -> f64 {
        values[0] / (1.0 + ((values[1] - n) / values[2]).exp())
    }
}
