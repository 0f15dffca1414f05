//! The `[protocol]` table of an experiment.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

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

/// What is split: `"official"`, or `{ test = 0.20, seed = 2023 }`.
#[derive(Clone, Debug, PartialEq)]
pub enum SplitRule {
    /// `pool[0]` trains, `pool[1]` tests.
    Official,
    /// A seeded random split of the pooled videos.
    Random {
        /// Share of the videos that test, in (0, 1).
        test: f64,
        /// Seed of the split; the same for every cell.
        seed: u64,
    },
}

/// The table form of [`SplitRule::Random`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RandomSplit {
    test: f64,
    seed: u64,
}

impl Serialize for SplitRule {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Official => s.serialize_str("official"),
            Self::Random { test, seed } => RandomSplit { test, seed }.serialize(s),
        }
    }
}

/// By hand, since an untagged enum would answer every mistake with "did not match any variant".
impl<'de> Deserialize<'de> for SplitRule {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Rule;
        impl<'de> Visitor<'de> for Rule {
            type Value = SplitRule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"official\" or { test = 0.20, seed = 2023 }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<SplitRule, E> {
                if name == "official" { Ok(SplitRule::Official) } else { Err(E::invalid_value(Unexpected::Str(name), &self)) }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SplitRule, A::Error> {
                let RandomSplit { test, seed } = RandomSplit::deserialize(MapAccessDeserializer::new(map))?;
                if test > 0.0 && test < 1.0 {
                    Ok(SplitRule::Random { test, seed })
                } else {
                    Err(de::Error::custom(format!("`test` = {test} must be a share above 0 and below 1, such as 0.20")))
                }
            }
        }
        d.deserialize_any(Rule)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        split: SplitRule,
    }

    #[test]
    fn both_forms_of_a_split_round_trip() {
        for rule in [SplitRule::Official, SplitRule::Random { test: 0.2, seed: 2023 }] {
            let holder = Holder { split: rule };
            assert_eq!(toml::from_str::<Holder>(&toml::to_string(&holder).unwrap()).unwrap(), holder);
        }
    }

    #[test]
    fn a_wrong_split_is_answered_with_the_two_right_ones_or_the_key() {
        let message = |text: &str| toml::from_str::<Holder>(text).unwrap_err().to_string();
        assert!(message("split = \"oficial\"").contains("{ test = 0.20, seed = 2023 }"));
        assert!(message("split = 3").contains("\"official\""));
        assert!(message("split = { test = 20, seed = 1 }").contains("share above 0 and below 1"));
        assert!(message("split = { test = 0.2 }").contains("seed"));
        assert!(message("split = { test = 0.2, sed = 1 }").contains("unknown field `sed`"));
    }
}
