//! `etalon doctor`.

use super::{Exit, Ui};

/// (being written)
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _ui: &Ui) -> anyhow::Result<Exit> {
    anyhow::bail!("not written yet")
}
