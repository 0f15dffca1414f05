//! Records to report: grouping, averages, curves, and the sentences on top.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::model::{
    ClassRow, Completeness, Cost, CountedNote, FEWEST_SIZES, Fact, FractionRow, Missing, ModelReport, Outlook, Pair, Report, Run, Spread,
};
use super::source::observation;
use super::{efficiency, end_to_end, hardware, pairs};
use crate::curves::{At, Curve, Observation, Options, Questions};
use crate::protocol::CellKey;
use crate::stats::{mean, standard_deviation};
use crate::store::record::{FrameFacts, TrainerFacts};
use crate::store::{PlannedCell, Record};

/// What a report is made from (see [`Stored::input`](super::source::Stored::input)).
#[derive(Clone, Debug)]
pub struct Input {
    /// The resolved experiment.
    pub experiment_toml: String,
    /// Its grid.
    pub cells: Vec<PlannedCell>,
    /// The records of its cells.
    pub records: Vec<Record>,
    /// Its cells that failed.
    pub failures: Vec<Failure>,
    /// Digests of annotations and features.
    pub datasets: BTreeSet<String>,
    /// By model, the cell that is shown over time; what cannot be read is left out.
    pub runs: Vec<Run>,
}

/// A cell whose last attempt failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub key: CellKey,
    /// Why, as the attempt said it.
    pub reason: String,
}

/// Version of the report's JSON.
const SCHEMA: u32 = 1;
/// An overtaking of this probability is told at the top.
const SURE: f64 = 0.9;

/// Builds the report. Partly filled grids are reported as far as they go.
pub fn build(input: &Input) -> Report {
    // A key of a newer version, or a file that is none, is no reason to withhold the results.
    let experiment: toml::Table = toml::from_str(&input.experiment_toml).unwrap_or_default();
    let plan = Plan::of(&experiment);
    let mut by_model: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in &input.records {
        by_model.entry(&record.model).or_default().push(record);
    }
    let by_model: Vec<_> = by_model.into_iter().collect();
    let mut fitted: Vec<(ModelReport, Option<Curve>)> =
        by_model.par_iter().map(|(name, records)| model_report(name, records, &plan)).collect();
    fitted.sort_by(|a, b| best_score(&b.0).total_cmp(&best_score(&a.0)));
    let completeness = completeness(input);
    let pairs = pairs::of(&fitted);
    let models: Vec<ModelReport> = fitted.into_iter().map(|f| f.0).collect();
    let tiou = input.records.first().map_or_else(Vec::new, |r| r.scores.tiou.clone());
    Report {
        schema: SCHEMA,
        experiment: plan.name.clone(),
        headline: headline(&models, &pairs, &completeness),
        tiou,
        efficiency: efficiency::of(&models, &input.records),
        end_to_end: end_to_end::of(&models, &input.records, &experiment),
        hardware: hardware::of(&models, &input.records, &input.runs),
        models,
        pairs,
        completeness,
        manifest: manifest(input),
        notes: notes(&input.records),
        experiment_toml: input.experiment_toml.clone(),
        commands: vec![
            "etalon run experiment.toml --store results    # the file beside this report".to_owned(),
            "etalon report results --out report".to_owned(),
        ],
    }
}

/// What the experiment file says, as far as a report needs it.
struct Plan {
    name: String,
    questions: Questions,
}

impl Plan {
    /// Reads leniently: what is not understood is left at its default.
    fn of(experiment: &toml::Table) -> Self {
        let numbers = |value: Option<&toml::Value>| -> Vec<f64> {
            let number = |v: &toml::Value| v.as_float().or_else(|| v.as_integer().map(|i| i as f64));
            value.and_then(toml::Value::as_array).into_iter().flatten().filter_map(number).collect()
        };
        let targets = experiment.get("fit").and_then(|f| f.get("targets"));
        let sizes = targets.and_then(|t| t.get("sizes")).and_then(toml::Value::as_array);
        let mut at: Vec<At> = sizes.into_iter().flatten().filter_map(|s| s.as_str()?.parse().ok()).collect();
        if at.is_empty() {
            at = vec![At::Times(2.0), At::Times(3.0)];
        }
        Self {
            name: experiment.get("name").and_then(toml::Value::as_str).unwrap_or("experiment").to_owned(),
            questions: Questions { at, targets: numbers(targets.and_then(|t| t.get("map"))) },
        }
    }
}

fn best_score(model: &ModelReport) -> f64 {
    model.fractions.last().map_or(0.0, |f| f.average_map.mean)
}

