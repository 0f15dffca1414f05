//! An experiment file: data set, protocol, models, evaluation, fit and limits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::actionformer::ActionFormerConfig;
use super::encoder::EncoderConfig;
use super::etad::EtadConfig;
use super::external::ExternalConfig;
use super::gtad::GtadConfig;
use super::settings::Common;
use super::tadtr::TadTrConfig;
use super::temporalmaxer::TemporalMaxerConfig;
use super::tridet::TriDetConfig;
use crate::base::Span;
use crate::data::video::VideosConfig;
use crate::data::{FeaturesConfig, Outside, SyntheticConfig};
use crate::profile::recorder;
use crate::profile::sensors::Group;
use crate::protocol::ProtocolConfig;

/// A whole experiment. `etalon plan --resolved` prints it with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Version of this file's meaning: 1.
    pub schema: u32,
    /// Shown in reports.
    pub name: String,
    /// What is trained and tested on.
    pub dataset: DatasetConfig,
    /// How it is split and drawn.
    pub protocol: ProtocolConfig,
    /// Models by name.
    pub model: BTreeMap<String, ModelConfig>,
    /// How detections are scored.
    #[serde(default)]
    pub evaluate: EvaluateConfig,
    /// What is forecast.
    #[serde(default)]
    pub fit: FitConfig,
    /// What is measured while a cell runs. Like the limits, no part of a cell's identity.
    #[serde(default)]
    pub profile: ProfileConfig,
    /// Time and attempts per cell.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Paths by key as the file has them, before variables and folders were filled in.
    #[serde(skip)]
    pub(super) written: BTreeMap<String, PathBuf>,
}

/// Where the data come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetConfig {
    /// Form of the annotations.
    pub format: Format,
    /// Annotation JSON (environment variables as `${NAME}` or `${NAME:-default}`; relative to the experiment file).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<PathBuf>,
    /// Instances outside their video: `"refuse"` the file (default) or `"drop"` and note them.
    #[serde(default)]
    pub outside: Outside,
    /// Feature files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<FeaturesConfig>,
    /// The videos themselves, for models with an encoder. With the built-in corpus they are rendered on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub videos: Option<VideosConfig>,
    /// The built-in corpus (`format = "synthetic"`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticConfig>,
}

/// Form of the annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// ActivityNet / OpenTAD: `database` → subset, duration, annotations.
    Activitynet,
    /// TadTR's form of THUMOS14: the same with a `classes` list and subsets `val` and `test`.
    Tadtr,
    /// The built-in corpus: nothing to download.
    Synthetic,
}

/// One `[model.NAME]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// `arch.etad = { preset = "laptop" }`, `arch.prior = {}`.
    pub arch: Arch,
    /// The video encoder in front of it, which reads `dataset.videos`; without it the detector reads `dataset.features`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<EncoderConfig>,
    /// Where class labels come from, for a class-agnostic detector.
    #[serde(default)]
    pub labels: Labels,
    /// Weights to start from instead of random ones: a `.pth` of the authors or safetensors. With `steps = 0` (or
    /// `epochs = 0` under `budget = "epochs"`) they are evaluated as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// Video-level scores for `labels = "external"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_scores: Option<VideoScores>,
}

/// The architecture, keyed by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arch {
    /// ETAD.
    Etad(EtadConfig),
    /// TadTR.
    Tadtr(TadTrConfig),
    /// ActionFormer.
    Actionformer(ActionFormerConfig),
    /// TemporalMaxer.
    Temporalmaxer(TemporalMaxerConfig),
    /// TriDet.
    Tridet(TriDetConfig),
    /// G-TAD.
    Gtad(GtadConfig),
    /// Class and length frequencies: the floor.
    Prior(PriorConfig),
    /// A command of the user.
    External(ExternalConfig),
}

impl Arch {
    /// Version of the architecture's code; bump when a change alters results.
    pub fn recipe(&self) -> u32 {
        match self {
            Self::Etad(_) => EtadConfig::RECIPE,
            Self::Tadtr(_) => TadTrConfig::RECIPE,
            Self::Actionformer(_) => ActionFormerConfig::RECIPE,
            Self::Temporalmaxer(_) => TemporalMaxerConfig::RECIPE,
            Self::Tridet(_) => TriDetConfig::RECIPE,
            Self::Gtad(_) => GtadConfig::RECIPE,
            Self::Prior(_) => 1,
            Self::External(_) => ExternalConfig::RECIPE,
        }
    }

    /// The same architecture for inputs of `1/slower` as many cells, each of which stands for `slower` times as long.
    pub fn at(&self, slower: usize) -> Self {
        let mut arch = self.clone();
        let shorten = |cells: &mut usize| *cells = cells.div_ceil(slower);
        match &mut arch {
            Self::Etad(c) => shorten(&mut c.max_duration),
            Self::Gtad(c) => shorten(&mut c.max_duration),
            _ => {}
        }
        if let Some(common) = arch.common_mut() {
            shorten(&mut common.window);
            shorten(&mut common.stride);
        }
        arch
    }

