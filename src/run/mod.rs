//! Running the cells of an experiment. The parent ([`worker`]) takes a lease, starts `etalon-cell` (for a trainer
//! of the user `etalon cell`) in the attempt's folder,
//! watches it and publishes the record; the child ([`cell`]) trains, detects and scores. They share two files
//! ([`job`]) and a stream of events on the child's standard output. Nothing here prints.

pub mod attempt;
pub mod cell;
pub mod error;
pub mod job;
#[cfg(feature = "torch")]
pub mod native;
pub mod prepare;
pub mod process;
pub mod stop;
pub mod trainer;
pub mod watch;
pub mod worker;

#[cfg(test)]
mod tests;

pub use error::{Error, Fault};
pub use prepare::Prepared;
pub use stop::Stop;
pub use watch::{Happening, Watch};
pub use worker::{BAD_INPUT, FailedCell, THREAD_VARIABLES, Tally, Worker, cell_program, own_cell};
