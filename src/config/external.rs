//! A command as a model: a trainer of the user's own, measured like the native detectors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::{Digest, fsio};

/// `arch.external`: how the trainer is started, and which files decide what it does.
///
/// Arguments are a list, never a shell line. `{job}`, `{seed}`, `{device}`, `{threads}`, `{output}`, `{checkpoint}`, `{features}`,
/// `{annotations}` and `{python}` in them and in `environment` are filled in for each cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalConfig {
    /// Trains, and without `detect` also writes the detections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<String>,
    /// Writes the detections, in a second process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect: Option<Vec<String>>,
    /// Code that is known: what it is handed and both commands follow from `config` and `set`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// The configuration of that code to begin with, below `directory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Settings of that configuration that are to be others, by their dotted names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, Value>,
    /// Where both run (environment variables as `${NAME}`; relative to the experiment file).
    pub directory: PathBuf,
    /// The interpreter that `{python}` stands for: a path, or a name that is looked up on the PATH.
    #[serde(default = "ExternalConfig::default_python")]
    pub python: PathBuf,
    /// Files and folders below `directory` whose content is part of the cells' identity; a `*` stands for any part of a name.
    /// Without any, the git tree of `directory`, which must then be clean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// Variables beside those that etalon runs with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Form of the detections; found out by their content without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detections: Option<Form>,
    /// Whether the trainer's annotation file holds the instances of the test videos.
    #[serde(default)]
    pub ground_truth: GroundTruthRule,
    /// Keep the job's folder after success.
    #[serde(default)]
    pub keep: bool,
}

/// Code whose command line and files are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adapter {
    /// ActionFormer, TriDet, TemporalMaxer, and what keeps their `train.py` and `eval.py`.
    Actionformer,
    /// OpenTAD.
    Opentad,
}

/// Form of a file of detections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// JSON: `{"results": {VIDEO: [{"segment": [s, e], "label": …, "score": …}]}}`.
    Activitynet,
    /// A pickle of columns, `eval_results.pkl`.
    Actionformer,
    /// JSON, `result_detection.json`.
    Opentad,
    /// Columns video, start, end, label, score.
    Csv,
}

/// Whether a trainer is given the instances of the test videos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroundTruthRule {
    /// It is not: nothing can be chosen by them.
    #[default]
    Withheld,
    /// It is, and records and reports say so.
    Exposed,
}

/// What may stand in braces in an argument.
pub const PLACEHOLDERS: [&str; 9] = ["job", "seed", "device", "threads", "output", "checkpoint", "features", "annotations", "python"];

impl ExternalConfig {
    /// Version of the contract with the trainer; bump when a change alters results.
    pub(super) const RECIPE: u32 = 1;

    fn default_python() -> PathBuf {
        "python3".into()
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        match (self.adapter, &self.config) {
            (None, None) if self.set.is_empty() => self.check_commands()?,
            (None, config) => {
                let key = if config.is_some() { "config" } else { "set" };
                return Err((key, "is only read with `adapter`; give \"actionformer\" or \"opentad\"".to_owned()));
            }
            (Some(_), None) => return Err(("config", "is missing; name the configuration file, below `directory`".to_owned())),
            (Some(_), Some(_)) if !self.train.is_empty() || self.detect.is_some() => {
                let key = if self.train.is_empty() { "detect" } else { "train" };
                return Err((key, "follows from `adapter`; leave out one of them".to_owned()));
            }
            (Some(_), Some(_)) if self.detections.is_some() => {
                return Err(("detections", "follows from `adapter`; leave it out".to_owned()));
            }
            (Some(_), Some(_)) => {}
        }
        self.check_placeholders()?;
        let outside = |input: &&String| Path::new(input).is_absolute() || input.split('/').any(|part| part == "..");
        match self.inputs.iter().find(outside) {
            Some(input) => Err(("inputs", format!("{input:?} is not below `directory`; name files in it"))),
            None => Ok(()),
        }
    }

