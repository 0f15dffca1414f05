//! Where everything is, and everything that is read. See the module above for the picture.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Outcome, State};
use super::error::{Error, Result};
use super::lease::{Claim, Granted, Lease};
use super::record::Record;
use crate::base::fsio::{self, Published};
use crate::base::{Digest, Percent, origin};
use crate::eval::Detections;
use crate::protocol::{Cell, CellKey, CellSpec};

/// Format of a store, `major.minor`. History: 1.0 the first.
const FORMAT: &str = "1.0";

/// Compression of detections: fast, and about a tenth of the size.
const ZSTD_LEVEL: i32 = 3;

/// A store: the right to read it, to add an experiment and to ask for leases.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// A cell of an experiment by its place in the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedCell {
    /// Identity.
    pub key: CellKey,
    /// Name of the model in the experiment.
    pub model: String,
    /// Share of the training videos.
    pub fraction: Percent,
    /// Seed of sample and training.
    pub seed: u64,
}

impl From<&Cell> for PlannedCell {
    fn from(cell: &Cell) -> Self {
        Self { key: cell.key.clone(), model: cell.model.clone(), fraction: cell.spec.fraction, seed: cell.spec.seed }
    }
}

#[derive(Deserialize)]
struct Marker {
    format: String,
}

impl Store {
    /// Opens a store, or makes one of a folder that does not exist or is empty.
    ///
    /// # Errors
    /// The folder holds something else, has a newer format, or cannot be written.
    pub fn create(root: &Path) -> Result<Self> {
        // Listed before the marker is looked for: whatever another worker adds comes after its marker. Only the marker's
        // own temporary file may come earlier.
        let strangers = fsio::list(root)?.iter().any(|name| !name.starts_with(".store.toml."));
        let marker = root.join("store.toml");
        if !marker.exists() {
            if strangers {
                return Err(Error::NotAStore { path: root.to_owned() });
            }
            // Another worker may be creating it at the same moment: either file will do.
            let _ = fsio::publish_new(&marker, format!("format = \"{FORMAT}\"\n").as_bytes())?;
        }
        Self::open(root)
    }

    /// Opens an existing store.
    ///
    /// # Errors
    /// The folder is no store or has a newer format.
    pub fn open(root: &Path) -> Result<Self> {
        let marker = root.join("store.toml");
        if !marker.exists() {
            return Err(Error::NotAStore { path: root.to_owned() });
        }
        let Marker { format } = toml::from_str(&fsio::read_text(&marker)?).map_err(Error::damaged(&marker))?;
        let major = |text: &str| text.split('.').next().and_then(|major| major.parse::<u32>().ok());
        match major(&format) {
            None => Err(Error::damaged(&marker)(format!("format {format:?} is not a version"))),
            found if found > major(FORMAT) => Err(Error::Newer { path: root.to_owned(), found: format, known: FORMAT }),
            Some(_) => Ok(Self { root: std::path::absolute(root).map_err(fsio::Error::wrap("find", root))? }),
        }
    }

