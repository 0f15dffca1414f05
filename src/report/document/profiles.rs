//! Sections of a page about profiles.

use super::format::{dash, duration, memory, significant};
use super::{Block, Section, figure, section, table, text};
use crate::profile::Profile;
use crate::profile::metric::Unit;
use crate::profile::summary::PhaseSummary;
use crate::report::figures::Chart;
use crate::report::profiles::Profiled;
use crate::stats::median;

/// A row of the comparison: its label and how a profile fills it.
type Row = (&'static str, fn(&Profile) -> Option<String>);

const ROWS: [Row; 14] = [
    ("wall time", |p| Some(duration(p.wall_s))),
    ("CPU time", |p| p.usage.value("cpu.time").map(duration)),
    ("cores in use", |p| p.usage.value("cpu.time.rate").map(|c| format!("{:.2}", c / 100.0))),
    ("peak memory", |p| p.usage.value("memory.rss.peak").map(|b| memory(b as u64))),
    ("peak PSS", |p| p.usage.value("memory.pss.peak").map(|b| memory(b as u64))),
    ("read from disk", |p| p.usage.value("disk.read").map(|b| memory(b as u64))),
    ("written to disk", |p| p.usage.value("disk.written").map(|b| memory(b as u64))),
    ("training step, median", |p| median(&p.steps.as_ref()?.training_s).map(brief)),
    ("detection in a video, median", |p| median(&p.steps.as_ref()?.detection_s).map(brief)),
    ("detection, times real time", |p| p.steps.as_ref()?.times_real_time().map(significant)),
    ("GFLOP/s in training", |p| Some(significant(p.roofline.as_ref()?.points.first()?.flops.value()? / 1e9))),
    ("share of the peak", |p| {
        let roofline = p.roofline.as_ref()?;
        Some(format!("{:.0} %", 100.0 * roofline.points.first()?.flops.value()? / roofline.peak_flops.value()?))
    }),
    ("bottleneck", |p| Some(p.verdict.sentence())),
    ("sampling", |p| Some(format!("{:.2} % of a core at {:.1} Hz", p.usage.sampler.cpu_percent, p.usage.sampler.achieved_hz))),
];

/// A time that may be short.
fn brief(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { duration(seconds) }
}

/// Use over time, and everything beside each other.
pub fn overview(profiled: &[Profiled], charts: &[Chart]) -> Section {
    let mut blocks: Vec<Block> =
        ["usage-cores", "usage-memory", "usage-bandwidth", "usage-gpu"].iter().filter_map(|id| figure(charts, id)).collect();
    let header: Vec<&str> = std::iter::once("").chain(profiled.iter().map(|p| p.name.as_str())).collect();
    let row = |(label, value): &Row| {
        let cells: Vec<Option<String>> = profiled.iter().map(|p| value(&p.profile)).collect();
        let known = cells.iter().any(Option::is_some);
        known.then(|| std::iter::once((*label).to_owned()).chain(cells.into_iter().map(|c| c.unwrap_or_else(dash))).collect())
    };
    blocks.push(Block::Table(table("In numbers", &header, ROWS.iter().filter_map(row).collect())));
    for p in profiled {
        let phases = &p.profile.usage.phases;
        if !phases.is_empty() {
            let row = |phase: &PhaseSummary| {
                vec![
                    phase.name.clone(),
                    duration(phase.wall_s),
                    phase.value("cpu.time").map_or_else(dash, duration),
                    phase.value("cpu.time.rate").map_or_else(dash, |c| format!("{:.2}", c / 100.0)),
                    phase.value("memory.rss.peak").map_or_else(dash, |b| memory(b as u64)),
                ]
            };
            let header = ["phase", "wall time", "CPU time", "cores in use", "peak memory"];
            blocks.push(Block::Table(table(format!("{}: by phase", p.name), &header, phases.iter().map(row).collect())));
        }
        let verdict = &p.profile.verdict;
        let evidence = verdict.evidence.iter().chain(&verdict.disturbed).chain(&verdict.unknown).chain(&p.profile.usage.warnings);
        let items: Vec<String> = evidence.map(|e| if profiled.len() > 1 { format!("{}: {e}.", p.name) } else { format!("{e}.") }).collect();
        if !items.is_empty() {
            blocks.push(Block::List { items });
        }
    }
    section("usage", "What it used", blocks)
}

/// The roofline, where there is one.
pub fn roofline(charts: &[Chart]) -> Section {
    let mut blocks: Vec<Block> = figure(charts, "roofline").into_iter().collect();
    if !blocks.is_empty() {
        blocks.push(text(
            "A point below the slope is limited by memory traffic, one below the flat part by arithmetic. Bytes are those of weights and of the layers' inputs and \
             outputs, each moved once: caches that miss move more, so points may lie further left.",
        ));
    }
    section("roofline", "Below the roof", blocks)
}

/// Every metric with its origin, and where it was measured.
pub fn manifest(profiled: &[Profiled]) -> Section {
    let mut blocks = Vec::new();
    for p in profiled {
        let mut rows = Vec::new();
        for (name, metric) in &p.profile.usage.metrics {
            let json = serde_json::to_value(metric).unwrap_or_default();
            let word = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
            let Some(value) = metric.value() else { continue };
            rows.push(vec![name.clone(), number(value, metric.unit), word("origin"), word("scope"), word("source")]);
        }
        let mut all = table(format!("{}: every metric", p.name), &["metric", "value", "origin", "scope", "source"], rows);
        all.text_columns = vec![0, 2, 3, 4];
        all.folded = true;
        blocks.push(Block::Table(all));
        let machine = serde_json::to_value(&p.profile.fingerprint).unwrap_or_default();
        let fact = |(name, value): (&String, &serde_json::Value)| {
            vec![name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)]
        };
        let mut rows: Vec<Vec<String>> = machine.as_object().into_iter().flatten().map(fact).collect();
        rows.push(vec!["etalon".to_owned(), p.profile.etalon.clone()]);
        rows.push(vec!["started".to_owned(), p.profile.started.clone()]);
        let mut facts = table(format!("{}: machine", p.name), &["", ""], rows);
        facts.text_columns = vec![0, 1];
        facts.folded = true;
        blocks.push(Block::Table(facts));
    }
    section("manifest", "Every number, and where", blocks)
}

fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds => duration(value),
        Unit::Bytes => memory(value as u64),
        Unit::BytesPerSecond => format!("{}/s", memory(value as u64)),
        Unit::Percent => format!("{value:.1} %"),
        Unit::Watts => format!("{value:.1} W"),
        Unit::Joules => format!("{} J", significant(value)),
        Unit::Celsius => format!("{value:.0} °C"),
        Unit::Hertz => format!("{:.0} MHz", value / 1e6),
        Unit::Flop | Unit::FlopPerSecond | Unit::Count | Unit::Ratio => significant(value),
    }
}
