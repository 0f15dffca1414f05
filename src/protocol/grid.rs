//! All cells of an experiment.

use super::cell::Cell;

/// The cells in running order.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// One per model × fraction × seed.
    pub cells: Vec<Cell>,
}
