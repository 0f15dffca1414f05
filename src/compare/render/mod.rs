//! A comparison for people and for the tools of continuous integration.

mod annotations;
mod junit;
mod markdown;
mod metrics;
mod words;

pub use annotations::annotations;
pub use junit::junit;
pub use markdown::markdown;
pub use metrics::metrics;
pub use words::{growth, headline, limits, value, verdict};
