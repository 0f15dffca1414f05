//! A command as a detector: the trainer of a user, in its own words and its own environment.
//!
//! It is handed a folder ([`folder`]) with the sampled training videos and the test videos, and nothing else; it runs as a child
//! ([`child`]) whose whole tree ends with it; what it detects is checked ([`results`]) before anything is scored.

mod adapter;
mod child;
mod folder;
mod results;

use std::path::{Path, PathBuf};
use std::process::Command;

use adapter::{Known, Work};
use child::Ending;
use folder::Folder;

use super::{Detected, Detector, Error, Job, Trained};
use crate::base::fsio;
use crate::config::external::{ExternalConfig, GroundTruthRule, filled};
use crate::event::{Observer, Phase};

/// The detector that `arch.external` describes.
pub struct External {
    config: ExternalConfig,
}

/// A job's folder before anything has run in it.
pub struct LaidOut {
    /// The folder.
    pub folder: PathBuf,
    /// Number of feature files.
    pub handed: usize,
    /// What an adapter wrote into it.
    pub files: Vec<PathBuf>,
    /// The command that trains.
    pub train: Vec<String>,
    /// A Python program that loads the first of the files as the code does.
    pub loads: Option<&'static str>,
}

/// Name of the job's folder in the attempt's.
const FOLDER: &str = "job";

/// A trainer's exit code that asks for another attempt (`EX_TEMPFAIL` of sysexits.h).
const AGAIN: i32 = 75;

impl External {
    /// With these settings.
    pub fn new(config: &ExternalConfig) -> Self {
        Self { config: config.clone() }
    }

    /// Makes the folder that the trainer would be handed, and starts nothing.
    ///
    /// # Errors
    /// The disk refuses, a feature file is missing, or an adapter cannot use its configuration.
    pub fn lay_out(&self, job: &Job<'_>) -> Result<LaidOut, Error> {
        let (folder, files) = self.folder(job)?;
        let known = self.known(job, &folder, |known, work| Ok((known.train(work)?, known.loads())))?;
        let handed = if folder.features().exists() { fsio::list(&folder.features())?.len() } else { 0 };
        let (train, loads) = match known {
            Some((train, loads)) => (train, Some(loads)),
            None => (self.config.train.clone(), None),
        };
        Ok(LaidOut { folder: folder.path().to_owned(), handed, files, train, loads })
    }

    /// Makes the job's folder and the files that the adapter adds to it.
    fn folder(&self, job: &Job<'_>) -> Result<(Folder, Vec<PathBuf>), Error> {
        let folder = Folder::make(&job.dir.join(FOLDER), job, &self.config)?;
        let files = self.known(job, &folder, |known, work| known.files(work))?.unwrap_or_default();
        for (path, text) in &files {
            fsio::replace(path, text.as_bytes())?;
        }
        Ok((folder, files.into_iter().map(|(path, _)| path).collect()))
    }

