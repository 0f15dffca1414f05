//! What a store, or the file of records beside a report, holds as a report or a curve sees it: records by the experiment whose
//! grid plans them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::build::{Failure, Input};
use super::model::Run;
use super::{Error, hardware, records};
use crate::base::fsio;
use crate::curves::Observation;
use crate::profile::Trace;
use crate::protocol::CellKey;
use crate::store::{PlannedCell, Record, State, Store, TRACE};

/// A store, or the file of records beside a report, with its records and experiments read.
#[derive(Debug)]
pub struct Stored {
    origin: Origin,
    records: BTreeMap<CellKey, Record>,
    /// Oldest first.
    experiments: Vec<StoredExperiment>,
}

/// Where records come from.
#[derive(Debug)]
enum Origin {
    Store(Store),
    /// One experiment, and what its report is made from beside the records.
    File {
        path: PathBuf,
        rest: Input,
    },
}

/// A resolved experiment in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredExperiment {
    /// Digest of the text, as records name it.
    pub digest: String,
    /// `name` of the experiment.
    pub name: String,
    /// The resolved TOML.
    pub text: String,
    /// Its grid.
    pub cells: Vec<PlannedCell>,
}

impl Stored {
    /// Reads every record and experiment of the store, or of the file of records (see [`records`]), at `path`.
    ///
    /// # Errors
    /// It is neither, a file cannot be read or parsed, or there is no record at all.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let (origin, records, experiments) = if path.is_file() {
            let (experiment, mut rest) = records::unpack(path)?;
            let records = std::mem::take(&mut rest.records);
            (Origin::File { path: path.to_owned(), rest }, records, vec![experiment])
        } else {
            let store = Store::open(path)?;
            let records = store.records()?;
            let experiments = experiments(&store)?;
            (Origin::Store(store), records, experiments)
        };
        let records: BTreeMap<_, _> = records.into_iter().map(|r| (r.key.clone(), r)).collect();
        if records.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        Ok(Self { origin, records, experiments })
    }

    /// The store itself.
    ///
    /// # Errors
    /// The records come from a file, which has no detections.
    pub fn store(&self) -> Result<&Store, Error> {
        match &self.origin {
            Origin::Store(store) => Ok(store),
            Origin::File { path, .. } => Err(Error::NoDetections { path: path.clone() }),
        }
    }

    fn path(&self) -> &Path {
        match &self.origin {
            Origin::Store(store) => store.root(),
            Origin::File { path, .. } => path,
        }
    }

    /// The experiment of that name or digest (a prefix will do); without one, the newest.
    ///
    /// # Errors
    /// There is no such experiment.
    pub fn experiment(&self, wanted: Option<&str>) -> Result<&StoredExperiment, Error> {
        let matches = |e: &&StoredExperiment| wanted.is_none_or(|w| e.name == w || (w.len() >= 4 && e.digest.starts_with(w)));
        self.experiments.iter().rev().find(matches).ok_or_else(|| Error::NoExperiment {
            path: self.path().to_owned(),
            wanted: wanted.unwrap_or("").to_owned(),
            known: if self.experiments.is_empty() {
                "none".into()
            } else {
                self.experiments.iter().map(|e| format!("{:?}", e.name)).collect::<Vec<_>>().join(", ")
            },
        })
    }

    /// The records of the cells that `experiment` plans, whichever experiment made them, by model, fraction and seed. They
    /// carry the model names of this experiment.
    ///
    /// # Errors
    /// None of its cells is done.
    pub fn records_of(&self, experiment: &StoredExperiment) -> Result<Vec<Record>, Error> {
        let named = |cell: &PlannedCell| Some(Record { model: cell.model.clone(), ..self.records.get(&cell.key)?.clone() });
        let mut records: Vec<Record> = experiment.cells.iter().filter_map(named).collect();
        if records.is_empty() {
            return Err(Error::Empty { path: self.path().to_owned() });
        }
        let place = |r: &Record| (r.fraction.value(), r.seed);
        records.sort_by(|a, b| a.model.cmp(&b.model).then(place(a).partial_cmp(&place(b)).expect("percentages are finite")));
        Ok(records)
    }

    /// Everything a report of `experiment` is made from.
    ///
    /// # Errors
    /// None of its cells is done, or an attempt's files are damaged.
    pub fn input(&self, experiment: &StoredExperiment) -> Result<Input, Error> {
        let records = self.records_of(experiment)?;
        let store = match &self.origin {
            Origin::Store(store) => store,
            Origin::File { rest, .. } => return Ok(Input { records, ..rest.clone() }),
        };
        let mut datasets = BTreeSet::new();
        for record in &records {
            // The explanation of a key may be missing in a store that was copied in part.
            datasets.extend(store.cell(&record.key)?.map(|spec| spec.dataset.to_string()));
        }
        let mut failures = Vec::new();
        for cell in experiment.cells.iter().filter(|c| !self.records.contains_key(&c.key)) {
            match store.attempts(&cell.key)?.pop().map(|attempt| attempt.state) {
                Some(State::Ended(outcome)) if outcome.is_failure() => {
                    failures.push(Failure { key: cell.key.clone(), reason: outcome.to_string() });
                }
                _ => {}
            }
        }
        let (experiment_toml, cells) = (experiment.text.clone(), experiment.cells.clone());
        let runs = runs(store, &records)?;
        Ok(Input { experiment_toml, cells, records, failures, datasets, runs })
    }

    /// The records of an experiment by model: its learning curves.
    ///
    /// # Errors
    /// None of the experiment's cells is done.
    pub fn curves_of(&self, experiment: &StoredExperiment) -> Result<BTreeMap<String, Vec<Record>>, Error> {
        let mut curves: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in self.records_of(experiment)? {
            curves.entry(record.model.clone()).or_default().push(record);
        }
        Ok(curves)
    }

    /// The records of all experiments by model, preceded by the experiment's name where several have results.
    pub fn curves(&self) -> BTreeMap<String, Vec<Record>> {
        let curves: Vec<_> = self.experiments.iter().filter_map(|e| Some((e, self.curves_of(e).ok()?))).collect();
        let prefix = |experiment: &StoredExperiment| {
            let namesakes = curves.iter().filter(|(other, _)| other.name == experiment.name).count();
            match (curves.len(), namesakes) {
                (1, _) => String::new(),
                (_, 1) => format!("{}/", experiment.name),
                _ => format!("{} {}/", experiment.name, experiment.digest.get(..6).unwrap_or_default()),
            }
        };
        let prefixes: Vec<String> = curves.iter().map(|(experiment, _)| prefix(experiment)).collect();
        let named = |((_, models), prefix): ((_, BTreeMap<String, Vec<Record>>), String)| {
            models.into_iter().map(move |(model, records)| (format!("{prefix}{model}"), records))
        };
        curves.into_iter().zip(prefixes).flat_map(named).collect()
    }
}

