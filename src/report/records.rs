//! What a report was made from, as one small file beside it: `etalon report FILE` renders it again, with this version's forecasts
//! and figures, long after the store is gone.
//!
//! JSON lines, compressed. The first line is the experiment with its grid, what failed and the digests of its data; then a line
//! per record, and a line per cell shown over time.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::build::{Failure, Input};
use super::model::Run;
use super::render::Artifact;
use super::source::StoredExperiment;
use crate::base::fsio;
use crate::store::Record;

/// Name of the file in a report's folder.
pub const FILE: &str = "records.jsonl.zst";

/// Version of the format.
const SCHEMA: u32 = 1;
/// Written once and committed: size counts, not time.
const ZSTD_LEVEL: i32 = 19;
/// First bytes of every zstd frame.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

#[derive(Serialize, Deserialize)]
struct Header {
    schema: u32,
    experiment: StoredExperiment,
    datasets: Vec<String>,
    failures: Vec<Failure>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Record(Box<Record>),
    Run(Run),
}

/// Why a file of records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// File trouble.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// Another kind of file, or one of a newer etalon.
    #[error("{} holds no records of a report that this etalon reads (schema {SCHEMA}): {problem}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        problem: String,
    },
}

/// Whether `path` is such a file rather than, say, a profile; told by its first bytes.
pub fn is_records(path: &Path) -> bool {
    let mut start = [0; 4];
    std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start)).is_ok() && start == MAGIC
}

/// The file of a report's records.
///
/// # Panics
/// Never: memory does not refuse.
pub fn pack(experiment: &StoredExperiment, input: &Input) -> Artifact {
    let header = Header {
        schema: SCHEMA,
        experiment: experiment.clone(),
        datasets: input.datasets.iter().cloned().collect(),
        failures: input.failures.clone(),
    };
    let mut text = json(&header);
    input.records.iter().for_each(|record| text.extend(json(&Line::Record(Box::new(record.clone())))));
    input.runs.iter().for_each(|run| text.extend(json(&Line::Run(run.clone()))));
    Artifact { path: FILE.into(), bytes: zstd::encode_all(text.as_slice(), ZSTD_LEVEL).expect("memory does not refuse") }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("records are plain data");
    line.push(b'\n');
    line
}

/// Reads the file back.
///
/// # Errors
/// It cannot be read, or is no such file. Unlike a journal, it was written whole: a torn one is refused.
pub fn unpack(path: &Path) -> Result<(StoredExperiment, Input), Error> {
    let bytes = fsio::read(path)?;
    let wrong = |problem: String| Error::Form { path: path.to_owned(), problem };
    let text = zstd::decode_all(bytes.as_slice()).map_err(|e| wrong(e.to_string()))?;
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate();
    let header = lines.next().ok_or_else(|| wrong("it is empty".into()))?.1;
    let header: Header = serde_json::from_slice(header).map_err(|e| wrong(format!("line 1: {e}")))?;
    if header.schema != SCHEMA {
        return Err(wrong(format!("its schema is {}", header.schema)));
    }
    let Header { experiment, datasets, failures, .. } = header;
    let (mut records, mut runs) = (Vec::new(), Vec::new());
    for (index, line) in lines {
        match serde_json::from_slice(line).map_err(|e| wrong(format!("line {}: {e}", index + 1)))? {
            Line::Record(record) => records.push(*record),
            Line::Run(run) => runs.push(run),
        }
    }
    let input = Input {
        experiment_toml: experiment.text.clone(),
        cells: experiment.cells.clone(),
        records,
        failures,
        datasets: datasets.into_iter().collect(),
        runs,
    };
    Ok((experiment, input))
}
