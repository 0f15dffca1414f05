//! What is compared and when a difference counts: defaults, a TOML file over them, flags over both.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::base::fsio;
use crate::profile::Fingerprint;
use crate::stats::multiple;

/// Version of the configuration file.
const SCHEMA: u32 = 1;
/// Fewer values per side cannot reach the level of a look.
pub(super) const LEAST_SAMPLES: usize = 6;
/// More gated measures share the error probability too thinly.
const MOST_GATED: usize = 4;

/// A measure that is repeated, so that its differences can be told from noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// CPU seconds of a command and the children it waited for.
    Cpu,
    /// Peak resident memory of a command's largest process.
    Memory,
    /// Wall seconds of a command.
    Wall,
    /// Seconds per training step of a profile.
    Train,
    /// Seconds per video detected in, of a profile.
    Detect,
}

impl Measure {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Wall, Self::Train, Self::Detect];

    /// As flags and files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Wall => "wall",
            Self::Train => "train",
            Self::Detect => "detect",
        }
    }

    /// Noise decides: CPU time and memory hardly depend on what else runs. Steps of two stored profiles were measured at
    /// different times, so that a drift of the machine between them counts as a difference; they are gated on request only.
    fn margins(self) -> Margins {
        match self {
            Self::Cpu => Margins { gate: true, ignore_percent: 2.0, harm_percent: 5.0 },
            Self::Memory => Margins { gate: true, ignore_percent: 3.0, harm_percent: 10.0 },
            Self::Wall | Self::Train | Self::Detect => Margins { gate: false, ignore_percent: 2.0, harm_percent: 5.0 },
        }
    }
}

impl FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|m| m.name() == text).ok_or_else(|| format!("no such measure; there are {}", names()))
    }
}

/// When a difference of a measure counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Margins {
    /// Whether it decides the outcome.
    pub gate: bool,
    /// Growth up to this many percent is no growth.
    pub ignore_percent: f64,
    /// Growth of this many percent is not tolerated: only below it is a pass.
    pub harm_percent: f64,
}

impl Margins {
    /// The ignore band as a fraction.
    pub fn ignore(&self) -> f64 {
        self.ignore_percent / 100.0
    }

    /// The tolerated harm as a fraction.
    pub fn harm(&self) -> f64 {
        self.harm_percent / 100.0
    }
}

/// When a pair does not count, whatever it measured. The rules see both sides alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Voids {
    /// Void when a hypervisor took more than this share of the machine's time during either launch.
    pub steal_percent: Option<f64>,
    /// Void when the shares of time in which something waited for a processor differ by more than this between the launches.
    /// Off by default: a candidate that starts more threads than there are cores raises the pressure itself.
    pub pressure_gap_percent: Option<f64>,
}

impl Default for Voids {
    fn default() -> Self {
        Self { steal_percent: Some(20.0), pressure_gap_percent: None }
    }
}

/// How pairs are run and judged; part of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Numbers of valid pairs at which the data are looked at, ascending.
    pub looks: Vec<usize>,
    /// Error probability per look.
    pub alpha: f64,
    /// Seed of the order within pairs.
    pub seed: u64,
    /// When a pair does not count.
    pub voids: Voids,
}

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Names the comparison among several on one pull request.
    pub id: String,
    /// Shell command of the baseline.
    pub baseline: Option<String>,
    /// Shell command of the candidate.
    pub candidate: Option<String>,
    /// How pairs are run.
    pub plan: Plan,
    /// When differences count.
    pub margins: BTreeMap<Measure, Margins>,
    /// Fields of the fingerprint that may differ.
    pub accept: Vec<String>,
    /// Compare counts only, also of profiles from different machines.
    pub counts_only: bool,
    /// Count instructions under valgrind as well.
    pub instructions: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let seed = u64::from(uuid::Uuid::new_v4().as_fields().0);
        Self {
            id: "profile".to_owned(),
            baseline: None,
            candidate: None,
            plan: Plan { looks: vec![10, 20, 40], alpha: 0.0221, seed, voids: Voids::default() },
            margins: Measure::ALL.into_iter().map(|m| (m, m.margins())).collect(),
            accept: Vec::new(),
            counts_only: false,
            instructions: false,
        }
    }
}

/// The configuration file. What is left out keeps its default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    id: Option<String>,
    baseline: Option<String>,
    candidate: Option<String>,
    looks: Option<Vec<usize>>,
    seed: Option<u64>,
    instructions: Option<bool>,
    ignore: Option<Vec<String>>,
    voids: Option<Voids>,
    #[serde(default)]
    measure: BTreeMap<Measure, FileMargins>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileMargins {
    gate: Option<bool>,
    ignore_percent: Option<f64>,
    harm_percent: Option<f64>,
}

