//! Proof that a model is its authors' model: arrays made by their code, recomputed here, each deviation beside its
//! tolerance.
//!
//! What a folder holds is told by its files and its manifest alone, never by its name: a folder of another variant of a
//! known model works too.

mod common;
mod encoders;
mod etad;
mod fixture;
mod gtad;
mod points;
mod tadtr;
mod tadtr_windows;

use std::path::Path;

use serde::Serialize;
use tch::Device;

pub use fixture::Error;

use super::precision;
use crate::config::settings::Precision;

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
    /// Why more than the usual tolerance was allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, deviation: f64, tolerance: f64, relative: bool) -> Self {
        // What must be exact must be so everywhere.
        let tolerance = tolerance * fixture::slack();
        Self { name: name.into(), deviation, tolerance, relative, passed: deviation <= tolerance, note: None }
    }
}

/// All checks of a folder, or of several.
#[derive(Clone, Debug, Serialize)]
pub struct Parity {
    /// What was compared; names begin with the folder when there are several.
    pub checks: Vec<Check>,
    /// Fixtures that this version does not recompute.
    pub not_covered: Vec<String>,
    /// Whether there is a check in every folder and all of them hold.
    pub passed: bool,
    /// Folder by folder.
    pub folders: Vec<Folder>,
}

/// The outcome of one folder.
#[derive(Clone, Debug, Serialize)]
pub struct Folder {
    /// Path.
    pub folder: String,
    /// The model it belongs to.
    pub model: String,
    /// Arrays compared.
    pub compared: usize,
    /// Arrays beyond their tolerance.
    pub deviating: usize,
}

/// Recomputes the fixtures of `folder` on `device`, or of all folders below it when it holds none itself. A CUDA device may deviate
/// ten times as much as the CPU.
///
/// # Errors
/// No fixtures anywhere, a file is unreadable or lacks an array, or no model of ours matches a manifest.
pub fn run(folder: &Path, device: Device) -> Result<Parity, Error> {
    fixture::compute_on(device);
    precision::prepare(Precision::Float32, false);
    let mut parity = Parity { checks: Vec::new(), not_covered: Vec::new(), passed: true, folders: Vec::new() };
    let mut waiting = vec![folder.to_owned()];
    while let Some(at) = waiting.pop() {
        match one(&at) {
            Ok(Some(checked)) => parity.add(&at, at.strip_prefix(folder).unwrap_or(&at), checked),
            Ok(None) => waiting.extend(fixture::folders(&at)?.into_iter().rev()),
            // Among others, a model of another version is no reason to compare nothing.
            Err(Error::UnknownModel { model, .. }) if at != folder => parity.not_covered.push(format!("{} ({model})", at.display())),
            Err(error) => return Err(error),
        }
    }
    if parity.folders.is_empty() { Err(Error::NoFixtures { folder: folder.to_owned() }) } else { Ok(parity) }
}

impl Parity {
    fn add(&mut self, folder: &Path, below: &Path, (model, checks, not_covered): Checked) {
        let deviating = checks.iter().filter(|c| !c.passed).count();
        self.passed &= !checks.is_empty() && deviating == 0;
        self.folders.push(Folder { folder: folder.display().to_string(), model, compared: checks.len(), deviating });
        let named = |name: String| below.join(name).display().to_string();
        self.checks.extend(checks.into_iter().map(|c| Check { name: named(c.name), ..c }));
        self.not_covered.extend(not_covered.into_iter().map(named));
    }
}

/// What the checks of a folder give: the model, the checks, and what is not covered.
type Checked = (String, Vec<Check>, Vec<String>);

/// `None` for a folder that holds no fixtures itself.
fn one(folder: &Path) -> Result<Option<Checked>, Error> {
    let has = |file: &str| folder.join(file).is_file();
    Ok(Some(if has("manifest.json") {
        let manifest = fixture::json(&folder.join("manifest.json"))?;
        match manifest.get("model").and_then(|m| m.as_str()) {
            Some("actionformer" | "temporalmaxer" | "tridet") => points::check(folder, &manifest)?,
            Some("tadtr") => tadtr::check(folder, &manifest)?,
            Some("gtad") => ("gtad".into(), gtad::check(folder, &manifest)?, vec![]),
            None if manifest.get("fixtures").is_some_and(|f| f.get("detector_small").is_some()) => etad::check(folder, &manifest)?,
            other => return Err(Error::UnknownModel { folder: folder.to_owned(), model: other.unwrap_or("none").to_owned() }),
        }
    } else if has("windows.json") {
        ("tadtr".into(), tadtr_windows::check(folder)?, vec![])
    } else if has("nms_manifest.json") || has("eval_expected.json") {
        let (checks, not_covered) = common::check(folder)?;
        ("common".into(), checks, not_covered)
    } else {
        return Ok(None);
    }))
}
