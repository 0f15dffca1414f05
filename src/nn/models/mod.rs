//! The networks: one file (or folder) each, named parameters as their authors name them.

pub mod actionformer;
pub mod etad;
pub mod gtad;
pub mod points;
pub mod tadtr;
pub mod temporalmaxer;
pub mod tridet;

use super::network::{Conventions, Network};
use super::params::Params;
use crate::config::Arch;

/// What is done around the network; `None` for what is no network.
pub fn conventions(arch: &Arch) -> Option<Conventions> {
    match arch {
        Arch::Etad(_) => Some(etad::network::CONVENTIONS),
        Arch::Tadtr(_) => Some(tadtr::CONVENTIONS),
        Arch::Actionformer(_) => Some(actionformer::CONVENTIONS),
        Arch::Temporalmaxer(_) => Some(temporalmaxer::CONVENTIONS),
        Arch::Tridet(_) => Some(tridet::CONVENTIONS),
        Arch::Gtad(_) => Some(gtad::network::CONVENTIONS),
        Arch::Prior(_) | Arch::External(_) => None,
    }
}

/// Builds a network for inputs of `channels` values; class-agnostic without `classes`. `None` for what is no network.
pub fn build(arch: &Arch, params: &mut Params, channels: i64, classes: Option<i64>) -> Option<Box<dyn Network>> {
    Some(match arch {
        Arch::Etad(c) => Box::new(etad::network::EtadNetwork::new(params, c, channels, classes)),
        Arch::Tadtr(c) => Box::new(tadtr::TadTr::new(params, c, channels, classes)),
        Arch::Actionformer(c) => Box::new(actionformer::ActionFormer::new(params, c, channels, classes)),
        Arch::Temporalmaxer(c) => Box::new(temporalmaxer::TemporalMaxer::new(params, c, channels, classes)),
        Arch::Tridet(c) => Box::new(tridet::TriDet::new(params, c, channels, classes)),
        Arch::Gtad(c) => Box::new(gtad::network::GtadNetwork::new(params, c, channels, classes)),
        Arch::Prior(_) | Arch::External(_) => return None,
    })
}
