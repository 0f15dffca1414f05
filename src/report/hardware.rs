//! What the cells used of their machine: a row per model, and one cell of each over time.

use super::model::{Absence, Hardware, HardwarePhase, HardwareRow, ModelReport, Run};
use crate::profile::summary::Metrics;
use crate::profile::trace::{Series, Trace};
use crate::profile::{Summary, Verdict};
use crate::stats::mean;
use crate::store::Record;

/// Points of a line over time; longer traces are averaged.
const POINTS: usize = 240;

/// From records of the largest fraction of each model, best model first; `None` when none has a profile. `runs` are the
/// cells that [`representatives`] names.
pub fn of(models: &[ModelReport], records: &[Record], runs: &[Run]) -> Option<Hardware> {
    let mut hardware = Hardware::default();
    for model in models {
        let cells = largest(records, &model.name);
        let profiles: Vec<(&Record, &Summary)> = cells.iter().filter_map(|r| Some((*r, r.profile.as_ref()?))).collect();
        let Some((_, profile)) = profiles.first() else { continue };
        hardware.rows.push(row(&model.name, &profiles));
        for (reason, channels) in profile.absences() {
            match hardware.absent.iter_mut().find(|a| a.reason == reason) {
                Some(known) => known.channels.extend(channels.into_iter().filter(|c| !known.channels.contains(c)).collect::<Vec<_>>()),
                None => hardware.absent.push(Absence { channels, reason }),
            }
        }
        hardware.runs.extend(runs.iter().find(|run| run.model == model.name).cloned());
    }
    let samplers: Vec<f64> = records.iter().filter_map(|r| Some(r.profile.as_ref()?.sampler.cpu_percent)).collect();
    hardware.sampler_percent = mean(&samplers);
    (!hardware.rows.is_empty()).then_some(hardware)
}

/// The cell of each model whose trace is shown: the lowest seed at its largest fraction.
pub fn representatives(records: &[Record]) -> Vec<&Record> {
    let mut names: Vec<&str> = records.iter().map(|r| r.model.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|name| largest(records, name).into_iter().next()).collect()
}

/// Records of a model at its largest fraction, by seed.
fn largest<'a>(records: &'a [Record], model: &str) -> Vec<&'a Record> {
    let of_model = || records.iter().filter(|r| r.model == model);
    let percent = of_model().map(|r| r.fraction.value()).fold(0.0, f64::max);
    let mut cells: Vec<&Record> = of_model().filter(|r| r.fraction.value() == percent).collect();
    cells.sort_by_key(|r| r.seed);
    cells
}

fn row(model: &str, cells: &[(&Record, &Summary)]) -> HardwareRow {
    let over = |value: &dyn Fn(&Record, &Summary) -> Option<f64>| {
        mean(&cells.iter().map(|(record, profile)| value(record, profile)).collect::<Option<Vec<_>>>()?)
    };
    let named = |name: &str| over(&|_, profile| profile.value(name));
    let points = over(&|record, _| Some(100.0 * record.scores.average_map)).filter(|p| *p > 0.0);
    let cpu_s = named("cpu.time");
    let energy_j = over(&|_, profile| energy(&profile.metrics));
    let (record, profile) = cells[0];
    let threads = record.usage.threads as f64;
    // What a cell is bound by, its training decides: the rest is short.
    let verdict = match profile.phase("train").filter(|p| p.wall_s > 0.5) {
        Some(train) => Verdict::of_metrics(&train.metrics, threads, None),
        None => Verdict::of(profile, threads, None),
    };
    HardwareRow {
        model: model.to_owned(),
        cells: cells.len(),
        threads: record.usage.threads,
        cores: named("cpu.time.rate").map(|percent| percent / 100.0),
        cpu_s,
        peak_rss_bytes: named("memory.rss.peak"),
        bandwidth: named("memory.bandwidth.rate")
            .or_else(|| Some(named("memory.bandwidth.read.rate")? + named("memory.bandwidth.write.rate")?)),
        written_bytes: named("disk.written"),
        gpu_percent: named("gpu0.use"),
        energy_j,
        cpu_s_per_point: cpu_s.zip(points).map(|(cpu, points)| cpu / points),
        energy_per_point: energy_j.zip(points).map(|(energy, points)| energy / points),
        bound: verdict.sentence(),
        evidence: verdict.evidence.into_iter().chain(verdict.disturbed).collect(),
        phases: phases(cells),
    }
}

/// Joules of all packages and GPUs; `None` when none is measured.
fn energy(metrics: &Metrics) -> Option<f64> {
    let counts = |name: &str| name.starts_with("energy.") || (name.starts_with("gpu") && name.ends_with(".energy"));
    metrics.iter().filter(|(name, _)| counts(name)).filter_map(|(_, metric)| metric.value()).reduce(|a, b| a + b)
}

fn phases(cells: &[(&Record, &Summary)]) -> Vec<HardwarePhase> {
    let phase = |name: &String| {
        let of_cells: Vec<_> = cells.iter().filter_map(|(_, profile)| profile.phase(name)).collect();
        let over = |metric: &str| mean(&of_cells.iter().map(|p| p.value(metric)).collect::<Option<Vec<_>>>()?);
        HardwarePhase {
            name: name.clone(),
            wall_s: mean(&of_cells.iter().map(|p| p.wall_s).collect::<Vec<_>>()).unwrap_or(0.0),
            cpu_s: over("cpu.time"),
            cores: over("cpu.time.rate").map(|percent| percent / 100.0),
            peak_rss_bytes: over("memory.rss.peak"),
        }
    };
    cells[0].1.phases.iter().map(|p| phase(&p.name)).collect()
}

/// One trace as lines over time.
pub fn run(model: &str, label: &str, trace: &Trace) -> Run {
    let rates = |name: &str| trace.channel(name).map(|s| thinned(&s.rates(trace.period_s / 2.0))).unwrap_or_default();
    let levels = |name: &str| trace.channel(name).map(|s: &Series| thinned(&s.points)).unwrap_or_default();
    let sum =
        |a: Vec<(f64, f64)>, b: Vec<(f64, f64)>| if b.is_empty() { a } else { a.iter().zip(&b).map(|(a, b)| (a.0, a.1 + b.1)).collect() };
    let bandwidth = rates("memory.bandwidth");
    Run {
        model: model.to_owned(),
        label: label.to_owned(),
        cores: rates("cpu.time"),
        memory: levels("memory.rss"),
        bandwidth: if bandwidth.is_empty() { sum(rates("memory.bandwidth.read"), rates("memory.bandwidth.write")) } else { bandwidth },
        gpu: levels("gpu0.use"),
        phases: trace.phases.clone(),
        torn: trace.torn,
    }
}

/// At most [`POINTS`] means of neighbours.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(POINTS).max(1);
    let centre = |group: &[(f64, f64)]| {
        let count = group.len() as f64;
        (group.iter().map(|p| p.0).sum::<f64>() / count, group.iter().map(|p| p.1).sum::<f64>() / count)
    };
    points.chunks(size).map(centre).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_traces_are_averaged_and_keep_their_mean() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS && thin.iter().all(|p| (p.1 - 0.5).abs() < 0.02));
        assert_eq!(thinned(&points[..3]), points[..3]);
    }
}