    /// What the adapter says, where there is one.
    fn known<T>(
        &self,
        job: &Job<'_>,
        folder: &Folder,
        says: impl FnOnce(&dyn Known, &Work<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let Some(kind) = self.config.adapter else { return Ok(None) };
        let device = own_device(job.device, None).0;
        says(adapter::of(kind), &Work { config: &self.config, folder, job, device: &device }).map(Some)
    }

    fn run(&self, command: &[String], job: &Job<'_>, folder: &Folder, observer: &mut dyn Observer) -> Result<(), Error> {
        let (device, visible) = own_device(job.device, std::env::var(VISIBLE).ok().as_deref());
        let value = |name: &str| match name {
            "job" => text(folder.path()),
            "seed" => job.seed.to_string(),
            "device" => device.clone(),
            "threads" => job.threads.to_string(),
            "output" => text(&folder.output()),
            "checkpoint" => text(&folder.checkpoint()),
            "features" => text(&folder.features()),
            "annotations" => text(&folder.annotations()),
            _ => text(&self.config.python),
        };
        let arguments: Vec<String> = command.iter().map(|argument| filled(argument, &value)).collect();
        let program = program(&arguments[0], &self.config.directory);
        let mut started = Command::new(&program);
        started.args(&arguments[1..]).current_dir(&self.config.directory);
        started.envs(self.config.environment.iter().map(|(name, argument)| (name, filled(argument, &value))));
        started.envs(visible.map(|visible| (VISIBLE, visible)));
        let name = arguments[0].clone();
        let epochs = self.known(job, folder, |known, work| known.epochs(work))?.flatten();
        let ending = child::run(started, epochs, observer).map_err(|source| {
            Error::Input(format!("cannot start {name:?} in {}: {source}; check `arch.external`", self.config.directory.display()))
        })?;
        match ending {
            Ending::Success => Ok(()),
            Ending::Stopped => Err(Error::Model("the trainer was asked to end, and did".to_owned())),
            Ending::Code(AGAIN, said) => Err(Error::Model(format!("{name} asked for another attempt (exit {AGAIN}): {said}"))),
            Ending::Code(code, said) => Err(Error::Input(format!("{name} failed with exit {code}: {said}"))),
            Ending::Signal(signal, said) => Err(Error::Model(format!("{name} was ended by signal {signal}: {said}"))),
        }
    }
}

impl Detector for External {
    fn train(&self, job: &Job<'_>, observer: &mut dyn Observer) -> Result<Trained, Error> {
        let (folder, _) = self.folder(job)?;
        fsio::create_dir(&folder.checkpoint())?;
        let command = self.known(job, &folder, |known, work| known.train(work))?;
        self.run(command.as_ref().unwrap_or(&self.config.train), job, &folder, observer)?;
        let mut notes = Vec::new();
        if self.config.ground_truth == GroundTruthRule::Exposed {
            notes.push("the trainer was given the instances of the test videos (`ground_truth = \"exposed\"`)".to_owned());
        }
        Ok(Trained { artifact: folder.output(), notes, ..Trained::default() })
    }

    fn detect(&self, job: &Job<'_>, _: &Trained, videos: &[String], observer: &mut dyn Observer) -> Result<Detected, Error> {
        let folder = Folder::at(&job.dir.join(FOLDER));
        let known = self.known(job, &folder, |known, work| Ok((known.detect(work)?, known.detections(work))))?;
        let (command, found) = known.unzip();
        // An earlier attempt may have left some beside its checkpoint.
        found.iter().try_for_each(|path| fsio::remove(path))?;
        if let Some(detect) = command.as_ref().or(self.config.detect.as_ref()) {
            self.run(detect, job, &folder, observer)?;
        }
        let path = match found {
            Some(path) if path.exists() => path,
            Some(path) => return Err(Error::Input(format!("the detection ended well, but wrote no {}", path.display()))),
            None => results::find(&folder.output())?,
        };
        let results = results::read(&path, self.config.detections, job.dataset, videos)?;
        let macs = folder.compute()?;
        if !self.config.keep {
            fsio::remove_folder(folder.path())?;
        }
        Ok(Detected { detections: results.detections, macs, notes: results.notes })
    }
}

/// Tells CUDA which GPUs a process sees.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// The device as the trainer names it, and what `CUDA_VISIBLE_DEVICES` is to be: of the GPUs that we see, the one that the cell was given, which is then its
/// first.
fn own_device(device: &str, visible: Option<&str>) -> (String, Option<String>) {
    let Some(index) = device.strip_prefix("cuda:").and_then(|index| index.parse::<usize>().ok()) else { return (device.to_owned(), None) };
    let listed = visible.and_then(|list| list.split(',').nth(index)).map(|name| name.trim().to_owned());
    ("cuda:0".to_owned(), Some(listed.unwrap_or_else(|| index.to_string())))
}

/// A program with a path starts at `directory`; a bare name is looked up on the PATH.
fn program(name: &str, directory: &Path) -> PathBuf {
    if name.contains('/') { directory.join(name) } else { name.into() }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The phase of that name.
fn phase(name: &str) -> Option<Phase> {
    [Phase::Load, Phase::Train, Phase::Detect, Phase::Evaluate].into_iter().find(|phase| phase.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trainer_sees_the_gpu_of_its_cell_and_calls_it_the_first() {
        let seen = |device: &str, visible| own_device(device, visible);
        assert_eq!(seen("cpu", Some("0,1")), ("cpu".into(), None));
        assert_eq!(seen("cuda:1", None), ("cuda:0".into(), Some("1".into())));
        assert_eq!(seen("cuda:1", Some("4, 6")), ("cuda:0".into(), Some("6".into())));
    }
}
