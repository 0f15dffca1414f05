//! How forecasts of a kind did on curves that were left out: what stands beside a forecast so that it can be judged.
//!
//! The table is written by `cargo bench -- validate` from the held-out parts of its
//! cross-validation: of the engine as each part's training curves chose it, not of the shipped prior, which has seen them all.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// What became of forecasts of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Sizes seen; 5 stands for more, too.
    pub sizes: usize,
    /// Seeds per size: 1, or 3 for several.
    pub seeds: usize,
    /// How far beyond the largest size, as a multiple of it: 2 for up to 3, 3 for up to 4.5, 10 for more.
    pub times: f64,
    /// Left-out curves.
    pub curves: usize,
    /// Median of the absolute errors, in the scale of the scores.
    pub median_error: f64,
    /// Share of what came inside the 90 % interval.
    pub coverage: f64,
    /// Mean width of that interval.
    pub width: f64,
}

static RECORDS: LazyLock<Vec<Record>> = LazyLock::new(|| {
    let mut table = csv::Reader::from_reader(include_str!("record.csv").as_bytes());
    table.deserialize().map(|row| row.expect("the bench wrote it")).collect()
});

impl Record {
    /// The kind that a forecast belongs to: sizes seen, seeds per size and multiple of the largest size.
    pub fn kind(sizes: usize, seeds: usize, times: f64) -> (usize, usize, f64) {
        let times = [2.0, 3.0].into_iter().find(|t| times <= t * 1.5).unwrap_or(10.0);
        (sizes.clamp(2, 5), if seeds > 1 { 3 } else { 1 }, times)
    }

    /// The record of such forecasts; `None` where no left-out curve says anything.
    pub fn of(sizes: usize, seeds: usize, times: f64) -> Option<Self> {
        let kind = Self::kind(sizes, seeds, times);
        RECORDS.iter().find(|r| (r.sizes, r.seeds, r.times) == kind).copied()
    }

    /// In a sentence, with scores written by `score`.
    pub fn in_words(&self, score: impl Fn(f64) -> String) -> String {
        let Self { sizes, seeds, times, curves, median_error, coverage, width } = *self;
        let sizes = if sizes == 5 { "5 or more".to_owned() } else { sizes.to_string() };
        let seeds = if seeds == 1 { "one seed" } else { "several seeds" };
        let far = match times {
            2.0 => "up to 3×",
            3.0 => "3 to 4.5×",
            _ => "more than 4.5×",
        };
        format!(
            "{far} beyond {sizes} sizes of {seeds}, forecasts of {curves} left-out curves had a median error of {}; {:.0} % lay inside the 90 % \
             interval, which was {} wide in the mean",
            score(median_error),
            100.0 * coverage,
            score(width)
        )
    }
}
