//! The interface of a sensor: named channels, read together. A value that cannot be had is [`Absent`] with its reason, never
//! zero.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::metric::{Absent, Origin, Scope, Text, Unit};

/// How a channel's numbers combine over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The value now: a profile gives its mean and its peak.
    Level,
    /// Grows from the start of what is measured: a profile gives the difference between two readings.
    Counter,
}

/// One quantity a sensor reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Lowercase, dotted, unique among the sensors in use, such as `"memory.rss"`.
    pub name: Text,
    /// Unit of the values.
    pub unit: Unit,
    /// Level or counter.
    pub kind: Kind,
    /// What the values cover.
    pub scope: Scope,
    /// How the values come about.
    pub origin: Origin,
    /// Where they are read, such as `"/proc/PID/stat"`.
    pub source: Text,
}

impl Channel {
    /// A measured level.
    pub fn level(name: impl Into<Text>, unit: Unit, scope: Scope, source: impl Into<Text>) -> Self {
        Self { name: name.into(), unit, kind: Kind::Level, scope, origin: Origin::Measured, source: source.into() }
    }

    /// A measured counter.
    pub fn counter(name: impl Into<Text>, unit: Unit, scope: Scope, source: impl Into<Text>) -> Self {
        Self { kind: Kind::Counter, ..Self::level(name, unit, scope, source) }
    }

    /// The same with another origin.
    pub fn from(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

/// Channels that cannot be read here.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// Which.
    pub channels: Vec<Channel>,
    /// Why, with the remedy.
    pub reason: Absent,
}

/// Values of one moment, in the order of the channels of the sensor that filled it.
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
/// use etalon::profile::sensor::{Channel, Reading, Scope, Sensor, Unit};
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
/// let mut sensor = Constant([Channel::level("answer", Unit::Count, Scope::Host, "thought")]);
/// let mut reading = Reading::default();
/// sensor.read(&mut reading);
/// assert_eq!(reading.values, [Ok(42.0)]);
/// ```
pub trait Sensor: Send {
    /// What [`Sensor::read`] appends, in order.
    fn channels(&self) -> &[Channel];

    /// Appends exactly one value per channel. Must not block.
    fn read(&mut self, reading: &mut Reading);

    /// Least time between two readings; zero for as often as asked. A phase's first and last reading ignore it.
    fn period(&self) -> Duration {
        Duration::ZERO
    }
}
