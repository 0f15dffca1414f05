//! What must hold for every curve, tried on many.

use proptest::prelude::*;

use super::*;

/// Seeds of a curve that rises, stands still or falls, with some noise.
#[derive(Clone, Debug)]
struct Any {
    observations: Vec<Observation>,
}

fn any_curve() -> impl Strategy<Value = Any> {
    let sizes = prop::collection::vec(1.2f64..2.5, 2..7);
    let noise = prop::collection::vec(-1.0f64..1.0, 40);
    (1.0f64..1000.0, sizes, 1usize..6, 0.0f64..0.9, -0.3f64..0.9, 0.1f64..3.0, 0.0f64..0.06, noise).prop_map(
        |(first, factors, seeds, floor, rise, rate, spread, noise)| {
            let mut n = vec![first];
            n.extend(factors.iter().scan(first, |n, factor| {
                *n *= factor;
                Some(*n)
            }));
            let score =
                |n: f64, k: usize| (floor + rise * (1.0 - (1.0 + n / first).powf(-rate)) + spread * noise[k % noise.len()]).clamp(0.0, 1.0);
            let of_size = |(i, &n): (usize, &f64)| {
                (0..seeds).map(|seed| Observation { n, score: score(n, i * seeds + seed), seed: Some(seed as u64) }).collect::<Vec<_>>()
            };
            Any { observations: n.iter().enumerate().flat_map(of_size).collect() }
        },
    )
}

fn fit(observations: &[Observation]) -> Curve {
    Curve::fit(observations, &Options::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_unit_of_n_does_not_matter(any in any_curve(), by in 0.001f64..1000.0, ahead in 1.0f64..10.0) {
        let scaled: Vec<Observation> = any.observations.iter().map(|o| Observation { n: o.n * by, ..*o }).collect();
        let (one, other) = (fit(&any.observations), fit(&scaled));
        let (a, b) = (one.forecast(one.largest() * ahead), other.forecast(other.largest() * ahead));
        for (a, b) in [(a.median, b.median), (a.interval.lower, b.interval.lower), (a.interval.upper, b.interval.upper), (a.mean, b.mean)] {
            prop_assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn forecasts_are_scores_and_quantiles_ascend(any in any_curve(), times in 0.3f64..50.0) {
        let curve = fit(&any.observations);
        let probabilities: Vec<f64> = (1..50).map(|i| f64::from(i) / 50.0).collect();
        let quantiles = curve.quantiles(curve.largest() * times, &probabilities);
        prop_assert!(quantiles.is_sorted() && quantiles.iter().all(|q| (0.0..=1.0).contains(q)), "{quantiles:?}");
        let mean = curve.forecast(curve.largest() * times).mean;
        prop_assert!((0.0..=1.0).contains(&mean), "{mean}");
    }

    #[test]
    fn more_data_never_makes_a_target_less_likely(any in any_curve(), target in 0.0f64..1.0) {
        let curve = fit(&any.observations);
        let requirement = curve.requirement(target);
        let chances: Vec<f64> = (-10..60).map(|i| requirement.probability(curve.largest() * (0.1 * f64::from(i)).exp())).collect();
        prop_assert!(chances.is_sorted() && chances.iter().all(|p| (0.0..=1.0).contains(p)), "{chances:?}");
        let reach = curve.reach(target);
        let ends = [reach.n_lower, reach.n_median, reach.n_upper].map(|n| n.unwrap_or(f64::INFINITY));
        prop_assert!(ends.is_sorted(), "{reach:?}");
        let easier = curve.requirement(0.9 * target);
        prop_assert!(easier.probability(2.0 * curve.largest()) >= requirement.probability(2.0 * curve.largest()));
    }

    #[test]
    fn an_improvement_is_the_forecast_less_the_measurement(any in any_curve(), times in 1.1f64..5.0) {
        let curve = fit(&any.observations);
        let (gain, forecast) = (curve.gain(times), curve.forecast(curve.largest() * times));
        let measured = curve.sizes().last().unwrap().mean;
        prop_assert!((gain.today - measured).abs() < 1e-12);
        for (improvement, foretold) in [
            (gain.median, forecast.median), (gain.interval.lower, forecast.interval.lower), (gain.interval.upper, forecast.interval.upper),
        ] {
            prop_assert!((measured + improvement - foretold).abs() < 1e-12, "{gain:?} {forecast:?}");
        }
    }

    #[test]
    fn a_verdict_needs_the_measurement_and_the_curve(any in any_curve()) {
        let gain = fit(&any.observations).gain(2.0);
        match gain.saturation() {
            Saturation::Rising => prop_assert!(gain.probability >= 0.9 && gain.probability_of_rise >= 0.9),
            Saturation::Saturated => prop_assert!(gain.probability <= 0.1 && gain.probability_of_rise <= 0.1),
            _ => {}
        }
    }

    #[test]
    fn a_measurement_where_it_was_expected_never_widens_the_interval_there(any in any_curve(), times in 1.2f64..3.0) {
        // The noise of single runs is guessed from the curve's roughness, which a point more can change at will.
        prop_assume!(any.observations[1].n == any.observations[0].n);
        let before = fit(&any.observations);
        let n = before.largest() * times;
        let expected = before.expected(n);
        // As many seeds as usual, spread like the largest size's.
        let last: Vec<&Observation> = any.observations.iter().filter(|o| o.n == before.largest()).collect();
        let centre = last.iter().map(|o| o.score).sum::<f64>() / last.len() as f64;
        let added: Vec<Observation> =
            last.iter().map(|o| Observation { n, score: expected.median + o.score - centre, seed: o.seed }).collect();
        // Cut at an end of the scale they would no longer lie around what was expected.
        prop_assume!(added.iter().all(|o| (0.0..=1.0).contains(&o.score)));
        let more = [any.observations.clone(), added].concat();
        let after = fit(&more).expected(n);
        // Beyond noise: the spread over seeds is itself only known from what was seen.
        let sd = fit(&more).sizes().last().and_then(|s| s.sd).unwrap_or(0.0);
        let noise = 0.5 * sd / (last.len() as f64).sqrt() + 0.002;
        prop_assert!(after.interval.width() <= expected.interval.width() + 2.0 * noise, "{expected:?} {after:?}");
    }
}
