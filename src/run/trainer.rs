//! The user's trainers as they are when a run begins: which code, which interpreter and packages. Kept in every record, and looked at
//! again after each cell, since a cell's identity holds the code.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::config::{Experiment, ExternalConfig};
use crate::profile::process;
use crate::store::Store;
use crate::store::record::{EnvironmentFacts, TrainerFacts};

/// A trainer of an experiment.
pub struct Trainer {
    config: ExternalConfig,
    facts: TrainerFacts,
}

/// Versions in a Python environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Such as "3.11.2".
    pub python: String,
    /// Such as "CPython-3.11.2-Linux-x86_64".
    pub platform: String,
    /// Installed distributions as `name==version`, by name.
    pub packages: Vec<String>,
}

/// Reads what is installed and imports none of it.
const SCRIPT: &str = "\
import importlib.metadata as m, json, platform as p
packages = {f\"{d.metadata['Name']}=={d.version}\" for d in m.distributions() if d.metadata['Name']}
where = f'{p.python_implementation()}-{p.python_version()}-{p.system()}-{p.machine()}'
print(json.dumps({'python': p.python_version(), 'platform': where, 'packages': sorted(packages, key=str.lower)}))";

/// An interpreter that takes longer than this to answer is not asked further.
const PATIENCE: Duration = Duration::from_secs(30);

impl Trainer {
    /// Every trainer of `experiment` by its model; what their interpreters have is kept in the store.
    ///
    /// # Errors
    /// The store's disk refuses, or nothing says which files decide what a trainer does.
    pub fn of_experiment(experiment: &Experiment, store: &Store) -> Result<BTreeMap<String, Self>> {
        let mut trainers = BTreeMap::new();
        for (model, config) in &experiment.model {
            let Some(config) = config.arch.external() else { continue };
            let environment = Environment::of(config);
            let environment =
                environment.map(|e| Ok::<_, Error>(EnvironmentFacts { digest: store.add_environment(&e)?, words: e.in_words() }));
            let facts = TrainerFacts {
                command: config.in_words(),
                directory: config.directory.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                commit: config.commit(),
                code: config.code().map_err(Error::Request)?,
                environment: environment.transpose()?,
            };
            trainers.insert(model.clone(), Self { config: config.clone(), facts });
        }
        Ok(trainers)
    }

    /// What a record says of it.
    pub fn facts(&self) -> &TrainerFacts {
        &self.facts
    }

    /// Why what it has just made does not belong to the cell; `None` where its code is what it was.
    pub fn changed(&self) -> Option<String> {
        let changed =
            "the trainer's code changed while it ran, so that nothing says which code made this; run again for cells of the new code";
        (self.config.code().as_ref() != Ok(&self.facts.code)).then(|| changed.to_owned())
    }
}

impl Environment {
    /// That of `{python}`, where a command of the trainer names it and it answers. One that does not start fails its cells, which say
    /// why.
    pub fn of(external: &ExternalConfig) -> Option<Self> {
        external.uses_python().then(|| ask(Command::new(&external.python)))?
    }

    /// In a few words.
    pub fn in_words(&self) -> String {
        let torch = self.packages.iter().find_map(|package| package.strip_prefix("torch=="));
        let torch = torch.map_or_else(String::new, |version| format!(", torch {version}"));
        format!("Python {}{torch}, {} packages", self.python, self.packages.len())
    }
}

fn ask(mut interpreter: Command) -> Option<Environment> {
    let mut child = interpreter.args(["-c", SCRIPT]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut output = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).ok().map(|_| text)
    });
    if !process::wait_for_exit(child.id(), PATIENCE).unwrap_or(true) {
        // It is gone or goes now; either way it says nothing.
        let _ = child.kill();
    }
    child.wait().ok()?;
    serde_json::from_str(&reader.join().ok()??).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_says_what_it_has_and_anything_else_nothing() {
        let found = ask(Command::new("python3")).expect("python3 is there");
        assert!(found.python.starts_with('3') && found.platform.contains(&found.python), "{found:?}");
        assert_eq!(ask(Command::new("false")), None);
        assert_eq!(ask(Command::new("no-such-interpreter")), None);
    }

    #[test]
    fn torch_is_named_where_it_is_there() {
        let packages = ["numpy==2.0", "torch==2.11.0+cu130"].map(str::to_owned).into();
        let environment = Environment { python: "3.11.2".into(), platform: String::new(), packages };
        assert_eq!(environment.in_words(), "Python 3.11.2, torch 2.11.0+cu130, 2 packages");
    }
}
