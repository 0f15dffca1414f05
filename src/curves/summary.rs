//! Everything that is asked of one curve, answered at once: what `etalon fit` prints and a report shows.

use std::str::FromStr;

use serde::Serialize;

use super::{
    Backtest, Curve, Error, FamilyFit, Forecast, Gain, Next, Observation, Options, Reach, Record, Saturation, Size, Warning, backtest,
};

/// A size asked for: a multiple of the largest observed one (`"2x"`) or a number of videos (`"500"`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// Multiple of the largest observed size.
    Times(f64),
    /// Training videos.
    Videos(f64),
}

/// A text that is no size.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0:?} is no size: write a multiple of the largest observed one, such as \"2x\", or a number of videos, such as \"500\"")]
pub struct BadAt(String);

impl FromStr for At {
    type Err = BadAt;

    fn from_str(text: &str) -> Result<Self, BadAt> {
        let bad = || BadAt(text.to_owned());
        let (number, times) = match text.trim().strip_suffix(['x', '×']) {
            Some(number) => (number, true),
            None => (text.trim(), false),
        };
        let value: f64 = number.trim().parse().map_err(|_| bad())?;
        match value > 0.0 && value.is_finite() {
            true if times => Ok(Self::Times(value)),
            true => Ok(Self::Videos(value)),
            false => Err(bad()),
        }
    }
}

impl At {
    /// Training videos, given the largest observed size.
    pub fn videos(self, largest: f64) -> f64 {
        match self {
            Self::Times(factor) => factor * largest,
            Self::Videos(n) => n,
        }
    }
}

/// What is asked of a curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    /// Sizes to forecast.
    pub at: Vec<At>,
    /// Scores to reach.
    pub targets: Vec<f64>,
}

/// The answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The curve's name.
    pub name: String,
    /// Mean scores by size.
    pub observations: Vec<Size>,
    /// Families, most probable first.
    pub families: Vec<FamilyFit>,
    /// What twice and three times the largest size are worth.
    pub gains: Vec<Gain>,
    /// Whether doubling the data still brings a worthwhile improvement.
    pub saturation: Saturation,
    /// In the order asked.
    pub forecasts: Vec<Forecast>,
    /// How forecasts like those of `gains` did on curves that were left out.
    pub records: Vec<Record>,
    /// What would make the forecast at twice the largest size surer.
    pub next: Next,
    /// In the order asked.
    pub targets: Vec<Reach>,
    /// `None` with fewer than four sizes.
    pub backtest: Option<Backtest>,
    /// Reasons for caution.
    pub warnings: Vec<Warning>,
}

/// A forecast up to this multiple of the largest size is not called far even without a backtest.
const NEAR: f64 = 1.5;
/// How much further than tested a forecast may reach before it is called far.
const SLACK: f64 = 1.1;

impl Curve {
    /// Answers `questions`, with the backtest of the same observations beside them.
    ///
    /// # Errors
    /// As [`Curve::fit`].
    pub fn summary(&self, name: &str, observations: &[Observation], questions: &Questions, options: &Options) -> Result<Summary, Error> {
        let backtest = backtest(observations, options)?;
        let forecasts: Vec<Forecast> = questions.at.iter().map(|at| self.forecast(at.videos(self.largest()))).collect();
        let gains = [2.0, 3.0].map(|times| self.gain(times));
        let of = |g: &Gain| Record::of(self.observed.sizes.len(), self.fewest_seeds(), g.times);
        let mut records: Vec<Record> = gains.iter().filter_map(of).collect();
        records.dedup();
        let families = self.families();
        let mut warnings = self.warnings(&families);
        let factor = forecasts.iter().map(|f| f.n / self.largest()).fold(1.0, f64::max);
        let tested = backtest.as_ref().map(|b| b.tested_factor);
        if factor > NEAR.max(tested.unwrap_or(0.0)) * SLACK {
            warnings.push(Warning::FarHorizon { factor, tested });
        }
        Ok(Summary {
            name: name.to_owned(),
            observations: self.sizes(),
            saturation: self.saturation(&gains[0]),
            gains: gains.into(),
            records,
            next: self.next(2.0),
            families,
            targets: questions.targets.iter().map(|&score| self.reach(score)).collect(),
            forecasts,
            backtest,
            warnings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_multiples_or_videos() {
        assert_eq!("2x".parse(), Ok(At::Times(2.0)));
        assert_eq!(" 1.5× ".parse(), Ok(At::Times(1.5)));
        assert_eq!("500".parse(), Ok(At::Videos(500.0)));
        for bad in ["", "x", "-3", "0x", "inf", "2y", "nan"] {
            assert_eq!(bad.parse::<At>(), Err(BadAt(bad.to_owned())));
        }
    }

    #[test]
    fn a_forecast_beyond_the_tested_horizon_is_told() {
        let observations: Vec<Observation> = [20.0, 40.0, 60.0, 80.0]
            .iter()
            .flat_map(|&n| (0..3).map(move |s| Observation { n, score: n / (n + 60.0 + s as f64), seed: Some(s) }))
            .collect();
        let options = Options::default();
        let curve = Curve::fit(&observations, &options).unwrap();
        let ask = |at: &str| {
            let questions = Questions { at: vec![at.parse().unwrap()], targets: vec![] };
            curve.summary("c", &observations, &questions, &options).unwrap().warnings
        };
        assert!(ask("10x").iter().any(|w| matches!(w, Warning::FarHorizon { tested: Some(_), .. })));
        assert!(!ask("1.2x").iter().any(|w| matches!(w, Warning::FarHorizon { .. })));
    }
}
