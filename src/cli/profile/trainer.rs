//! `etalon profile EXPERIMENT --model NAME` of a trainer of the user: one cell of it, with all training videos and the first seed.

use std::path::Path;

use super::job::Workplace;
use super::native::Work;
use crate::profile::machine;
use crate::profile::session::{Finished, Plan};
use crate::run::job::Job;
use crate::run::{Prepared, own_cell};

/// Runs the cell under the recorder; nothing of it is kept.
///
/// # Errors
/// The trainer fails, or what it detects does not hold.
pub fn profile(
    experiment: &Path,
    prepared: &Prepared,
    model: &str,
    work: &Work,
    plan: Plan,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<Finished> {
    let protocol = &prepared.experiment.protocol;
    let place = Workplace::new(experiment, prepared)?;
    let threads = work.threads.unwrap_or_else(machine::usable_cores);
    let job = Job {
        schema: 1,
        experiment: place.experiment(),
        model: model.to_owned(),
        fraction: protocol.fractions[protocol.fractions.len() - 1],
        seed: protocol.seeds[0],
        threads,
        device: work.device.clone(),
        deadline: None,
    };
    let mut cell = own_cell();
    cell.arg("measure");
    place.run(cell, &job, threads, plan, stop).map_err(|error| error.context(format!("cannot profile {model}")))
}
