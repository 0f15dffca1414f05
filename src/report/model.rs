//! A report as typed values: numbers with their spread, no markup. Scores are in 0..1 everywhere here.

mod end_to_end;

use serde::{Deserialize, Serialize};

use crate::curves::{Crossing, FanPoint, Forecast, Gain, Summary};

pub use end_to_end::{EncoderGain, EncoderTraining, EndToEnd, EndToEndRow, Share, Sweep};

/// Everything a reader needs to believe the result, or to run it again.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this format.
    pub schema: u32,
    /// Name of the experiment.
    pub experiment: String,
    /// What was found, in sentences.
    pub headline: Vec<String>,
    /// tIoU thresholds of the scores.
    pub tiou: Vec<f64>,
    /// Models, best first.
    pub models: Vec<ModelReport>,
    /// Every two models on the samples they share.
    pub pairs: Vec<Pair>,
    /// Scores beside costs; `None` without any cell.
    pub efficiency: Option<Efficiency>,
    /// Models that read videos; `None` when no model has an encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<EndToEnd>,
    /// What the cells used of their machine; `None` when no record has a profile.
    pub hardware: Option<Hardware>,
    /// What is missing.
    pub completeness: Completeness,
    /// Where, when and with what it ran.
    pub manifest: Vec<Fact>,
    /// What the records warn of, with the number of cells that say so.
    pub notes: Vec<CountedNote>,
    /// The resolved experiment file.
    pub experiment_toml: String,
    /// How to make this report again.
    pub commands: Vec<String>,
}

/// One model's results.
#[derive(Clone, Debug, Serialize)]
pub struct ModelReport {
    /// Name in the experiment.
    pub name: String,
    /// Trainable parameters, where it has any.
    pub parameters: Option<u64>,
    /// Ascending in size.
    pub fractions: Vec<FractionRow>,
    /// Classes at the largest fraction, in ascending order of their name.
    pub classes: Vec<ClassRow>,
    /// `None` when a curve cannot be drawn, for the reason beside it.
    pub curve: Option<Summary>,
    /// Why there is no curve.
    pub no_curve: Option<String>,
    /// The expected score from the smallest size to the largest forecast, for figures.
    pub fan: Vec<FanPoint>,
    /// What twice the data would give; `None` with fewer than [`FEWEST_SIZES`] sizes.
    pub outlook: Option<Outlook>,
    /// The same at each threshold, from a curve through the scores at that threshold alone.
    pub thresholds: Vec<Option<Outlook>>,
    /// Sum over its cells.
    pub total: Cost,
}

/// With fewer sizes than this, parts of a score are not forecast.
pub const FEWEST_SIZES: usize = 3;

/// What twice the data would give.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outlook {
    /// Where a repetition would measure the mean score.
    pub forecast: Forecast,
    /// Over the largest fraction.
    pub gain: Gain,
}

/// The cells of one fraction.
#[derive(Clone, Debug, Serialize)]
pub struct FractionRow {
    /// Percent of the training part.
    pub percent: f64,
    /// Mean number of training videos.
    pub videos: f64,
    /// Mean number of training instances.
    pub instances: f64,
    /// Mean hours of training video.
    pub hours: f64,
    /// Seeds, with the average mAP of each.
    pub seeds: Vec<(u64, f64)>,
    /// Average mAP.
    pub average_map: Spread,
    /// mAP at each threshold.
    pub map: Vec<Spread>,
    /// Mean cost of a cell.
    pub cost: Cost,
}

/// A class at the largest fraction.
#[derive(Clone, Debug, Serialize)]
pub struct ClassRow {
    /// Class name.
    pub name: String,
    /// AP averaged over the thresholds.
    pub average: Spread,
    /// AP at each threshold.
    pub ap: Vec<Spread>,
    /// What twice the data would give to `average`; `None` with fewer than [`FEWEST_SIZES`] sizes.
    pub outlook: Option<Outlook>,
}

/// Mean and standard deviation over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// `None` for one seed.
    pub sd: Option<f64>,
}

/// What cells cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Wall seconds.
    pub wall_s: f64,
    /// CPU seconds.
    pub cpu_s: f64,
    /// Largest peak resident set in bytes.
    pub peak_rss_bytes: u64,
    /// Seconds that the training stood still until frames came; `None` for a model that reads no videos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_waited_s: Option<f64>,
    /// Seconds of decoding, on threads beside the training; `None` for a model that reads no videos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames_decode_s: Option<f64>,
}

/// Two models on the same samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Ahead at the largest fraction that both have, in the mean over their common seeds.
    pub ahead: String,
    /// The other.
    pub behind: String,
    /// From how many videos on `ahead` leads; `None` when they have no seed of a fraction in common.
    pub crossing: Option<Crossing>,
    /// Mean number of training instances where the means cross.
    pub instances: Option<f64>,
    /// Beyond the largest fraction that both have; empty when either has no curve.
    pub prospects: Vec<Prospect>,
}

/// Who would be ahead with more data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prospect {
    /// Multiple of the largest size that both have.
    pub times: f64,
    /// Training videos.
    pub n: f64,
    /// Probability that `ahead` has the higher expected score there, the curves of the two being drawn independently.
    pub probability: f64,
}

