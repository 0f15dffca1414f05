//! From an experiment file to a resolved [`Experiment`] and back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::encoder::EncoderConfig;
use super::experiment::{Arch, DatasetConfig, Experiment};
use super::external::ExternalConfig;
use super::{paths, validate};
use crate::base::{Digest, fsio, origin};
use crate::protocol::Grid;
use crate::protocol::grid::ModelAxis;

/// Why an experiment cannot be used. Each names the file, the key and what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// No TOML of the expected form; the message shows line, column and key.
    #[error("{} is no valid experiment: {problem}", path.display())]
    Toml {
        /// The experiment file.
        path: PathBuf,
        /// The parser's message with the line at fault.
        problem: String,
    },
    /// A value that makes no sense.
    #[error("{}: `{key}` {problem}", path.display())]
    Value {
        /// The experiment file.
        path: PathBuf,
        /// Such as `protocol.fractions`.
        key: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// A data set that the project's experiments name is not where it should be.
    #[error("`{key}`: {} does not exist.\n\n{section}", path.display())]
    NoData {
        /// Where it was looked for.
        path: PathBuf,
        /// Such as `dataset.annotations`.
        key: &'static str,
        /// What the data set is and how to lay it out.
        section: String,
    },
    /// Nothing says which files decide what a trainer does.
    #[error("`model.{model}.arch.external` {problem}")]
    Trainer {
        /// The model's name.
        model: String,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The annotations cannot be used.
    #[error(transparent)]
    Annotations(#[from] crate::data::annotations::Error),
    /// The features cannot be used.
    #[error(transparent)]
    Features(#[from] crate::data::features::Error),
    /// The videos cannot be used.
    #[error(transparent)]
    Video(#[from] crate::data::video::Error),
    /// The protocol cannot be applied to the data.
    #[error(transparent)]
    Protocol(#[from] crate::protocol::Error),
}

impl Experiment {
    /// Reads an experiment file: paths become absolute, every value is checked.
    ///
    /// # Errors
    /// An unreadable file, an unknown or missing key, a value out of range, an unset environment variable.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::load_with(path, &|name| std::env::var(name).ok())
    }

    /// [`Experiment::load`] with `variable` to look up the environment.
    pub(super) fn load_with(path: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let text = fsio::read_text(path)?;
        let mut experiment: Self =
            toml::from_str(&text).map_err(|e| Error::Toml { path: path.to_owned(), problem: e.to_string().trim_end().to_owned() })?;
        let wrong = |(key, problem)| Error::Value { path: path.to_owned(), key, problem };
        validate::experiment(&experiment).map_err(wrong)?;
        experiment.locate(path, variable)?;
        Ok(experiment)
    }

    /// Makes the paths absolute and keeps them as they were written, so that the resolved experiment holds no path of this
    /// machine that its author did not write.
    fn locate(&mut self, file: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), Error> {
        let folder = origin::folder_of(file)?;
        let mut written = BTreeMap::new();
        for (key, path) in self.paths_mut() {
            let resolved = paths::resolve(path, &folder, variable).map_err(|problem| {
                let section = paths::section(path).map(|section| format!("\n\n{section}"));
                Error::Value { path: file.to_owned(), key: key.clone(), problem: problem + &section.unwrap_or_default() }
            })?;
            written.insert(key, std::mem::replace(path, resolved));
        }
        for (key, path) in self.interpreters_mut() {
            let wrong = |problem| Error::Value { path: file.to_owned(), key: key.clone(), problem };
            let resolved = paths::absolute(path, &folder, variable).map_err(wrong)?;
            written.insert(key, std::mem::replace(path, resolved));
        }
        self.written = written;
        Ok(())
    }

    /// Every path of the experiment with its key.
    fn paths_mut(&mut self) -> Vec<(String, &mut PathBuf)> {
        let DatasetConfig { annotations, features, videos, .. } = &mut self.dataset;
        let mut found: Vec<(String, &mut PathBuf)> = annotations.iter_mut().map(|path| ("dataset.annotations".into(), path)).collect();
        found.extend(features.as_mut().map(|features| ("dataset.features.path".into(), &mut features.path)));
        if let Some(videos) = videos {
            found.extend(videos.path.as_mut().map(|path| ("dataset.videos.path".into(), path)));
            found.extend(videos.cache.path.as_mut().map(|path| ("dataset.videos.cache.path".into(), path)));
        }
        for (name, model) in &mut self.model {
            let weights = model.encoder.as_mut().and_then(|encoder| encoder.weights.as_mut());
            found.extend(weights.map(|path| (format!("model.{name}.encoder.weights"), path)));
            if let Arch::External(external) = &mut model.arch {
                found.push((format!("model.{name}.arch.external.directory"), &mut external.directory));
            }
            found.extend(model.init.as_mut().map(|path| (format!("model.{name}.init"), path)));
            found.extend(model.video_scores.as_mut().map(|scores| (format!("model.{name}.video_scores.path"), &mut scores.path)));
        }
        found
    }

    /// Interpreters of the user's trainers that are paths, or name a variable, rather than names.
    fn interpreters_mut(&mut self) -> Vec<(String, &mut PathBuf)> {
        let mut found = Vec::new();
        for (name, model) in &mut self.model {
            if let Arch::External(external) = &mut model.arch
                && (external.python.components().count() > 1 || external.python.to_string_lossy().contains("${"))
            {
                found.push((format!("model.{name}.arch.external.python"), &mut external.python));
            }
        }
        found
    }

    /// Refuses annotations of `${TAD_DATA}` that are not where they should be, with what the project's page of data sets says.
    pub(super) fn expect_annotations(&self) -> Result<(), Error> {
        self.expect("dataset.annotations", self.dataset.annotations.as_ref())
    }

    /// Refuses features and videos of `${TAD_DATA}` that are not where they should be, with what the project's page of data sets
    /// says.
    ///
    /// # Errors
    /// [`Error::NoData`].
    pub fn expect_inputs(&self) -> Result<(), Error> {
        let DatasetConfig { features, videos, .. } = &self.dataset;
        self.expect("dataset.features.path", features.as_ref().map(|features| &features.path))?;
        self.expect("dataset.videos.path", videos.as_ref().and_then(|videos| videos.path.as_ref()))
    }

    fn expect(&self, key: &'static str, path: Option<&PathBuf>) -> Result<(), Error> {
        let Some(path) = path.filter(|path| !path.exists()) else { return Ok(()) };
        match self.written.get(key).and_then(|written| paths::section(written)) {
            Some(section) => Err(Error::NoData { path: path.clone(), key, section }),
            // Whoever opens it says what is missing.
            None => Ok(()),
        }
    }

    /// The experiment as TOML with every default written out and paths as they were written; [`Experiment::load`] gives the same
    /// experiment back, from the same folder or with a note of it ([`origin`]).
    pub fn resolved_toml(&self) -> String {
        let mut portable = self.clone();
        let restore = |(key, path): (String, &mut PathBuf)| self.written.get(&key).into_iter().for_each(|written| path.clone_from(written));
        portable.paths_mut().into_iter().for_each(restore);
        portable.interpreters_mut().into_iter().for_each(restore);
        toml::to_string(&portable).expect("an experiment has only types that TOML can write")
    }

    /// The configuration of model `name` as it enters the cells' keys: resolved, and the content of initial weights and
    /// of video-level scores in place of their paths.
    ///
    /// # Errors
    /// One of these files cannot be read.
    ///
    /// # Panics
    /// The experiment has no such model.
    pub fn model_spec(&self, name: &str) -> Result<serde_json::Value, Error> {
        let model = &self.model[name];
        let mut spec = serde_json::to_value(model).expect("settings serialise");
        if let Some(scores) = &model.video_scores {
            let content = Digest::of_file(&scores.path)?;
            spec["video_scores"] = serde_json::json!({ "digest": content, "top": scores.top });
        }
        if let Some(init) = &model.init {
            spec["init"] = serde_json::json!({ "digest": Digest::of_file(init)? });
        }
        if let Some(external) = model.arch.external() {
            let wrong = |problem| Error::Trainer { model: name.to_owned(), problem };
            let ExternalConfig { train, detect, environment, ground_truth, adapter, set, detections, .. } = external;
            let mut part = serde_json::json!({
                "train": train, "detect": detect, "environment": environment, "ground_truth": ground_truth,
                "code": external.code().map_err(wrong)?,
            });
            if let (Some(adapter), Some(file)) = (adapter, external.config_file()) {
                part["adapter"] = serde_json::json!({ "kind": adapter, "config": Digest::of_file(&file)?, "set": set });
            }
            if let Some(form) = detections {
                part["detections"] = serde_json::json!(form);
            }
            spec["arch"]["external"] = part;
        }
        if let Some(encoder) = &model.encoder {
            spec["encoder"]["recipe"] = EncoderConfig::RECIPE.into();
            if let Some(weights) = &encoder.weights {
                spec["encoder"]["weights"] = serde_json::json!({ "digest": Digest::of_file(weights)? });
            }
        }
        Ok(spec)
    }

    /// All cells of the experiment on the data with this digest (see [`super::Corpus::digest`]).
    ///
    /// # Errors
    /// A file of initial weights or of video-level scores cannot be read.
    pub fn grid(&self, data: &Digest) -> Result<Grid, Error> {
        let axis = |(name, model): (&String, &super::ModelConfig)| {
            Ok(ModelAxis { name: name.clone(), spec: self.model_spec(name)?, recipe: model.arch.recipe() })
        };
        let models = self.model.iter().map(axis).collect::<Result<Vec<_>, Error>>()?;
        Ok(Grid::new(data, &self.protocol, &models))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
schema = 1
name = "small"
dataset = { format = "synthetic", synthetic = {} }

[protocol]
split = { test = 0.20, seed = 2023 }
fractions = [10, 50, 100]
seeds = [0, 1]

[model.prior]
arch.prior = {}

[model.etad]
arch.etad = { preset = "laptop", epochs = 3 }
"#;

    fn load(text: &str) -> Result<Experiment, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("experiment.toml");
        fsio::replace(&path, text.as_bytes()).unwrap();
        Experiment::load(&path)
    }

    fn changed(from: &str, to: &str) -> String {
        assert!(SMALL.contains(from), "{from}");
        load(&SMALL.replace(from, to)).unwrap_err().to_string()
    }

    #[test]
    fn the_resolved_experiment_loads_back_to_itself() {
        let experiment = load(SMALL).unwrap();
        let text = experiment.resolved_toml();
        for default in ["sampling = \"independent\"", "tiou = [", "attempts = 3", "roi_bins = 12", "per_video = 100", "noise = "] {
            assert!(text.contains(default), "{default} is not in\n{text}");
        }
        let again = load(&text).unwrap();
        assert_eq!((again.resolved_toml(), again), (text, experiment));
    }

    #[test]
    fn a_mistake_is_shown_with_its_line_and_key() {
        let text = changed("seeds = [0, 1]", "sedes = [0, 1]");
        assert!(text.contains("experiment.toml") && text.contains("line 9") && text.contains("sedes"), "{text}");
        let text = changed("epochs = 3", "epochs = -3");
        assert!(text.contains("line 15") && text.contains("epochs"), "{text}");
        let text = changed("arch.prior = {}", "arch.prir = {}");
        assert!(text.contains("unknown variant `prir`"), "{text}");
        assert!(changed("[10, 50, 100]", "[0, 50]").contains("not a percentage"));
    }

    #[test]
    fn values_that_contradict_each_other_are_refused_by_key() {
        for (from, to, key) in [
            ("schema = 1", "schema = 2", "`schema` 2 is not known"),
            ("[10, 50, 100]", "[10, 100, 50]", "`protocol.fractions` must ascend"),
            ("[10, 50, 100]", "[]", "`protocol.fractions` is empty"),
            ("seeds = [0, 1]", "seeds = [1, 1]", "`protocol.seeds` names a seed twice"),
            (", synthetic = {}", "", "`dataset.synthetic` is missing"),
            ("format = \"synthetic\"", "format = \"activitynet\"", "`dataset.synthetic` needs format"),
            ("format = \"synthetic\", synthetic = {}", "format = \"activitynet\"", "`dataset.annotations` is missing"),
            ("arch.etad = {", "labels = \"external\"\narch.etad = {", "`model.etad.video_scores` is missing"),
            ("arch.etad = {", "video_scores = { path = \"x\" }\narch.etad = {", "`model.etad.video_scores` is only read"),
            ("epochs = 3 }", "steps = 0 }", "`model.etad` asks for `steps = 0`, but `budget = \"epochs\"`"),
            ("epochs = 3 }", "epochs = 0 }", "`model.etad.init` is missing"),
            ("arch.prior", "init = \"w.pth\"\narch.prior", "`model.prior.init` has no meaning"),
            ("[model.etad]", "[evaluate]\ntiou = [0.5, 1.0]\n[model.etad]", "`evaluate.tiou` must lie between"),
            ("[model.etad]", "[fit.targets]\nsizes = [\"twice\"]\n[model.etad]", "`fit.targets.sizes` \"twice\""),
            (
                "[model.etad]\narch.etad = { preset = \"laptop\", epochs = 3 }",
                "[model.twin]\narch.prior = {}",
                "`model.twin` has the settings of model.prior",
            ),
            ("split = { test = 0.20, seed = 2023 }", "split = \"official\"\npool = [\"training\"]", "`protocol.pool` needs two"),
        ] {
            let text = changed(from, to);
            assert!(text.contains(key), "{key:?} is not in {text:?}");
        }
    }

    #[test]
    fn an_unset_variable_in_a_path_is_named_with_its_key() {
        let files = "format = \"activitynet\", annotations = \"${ETALON_NO_SUCH}/a.json\", features = { path = \"f\", kind = \"npy\", dim = 2, rate = 1 }";
        let text = changed("format = \"synthetic\", synthetic = {}", files);
        assert!(text.contains("`dataset.annotations` names the environment variable ETALON_NO_SUCH, which is not set"), "{text}");
    }

    #[test]
    fn the_grid_has_every_cell_and_its_keys_follow_the_models_settings() {
        let data = Digest::of_bytes(b"data");
        let keys =
            |text: &str| -> Vec<_> { load(text).unwrap().grid(&data).unwrap().cells.into_iter().map(|c| (c.model, c.key)).collect() };
        let (before, after) = (keys(SMALL), keys(&SMALL.replace("epochs = 3", "epochs = 4")));
        assert_eq!(before.len(), 12);
        for (a, b) in before.iter().zip(&after) {
            assert_eq!(a == b, a.0 == "prior");
        }
    }

    #[test]
    fn video_scores_and_initial_weights_enter_the_key_by_content() {
        let folder = tempfile::tempdir().unwrap();
        for table in ["labels = \"external\"\nvideo_scores = { path = \"NAME\" }\n", "init = \"NAME\"\n"] {
            let spec = |name: &str, content: &str| {
                fsio::replace(&folder.path().join(name), content.as_bytes()).unwrap();
                let path = folder.path().join("experiment.toml");
                let table = format!("{}arch.etad = {{", table.replace("NAME", name));
                fsio::replace(&path, SMALL.replace("arch.etad = {", &table).as_bytes()).unwrap();
                Experiment::load(&path).unwrap().model_spec("etad").unwrap()
            };
            assert_eq!(spec("a.json", "{}"), spec("b.json", "{}"));
            assert_ne!(spec("a.json", "{}"), spec("a.json", "{ }"));
        }
    }
}
