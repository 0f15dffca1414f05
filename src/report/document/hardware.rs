//! What runs used of their machine: cells of an experiment, and the pages of profiles.

use super::format::{dash, duration, grouped, memory, significant};
use super::{Block, Section, figure, section, table, text};
use crate::profile::compute::{CONVENTION, Compute};
use crate::report::figures::Chart;
use crate::report::model::{Absence, Hardware, HardwareRow, Report};

/// Layers that are listed at most, heaviest first.
const LAYERS: usize = 40;

/// The section of an experiment's report.
pub fn cells(report: &Report, charts: &[Chart]) -> Section {
    let Some(hardware) = &report.hardware else { return section("hardware", "What it used of the machine", Vec::new()) };
    let Hardware { rows, runs, absent, sampler_percent } = hardware;
    let mut blocks: Vec<Block> =
        ["cells-cores", "cells-memory", "cells-bandwidth", "cells-gpu"].iter().filter_map(|id| figure(charts, id)).collect();
    if let Some(run) = runs.first().filter(|_| !blocks.is_empty()) {
        let torn = if runs.iter().any(|r| r.torn) { " A line that stops early belongs to a cell that was interrupted." } else { "" };
        blocks.push(text(format!("One cell of each model over time ({}).{torn}", run.label)));
    }
    blocks.push(Block::Table(summary(rows)));
    blocks.push(Block::Table(phases(rows)));
    let bounds = rows.iter().map(|r| format!("{}: training is {} ({}).", r.model, r.bound, r.evidence.join("; ")));
    blocks.push(Block::List { items: bounds.collect() });
    blocks.extend(unmeasured(absent));
    if let Some(percent) = sampler_percent {
        blocks.push(text(format!("Sampling took {percent:.2} % of a core in the mean.")));
    }
    section("hardware", "What it used of the machine", blocks)
}

fn summary(rows: &[HardwareRow]) -> super::Table {
    type Column = (&'static str, fn(&HardwareRow) -> Option<String>);
    let columns: [Column; 9] = [
        ("cores in use", |r| r.cores.map(|c| format!("{c:.2} of {}", r.threads))),
        ("CPU time", |r| r.cpu_s.map(duration)),
        ("peak memory", |r| r.peak_rss_bytes.map(|b| memory(b as u64))),
        ("written", |r| r.written_bytes.map(|b| memory(b as u64))),
        ("memory bandwidth", |r| r.bandwidth.map(|b| format!("{:.1} GB/s", b / 1e9))),
        ("GPU busy", |r| r.gpu_percent.map(|p| format!("{p:.0} %"))),
        ("energy", |r| r.energy_j.map(|j| format!("{} J", significant(j)))),
        ("CPU s per mAP point", |r| r.cpu_s_per_point.map(significant)),
        ("J per mAP point", |r| r.energy_per_point.map(significant)),
    ];
    // A column that nobody could fill says nothing; the reasons follow below.
    let known: Vec<&Column> = columns.iter().filter(|(_, value)| rows.iter().any(|r| value(r).is_some())).collect();
    let header: Vec<&str> = std::iter::once("model").chain(known.iter().map(|c| c.0)).collect();
    let row = |r: &HardwareRow| std::iter::once(r.model.clone()).chain(known.iter().map(|c| (c.1)(r).unwrap_or_else(dash))).collect();
    table("Means over the cells at the largest fraction", &header, rows.iter().map(row).collect())
}

fn phases(rows: &[HardwareRow]) -> super::Table {
    let mut cells = Vec::new();
    for row in rows {
        for phase in &row.phases {
            cells.push(vec![
                row.model.clone(),
                phase.name.clone(),
                duration(phase.wall_s),
                phase.cpu_s.map_or_else(dash, duration),
                phase.cores.map_or_else(dash, |c| format!("{c:.2}")),
                phase.peak_rss_bytes.map_or_else(dash, |b| memory(b as u64)),
            ]);
        }
    }
    let mut phases = table("By phase", &["model", "phase", "wall time", "CPU time", "cores in use", "peak memory"], cells);
    phases.text_columns = vec![0, 1];
    phases.folded = true;
    phases
}

/// What could not be measured, and why.
pub fn unmeasured(absent: &[Absence]) -> Option<Block> {
    let item = |a: &Absence| format!("Not measured: {}: {}.", a.channels.join(", "), a.reason.trim_end_matches('.'));
    (!absent.is_empty()).then(|| Block::List { items: absent.iter().map(item).collect() })
}

/// A model's compute: what is counted, by layer, and against what libtorch dispatched.
pub fn compute(name: &str, computes: &[Compute]) -> Vec<Block> {
    let mut blocks = Vec::new();
    if computes.is_empty() {
        return blocks;
    }
    let row = |c: &Compute| {
        let dispatched = c.dispatched.as_ref();
        vec![
            c.what.clone(),
            grouped(c.parameters),
            giga(c.forward_macs),
            giga(c.backward_macs),
            giga(c.flop()),
            dispatched.map_or_else(dash, |d| giga(d.flop)),
            c.intensity().map_or_else(dash, significant),
            dispatched.and_then(|d| d.memory).map_or_else(dash, |m| memory(m.peak_bytes)),
        ]
    };
    let header = ["work", "parameters", "GMAC forward", "GMAC backward", "GFLOP", "GFLOP dispatched", "FLOP per byte", "peak of tensors"];
    blocks.push(Block::Table(table(format!("{name}: theoretical compute"), &header, computes.iter().map(row).collect())));
    blocks.push(text(format!("{CONVENTION}. Dispatched: what libtorch's dispatcher saw, counted by formulas of its operators.")));
    for c in computes {
        if let Some(d) = &c.dispatched {
            let waits = match d.host_reads {
                0 => "never".to_owned(),
                1 => "once".to_owned(),
                n => format!("{} times", grouped(n)),
            };
            blocks.push(text(format!("The {} dispatches {} operators; the host waits for a value {waits}.", c.what, grouped(d.operators))));
        }
        let uncounted: Vec<String> =
            c.dispatched.iter().flat_map(|d| &d.uncounted).take(12).map(|o| format!("{} × {}", o.name, o.calls)).collect();
        if !uncounted.is_empty() {
            blocks.push(text(format!("Operators of the {} without a formula: {}.", c.what, uncounted.join(", "))));
        }
    }
    if let Some(heaviest) = computes.first() {
        let mut layers: Vec<_> = heaviest.layers.iter().collect();
        layers.sort_by_key(|l| std::cmp::Reverse(l.forward_macs + l.backward_macs));
        let all = (heaviest.forward_macs + heaviest.backward_macs).max(1) as f64;
        let row = |l: &&crate::profile::compute::Layer| {
            let share = 100.0 * (l.forward_macs + l.backward_macs) as f64 / all;
            vec![
                l.name.clone(),
                l.kind.clone(),
                grouped(l.parameters),
                l.calls.to_string(),
                giga(l.forward_macs),
                giga(l.backward_macs),
                format!("{share:.1} %"),
                memory(l.activation_bytes),
            ]
        };
        let caption = format!("{name}: {} of the {}'s {} layers, heaviest first", layers.len().min(LAYERS), heaviest.what, layers.len());
        let header = ["layer", "kind", "parameters", "calls", "GMAC forward", "GMAC backward", "share", "activations"];
        let mut table = table(caption, &header, layers.iter().take(LAYERS).map(row).collect());
        table.text_columns = vec![0, 1];
        table.folded = true;
        blocks.push(Block::Table(table));
    }
    blocks
}

fn giga(count: u64) -> String {
    significant(count as f64 / 1e9)
}