    fn commands(&self) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
        let train = Some(&self.train).filter(|_| self.adapter.is_none());
        train.map(|command| ("train", command)).into_iter().chain(self.detect.iter().map(|command| ("detect", command)))
    }

    fn check_commands(&self) -> Result<(), (&'static str, String)> {
        let empty = |command: &Vec<String>| command.first().is_none_or(|program| program.trim().is_empty());
        match self.commands().find(|(_, command)| empty(command)) {
            Some(("train", _)) => Err(("train", "is empty; give the program and its arguments as a list, or an `adapter`".to_owned())),
            Some((key, _)) => Err((key, "is empty; give the program and its arguments as a list".to_owned())),
            None => Ok(()),
        }
    }

    fn check_placeholders(&self) -> Result<(), (&'static str, String)> {
        let arguments = self.commands().flat_map(|(key, command)| command.iter().map(move |argument| (key, argument)));
        for (key, argument) in arguments.chain(self.environment.values().map(|value| ("environment", value))) {
            if let Some(unknown) = placeholders(argument).find(|name| !PLACEHOLDERS.contains(name)) {
                return Err((
                    key,
                    format!(
                        "has {{{unknown}}}, which stands for nothing; there are {}",
                        PLACEHOLDERS.map(|p| format!("{{{p}}}")).join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The command that trains, or which adapter has it.
    pub fn in_words(&self) -> Vec<String> {
        let named = |adapter| match adapter {
            Adapter::Actionformer => "actionformer",
            Adapter::Opentad => "opentad",
        };
        match (self.adapter, &self.config) {
            (Some(adapter), Some(config)) => vec!["adapter".to_owned(), named(adapter).to_owned(), config.display().to_string()],
            _ => self.train.clone(),
        }
    }

    /// The configuration that an adapter begins with.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.config.as_ref().map(|config| self.directory.join(config))
    }

    /// Whether a command names the interpreter.
    pub fn uses_python(&self) -> bool {
        self.adapter.is_some() || self.commands().any(|(_, command)| command.iter().any(|argument| argument.contains("{python}")))
    }

    /// Digest of the files that decide what the trainer does: of `inputs`, or of the clean git tree.
    ///
    /// # Errors
    /// What is wrong with the directory and how to mend it, as a phrase.
    pub fn code(&self) -> Result<Digest, String> {
        if self.inputs.is_empty() { self.git_tree() } else { self.named_inputs() }
    }

    /// The commit that `directory` is at, where it is a clean git tree.
    pub fn commit(&self) -> Option<String> {
        let head = self.git(&["rev-parse", "HEAD"]).ok()?;
        self.git(&["status", "--porcelain", "--", "."]).ok()?.is_empty().then_some(head)
    }

    fn git_tree(&self) -> Result<Digest, String> {
        let changed = self.git(&["status", "--porcelain", "--", "."]).map_err(|why| {
            format!(
                "{} is no git tree ({why}), so nothing says which files decide what the trainer does; list them in `inputs`",
                self.directory.display()
            )
        })?;
        if let Some(first) = changed.lines().next() {
            let count = changed.lines().count();
            return Err(format!(
                "{} has {count} uncommitted change(s), the first is {first:?}; commit them, or list the files that matter in `inputs`",
                self.directory.display()
            ));
        }
        self.git(&["rev-parse", "HEAD:./"]).map(|tree| Digest::of_bytes(tree.as_bytes()))
    }

    fn git(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("git").arg("-C").arg(&self.directory).args(arguments).output().map_err(|e| format!("git: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr).lines().next().unwrap_or("git failed").to_owned())
        }
    }

    fn named_inputs(&self) -> Result<Digest, String> {
        let mut files = BTreeSet::new();
        for input in &self.inputs {
            let found = matching(&self.directory, input)?;
            if found.is_empty() {
                return Err(format!("has {input:?} in `inputs`, which matches no file in {}", self.directory.display()));
            }
            files.extend(found);
        }
        let digest = |file: &PathBuf| {
            let name = file.strip_prefix(&self.directory).unwrap_or(file).to_string_lossy().into_owned();
            let content = Digest::of_file(file).map_err(|e| e.to_string())?;
            Ok(Digest::of_json(&(name, content.to_string())))
        };
        files.iter().map(digest).collect::<Result<Vec<_>, String>>().map(|parts| Digest::combine(&parts))
    }
}

/// Names in braces.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    let named = |name: &&str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase());
    text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0)).filter(named)
}

/// Fills in what stands in braces.
pub fn filled(text: &str, value: &dyn Fn(&str) -> String) -> String {
    placeholders(text)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .fold(text.to_owned(), |text, name| text.replace(&format!("{{{name}}}"), &value(name)))
}

/// Files below `folder` that `pattern` names, those in a folder it names included.
fn matching(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut places = vec![folder.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let mut deeper = Vec::new();
        for place in places.iter().filter(|place| place.is_dir()) {
            let names = fsio::list(place).map_err(|e| e.to_string())?;
            deeper.extend(names.into_iter().filter(|name| fits(name, part)).map(|name| place.join(name)));
        }
        places = deeper;
    }
    let mut files = Vec::new();
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let names = fsio::list(&place).map_err(|e| e.to_string())?;
            // What an interpreter leaves behind decides nothing.
            places.extend(names.into_iter().filter(|name| name != "__pycache__" && !name.starts_with('.')).map(|name| place.join(name)));
        } else {
            files.push(place);
        }
    }
    Ok(files)
}

