//! What a computation costs and where it runs: sensors, their recorder, the machine, theoretical compute. A sensor never fails
//! a cell: what cannot be read is absent, with the reason.

pub mod compute;
pub mod document;
pub mod limits;
pub mod machine;
pub mod metric;
pub mod process;
pub mod recorder;
pub mod roofline;
pub mod sensor;
pub mod sensors;
pub mod session;
pub mod summary;
pub mod trace;
pub mod verdict;

pub use compute::Compute;
pub use document::Profile;
pub use limits::Limits;
pub use machine::{Fingerprint, Machine};
pub use metric::{Absent, Metric};
pub use recorder::Recorder;
pub use sensor::{Channel, Reading, Sensor};
pub use summary::Summary;
pub use trace::Trace;
pub use verdict::Verdict;