    /// As [`Arch::common`], to be changed.
    pub fn common_mut(&mut self) -> Option<&mut Common> {
        match self {
            Self::Etad(c) => Some(&mut c.common),
            Self::Tadtr(c) => Some(&mut c.common),
            Self::Actionformer(c) => Some(&mut c.common),
            Self::Temporalmaxer(c) => Some(&mut c.common),
            Self::Tridet(c) => Some(&mut c.common),
            Self::Gtad(c) => Some(&mut c.common),
            Self::Prior(_) | Self::External(_) => None,
        }
    }

    /// The settings that all native networks share; `None` for what is no network.
    pub fn common(&self) -> Option<&Common> {
        match self {
            Self::Etad(c) => Some(&c.common),
            Self::Tadtr(c) => Some(&c.common),
            Self::Actionformer(c) => Some(&c.common),
            Self::Temporalmaxer(c) => Some(&c.common),
            Self::Tridet(c) => Some(&c.common),
            Self::Gtad(c) => Some(&c.common),
            Self::Prior(_) | Self::External(_) => None,
        }
    }

    /// The command of the user, where it is one.
    pub fn external(&self) -> Option<&ExternalConfig> {
        if let Self::External(external) = self { Some(external) } else { None }
    }
}

/// Settings of the floor baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorConfig {
    /// Detections per video.
    #[serde(default = "PriorConfig::default_per_video")]
    pub per_video: usize,
}

impl PriorConfig {
    fn default_per_video() -> usize {
        100
    }
}

/// Where class labels come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// A class head on the last stage's RoI features, trained on the same sample (our deviation from the paper).
    #[default]
    ProposalHead,
    /// Video-level scores of a classifier trained elsewhere: recorded as possible leakage.
    External,
}

/// A file of video-level class scores: JSON `{ "video": { "class": score, … } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoScores {
    /// The file.
    pub path: PathBuf,
    /// Classes used per video.
    #[serde(default = "VideoScores::default_top")]
    pub top: usize,
}

impl VideoScores {
    fn default_top() -> usize {
        2
    }
}

/// The `[evaluate]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateConfig {
    /// tIoU thresholds.
    #[serde(default = "EvaluateConfig::default_tiou")]
    pub tiou: Vec<f64>,
    /// Which published evaluator's rules: `"activitynet"` or `"actionformer"`.
    #[serde(default)]
    pub rules: crate::eval::Rules,
}

impl EvaluateConfig {
    fn default_tiou() -> Vec<f64> {
        vec![0.3, 0.4, 0.5, 0.6, 0.7]
    }
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        Self { tiou: Self::default_tiou(), rules: crate::eval::Rules::default() }
    }
}

/// The `[profile]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileConfig {
    /// Groups of sensors; all by default, none for `[]`.
    #[serde(default = "ProfileConfig::default_sensors")]
    pub sensors: Vec<Group>,
    /// Time between samples.
    #[serde(default = "ProfileConfig::default_period")]
    pub period: Span,
}

impl ProfileConfig {
    fn default_sensors() -> Vec<Group> {
        Group::ALL.to_vec()
    }

    fn default_period() -> Span {
        Span(recorder::PERIOD)
    }
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self { sensors: Self::default_sensors(), period: Self::default_period() }
    }
}

/// The `[fit]` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitConfig {
    /// What is asked of the curve.
    #[serde(default)]
    pub targets: TargetsConfig,
}

/// Forecast sizes and target scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetsConfig {
    /// Multiples of the full training part (`"2x"`) or numbers of videos (`"500"`).
    #[serde(default = "TargetsConfig::default_sizes")]
    pub sizes: Vec<String>,
    /// Average mAP to reach, 0..1.
    #[serde(default)]
    pub map: Vec<f64>,
}

impl TargetsConfig {
    fn default_sizes() -> Vec<String> {
        vec!["2x".into(), "3x".into()]
    }
}

impl Default for TargetsConfig {
    fn default() -> Self {
        Self { sizes: Self::default_sizes(), map: Vec::new() }
    }
}

/// The `[limits]` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Per cell.
    #[serde(default)]
    pub cell: CellLimits,
}

/// Limits of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellLimits {
    /// Wall time of one attempt.
    #[serde(default = "CellLimits::default_time")]
    pub time: Span,
    /// Attempts before the cell counts as failed.
    #[serde(default = "CellLimits::default_attempts")]
    pub attempts: u32,
}

impl CellLimits {
    fn default_time() -> Span {
        Span(std::time::Duration::from_secs(8 * 3600))
    }

    fn default_attempts() -> u32 {
        3
    }
}

impl Default for CellLimits {
    fn default() -> Self {
        Self { time: Self::default_time(), attempts: Self::default_attempts() }
    }
}
