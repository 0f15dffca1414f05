//! All cells of an experiment, and which of them are left to run.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{Cell, CellKey, CellSpec};
use super::settings::ProtocolConfig;
use crate::base::Digest;

/// One axis of the grid: a model as it enters the cells' keys.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelAxis {
    /// `[model.NAME]`.
    pub name: String,
    /// The resolved configuration, with digests in place of paths.
    pub spec: serde_json::Value,
    /// Version of the model's code.
    pub recipe: u32,
}

/// The cells in running order.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// One per model × fraction × seed: seed by seed, and in each all fractions, so that a run cut short has whole curves.
    pub cells: Vec<Cell>,
}

/// What is left of a grid, each part in running order.
#[derive(Clone, Debug, PartialEq)]
pub struct Outstanding<'a> {
    /// Neither done nor failed too often.
    pub to_run: Vec<&'a Cell>,
    /// Not done, and failed as often as is allowed.
    pub given_up: Vec<&'a Cell>,
}

impl Grid {
    /// Every model × fraction × seed of `settings` on the data set with this digest (annotations and features).
    pub fn new(dataset: &Digest, settings: &ProtocolConfig, models: &[ModelAxis]) -> Self {
        let protocol = CellSpec::protocol_part(settings);
        let mut cells = Vec::with_capacity(settings.seeds.len() * settings.fractions.len() * models.len());
        for &seed in &settings.seeds {
            for &fraction in &settings.fractions {
                for model in models {
                    let spec = CellSpec {
                        schema: CellSpec::SCHEMA,
                        dataset: dataset.clone(),
                        protocol: protocol.clone(),
                        fraction,
                        seed,
                        model: model.spec.clone(),
                        recipe: model.recipe,
                    };
                    cells.push(Cell::new(&model.name, spec));
                }
            }
        }
        Self { cells }
    }

    /// What remains, given the cells that have a record and how often others failed.
    pub fn outstanding(&self, done: &BTreeSet<CellKey>, failures: &BTreeMap<CellKey, u32>, attempts: u32) -> Outstanding<'_> {
        let open = self.cells.iter().filter(|cell| !done.contains(&cell.key));
        let (given_up, to_run) = open.partition(|cell| failures.get(&cell.key).is_some_and(|&n| n >= attempts));
        Outstanding { to_run, given_up }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::testing::settings;

    fn grid() -> Grid {
        let model = |name: &str, recipe| ModelAxis { name: name.into(), spec: serde_json::json!({ "arch": name }), recipe };
        Grid::new(&Digest::of_bytes(b"data"), &settings(), &[model("etad", 1), model("prior", 1)])
    }

    #[test]
    fn cells_are_unique_and_whole_curves_come_first() {
        let grid = grid();
        let keys: BTreeSet<&CellKey> = grid.cells.iter().map(|cell| &cell.key).collect();
        assert_eq!((grid.cells.len(), keys.len()), (12, 12));
        let order: Vec<String> = grid.cells[..7].iter().map(|c| format!("{} {} {}", c.spec.seed, c.spec.fraction, c.model)).collect();
        assert_eq!(order, ["0 10 etad", "0 10 prior", "0 50 etad", "0 50 prior", "0 100 etad", "0 100 prior", "1 10 etad"]);
    }

    #[test]
    fn a_key_depends_on_what_defines_the_result_and_not_on_the_other_cells() {
        let keys = |settings: &ProtocolConfig, recipe| -> BTreeSet<CellKey> {
            let model = ModelAxis { name: "m".into(), spec: serde_json::json!({}), recipe };
            Grid::new(&Digest::of_bytes(b"data"), settings, &[model]).cells.into_iter().map(|c| c.key).collect()
        };
        let all = keys(&settings(), 1);
        let fewer = keys(&ProtocolConfig { seeds: vec![1], ..settings() }, 1);
        assert!(fewer.is_subset(&all) && fewer.len() == 3);
        assert!(keys(&settings(), 2).is_disjoint(&all));
        let nested = ProtocolConfig { sampling: crate::protocol::settings::Sampling::Nested, ..settings() };
        assert!(keys(&nested, 1).is_disjoint(&all));
    }

    proptest! {
        /// The oracle looks at one cell at a time.
        #[test]
        fn every_cell_is_done_or_given_up_or_to_run(state in prop::collection::vec((any::<bool>(), 0u32..5), 12), attempts in 1u32..4) {
            let grid = grid();
            let named = || grid.cells.iter().zip(&state);
            let done: BTreeSet<CellKey> = named().filter(|(_, (done, _))| *done).map(|(c, _)| c.key.clone()).collect();
            let failures: BTreeMap<CellKey, u32> = named().filter(|(_, (_, n))| *n > 0).map(|(c, (_, n))| (c.key.clone(), *n)).collect();
            let outstanding = grid.outstanding(&done, &failures, attempts);
            let mut to_run = outstanding.to_run.iter();
            let mut given_up = outstanding.given_up.iter();
            for (cell, &(done, failed)) in named() {
                match (done, failed >= attempts) {
                    (true, _) => {}
                    (false, true) => prop_assert_eq!(given_up.next(), Some(&cell)),
                    (false, false) => prop_assert_eq!(to_run.next(), Some(&cell)),
                }
            }
            prop_assert!(to_run.next().is_none() && given_up.next().is_none());
        }
    }
}