    /// The folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Keeps a resolved experiment, where its relative paths start on this machine, and the list of its cells. Returns its digest.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn add_experiment(&self, toml: &str, folder: &Path, cells: &[PlannedCell]) -> Result<Digest> {
        let digest = Digest::of_bytes(toml.as_bytes());
        let path = self.experiment_path(digest.as_str());
        origin::note(&path, folder)?;
        let _ = fsio::publish_new(&path, toml.as_bytes())?;
        let cells = serde_json::to_vec(cells).expect("cells are plain data");
        fsio::replace(&self.cells_path(digest.as_str()), &cells)?;
        Ok(digest)
    }

    /// Keeps what a trainer's interpreter has. Returns its digest.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn add_environment(&self, environment: &impl Serialize) -> Result<Digest> {
        let text = serde_json::to_vec_pretty(environment).expect("an environment is plain data");
        let digest = Digest::of_bytes(&text);
        let _ = fsio::publish_new(&self.root.join("environments").join(format!("{digest}.json")), &text)?;
        Ok(digest)
    }

    /// Digests of the experiments, in ascending order.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn experiments(&self) -> Result<Vec<String>> {
        let names = fsio::list(&self.root.join("experiments"))?;
        Ok(names.iter().filter(|n| !n.starts_with('.')).filter_map(|n| n.strip_suffix(".toml")).map(str::to_owned).collect())
    }

    /// The file of a resolved experiment.
    ///
    /// # Errors
    /// The store has no such experiment.
    pub fn experiment(&self, digest: &str) -> Result<PathBuf> {
        let path = self.experiment_path(digest);
        if path.exists() {
            return Ok(path);
        }
        Err(Error::UnknownExperiment { path: self.root.clone(), digest: digest.to_owned(), known: self.experiments()? })
    }

    /// The cells of an experiment in running order.
    ///
    /// # Errors
    /// The store has no such experiment, or the list is damaged.
    pub fn planned(&self, digest: &str) -> Result<Vec<PlannedCell>> {
        self.experiment(digest)?;
        Ok(read_json(&self.cells_path(digest))?.unwrap_or_default())
    }

    /// Every record, by ascending key.
    ///
    /// # Errors
    /// A record is damaged or cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        let cells = self.root.join("cells");
        let mut records = Vec::new();
        for prefix in fsio::list(&cells)? {
            for key in fsio::list(&cells.join(&prefix))? {
                records.extend(read_json(&cells.join(&prefix).join(key).join("record.json"))?);
            }
        }
        Ok(records)
    }

    /// The record of a cell; `None` when it is not done.
    ///
    /// # Errors
    /// The record is damaged or cannot be read.
    pub fn record(&self, key: &CellKey) -> Result<Option<Record>> {
        read_json(&self.cell_path(key).join("record.json"))
    }

    /// What the key of a cell stands for; `None` when nobody has begun it.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn cell(&self, key: &CellKey) -> Result<Option<CellSpec>> {
        read_json(&self.cell_path(key).join("cell.json"))
    }

    /// Whether a cell has its record.
    pub fn is_done(&self, key: &CellKey) -> bool {
        self.cell_path(key).join("record.json").exists()
    }

    /// The attempts at a cell, first to last.
    ///
    /// # Errors
    /// A claim or an outcome is damaged or cannot be read.
    pub fn attempts(&self, key: &CellKey) -> Result<Vec<Attempt>> {
        let cell = self.cell_path(key);
        claim_numbers(&cell)?.into_iter().map(|number| read_attempt(&cell, number)).collect()
    }

    /// Asks for the right to make the next attempt at a cell.
    ///
    /// # Errors
    /// The disk refuses, or the last claim is damaged.
    pub fn claim(&self, cell: &Cell) -> Result<Granted> {
        let folder = self.cell_path(&cell.key);
        let mut next = 1;
        if let Some(last) = claim_numbers(&folder)?.pop() {
            let attempt = read_attempt(&folder, last)?;
            if attempt.state == State::Running {
                return Ok(if self.is_done(&cell.key) { Granted::Done } else { Granted::Busy(attempt.claim) });
            }
            next = last + 1;
        }
        // Asked only now: a holder publishes its record before it ends, so one that is no longer running and has a record
        // is seen with it.
        if self.is_done(&cell.key) {
            return Ok(Granted::Done);
        }
        let spec = serde_json::to_vec(&cell.spec).expect("a cell is plain data");
        let _ = fsio::publish_new(&folder.join("cell.json"), &spec)?;
        let claim = Claim::of_this_process();
        let text = serde_json::to_vec_pretty(&claim).expect("a claim is plain data");
        match fsio::publish_new(&claim_path(&folder, next), &text)? {
            Published::New => Ok(Granted::Lease(Lease::new(folder, next, claim))),
            Published::AlreadyThere => Ok(Granted::Busy(read_attempt(&folder, next)?.claim)),
        }
    }

    /// The detections a record was scored on.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn detections(&self, record: &Record) -> Result<Detections> {
        read_detections(&attempt_dir(&self.cell_path(&record.key), record.attempt).join(DETECTIONS))
    }

    fn experiment_path(&self, digest: &str) -> PathBuf {
        self.root.join("experiments").join(format!("{digest}.toml"))
    }

    fn cells_path(&self, digest: &str) -> PathBuf {
        self.root.join("experiments").join(format!("{digest}.cells.json"))
    }

    fn cell_path(&self, key: &CellKey) -> PathBuf {
        self.root.join("cells").join(key.as_str().get(..2).unwrap_or_default()).join(key.as_str())
    }
}

/// Name of the detections inside an attempt's folder.
const DETECTIONS: &str = "detections.json.zst";

/// Writes the detections of an attempt. Returns the digest of the JSON, which does not depend on the compressor.
///
/// # Errors
/// The disk refuses.
pub fn write_detections(attempt_dir: &Path, detections: &Detections) -> Result<Digest> {
    let path = attempt_dir.join(DETECTIONS);
    let json = serde_json::to_vec(detections).expect("detections are plain data with finite numbers");
    let packed = zstd::encode_all(json.as_slice(), ZSTD_LEVEL).map_err(fsio::Error::wrap("compress", &path))?;
    fsio::replace(&path, &packed)?;
    Ok(Digest::of_bytes(&json))
}

fn read_detections(path: &Path) -> Result<Detections> {
    let json = zstd::decode_all(fsio::read(path)?.as_slice()).map_err(Error::damaged(path))?;
    serde_json::from_slice(&json).map_err(Error::damaged(path))
}

fn claim_path(cell: &Path, number: u32) -> PathBuf {
    cell.join("claims").join(format!("{number}.json"))
}

fn attempt_dir(cell: &Path, number: u32) -> PathBuf {
    cell.join("attempts").join(number.to_string())
}

/// Numbers of the claims in ascending order (not the order of their names).
fn claim_numbers(cell: &Path) -> Result<Vec<u32>> {
    let names = fsio::list(&cell.join("claims"))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|n| n.strip_suffix(".json")?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_attempt(cell: &Path, number: u32) -> Result<Attempt> {
    let path = claim_path(cell, number);
    let dir = attempt_dir(cell, number);
    let claim: Claim = read_json(&path)?.ok_or_else(|| Error::damaged(&path)("it vanished"))?;
    let outcome = || read_json::<Outcome>(&dir.join("outcome.json"));
    // Liveness is asked between two looks: a holder may end its attempt and exit while we ask.
    let state = match outcome()? {
        Some(outcome) => State::Ended(outcome),
        None if claim.is_live(&path)? => State::Running,
        None => outcome()?.map_or(State::Lost, State::Ended),
    };
    Ok(Attempt { number, claim, state, dir })
}

/// Reads a JSON file of the store; `None` when it does not exist.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fsio::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(Error::damaged(path)),
        Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
    }
}