/// What can be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Wall seconds of the training phase.
    TrainingTime,
    /// CPU seconds of the cell.
    CpuTime,
    /// Billions of multiply-accumulates to detect in a minute of video.
    Compute,
    /// Peak resident set in bytes.
    Memory,
    /// Trainable parameters.
    Parameters,
}

/// Scores beside costs at the largest fraction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Efficiency {
    /// Percent of the training part.
    pub percent: f64,
    /// Training videos.
    pub videos: f64,
    /// Best first.
    pub rows: Vec<Tradeoff>,
    /// What is not known, and why.
    pub absent: Vec<Absent>,
}

/// A model's score and costs: means over its cells at one fraction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tradeoff {
    /// Name.
    pub model: String,
    /// Average mAP.
    pub score: Spread,
    /// Wall seconds of the training phase.
    pub training_s: Option<f64>,
    /// CPU seconds of the whole cell.
    pub cpu_s: f64,
    /// Billions of multiply-accumulates to detect in a minute of video.
    pub gmac_per_minute: Option<f64>,
    /// Largest peak resident set in bytes.
    pub peak_rss_bytes: u64,
    /// Trainable parameters.
    pub parameters: Option<u64>,
    /// Resources of which no other model takes less at an equal or better mean score.
    pub unbeaten: Vec<Resource>,
}

/// A gap in the costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Absent {
    /// What is not known; `None` when it is everything.
    pub resource: Option<Resource>,
    /// Of which models.
    pub models: Vec<String>,
    /// Why.
    pub reason: String,
}

/// What the cells at the largest fraction used of their machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Hardware {
    /// A row per model, best model first.
    pub rows: Vec<HardwareRow>,
    /// One cell of each model over time.
    pub runs: Vec<Run>,
    /// What could not be measured.
    pub absent: Vec<Absence>,
    /// Mean cost of sampling, in percent of one core.
    pub sampler_percent: Option<f64>,
}

/// Means over a model's cells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HardwareRow {
    /// Name.
    pub model: String,
    /// Cells behind the means.
    pub cells: usize,
    /// Compute threads of each.
    pub threads: usize,
    /// Cores in use in the mean.
    pub cores: Option<f64>,
    /// CPU seconds of a cell.
    pub cpu_s: Option<f64>,
    /// Peak resident set in bytes.
    pub peak_rss_bytes: Option<f64>,
    /// Memory bandwidth in bytes per second.
    pub bandwidth: Option<f64>,
    /// Bytes written to disk.
    pub written_bytes: Option<f64>,
    /// Share of the time the GPU was busy, in percent.
    pub gpu_percent: Option<f64>,
    /// Joules of processor packages and GPUs.
    pub energy_j: Option<f64>,
    /// CPU seconds per point of mAP.
    pub cpu_s_per_point: Option<f64>,
    /// Joules per point of mAP.
    pub energy_per_point: Option<f64>,
    /// "bound by CPU".
    pub bound: String,
    /// What that rests on.
    pub evidence: Vec<String>,
    /// In order.
    pub phases: Vec<HardwarePhase>,
}

/// Means over a model's cells of one phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HardwarePhase {
    /// "load", "train", "detect", "evaluate".
    pub name: String,
    /// Wall seconds.
    pub wall_s: f64,
    /// CPU seconds.
    pub cpu_s: Option<f64>,
    /// Cores in use in the mean.
    pub cores: Option<f64>,
    /// Peak resident set in bytes.
    pub peak_rss_bytes: Option<f64>,
}

/// One cell over time: seconds and values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Name.
    pub model: String,
    /// Which cell: "100 %, seed 0".
    pub label: String,
    /// Cores in use.
    pub cores: Vec<(f64, f64)>,
    /// Resident set in bytes.
    pub memory: Vec<(f64, f64)>,
    /// Memory bandwidth in bytes per second; empty where it is not measured.
    pub bandwidth: Vec<(f64, f64)>,
    /// GPU busy, in percent; empty without one.
    pub gpu: Vec<(f64, f64)>,
    /// Where phases begin.
    pub phases: Vec<(f64, String)>,
    /// The trace ends in the middle.
    pub torn: bool,
}

/// Channels that could not be measured, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Absence {
    /// Which.
    pub channels: Vec<String>,
    /// Why, with the remedy.
    pub reason: String,
}

/// How much of the grid is there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Completeness {
    /// Cells with a record.
    pub done: usize,
    /// Cells of the experiment.
    pub expected: usize,
    /// Cells without a record, gathered by model, fraction and reason.
    pub missing: Vec<Missing>,
}

/// Seeds of one model and fraction that have no record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missing {
    /// Model.
    pub model: String,
    /// Percent.
    pub percent: f64,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Why they failed; `None` for cells that were not tried, were interrupted or are running.
    pub reason: Option<String>,
}

/// A named fact.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fact {
    /// What.
    pub name: &'static str,
    /// Its value, or its values when cells differ.
    pub value: String,
}

/// A note and how many cells made it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CountedNote {
    /// One sentence.
    pub text: String,
    /// Models whose cells say so.
    pub models: Vec<String>,
    /// Number of cells.
    pub cells: usize,
}
