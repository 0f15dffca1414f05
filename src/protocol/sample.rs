//! The videos a cell trains on.

/// Drawn videos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Identifiers in ascending order.
    pub videos: Vec<String>,
    /// Draws made until the coverage rule held (1 without a rule).
    pub draws: u32,
    /// Classes of the training part that the sample lacks (only looked at under a coverage rule).
    pub missing_classes: usize,
}
