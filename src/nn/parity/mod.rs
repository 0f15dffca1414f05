//! Proof that a model is its authors' model: arrays made by their code, recomputed here, each deviation beside its
//! tolerance.

mod etad;
mod fixture;

use std::path::Path;

use serde::Serialize;

pub use fixture::Error;

/// One compared array.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Fixture and array, such as `"detector_small/out.s0.iou"`.
    pub name: String,
    /// Largest deviation; absolute unless `relative`.
    pub deviation: f64,
    /// Largest deviation allowed.
    pub tolerance: f64,
    /// Whether the deviation is relative to the expected value.
    pub relative: bool,
    /// Whether it holds. A deviation that is not a number never does.
    pub passed: bool,
}

/// All checks of a folder.
#[derive(Clone, Debug, Serialize)]
pub struct Parity {
    /// The model the folder belongs to.
    pub model: &'static str,
    /// What was compared.
    pub checks: Vec<Check>,
    /// Fixtures of the folder that this version does not recompute.
    pub not_covered: Vec<String>,
    /// Whether every check holds.
    pub passed: bool,
}

/// Recomputes the fixtures of `folder`.
///
/// # Errors
/// The folder has no manifest, a file is unreadable or lacks an array, or no model of ours matches it.
pub fn run(folder: &Path) -> Result<Parity, Error> {
    let manifest = fixture::manifest(folder)?;
    let fixtures = manifest.get("fixtures").and_then(|f| f.as_object());
    let Some(fixtures) = fixtures.filter(|f| f.contains_key("detector_small")) else {
        return Err(Error::UnknownModel { folder: folder.to_owned() });
    };
    let mut checks = Vec::new();
    let mut not_covered = Vec::new();
    for name in fixtures.keys() {
        match etad::check(folder, name)? {
            Some(more) => checks.extend(more),
            None => not_covered.push(name.clone()),
        }
    }
    let passed = checks.iter().all(|c| c.passed);
    Ok(Parity { model: "etad", checks, not_covered, passed })
}
