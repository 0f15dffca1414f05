//! Quantities with their unit in the type, parsed once at the edge.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A share of the training videos in percent, 0 < p <= 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Percent(f64);

/// A percentage outside (0, 100].
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a percentage: use a number above 0 and up to 100")]
pub struct BadPercent(f64);

impl Percent {
    /// All of it.
    pub const FULL: Self = Self(100.0);

    /// # Errors
    /// `value` is not in (0, 100].
    pub fn new(value: f64) -> Result<Self, BadPercent> {
        if value > 0.0 && value <= 100.0 { Ok(Self(value)) } else { Err(BadPercent(value)) }
    }

    /// The number before the percent sign.
    pub fn value(self) -> f64 {
        self.0
    }

    /// This share of `n`, rounded half away from zero.
    pub fn of(self, n: usize) -> usize {
        (self.0 / 100.0 * n as f64).round() as usize
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

/// A length of time written as `"100ms"`, `"90s"`, `"15m"` or `"8h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A text that is no length of time.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a length of time: write a number and a unit, such as \"100ms\", \"90s\", \"15m\" or \"8h\"")]
pub struct BadSpan(String);

impl FromStr for Span {
    type Err = BadSpan;

    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let bad = || BadSpan(text.to_owned());
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
        let number: f64 = text[..unit_at].trim().parse().map_err(|_| bad())?;
        let scale = match &text[unit_at..] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        Duration::try_from_secs_f64(number * scale).map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match () {
            () if ms.is_multiple_of(3_600_000) => write!(f, "{}h", ms / 3_600_000),
            () if ms.is_multiple_of(60_000) => write!(f, "{}m", ms / 60_000),
            () if ms.is_multiple_of(1000) => write!(f, "{}s", ms / 1000),
            () => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount of data written as `"8GiB"`, `"512MiB"`, `"64KiB"` or `"100B"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A text that is no amount of data.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an amount of data: write a number and a unit, such as \"512MiB\", \"8GiB\" or \"1TiB\"")]
pub struct BadBytes(String);

/// Largest first, so that a text has the shortest number.
const BINARY_UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for Bytes {
    type Err = BadBytes;

    fn from_str(text: &str) -> Result<Self, BadBytes> {
        let bad = || BadBytes(text.to_owned());
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(bad)?;
        let number: f64 = text[..unit_at].trim().parse().map_err(|_| bad())?;
        let (_, scale) = BINARY_UNITS.into_iter().find(|(unit, _)| *unit == &text[unit_at..]).ok_or_else(bad)?;
        let value = number * scale as f64;
        // 2^63 and more would not survive the way through a float.
        if (0.0..(1u64 << 63) as f64).contains(&value) { Ok(Self(value.round() as u64)) } else { Err(bad()) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = BINARY_UNITS.into_iter().find(|(_, scale)| self.0 >= *scale && self.0.is_multiple_of(*scale));
        let (unit, scale) = whole.unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Bytes in binary units, for people.
pub fn bytes(n: u64) -> String {
    let (mut value, mut unit) = (n as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") }
}

/// Seconds as `12.3 s`, `4 min 05 s` or `1 h 02 min`, for people.
pub fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        0..=99 => format!("{value:.1} s"),
        100..=3599 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_round_trip_and_reject_bare_numbers() {
        for text in ["100ms", "90s", "15m", "8h"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert!("15".parse::<Span>().is_err());
        assert!("-1s".parse::<Span>().is_err());
    }

    #[test]
    fn amounts_of_data_round_trip_and_need_a_unit() {
        for text in ["8GiB", "512MiB", "1TiB", "3B", "0B", "1025KiB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!("1.5GiB".parse::<Bytes>().unwrap().to_string(), "1536MiB");
        for text in ["8", "8GB", "-1GiB", "NaNGiB", "99999999999TiB", "GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn percent_rounds_half_up_and_refuses_zero() {
        assert_eq!(Percent::new(10.0).unwrap().of(42), 4);
        assert_eq!(Percent::new(50.0).unwrap().of(5), 3);
        assert!(Percent::new(0.0).is_err() && Percent::new(100.1).is_err());
    }
}