/// A model's results, and the curve itself for what compares models.
fn model_report(name: &str, records: &[&Record], plan: &Plan) -> (ModelReport, Option<Curve>) {
    let fractions: Vec<FractionRow> = by_fraction(records).iter().map(|(percent, cells)| fraction_row(*percent, cells)).collect();
    let classes = by_fraction(records).last().map_or_else(Vec::new, |(_, cells)| class_rows(cells, records));
    let observations: Vec<Observation> = records.iter().map(|r| observation(r)).collect();
    let options = Options::default();
    let fitted =
        Curve::fit(&observations, &options).and_then(|curve| Ok((curve.summary(name, &observations, &plan.questions, &options)?, curve)));
    let outlook_at = |k: usize| outlook(records, |r| r.scores.map.get(k).copied());
    let thresholds = fractions.last().map_or(0, |f| f.map.len());
    let thresholds = (0..thresholds).into_par_iter().map(outlook_at).collect();
    let (summary, fan, no_curve, curve) = match fitted {
        Ok((summary, curve)) => {
            let fan = curve.fan(summary.forecasts.iter().map(|f| f.n).fold(0.0, f64::max));
            (Some(summary), fan, None, Some(curve))
        }
        Err(error) => (None, Vec::new(), Some(error.to_string()), None),
    };
    let total = cost(records);
    let report = ModelReport {
        name: name.to_owned(),
        parameters: records.iter().find_map(|r| r.training.parameters),
        fractions,
        classes,
        curve: summary,
        no_curve,
        fan,
        outlook: outlook(records, |r| Some(r.scores.average_map)),
        thresholds,
        total,
    };
    (report, curve)
}

/// What twice the data would give to one part of the scores, where it was measured at enough sizes.
fn outlook(records: &[&Record], score: impl Fn(&Record) -> Option<f64>) -> Option<Outlook> {
    let observed = |r: &&Record| Some(Observation { score: score(r)?, ..observation(r) });
    let observations: Vec<Observation> = records.iter().filter_map(observed).collect();
    let sizes: BTreeSet<u64> = observations.iter().map(|o| o.n.to_bits()).collect();
    if sizes.len() < FEWEST_SIZES {
        return None;
    }
    let curve = Curve::fit(&observations, &Options::default()).ok()?;
    let gain = curve.gain(2.0);
    Some(Outlook { forecast: curve.forecast(gain.n), gain })
}

fn by_fraction<'a>(records: &[&'a Record]) -> Vec<(f64, Vec<&'a Record>)> {
    let mut sorted = records.to_vec();
    sorted.sort_by(|a, b| a.fraction.value().total_cmp(&b.fraction.value()).then(a.seed.cmp(&b.seed)));
    sorted.chunk_by(|a, b| a.fraction == b.fraction).map(|cells| (cells[0].fraction.value(), cells.to_vec())).collect()
}

fn fraction_row(percent: f64, cells: &[&Record]) -> FractionRow {
    let count = cells.len() as f64;
    let Cost { wall_s, cpu_s, peak_rss_bytes, frames_waited_s, frames_decode_s } = cost(cells);
    let thresholds = cells.iter().map(|r| r.scores.map.len()).min().unwrap_or(0);
    FractionRow {
        percent,
        videos: sum(cells, |r| r.sample.videos as f64) / count,
        instances: sum(cells, |r| r.sample.instances as f64) / count,
        hours: sum(cells, |r| r.sample.seconds) / count / 3600.0,
        seeds: cells.iter().map(|r| (r.seed, r.scores.average_map)).collect(),
        average_map: spread(cells, |r| r.scores.average_map),
        map: (0..thresholds).map(|k| spread(cells, |r| r.scores.map[k])).collect(),
        cost: Cost {
            wall_s: wall_s / count,
            cpu_s: cpu_s / count,
            peak_rss_bytes,
            frames_waited_s: frames_waited_s.map(|s| s / count),
            frames_decode_s: frames_decode_s.map(|s| s / count),
        },
    }
}

