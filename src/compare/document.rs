//! The result of a comparison as it is stored: `verdict.json`, from which everything else is rendered.

use serde::{Deserialize, Serialize};

use super::commands::Pair;
use super::settings::Plan;
use crate::profile::Fingerprint;
use crate::profile::metric::{Text, Unit};
use crate::stats::Interval;

/// Version of the format. History: 1 the first.
pub const SCHEMA: u32 = 1;

/// A comparison and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Version of this format.
    pub schema: u32,
    /// Names the comparison among several on one pull request.
    pub id: String,
    /// Version and commit of the etalon that compared.
    pub etalon: String,
    /// All rows together.
    pub outcome: Outcome,
    /// The file or command that was.
    pub baseline: String,
    /// The file or command that is to come.
    pub candidate: String,
    /// Where the baseline was measured.
    pub baseline_fingerprint: Fingerprint,
    /// Where the candidate was measured.
    pub candidate_fingerprint: Fingerprint,
    /// What makes the two not comparable, as "kernel: 6.1 against 6.5"; what was accepted is not here.
    pub differences: Vec<String>,
    /// Differences that were accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
    /// What was compared: gated rows first.
    pub rows: Vec<Row>,
    /// Layers that are new, gone or different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerChange>,
    /// Sentences for the reader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How the pairs were judged; `None` for stored profiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Every pair in the order it ran, void ones included; empty for stored profiles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<Pair>,
}

/// What a comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing that is gated got dearer beyond what is tolerated.
    Pass,
    /// And something got cheaper.
    Improved,
    /// Something that is gated got dearer.
    Regressed,
    /// Neither can be said of something that is gated.
    Inconclusive,
    /// The two were measured under conditions that differ.
    NotComparable,
}

/// What is said of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Dearer beyond the ignore band.
    Regressed,
    /// Cheaper beyond the ignore band.
    Improved,
    /// Not dearer than tolerated.
    Pass,
    /// The data allow none of the above.
    Inconclusive,
    /// One number each, or a quantity that is neither good nor bad: shown, not judged.
    Informational,
}

/// How sure a row is: the lower, the surer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// The same in every run: parameters, operations, bytes of tensors.
    Deterministic,
    /// Counted by a simulated processor.
    Simulated,
    /// Measured, with little noise: CPU time, peak memory.
    Resource,
    /// Measured, with the noise of everything else on the machine: wall time and the rest.
    Environment,
}

/// One quantity on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// As the report calls it.
    pub name: String,
    /// Unit of the two values.
    pub unit: Unit,
    /// How sure.
    pub tier: Tier,
    /// Whether it decides the outcome.
    pub gated: bool,
    /// Median or only value; `None` with the reason in [`Row::note`].
    pub baseline: Option<f64>,
    /// Likewise.
    pub candidate: Option<f64>,
    /// What is said of it.
    pub verdict: Verdict,
    /// Growth up to which a difference is ignored, as a fraction.
    pub ignore: Option<f64>,
    /// Growth that is tolerated, as a fraction.
    pub harm: Option<f64>,
    /// What repeated measurements say; `None` for one number each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// Where the numbers come from.
    pub source: Text,
    /// What the reader has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Relative growth from baseline to candidate, from repeated measurements; 0.05 is 5 % dearer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Pairs, or values of the smaller sample.
    pub samples: usize,
    /// The Hodges-Lehmann estimate.
    pub estimate: f64,
    /// It is below with probability [`Change::alpha`] at most; `None` with too few samples.
    pub lower: Option<f64>,
    /// It is above with the level of a look at most.
    pub upper: Option<f64>,
    /// Probability of such data if the growth stayed within the ignore band.
    pub p: f64,
    /// The level that probability is held against: that of a look, divided among the gated rows (Holm).
    pub alpha: f64,
    /// Standard deviation of the logarithms of the ratios; `None` for unpaired samples.
    pub deviation: Option<f64>,
    /// The least growth found in four of five such comparisons.
    pub detectable: Option<f64>,
    /// Bootstrap interval of the median, for information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Interval>,
}

/// A layer that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerChange {
    /// What was counted.
    pub what: String,
    /// Path of the layer.
    pub name: String,
    /// "conv1d", "linear", …
    pub kind: String,
    /// Its counts in the baseline; `None` where it is new.
    pub baseline: Option<LayerCount>,
    /// Its counts in the candidate; `None` where it is gone.
    pub candidate: Option<LayerCount>,
}

/// Counts of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCount {
    /// Trainable values.
    pub parameters: u64,
    /// Multiply-accumulates, forward and backward.
    pub macs: u64,
    /// Bytes of inputs and outputs.
    pub activation_bytes: u64,
}

impl Row {
    /// Relative growth: estimated where there are repeated measurements, else that of the two numbers.
    pub fn growth(&self) -> Option<f64> {
        match &self.change {
            Some(change) => Some(change.estimate),
            None => Some(self.candidate? / self.baseline.filter(|b| *b != 0.0)? - 1.0),
        }
    }
}

impl Comparison {
    /// An empty comparison of two things measured under these conditions.
    pub(super) fn new(id: &str, [baseline, candidate]: [String; 2], [before, after]: [Fingerprint; 2]) -> Self {
        Self {
            schema: SCHEMA,
            id: id.to_owned(),
            etalon: crate::profile::machine::etalon().to_owned(),
            outcome: Outcome::Inconclusive,
            baseline,
            candidate,
            baseline_fingerprint: before,
            candidate_fingerprint: after,
            differences: Vec::new(),
            accepted: Vec::new(),
            rows: Vec::new(),
            layers: Vec::new(),
            notes: Vec::new(),
            plan: None,
            pairs: Vec::new(),
        }
    }

    /// Puts gated rows first and sums up.
    pub(super) fn concluded(mut self) -> Self {
        self.rows.sort_by_key(|row| (!row.gated, row.tier));
        let gated = || self.rows.iter().filter(|r| r.gated).map(|r| r.verdict);
        let any = |verdict| gated().any(|v| v == verdict);
        self.outcome = if !self.differences.is_empty() {
            Outcome::NotComparable
        } else if any(Verdict::Regressed) {
            Outcome::Regressed
        } else if any(Verdict::Inconclusive) || gated().count() == 0 {
            Outcome::Inconclusive
        } else if any(Verdict::Improved) {
            Outcome::Improved
        } else {
            Outcome::Pass
        };
        if self.outcome == Outcome::Inconclusive && gated().count() == 0 {
            self.notes.push("nothing was gated: there is no count and no repeated measurement that both sides have".to_owned());
        }
        self
    }

    /// The gated rows and the others.
    pub fn parts(&self) -> (&[Row], &[Row]) {
        self.rows.split_at(self.rows.partition_point(|r| r.gated))
    }
}
