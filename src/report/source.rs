//! What a store holds, as far as a report or a curve needs it. The only place of the report that knows the store's layout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;
use crate::base::fsio;
use crate::curves::Observation;
use crate::store::Record;

/// Records and experiments of a store.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The store's folder.
    pub path: PathBuf,
    /// Oldest first.
    pub experiments: Vec<StoredExperiment>,
    /// By model, fraction, seed.
    pub records: Vec<Record>,
    /// Digest of the annotations and features of each cell, by cell key.
    pub datasets: BTreeMap<String, String>,
}

/// A resolved experiment in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredExperiment {
    /// Digest of the text, as records name it.
    pub digest: String,
    /// `name` of the experiment.
    pub name: String,
    /// The resolved TOML.
    pub text: String,
}

impl Stored {
    /// Reads every record and experiment under `path`.
    ///
    /// # Errors
    /// A file cannot be read or parsed, or there is no record at all.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let (records, datasets) = read_cells(&path.join("cells"))?;
        if records.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), experiments: read_experiments(&path.join("experiments"))?, records, datasets })
    }

    /// The experiment of that name or digest (a prefix will do); without one, the newest.
    ///
    /// # Errors
    /// There is no such experiment.
    pub fn experiment(&self, wanted: Option<&str>) -> Result<&StoredExperiment, Error> {
        let matches = |e: &&StoredExperiment| wanted.is_none_or(|w| e.name == w || (w.len() >= 4 && e.digest.starts_with(w)));
        self.experiments.iter().rev().find(matches).ok_or_else(|| Error::NoExperiment {
            path: self.path.clone(),
            wanted: wanted.unwrap_or("").to_owned(),
            known: if self.experiments.is_empty() {
                "none".into()
            } else {
                self.experiments.iter().map(|e| format!("{:?}", e.name)).collect::<Vec<_>>().join(", ")
            },
        })
    }

    /// The records that `experiment` produced.
    pub fn records_of(&self, experiment: &StoredExperiment) -> Vec<Record> {
        self.records.iter().filter(|r| r.provenance.experiment == experiment.digest).cloned().collect()
    }

    /// Digests of the data sets that these records were made from.
    pub fn datasets_of(&self, records: &[Record]) -> BTreeSet<String> {
        records.iter().filter_map(|r| self.datasets.get(r.key.as_str()).cloned()).collect()
    }

    /// Learning curves by name: the model's, preceded by the experiment's where the store holds several.
    pub fn observations(&self) -> BTreeMap<String, Vec<Observation>> {
        let mut curves: BTreeMap<String, Vec<Observation>> = BTreeMap::new();
        let ran: BTreeSet<&str> = self.records.iter().map(|r| r.provenance.experiment.as_str()).collect();
        for record in &self.records {
            let digest = &record.provenance.experiment;
            let experiment = self.experiments.iter().find(|e| e.digest == *digest).map_or(digest.as_str(), |e| &e.name);
            let name = if ran.len() > 1 {
                format!("{experiment} {}/{}", digest.get(..6).unwrap_or(digest), record.model)
            } else {
                record.model.clone()
            };
            curves.entry(name).or_default().push(observation(record));
        }
        curves
    }
}

/// A record as a point of a learning curve.
pub fn observation(record: &Record) -> Observation {
    Observation { n: record.sample.videos as f64, score: record.scores.average_map, seed: Some(record.seed) }
}

fn read_cells(cells: &Path) -> Result<(Vec<Record>, BTreeMap<String, String>), Error> {
    let (mut records, mut datasets) = (Vec::new(), BTreeMap::new());
    for shard in fsio::list(cells)? {
        for cell in fsio::list(&cells.join(&shard))? {
            let folder = cells.join(&shard).join(&cell);
            let path = folder.join("record.json");
            if !path.is_file() {
                continue;
            }
            let record: Record = serde_json::from_slice(&fsio::read(&path)?).map_err(|source| Error::Record { path, source })?;
            if let Some(digest) = dataset_digest(&folder.join("cell.json")) {
                datasets.insert(record.key.as_str().to_owned(), digest);
            }
            records.push(record);
        }
    }
    let order = |r: &Record| (r.model.clone(), (r.fraction.value() * 1e6) as u64, r.seed);
    records.sort_by_key(order);
    Ok((records, datasets))
}

/// The explanation of a key may be missing in a store that was copied in part; the report then lacks the digest.
fn dataset_digest(path: &Path) -> Option<String> {
    let cell: serde_json::Value = serde_json::from_slice(&fsio::read(path).ok()?).ok()?;
    Some(cell.get("dataset")?.as_str()?.to_owned())
}

fn read_experiments(folder: &Path) -> Result<Vec<StoredExperiment>, Error> {
    let mut dated = Vec::new();
    for file in fsio::list(folder)? {
        let Some(digest) = file.strip_suffix(".toml") else { continue };
        if digest.starts_with('.') {
            continue;
        }
        let path = folder.join(&file);
        let text = fsio::read_text(&path)?;
        let table: toml::Table = toml::from_str(&text).map_err(|source| Error::Experiment { path: path.clone(), source })?;
        let name = table.get("name").and_then(toml::Value::as_str).unwrap_or(digest).to_owned();
        let written = path.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        dated.push((written, StoredExperiment { digest: digest.to_owned(), name, text }));
    }
    dated.sort_by(|a, b| (a.0, &a.1.digest).cmp(&(b.0, &b.1.digest)));
    Ok(dated.into_iter().map(|d| d.1).collect())
}