/// The cells that a report shows over time. A copy of a store may lack their traces.
fn runs(store: &Store, records: &[Record]) -> Result<Vec<Run>, Error> {
    let mut runs = Vec::new();
    for record in hardware::representatives(records) {
        let attempts = store.attempts(&record.key)?;
        let attempt = attempts.into_iter().find(|a| a.number == record.attempt);
        let trace = attempt.and_then(|a| Trace::read(&a.dir.join(TRACE)).ok());
        let label = format!("{} %, seed {}", record.fraction, record.seed);
        runs.extend(trace.map(|trace| hardware::run(&record.model, &label, &trace)));
    }
    Ok(runs)
}

/// A record as a point of a learning curve.
pub fn observation(record: &Record) -> Observation {
    Observation { n: record.sample.videos as f64, score: record.scores.average_map, seed: Some(record.seed) }
}

/// The experiments of a store, oldest first.
///
/// # Errors
/// A file cannot be read or parsed.
pub fn experiments(store: &Store) -> Result<Vec<StoredExperiment>, Error> {
    let mut dated = Vec::new();
    for digest in store.experiments()? {
        let path = store.experiment(&digest)?;
        let text = fsio::read_text(&path)?;
        let table: toml::Table = toml::from_str(&text).map_err(|source| Error::Experiment { path: path.clone(), source })?;
        let name = table.get("name").and_then(toml::Value::as_str).unwrap_or(&digest).to_owned();
        let written = path.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let cells = store.planned(&digest)?;
        dated.push((written, StoredExperiment { digest, name, text, cells }));
    }
    dated.sort_by(|a, b| (a.0, &a.1.digest).cmp(&(b.0, &b.1.digest)));
    Ok(dated.into_iter().map(|d| d.1).collect())
}
