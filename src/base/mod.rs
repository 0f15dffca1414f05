//! Ground floor: units, digests, random streams and file primitives. No domain knowledge lives here.

pub mod digest;
pub mod fsio;
pub mod origin;
pub mod seed;
pub mod units;

pub use digest::Digest;
pub use seed::Stream;
pub use units::{Bytes, Percent, Span};
