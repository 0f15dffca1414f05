//! The `[protocol]` table of an experiment.

use serde::{Deserialize, Serialize};

use crate::base::Percent;

/// How videos are split, drawn and trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolConfig {
    /// Subsets whose videos may be split (or, with an official split, `pool[0]` trains and `pool[1]` tests).
    #[serde(default = "default_pool")]
    pub pool: Vec<String>,
    /// `"official"` or `{ test = 0.20, seed = 2023 }`.
    pub split: SplitRule,
    /// Percent of the training part, ascending.
    pub fractions: Vec<Percent>,
    /// One cell per seed and fraction.
    pub seeds: Vec<u64>,
    /// How the videos of a fraction are drawn.
    #[serde(default)]
    pub sampling: Sampling,
    /// Redraw until every class appears, at most `max_draws` times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// What is held equal between fractions.
    #[serde(default)]
    pub budget: Budget,
}

fn default_pool() -> Vec<String> {
    vec!["training".into(), "validation".into()]
}

/// What is split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", untagged)]
pub enum SplitRule {
    /// helper H4: replace by a hand-written Deserialize so that a bad value gives a clear message
    Named(String),
    /// A seeded random split.
    Random {
        /// Share of the videos that test.
        test: f64,
        /// Seed of the split; the same for every cell.
        seed: u64,
    },
}

/// How the videos of a fraction are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// A fresh draw for every (fraction, seed).
    #[default]
    Independent,
    /// Per seed, a larger fraction contains the smaller ones.
    Nested,
    /// Class shares follow the whole training part as far as whole videos allow.
    Stratified,
}

/// The every-class rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coverage {
    /// Only `"every-class"` exists.
    pub rule: CoverageRule,
    /// Draws after which the best draw so far is taken and noted.
    #[serde(default = "default_max_draws")]
    pub max_draws: u32,
}

fn default_max_draws() -> u32 {
    1000
}

/// Which classes a sample must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CoverageRule {
    /// Each class of the training part at least once.
    EveryClass,
}

/// What is held equal between fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Budget {
    /// The same number of passes: fewer updates on less data.
    #[default]
    Epochs,
    /// The same number of updates at every fraction.
    Steps,
}
