//! Which videos train and which test.

/// Identifiers of the two parts, each in ascending order; disjoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Videos that may be sampled for training.
    pub train: Vec<String>,
    /// Videos that every cell is tested on.
    pub test: Vec<String>,
}