/// The classes of `cells`, with the outlook from all `records` of the model.
fn class_rows(cells: &[&Record], records: &[&Record]) -> Vec<ClassRow> {
    let names: BTreeSet<&String> = cells.iter().flat_map(|r| r.scores.per_class.keys()).collect();
    let row = |name: &&String| {
        let name = *name;
        let of_seed: Vec<&Vec<f64>> = cells.iter().filter_map(|r| r.scores.per_class.get(name)).collect();
        let thresholds = of_seed.iter().map(|ap| ap.len()).min().unwrap_or(0);
        let averages: Vec<f64> = of_seed.iter().filter_map(|ap| mean(ap)).collect();
        let at = |k: usize| Spread::of(&of_seed.iter().map(|ap| ap[k]).collect::<Vec<_>>());
        let outlook = outlook(records, |r| mean(r.scores.per_class.get(name)?));
        ClassRow { name: name.clone(), average: Spread::of(&averages), ap: (0..thresholds).map(at).collect(), outlook }
    };
    names.par_iter().map(row).collect()
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        Self { mean: mean(values).unwrap_or(0.0), sd: standard_deviation(values) }
    }
}

fn spread(cells: &[&Record], value: impl Fn(&Record) -> f64) -> Spread {
    Spread::of(&cells.iter().map(|r| value(r)).collect::<Vec<_>>())
}

fn sum(cells: &[&Record], value: impl Fn(&Record) -> f64) -> f64 {
    cells.iter().map(|r| value(r)).sum()
}

/// What all of `cells` cost together; of frames `None` as soon as one does not know.
fn cost(cells: &[&Record]) -> Cost {
    let of_frames = |value: fn(&FrameFacts) -> f64| cells.iter().map(|r| r.training.frames.as_ref().map(value)).sum();
    Cost {
        wall_s: sum(cells, |r| r.usage.wall_s),
        cpu_s: sum(cells, |r| r.usage.cpu_s),
        peak_rss_bytes: cells.iter().map(|r| r.usage.peak_rss_bytes).max().unwrap_or(0),
        frames_waited_s: of_frames(|f| f.waited_s),
        frames_decode_s: of_frames(|f| f.decode_s),
    }
}

fn completeness(input: &Input) -> Completeness {
    let done: BTreeSet<&CellKey> = input.records.iter().map(|r| &r.key).collect();
    let failures: BTreeMap<&CellKey, &String> = input.failures.iter().map(|f| (&f.key, &f.reason)).collect();
    let mut missing: Vec<Missing> = Vec::new();
    for cell in input.cells.iter().filter(|c| !done.contains(&c.key)) {
        let (model, percent) = (&cell.model, cell.fraction.value());
        let reason = failures.get(&cell.key).map(|reason| (*reason).clone());
        match missing.iter_mut().find(|m| m.model == *model && m.percent == percent && m.reason == reason) {
            Some(group) => group.seeds.push(cell.seed),
            None => missing.push(Missing { model: model.clone(), percent, seeds: vec![cell.seed], reason }),
        }
    }
    missing.sort_by(|a, b| a.model.cmp(&b.model).then(a.percent.total_cmp(&b.percent)).then(a.reason.cmp(&b.reason)));
    Completeness { done: done.len(), expected: input.cells.len(), missing }
}

fn notes(records: &[Record]) -> Vec<CountedNote> {
    let mut by_text: BTreeMap<&str, (BTreeSet<&str>, usize)> = BTreeMap::new();
    for record in records {
        for note in &record.notes {
            let entry = by_text.entry(note).or_default();
            entry.0.insert(&record.model);
            entry.1 += 1;
        }
    }
    let counted = |(text, (models, cells)): (&str, (BTreeSet<&str>, usize))| CountedNote {
        text: text.to_owned(),
        models: models.into_iter().map(str::to_owned).collect(),
        cells,
    };
    by_text.into_iter().map(counted).collect()
}

