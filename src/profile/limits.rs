//! What of this machine the program may use: the limits of its control groups, its affinity.

/// The share of the machine that is ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Cores, in fractions where a quota says so.
    pub cores: f64,
    /// Bytes of memory; `None` without a limit.
    pub memory_bytes: Option<u64>,
}

impl Limits {
    /// Of this process.
    pub fn here() -> Self {
        Self { cores: super::machine::usable_cores() as f64, memory_bytes: None }
    }
}
