//! What a computation costs and where it runs: sensors, the machine, the price of a process. A sensor never fails a cell:
//! what cannot be read is absent, with the reason.

pub mod machine;
pub mod process;
pub mod sensor;
pub mod sensors;

pub use machine::Machine;
pub use sensor::{Absent, Channel, Reading, Sensor};
