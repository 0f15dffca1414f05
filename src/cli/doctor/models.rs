//! Whether the user's trainers of an experiment can start: their code, their interpreter, and the folder they would be handed.

use std::path::Path;

use super::{Check, Verdict};
use crate::base::fsio;
use crate::config::ExternalConfig;
use crate::detectors::external::External;
use crate::run::Prepared;
use crate::run::trainer::Environment;

/// A check per trainer of the experiment in `path`, after one of the experiment itself.
///
/// # Errors
/// The experiment or its annotations are wrong.
pub fn checks(path: &Path) -> anyhow::Result<Vec<Check>> {
    let prepared = Prepared::open(path)?;
    let (train, test) = (prepared.split.train.len(), prepared.split.test.len());
    let mut checks = vec![Check::new("data", Verdict::Good, format!("{train} training and {test} test videos"))];
    for (name, config) in &prepared.experiment.model {
        let Some(external) = config.arch.external() else { continue };
        let (verdict, detail) = match trainer(&prepared, external) {
            Ok(detail) => (Verdict::Good, detail),
            Err(problem) => (Verdict::Bad, problem),
        };
        checks.push(Check::new(name.clone(), verdict, detail));
    }
    Ok(checks)
}

fn trainer(prepared: &Prepared, external: &ExternalConfig) -> Result<String, String> {
    let code = external.code()?;
    let named = external.train.iter().any(|argument| argument.contains("{python}"));
    let environment = Environment::of(external);
    if named && environment.is_none() {
        return Err(format!("{} does not answer as a Python; set `python` to the interpreter of the trainer", external.python.display()));
    }
    let files = lay_out(prepared, external).map_err(|e| e.to_string())?;
    let code = external.commit().map_or_else(|| format!("digest {code}"), |commit| format!("commit {commit}"));
    let environment = environment.map_or_else(String::new, |environment| format!(", {}", environment.in_words()));
    Ok(format!("{code}{environment}, {files} files handed over at the smallest fraction"))
}

/// Makes the folder of the smallest cell beside other temporary files, and removes it. Returns the number of files in it.
fn lay_out(prepared: &Prepared, external: &ExternalConfig) -> anyhow::Result<usize> {
    let protocol = &prepared.experiment.protocol;
    let (fraction, seed) = (protocol.fractions[0], protocol.seeds[0]);
    let sample = prepared.sample(fraction, seed)?;
    if let Some(features) = &prepared.corpus.features {
        features.check(&[sample.videos.as_slice(), &prepared.split.test].concat())?;
    }
    let folder = std::env::temp_dir().join(format!("etalon-doctor-{}", std::process::id()));
    let files = External::new(external).lay_out(&prepared.work(&sample.videos, seed, &folder));
    fsio::remove_folder(&folder)?;
    Ok(files?)
}
