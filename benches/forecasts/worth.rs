//! What answers are worth, in proper scores.

use super::cases::Case;
use super::engines::Answer;

/// Levels of the quantiles: 5 % to 95 %.
const LEVELS: usize = 19;

pub fn levels() -> Vec<f64> {
    (1..=LEVELS).map(|i| i as f64 / (LEVELS + 1) as f64).collect()
}

/// What a method's answers are worth.
pub struct Worth {
    /// Absolute error of the median: median, mean, 90th percentile.
    pub median: f64,
    pub mean: f64,
    pub p90: f64,
    /// Continuous ranked probability score: twice the mean pinball loss; the absolute error of a single number.
    pub crps: f64,
    /// Of the intervals 90, 80 and 50; `None` for a single number.
    pub coverage: Option<[f64; 3]>,
    /// Mean width of the 90 % interval, and its interval score.
    pub width: f64,
    pub interval_score: f64,
    /// Integrated Brier score over ln n of "the target is reached by n"; `None` without targets.
    pub brier: Option<f64>,
}

pub fn worth(cases: &[&Case], answers: &[&Answer]) -> Worth {
    let pairs: Vec<(f64, &[f64])> = cases.iter().zip(answers).map(|(c, a)| (c.last().1, a.quantiles.as_slice())).collect();
    let of = |f: &dyn Fn(f64, &[f64]) -> f64| mean(pairs.iter().map(|&(truth, q)| f(truth, q)));
    let mut errors: Vec<f64> = pairs.iter().map(|(truth, q)| (q[q.len() / 2] - truth).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let at = |q: f64| errors[((errors.len() - 1) as f64 * q).round() as usize];
    let inside = |low: usize| of(&|truth, q| f64::from(u8::from((q[low]..=q[LEVELS - 1 - low]).contains(&truth))));
    let ends = |q: &[f64]| (q[0], q[q.len() - 1]);
    Worth {
        median: at(0.5),
        mean: mean(errors.iter().copied()),
        p90: at(0.9),
        crps: of(&pinball),
        coverage: pairs.iter().all(|(_, q)| q.len() == LEVELS).then(|| [inside(0), inside(1), inside(4)]),
        width: of(&|_, q| ends(q).1 - ends(q).0),
        interval_score: of(&|truth, q| {
            let (low, high) = ends(q);
            (high - low) + 20.0 * ((low - truth).max(0.0) + (truth - high).max(0.0))
        }),
        brier: brier(cases, answers),
    }
}

fn pinball(truth: f64, quantiles: &[f64]) -> f64 {
    if quantiles.len() == 1 {
        return (quantiles[0] - truth).abs();
    }
    let loss = |(q, level): (&f64, f64)| if truth >= *q { level * (truth - q) } else { (1.0 - level) * (q - truth) };
    2.0 * mean(quantiles.iter().zip(levels()).map(loss))
}

/// Over the targets that were not reached at the largest size seen; sizes beyond the largest one known do not count.
fn brier(cases: &[&Case], answers: &[&Answer]) -> Option<f64> {
    let of = |(case, answer): (&&Case, &&Answer)| {
        let score = |(target, said): (&f64, &Vec<f64>)| {
            mean(case.came(*target).into_iter().zip(said).map(|(came, p)| (p - f64::from(u8::from(came))).powi(2)))
        };
        case.targets.iter().zip(&answer.reached).map(score).collect::<Vec<_>>()
    };
    let scores: Vec<f64> = cases.iter().zip(answers).flat_map(of).collect();
    (!scores.is_empty()).then(|| mean(scores))
}

/// Root mean squared error of the logarithm of the median over all sizes asked, averaged over curves.
pub fn rmsle(cases: &[Case], median: impl Fn(&Case) -> Box<dyn Fn(f64) -> f64>) -> f64 {
    let of = |case: &Case| {
        let curve = median(case);
        mean(case.asked.iter().map(|&(n, truth)| (curve(n).max(1e-9).ln() - truth.ln()).powi(2))).sqrt()
    };
    mean(cases.iter().map(of))
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
    sum / count
}