/// Whether `name` fits `pattern`, in which `*` stands for any characters.
fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(directory: &Path, inputs: &[&str]) -> ExternalConfig {
        ExternalConfig {
            train: vec!["{python}".into(), "train.py".into()],
            detect: None,
            adapter: None,
            config: None,
            set: BTreeMap::new(),
            directory: directory.to_owned(),
            python: "python3".into(),
            inputs: inputs.iter().map(|i| (*i).to_owned()).collect(),
            environment: BTreeMap::new(),
            detections: None,
            ground_truth: GroundTruthRule::Withheld,
            keep: false,
        }
    }

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (name, pattern, expected) in [
            ("a.py", "*.py", true),
            ("a.pyc", "*.py", false),
            ("train.py", "train.py", true),
            ("abc", "a*b*c", true),
            ("ac", "a*b*c", false),
            ("x", "*", true),
        ] {
            assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn the_code_is_the_content_of_the_inputs_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fsio::replace(&folder.path().join(name), text.as_bytes()).unwrap();
        write("train.py", "a");
        write("configs/x.yaml", "b");
        let code = || external(folder.path(), &["*.py", "configs"]).code();
        let before = code().unwrap();
        write("log.txt", "c");
        write("configs/__pycache__/x.pyc", "d");
        assert_eq!(code().unwrap(), before);
        write("configs/x.yaml", "changed");
        assert_ne!(code().unwrap(), before);
        let missing = external(folder.path(), &["*.toml"]).code().unwrap_err();
        assert!(missing.contains("\"*.toml\"") && missing.contains("matches no file"), "{missing}");
    }

    #[test]
    fn a_folder_without_git_asks_for_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let problem = external(folder.path(), &[]).code().unwrap_err();
        assert!(problem.contains("list them in `inputs`"), "{problem}");
    }

    #[test]
    fn what_stands_in_braces_is_filled_in_and_a_stranger_is_refused() {
        let value = |name: &str| format!("<{name}>");
        assert_eq!(filled("--out={output}/{seed} {JSON} {}", &value), "--out=<output>/<seed> {JSON} {}");
        let mut config = external(Path::new("."), &["x"]);
        config.train.push("{sead}".into());
        let (key, problem) = config.check().unwrap_err();
        assert!(key == "train" && problem.contains("{sead}") && problem.contains("{seed}"), "{problem}");
        config.train.clear();
        assert_eq!(config.check().unwrap_err().0, "train");
    }
    #[test]
    fn an_adapter_brings_its_commands_and_asks_for_a_configuration() {
        let mut config = external(Path::new("."), &["x"]);
        config.config = Some("a.yaml".into());
        assert_eq!(config.check().unwrap_err().0, "config");
        config.adapter = Some(Adapter::Actionformer);
        assert_eq!(config.check().unwrap_err().0, "train");
        config.train.clear();
        assert_eq!(config.check(), Ok(()));
        config.config = None;
        assert!(config.check().unwrap_err().1.contains("is missing"));
    }
}
