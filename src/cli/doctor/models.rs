//! Whether the user's trainers of an experiment can start: their code, their interpreter, and the folder they would be handed.

use std::path::Path;
use std::process::{Command, Stdio};

use super::super::trainers::smallest;
use super::{Check, Verdict};
use crate::config::ExternalConfig;
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
    let environment = Environment::of(external);
    if external.uses_python() && environment.is_none() {
        return Err(format!("{} does not answer as a Python; set `python` to the interpreter of the trainer", external.python.display()));
    }
    let files = handed(prepared, external).map_err(|e| e.to_string())?;
    let code = external.commit().map_or_else(|| format!("digest {code}"), |commit| format!("commit {commit}"));
    let environment = environment.map_or_else(String::new, |environment| format!(", {}", environment.in_words()));
    Ok(format!("{code}{environment}, {files} files handed over at the smallest fraction"))
}

/// Makes the folder of the smallest cell, and has an adapter's configuration loaded by the code it is for. Returns the number of
/// feature files.
fn handed(prepared: &Prepared, external: &ExternalConfig) -> anyhow::Result<usize> {
    smallest(prepared, external, |laid_out| {
        if let (Some(program), Some(file)) = (laid_out.loads, laid_out.files.first()) {
            let mut python = Command::new(&external.python);
            python.args(["-c", program]).arg(file).current_dir(&external.directory).stdin(Stdio::null());
            let output = python.output()?;
            anyhow::ensure!(output.status.success(), "its configuration does not load: {}", last_line(&output.stderr));
        }
        Ok(laid_out.handed)
    })
}

fn last_line(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).trim().lines().last().unwrap_or("it said nothing").to_owned()
}
