//! Models that read videos: how each trains its encoder, what that gives over a frozen one, and what it costs.
//!
//! The settings are read from the resolved experiment as far as they are understood: what a newer version adds leaves a gap
//! in the section, never an error.

use super::efficiency::mean_of;
use super::model::{EncoderGain, EncoderTraining, EndToEnd, EndToEndRow, FractionRow, ModelReport, Share, Sweep};
use super::pairs;
use crate::curves::Crossing;
use crate::store::Record;

/// Models of `experiment` with an encoder at the largest fraction that any of them was measured at; `None` without any.
pub fn of(models: &[ModelReport], records: &[Record], experiment: &toml::Table) -> Option<EndToEnd> {
    let with_encoder: Vec<(&ModelReport, Setup)> = models.iter().filter_map(|m| Some((m, Setup::read(experiment, &m.name)?))).collect();
    let fractions = || with_encoder.iter().flat_map(|(model, _)| &model.fractions);
    let largest = fractions().max_by(|a, b| a.percent.total_cmp(&b.percent))?;
    let (mut present, mut absent) = (Vec::new(), Vec::new());
    for (model, setup) in with_encoder {
        match model.fractions.iter().find(|f| f.percent == largest.percent) {
            Some(fraction) => present.push(Present { row: row(&model.name, fraction, &setup, records), setup, fraction }),
            None => absent.push(model.name.clone()),
        }
    }
    present.sort_by(|a, b| order(&a.row).partial_cmp(&order(&b.row)).unwrap_or(std::cmp::Ordering::Equal));
    Some(EndToEnd {
        percent: largest.percent,
        videos: largest.videos,
        sweeps: [Share::Snippets, Share::Proposals].into_iter().flat_map(|over| sweeps(&present, over)).collect(),
        gains: present.iter().filter_map(|p| gain(p, &present)).collect(),
        rows: present.into_iter().map(|p| p.row).collect(),
        absent,
    })
}

/// A model with cells at the fraction.
struct Present<'a> {
    setup: Setup<'a>,
    row: EndToEndRow,
    fraction: &'a FractionRow,
}

fn row(model: &str, fraction: &FractionRow, setup: &Setup<'_>, records: &[Record]) -> EndToEndRow {
    let cells: Vec<&Record> = records.iter().filter(|r| r.model == model && r.fraction.value() == fraction.percent).collect();
    let update_s = |r: &Record| (r.training.steps > 0).then_some(r.usage.training_s()? / r.training.steps as f64);
    let waiting = |r: &Record| Some(r.training.frames?.waited_s / r.usage.training_s().filter(|s| *s > 0.0)?);
    EndToEndRow {
        model: model.to_owned(),
        network: setup.word(&["encoder", "network"]).unwrap_or("unknown").to_owned(),
        training: setup.training(),
        proposals: setup.number(Share::Proposals.path()),
        score: fraction.average_map,
        training_s: mean_of(&cells, |r| r.usage.training_s()),
        update_s: mean_of(&cells, update_s),
        peak_rss_bytes: fraction.cost.peak_rss_bytes,
        peak_gpu_bytes: cells
            .iter()
            .map(|r| r.profile.as_ref()?.value("gpu0.memory.process.peak"))
            .reduce(|a, b| Some(a?.max(b?)))
            .flatten(),
        waiting: mean_of(&cells, waiting),
        decode_s: fraction.cost.frames_decode_s,
    }
}

/// What rows are sorted by: kind, share of snippets, strategy or fidelity, share of proposals, name.
fn order(row: &EndToEndRow) -> (u8, f64, &str, f64, &str) {
    let (kind, ratio, word) = match &row.training {
        EncoderTraining::Frozen => (0, 0.0, ""),
        EncoderTraining::Plain => (1, 0.0, ""),
        EncoderTraining::Checkpointed => (2, 0.0, ""),
        EncoderTraining::Sampled { ratio, strategy } => (3, *ratio, strategy.as_str()),
        EncoderTraining::Lofi { fidelity } => (4, 0.0, fidelity.as_str()),
        EncoderTraining::Other { name } => (5, 0.0, name.as_str()),
    };
    (kind, ratio, word, row.proposals.unwrap_or(0.0), &row.model)
}

/// Models that differ in `over` alone. Of proposals only where they do differ: every ETAD has some share of them.
fn sweeps(present: &[Present<'_>], over: Share) -> Vec<Sweep> {
    let mut groups: Vec<(toml::Table, Sweep)> = Vec::new();
    for Present { setup, row, .. } in present {
        let Some(share) = over.of(row) else { continue };
        let (rest, entry) = (setup.without(over.path()), (row.model.clone(), share));
        match groups.iter_mut().find(|group| group.0 == rest) {
            Some((_, sweep)) => sweep.models.push(entry),
            None => groups.push((rest, Sweep { over, models: vec![entry] })),
        }
    }
    let mut found: Vec<Sweep> = groups.into_iter().map(|g| g.1).filter(|s| over == Share::Snippets || s.models.len() > 1).collect();
    found.iter_mut().for_each(|sweep| sweep.models.sort_by(|a, b| a.1.total_cmp(&b.1)));
    found
}

/// Against the frozen encoder of the same network and start before the same architecture, set alike if there is one.
fn gain(of: &Present<'_>, all: &[Present<'_>]) -> Option<EncoderGain> {
    if of.row.training == EncoderTraining::Frozen {
        return None;
    }
    let candidates = || all.iter().filter(|p| p.row.training == EncoderTraining::Frozen && p.setup.starts_like(&of.setup));
    let alike = |p: &&Present<'_>| p.setup.architecture() == of.setup.architecture();
    let frozen = candidates().find(alike).or_else(|| candidates().next())?;
    let lead = Crossing::of(&[pairs::differences(of.fraction, frozen.fraction)?])?.sizes.pop()?;
    Some(EncoderGain { model: of.row.model.clone(), frozen: frozen.row.model.clone(), same_detector: alike(&frozen), lead })
}

