//! The interface of a sensor: named channels with a unit, read together. A value that cannot be had is [`Absent`] with its
//! reason, never zero.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// What a channel's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// 0 to 100.
    Percent,
    /// Watts.
    Watts,
    /// A number of things.
    Count,
}

/// How a channel's numbers combine over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The value now: meaningful by itself.
    Level,
    /// Grows from the start of what is measured: differences are meaningful.
    Counter,
}

/// One quantity a sensor reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// Lowercase, unique among the sensors in use, such as `"process.rss"`.
    pub name: Cow<'static, str>,
    /// Unit of the values.
    pub unit: Unit,
    /// Level or counter.
    pub kind: Kind,
}

/// Why a value is missing, with what would make it available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Absent(pub String);

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Values of one moment, in the order of the channels of the sensors that filled it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// One per channel.
    pub values: Vec<Result<f64, Absent>>,
}

impl Reading {
    /// Appends the next channel's value.
    pub fn push(&mut self, value: Result<f64, Absent>) {
        self.values.push(value);
    }
}

/// Something that can be read again and again.
///
/// ```
/// use etalon::profile::sensor::{Channel, Kind, Reading, Sensor, Unit};
///
/// struct Constant([Channel; 1]);
///
/// impl Sensor for Constant {
///     fn channels(&self) -> &[Channel] {
///         &self.0
///     }
///     fn read(&mut self, reading: &mut Reading) {
///         reading.push(Ok(42.0));
///     }
/// }
///
/// let mut sensor = Constant([Channel { name: "answer".into(), unit: Unit::Count, kind: Kind::Level }]);
/// let mut reading = Reading::default();
/// sensor.read(&mut reading);
/// assert_eq!(reading.values, [Ok(42.0)]);
/// ```
pub trait Sensor {
    /// What [`Sensor::read`] appends, in order.
    fn channels(&self) -> &[Channel];

    /// Appends exactly one value per channel. Must not block.
    fn read(&mut self, reading: &mut Reading);
}