impl Settings {
    /// The defaults with a TOML file over them.
    ///
    /// # Errors
    /// The file cannot be read or has a key or value that is not known.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let broken = |problem: String| Error::Config { path: path.to_owned(), problem };
        let file: File = toml::from_str(&fsio::read_text(path)?).map_err(|e| broken(e.to_string().trim_end().to_owned()))?;
        if file.schema != SCHEMA {
            return Err(broken(format!("schema = {} is not known to this etalon; write schema = {SCHEMA}", file.schema)));
        }
        let mut settings = Self::default();
        let File { id, baseline, candidate, looks, seed, instructions, ignore, voids, measure, .. } = file;
        settings.id = id.unwrap_or(settings.id);
        (settings.baseline, settings.candidate) = (baseline, candidate);
        settings.plan.looks = looks.unwrap_or(settings.plan.looks);
        settings.plan.seed = seed.unwrap_or(settings.plan.seed);
        settings.plan.voids = voids.unwrap_or(settings.plan.voids);
        settings.instructions = instructions.unwrap_or(false);
        settings.accept = ignore.unwrap_or_default();
        for (name, given) in measure {
            let margins = settings.of_mut(name);
            margins.gate = given.gate.unwrap_or(margins.gate);
            margins.ignore_percent = given.ignore_percent.unwrap_or(margins.ignore_percent);
            margins.harm_percent = given.harm_percent.unwrap_or(margins.harm_percent);
        }
        settings.checked().map_err(|e| broken(e.to_string()))
    }

    /// When differences of a measure count.
    pub fn of(&self, measure: Measure) -> Margins {
        self.margins[&measure]
    }

    /// The same, to change.
    pub fn of_mut(&mut self, measure: Measure) -> &mut Margins {
        self.margins.get_mut(&measure).expect("every measure has margins")
    }

    /// Checks what types cannot, and derives the level of a look.
    ///
    /// # Errors
    /// A value that makes no sense, with what to write instead.
    pub fn checked(mut self) -> Result<Self, Error> {
        let problem = |text: String| Err(Error::Settings(text));
        let looks = &self.plan.looks;
        let Some(alpha) = multiple::pocock(looks.len()) else {
            return problem(format!("looks = {looks:?}: give one to five numbers of pairs, such as 10, 20, 40"));
        };
        let gated = self.margins.values().filter(|m| m.gate).count();
        if gated > MOST_GATED {
            return problem(format!("{gated} measures are gated: gate at most {MOST_GATED}, they share one error probability"));
        }
        // All of n pairs pointing one way have the probability 2^-n: it must be able to reach the share of one measure.
        let least = (gated.max(1) as f64 / alpha).log2().ceil() as usize;
        if looks[0] < least || !looks.is_sorted_by(|a, b| a < b) {
            return problem(format!("looks = {looks:?}: give ascending numbers of pairs from {least}, such as 10, 20, 40"));
        }
        self.plan.alpha = alpha;
        for (measure, Margins { ignore_percent, harm_percent, .. }) in &self.margins {
            if !(*ignore_percent >= 0.0 && ignore_percent < harm_percent && *harm_percent < 1000.0) {
                let (name, example) = (measure.name(), "2 and 5");
                return problem(format!(
                    "{name}: an ignore band of {ignore_percent} % and a tolerated harm of {harm_percent} %: the first must be at least 0 and below the second, such as {example}"
                ));
            }
        }
        let known = known_differences();
        if let Some(name) = self.accept.iter().find(|name| !known.contains(name)) {
            return problem(format!("ignore = {name:?}: no such field of a fingerprint; there are {}", known.join(", ")));
        }
        // The id becomes part of an HTML comment.
        if self.id.is_empty()
            || !self.id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            || self.id.contains("--")
        {
            return problem(format!("id = {:?}: use letters, digits, and single - _ . between them", self.id));
        }
        let shares = [self.plan.voids.steal_percent, self.plan.voids.pressure_gap_percent];
        if let Some(share) = shares.into_iter().flatten().find(|s| !(0.0..=100.0).contains(s)) {
            return problem(format!("voids: {share} is no percentage from 0 to 100"));
        }
        Ok(self)
    }
}

/// What two profiles can differ in.
fn known_differences() -> Vec<String> {
    let fingerprint = serde_json::to_value(Fingerprint::default()).expect("a fingerprint is plain data");
    let fields = fingerprint.as_object().into_iter().flat_map(|fields| fields.keys().cloned());
    fields.chain([super::profiles::WORK.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ci.toml");
        fsio::replace(&path, text.as_bytes()).unwrap();
        Settings::read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let settings = read("schema = 1\nid = \"train\"\nlooks = [8, 16]\n[measure.wall]\ngate = true\nharm_percent = 15\n").unwrap();
        assert_eq!((settings.id.as_str(), settings.plan.looks.as_slice(), settings.plan.alpha), ("train", [8, 16].as_slice(), 0.0294));
        assert_eq!(settings.of(Measure::Wall), Margins { gate: true, ignore_percent: 2.0, harm_percent: 15.0 });
        assert_eq!(settings.of(Measure::Cpu), Measure::Cpu.margins());
    }

    #[test]
    fn the_file_in_this_repository_says_what_the_defaults_are() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/profile-ci.toml");
        let settings = Settings::read(&path).unwrap();
        let defaults = Settings::default();
        assert_eq!(
            (&settings.plan.looks, settings.plan.voids, settings.plan.alpha),
            (&defaults.plan.looks, defaults.plan.voids, defaults.plan.alpha)
        );
        assert_eq!((settings.of(Measure::Cpu), settings.of(Measure::Memory)), (defaults.of(Measure::Cpu), defaults.of(Measure::Memory)));
        assert!(settings.baseline.is_some() && settings.candidate.is_some() && !settings.of(Measure::Wall).gate);
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_key() {
        let refused = |text: &str, part: &str| {
            let message = read(&format!("schema = 1\n{text}")).unwrap_err();
            assert!(message.contains("ci.toml") && message.contains(part), "{message}");
        };
        refused("lokos = [10]", "lokos");
        refused("looks = [6, 10]", "from 7");
        refused("looks = [10, 20, 20]", "ascending");
        refused("looks = []", "one to five");
        refused("[measure.gpu]\ngate = true", "gpu");
        refused("[measure.cpu]\nignore_percent = 6", "cpu: an ignore band of 6 %");
        refused("[measure.cpu]\nharm_percent = nan", "cpu");
        refused("id = \"a --> b\"", "id");
        refused("ignore = [\"kernal\"]", "there are cpu, cpu_flags");
        refused("[voids]\nsteal_percent = 200", "200");
        assert!(read("schema = 9").unwrap_err().contains("write schema = 1"));
    }
}