/// A model's table in the experiment.
struct Setup<'a>(&'a toml::Table);

impl<'a> Setup<'a> {
    /// `None` for a model without an encoder.
    fn read(experiment: &'a toml::Table, model: &str) -> Option<Self> {
        let table = experiment.get("model")?.get(model)?.as_table()?;
        table.contains_key("encoder").then_some(Self(table))
    }

    fn at(&self, path: &[&str]) -> Option<&'a toml::Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |value, key| value.get(key))
    }

    fn word(&self, path: &[&str]) -> Option<&'a str> {
        self.at(path)?.as_str()
    }

    fn number(&self, path: &[&str]) -> Option<f64> {
        let value = self.at(path)?;
        value.as_float().or_else(|| value.as_integer().map(|i| i as f64))
    }

    /// `"plain"`, `{ sampled = { ratio, strategy } }`, `{ lofi = { fidelity } }`; frozen where nothing is said.
    fn training(&self) -> EncoderTraining {
        let Some(value) = self.at(&["encoder", "training"]) else { return EncoderTraining::Frozen };
        let kind = value.as_str().or_else(|| value.as_table()?.keys().next().map(String::as_str)).unwrap_or("unknown");
        let setting = |key, default: &str| self.word(&["encoder", "training", kind, key]).unwrap_or(default).to_owned();
        match (kind, self.number(Share::Snippets.path())) {
            ("frozen", _) => EncoderTraining::Frozen,
            ("plain", _) => EncoderTraining::Plain,
            ("checkpointed", _) => EncoderTraining::Checkpointed,
            ("sampled", Some(ratio)) => EncoderTraining::Sampled { ratio, strategy: setting("strategy", "random") },
            ("lofi", _) => EncoderTraining::Lofi { fidelity: setting("fidelity", "long-cycle") },
            _ => EncoderTraining::Other { name: kind.to_owned() },
        }
    }

    /// The table without the value at `path`.
    fn without(&self, path: &[&str]) -> toml::Table {
        fn remove(table: &mut toml::Table, path: &[&str]) {
            match path {
                [] => {}
                [last] => drop(table.remove(*last)),
                [first, rest @ ..] => table.get_mut(*first).and_then(toml::Value::as_table_mut).into_iter().for_each(|t| remove(t, rest)),
            }
        }
        let mut table = self.0.clone();
        remove(&mut table, path);
        table
    }

    fn architecture(&self) -> Option<&'a toml::Value> {
        self.0.get("arch")
    }

    /// Whether encoders begin with the same weights, before detectors of the same architecture.
    fn starts_like(&self, other: &Self) -> bool {
        let kind = |setup: &Self| Some(setup.architecture()?.as_table()?.keys().next()?.clone());
        let same = |key| self.at(&["encoder", key]) == other.at(&["encoder", key]);
        ["network", "width", "weights"].into_iter().all(same) && kind(self) == kind(other)
    }
}

impl Share {
    /// Where a model's table has it.
    fn path(self) -> &'static [&'static str] {
        match self {
            Self::Snippets => &["encoder", "training", "sampled", "ratio"],
            Self::Proposals => &["arch", "etad", "ratio"],
        }
    }

    /// What a model sets it to; `None` where nothing is sampled.
    pub fn of(self, row: &EndToEndRow) -> Option<f64> {
        match (self, &row.training) {
            (Self::Snippets, EncoderTraining::Sampled { ratio, .. }) => Some(*ratio),
            (Self::Snippets, _) => None,
            (Self::Proposals, _) => row.proposals,
        }
    }
}

impl EncoderTraining {
    /// Share of the snippets that gradients flow through; `None` where it is not known, or of fewer snippets in all (LoFi).
    pub fn snippets(&self) -> Option<f64> {
        match self {
            Self::Frozen => Some(0.0),
            Self::Plain | Self::Checkpointed => Some(1.0),
            Self::Sampled { ratio, .. } => Some(*ratio),
            Self::Lofi { .. } | Self::Other { .. } => None,
        }
    }

    /// As tables and figures call it, without the share.
    pub fn label(&self) -> String {
        match self {
            Self::Frozen => "frozen".to_owned(),
            Self::Plain => "plain".to_owned(),
            Self::Checkpointed => "checkpointed".to_owned(),
            Self::Sampled { strategy, .. } => format!("sampled, {strategy}"),
            Self::Lofi { fidelity } => format!("LoFi, {fidelity}"),
            Self::Other { name } => name.clone(),
        }
    }
}
