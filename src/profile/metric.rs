//! A number with its unit, what it covers and how it came about. A number that cannot be had says why; 0 means 0.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Text that is mostly known at compile time.
pub type Text = Cow<'static, str>;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// 0 to 100, or more where cores or devices add up.
    Percent,
    /// Watts.
    Watts,
    /// Joules.
    Joules,
    /// Multiples of a cycle per second.
    Hertz,
    /// Degrees Celsius.
    Celsius,
    /// Floating-point operations (one multiply-accumulate is two).
    Flop,
    /// Floating-point operations per second.
    FlopPerSecond,
    /// A number of things.
    Count,
    /// A number without a unit.
    Ratio,
}

/// What a number covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The program and all its descendants.
    ProcessTree,
    /// The network namespace of the program.
    NetworkNamespace,
    /// A whole processor socket, whoever uses it.
    Socket,
    /// A whole GPU (or an instance of a partitioned one), whoever uses it.
    Device,
    /// The whole machine, whoever uses it.
    Host,
}

/// How a number came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "kebab-case")]
pub enum Finding {
    /// Read from a counter made for it.
    Measured {
        /// The number.
        value: f64,
        /// Where it was read.
        source: Text,
    },
    /// Computed from measured numbers.
    Derived {
        /// The number.
        value: f64,
        /// From what.
        source: Text,
    },
    /// Computed under an assumption that is stated.
    Estimated {
        /// The number.
        value: f64,
        /// From what, under which assumption.
        source: Text,
    },
    /// From a data sheet.
    Spec {
        /// The number.
        value: f64,
        /// Which.
        source: Text,
    },
    /// Not to be had here.
    Unavailable {
        /// Why, with what would make it available.
        reason: Text,
    },
}

/// A quantity of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What the number counts.
    pub unit: Unit,
    /// What it covers.
    pub scope: Scope,
    /// The number and how it came about.
    #[serde(flatten)]
    pub finding: Finding,
}

impl Metric {
    /// A number that is absent.
    pub fn unavailable(unit: Unit, scope: Scope, reason: impl Into<Text>) -> Self {
        Self { unit, scope, finding: Finding::Unavailable { reason: reason.into() } }
    }

    /// A number read from a counter.
    pub fn measured(value: f64, unit: Unit, scope: Scope, source: impl Into<Text>) -> Self {
        Self { unit, scope, finding: Finding::Measured { value, source: source.into() } }
    }

    /// A number computed from others.
    pub fn derived(value: f64, unit: Unit, scope: Scope, source: impl Into<Text>) -> Self {
        Self { unit, scope, finding: Finding::Derived { value, source: source.into() } }
    }

    /// The number, where there is one.
    pub fn value(&self) -> Option<f64> {
        self.finding.value()
    }
}

impl Finding {
    /// The number, where there is one.
    pub fn value(&self) -> Option<f64> {
        match *self {
            Self::Measured { value, .. } | Self::Derived { value, .. } => Some(value),
            Self::Estimated { value, .. } | Self::Spec { value, .. } => Some(value),
            Self::Unavailable { .. } => None,
        }
    }
}

/// How a sensor's channel comes about: a [`Finding`] before there is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A counter made for it.
    Measured,
    /// Computed from measured numbers.
    Derived,
    /// Computed under an assumption.
    Estimated,
}

impl Origin {
    /// As profiles name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Derived => "derived",
            Self::Estimated => "estimated",
        }
    }

    /// The finding for a number of this origin.
    pub fn finding(self, value: f64, source: Text) -> Finding {
        match self {
            Self::Measured => Finding::Measured { value, source },
            Self::Derived => Finding::Derived { value, source },
            Self::Estimated => Finding::Estimated { value, source },
        }
    }
}

/// Why a value is missing, with what would make it available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Absent(pub Text);

impl Absent {
    /// From a sentence.
    pub fn because(reason: impl Into<Text>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_number_is_told_from_zero_on_disk() {
        let zero = Metric::measured(0.0, Unit::Bytes, Scope::ProcessTree, "/proc/PID/io");
        let absent = Metric::unavailable(Unit::Watts, Scope::Device, "no NVIDIA driver answers");
        let text = serde_json::to_string(&[&zero, &absent]).unwrap();
        assert!(text.contains(r#""origin":"measured","value":0.0"#) && text.contains(r#""origin":"unavailable","reason""#), "{text}");
        let read: Vec<Metric> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, [zero, absent]);
        assert_eq!(read.iter().map(Metric::value).collect::<Vec<_>>(), [Some(0.0), None]);
    }
}
