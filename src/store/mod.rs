//! The results on disk: a folder of immutable files that several workers share without a server.
//!
//! ```text
//! store.toml                       format version; a newer major one is refused
//! experiments/<digest>.toml        the resolved experiment: a worker needs only the store
//! experiments/<digest>.folder      where its relative paths start on this machine (derived)
//! experiments/<digest>.cells.json  its cells, so that `status` needs no data set (derived)
//! cells/3f/3fa94c…/cell.json       the text whose digest is the key
//!                  claims/1.json   the lease of attempt 1; its modification time is the heartbeat
//!                  attempts/1/     written by the holder of claim 1 (and its child) only
//!                  record.json     exists if and only if the cell is done
//! ```
//!
//! [`Store`] reads, and grants a [`Lease`]; only a lease can end an attempt or publish a record. What runs in an attempt is
//! not known here.

pub mod attempt;
pub mod error;
pub mod journal;
pub mod layout;
pub mod lease;
pub mod record;
#[cfg(feature = "columnar")]
pub mod table;

#[cfg(test)]
mod tests;

pub use attempt::{Attempt, Outcome, State, TRACE};
pub use error::{Error, Result};
pub use layout::{PlannedCell, Store};
pub use lease::{Claim, Granted, Lease};
pub use record::Record;