fn manifest(input: &Input) -> Vec<Fact> {
    let records = &input.records;
    let values = |value: &dyn Fn(&Record) -> Option<String>| {
        let set: BTreeSet<String> = records.iter().filter_map(value).filter(|v| !v.is_empty()).collect();
        if set.is_empty() { "–".to_owned() } else { set.into_iter().collect::<Vec<_>>().join(", ") }
    };
    let always = |value: fn(&Record) -> String| values(&|r| Some(value(r)));
    let seeds: BTreeSet<u64> = records.iter().map(|r| r.seed).collect();
    // RFC 3339 without the fraction of a second.
    let seconds = |time: Option<&String>| time.map_or_else(String::new, |t| format!("{} UTC", t.get(..19).unwrap_or(t).replace('T', " ")));
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    let mut facts = vec![
        Fact { name: "etalon", value: always(|r| r.provenance.etalon.clone()) },
        Fact { name: "libtorch", value: values(&|r| r.provenance.libtorch.clone()) },
        Fact { name: "device", value: always(|r| r.provenance.device.clone()) },
        Fact { name: "processor", value: always(|r| r.provenance.cpu.clone()) },
        Fact { name: "threads per cell", value: always(|r| r.usage.threads.to_string()) },
        Fact { name: "host", value: always(|r| r.provenance.host.clone()) },
        Fact { name: "first cell started", value: seconds(records.iter().map(|r| &r.provenance.started).min()) },
        Fact { name: "last cell finished", value: seconds(records.iter().map(|r| &r.provenance.finished).max()) },
        Fact { name: "seeds", value: list(&mut seeds.iter().map(u64::to_string)) },
        Fact { name: "test videos", value: always(|r| format!("{} with {} instances", r.sample.test_videos, r.sample.test_instances)) },
        Fact { name: "evaluator", value: always(|r| r.scores.evaluator.clone()) },
        Fact { name: "data set digest", value: list(&mut input.datasets.iter().cloned()) },
        Fact { name: "crates", value: always(|r| r.provenance.crates.clone()) },
        Fact { name: "experiment digest", value: always(|r| r.provenance.experiment.clone()) },
    ];
    if records.iter().any(|r| r.provenance.trainer.is_some()) {
        facts.push(Fact { name: "trainers", value: values(&trainer) });
    }
    facts
}

/// The user's trainer behind a record: model, command, folder, and which code it was.
fn trainer(record: &Record) -> Option<String> {
    let TrainerFacts { command, directory, commit, code, environment } = record.provenance.trainer.as_ref()?;
    let commit = commit.as_ref().map_or_else(|| "no clean commit".to_owned(), |commit| format!("commit {commit}"));
    let environment = environment.as_ref().map_or_else(String::new, |e| format!(", {}, environment {}", e.words, e.digest));
    Some(format!("{}: {} in {directory} ({commit}, digest {code}{environment})", record.model, command.join(" ")))
}

/// What was found, for a reader with ten seconds.
fn headline(models: &[ModelReport], pairs: &[Pair], completeness: &Completeness) -> Vec<String> {
    let mut sentences = Vec::new();
    for model in models {
        let (Some(small), Some(large)) = (model.fractions.first(), model.fractions.last()) else {
            continue;
        };
        let spread = large.average_map.sd.map_or(String::new(), |sd| format!(" ± {:.1}", 100.0 * sd));
        let mut sentence =
            format!("{} reaches {:.1}{spread} mAP with {:.0} training videos", model.name, 100.0 * large.average_map.mean, large.videos);
        if small.percent < large.percent {
            sentence += &format!(" and {:.1} with {:.0}", 100.0 * small.average_map.mean, small.videos);
        }
        sentence.push('.');
        if let Some(forecast) = model.curve.as_ref().and_then(|c| c.forecasts.last()) {
            let (low, high) = (100.0 * forecast.interval.lower, 100.0 * forecast.interval.upper);
            sentence += &format!(
                " With {:.0} videos, {:.1} is expected ({:.0} % interval {low:.1} to {high:.1}).",
                forecast.n,
                100.0 * forecast.median,
                100.0 * forecast.interval.level
            );
        }
        sentences.push(sentence);
    }
    sentences.extend(overtakings(pairs));
    if completeness.done < completeness.expected {
        let absent = completeness.expected - completeness.done;
        sentences.push(format!("Preliminary: {absent} of {} cells have no result yet.", completeness.expected));
    }
    sentences
}

/// Who passes whom within what was measured, where that is sure enough for a headline.
fn overtakings(pairs: &[Pair]) -> Option<String> {
    let mut passed: Vec<(&str, Vec<(f64, &str)>)> = Vec::new();
    for pair in pairs {
        let Some((crossing, n)) = pair.crossing.as_ref().and_then(|c| Some((c, c.n?))) else { continue };
        if crossing.chances.is_some_and(|c| c.overtakes >= SURE) {
            match passed.iter_mut().find(|p| p.0 == pair.ahead) {
                Some(group) => group.1.push((n, &pair.behind)),
                None => passed.push((&pair.ahead, vec![(n, &pair.behind)])),
            }
        }
    }
    let sentence = |(ahead, mut behind): (&str, Vec<(f64, &str)>)| {
        behind.sort_by(|a, b| a.0.total_cmp(&b.0));
        let each: Vec<String> = behind.iter().map(|(n, name)| format!("{name} at about {n:.0} videos")).collect();
        format!("{ahead} passes {}", each.join(", "))
    };
    let sentences: Vec<String> = passed.into_iter().map(sentence).collect();
    (!sentences.is_empty()).then(|| format!("With more data {}.", sentences.join("; ")))
}
