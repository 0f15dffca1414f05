//! What a run tells whoever watches it, such as progress bars.

use crate::event::Event;
use crate::protocol::Cell;
use crate::store::{Outcome, Record};

/// Something happened to a cell.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// An attempt begins.
    Started {
        /// Its number, from 1.
        attempt: u32,
    },
    /// The child says something.
    Event(&'a Event),
    /// The cell is done by this run.
    Finished(&'a Record),
    /// Another worker, or an earlier run, has done it.
    AlreadyDone,
    /// An attempt failed; another one may follow.
    AttemptFailed(&'a Outcome),
    /// The cell failed for good in this run.
    Failed,
    /// The attempt was stopped by the user.
    Interrupted,
}

/// Watches a run from several threads. Must not block.
pub trait Watch: Sync {
    /// One thing that happened.
    fn watch(&self, cell: &Cell, happening: Happening<'_>);
}

impl Watch for () {
    fn watch(&self, _: &Cell, _: Happening<'_>) {}
}
