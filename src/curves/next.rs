//! What one more seed, or one more size, would do for a forecast: whether to train more on what there is, or to collect.

use serde::Serialize;

use super::Curve;
use super::design::Joint;

/// By how much a forecast's uncertainty would shrink.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Next {
    /// Multiple of the largest observed size that is foretold.
    pub times: f64,
    /// Share of its standard deviation that one more seed at every size takes off.
    pub by_a_seed: f64,
    /// A size that could be measured next, in training videos.
    pub n: f64,
    /// Seeds it would be trained with: as many as usual.
    pub seeds: usize,
    /// Share of the standard deviation that this size takes off.
    pub by_a_size: f64,
}

/// The size that could be measured next, as a multiple of the largest one.
const STEP: f64 = 1.5;

impl Curve {
    /// What would make the forecast at `times` the largest size surer: curves are drawn from the posterior, and those that a further
    /// measurement would contradict fall away (as in [`choose`](super::choose), taken as jointly normal).
    pub fn next(&self, times: f64) -> Next {
        let observed: Vec<f64> = self.sizes().iter().map(|s| s.n).collect();
        let (n, seeds) = (STEP * self.largest(), self.observed.usual_seeds());
        let sizes: Vec<f64> = observed.iter().copied().chain([n]).collect();
        let joint = Joint::new(self, &sizes, times * self.largest());
        let by = |more: &[f64]| {
            let mut joint = joint.clone();
            more.iter().for_each(|&n| joint.learn(n));
            joint.narrowed()
        };
        Next { times, by_a_seed: by(&observed), n, seeds, by_a_size: by(&vec![n; seeds]) }
    }
}

impl Next {
    /// In a sentence.
    pub fn in_words(&self) -> String {
        let Self { times, by_a_seed, n, seeds, by_a_size } = *self;
        let seeds = if seeds == 1 { "one seed".to_owned() } else { format!("{seeds} seeds") };
        format!(
            "one more seed at every size would take about {:.0} % off the uncertainty of the forecast at {times}×; one more size of {n:.0} \
             videos ({STEP}×, {seeds}) about {:.0} %",
            100.0 * by_a_seed,
            100.0 * by_a_size
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use crate::curves::{Observation, Options};
    use crate::stats::mean;

    fn drawn(stream: &mut Stream, sizes: &[f64]) -> Vec<Observation> {
        let (ceiling, exponent) = (0.6 + 0.3 * stream.uniform(), 0.4 + 0.6 * stream.uniform());
        let score = |n: f64| ceiling - 0.9 * n.powf(-exponent);
        let at = |&n: &f64| (0..3).map(|seed| (n, seed)).collect::<Vec<_>>();
        let observe =
            |(n, seed): (f64, u64)| Observation { n, score: (score(n) + 0.01 * stream.normal()).clamp(0.0, 1.0), seed: Some(seed) };
        sizes.iter().flat_map(at).map(observe).collect()
    }

    /// Foretold on three sizes, and what a fourth then does.
    #[test]
    fn a_further_size_narrows_as_foretold_in_the_mean() {
        let mut stream = Stream::new(3, "next");
        let sd = |curve: &Curve| curve.expected(160.0).interval.width();
        let (foretold, came): (Vec<f64>, Vec<f64>) = (0..40)
            .map(|_| {
                let all = drawn(&mut stream, &[20.0, 40.0, 80.0, 120.0]);
                let curve = Curve::fit(&all[..9], &Options::default()).unwrap();
                let next = curve.next(2.0);
                assert_eq!((next.n, next.seeds), (120.0, 3));
                assert!(0.0 <= next.by_a_seed && next.by_a_seed < next.by_a_size && next.by_a_size < 1.0, "{next:?}");
                (next.by_a_size, 1.0 - sd(&Curve::fit(&all, &Options::default()).unwrap()) / sd(&curve))
            })
            .unzip();
        let (foretold, came) = (mean(&foretold).unwrap(), mean(&came).unwrap());
        assert!((foretold - came).abs() < 0.15, "{foretold} {came}");
    }
}
