//! The report as an ordered list of blocks (texts, tables, figures), the same for the Markdown and HTML renderers.

mod end_to_end;
mod forecasts;
mod format;
pub(super) mod hardware;
mod models;
mod outlook;
pub(super) mod profiles;

use serde::Serialize;

use super::figures::{self, Chart};
use super::model::{Cost, FractionRow, ModelReport, Report};
use crate::report::figures::charts::tiou_range;
use format::{dash, duration, grouped, memory, percent_label, spread};

/// A part of the page with its heading.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    pub id: &'static str,
    pub title: &'static str,
    pub blocks: Vec<Block>,
}

/// What a section is made of.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum Block {
    Text { text: String },
    Figure { chart: usize },
    Table(Table),
    List { items: Vec<String> },
    Code { language: &'static str, text: String, summary: Option<String> },
}

/// The first column is text, the others are numbers.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub caption: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Folded away at first (long tables).
    pub folded: bool,
    /// Columns of text rather than numbers, from 0.
    pub text_columns: Vec<usize>,
}

pub(super) struct Document {
    pub charts: Vec<Chart>,
    pub sections: Vec<Section>,
}

impl Document {
    pub fn of(report: &Report) -> Self {
        let charts = figures::charts::of(report);
        let sections = vec![
            curves(report, &charts),
            models::pairs(report, &charts),
            forecasts::forecasts(report, &charts),
            outlook::thresholds(report),
            outlook::classes(report),
            models::efficiency(report, &charts),
            end_to_end::end_to_end(report, &charts),
            costs(report, &charts),
            hardware::cells(report, &charts),
            gaps(report),
            manifest(report),
        ];
        Self { charts, sections: sections.into_iter().filter(|s| !s.blocks.is_empty()).collect() }
    }
}

fn section(id: &'static str, title: &'static str, blocks: Vec<Block>) -> Section {
    Section { id, title, blocks }
}

fn text(text: impl Into<String>) -> Block {
    Block::Text { text: text.into() }
}

fn figure(charts: &[Chart], id: &str) -> Option<Block> {
    charts.iter().position(|c| c.id == id).map(|chart| Block::Figure { chart })
}

fn table(caption: impl Into<String>, header: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { caption: caption.into(), header: header.iter().map(|&h| h.to_owned()).collect(), rows, folded: false, text_columns: vec![0] }
}

fn curves(report: &Report, charts: &[Chart]) -> Section {
    let mut blocks: Vec<Block> = figure(charts, "learning-curves").into_iter().collect();
    if !blocks.is_empty() {
        blocks.push(text(
            "Small dots are single seeds; large dots and bars are mean and standard deviation over seeds. The line is the median of the fitted curves, dashed where \
             it is a forecast; the shade is the interval of the expected score.",
        ));
    }
    let mut header = vec!["training part", "videos", "instances"];
    header.extend(report.models.iter().map(|m| m.name.as_str()));
    let row = |f: &FractionRow| {
        let mut cells = vec![percent_label(f.percent), format!("{:.0}", f.videos), format!("{:.0}", f.instances)];
        let of_model = |m: &ModelReport| m.fractions.iter().find(|g| g.percent == f.percent).map_or_else(dash, |g| spread(&g.average_map));
        cells.extend(report.models.iter().map(of_model));
        cells
    };
    let rows = union_of_fractions(report).into_iter().map(row).collect();
    blocks.push(Block::Table(table(
        format!("Average mAP (%) over tIoU {}, mean ± standard deviation over seeds", tiou_range(&report.tiou)),
        &header,
        rows,
    )));
    section("curves", "Learning curves", blocks)
}

fn union_of_fractions(report: &Report) -> Vec<&FractionRow> {
    let mut rows: Vec<&FractionRow> = report.models.iter().flat_map(|m| &m.fractions).collect();
    rows.sort_by(|a, b| a.percent.total_cmp(&b.percent));
    rows.dedup_by(|a, b| a.percent == b.percent);
    rows
}

fn costs(report: &Report, charts: &[Chart]) -> Section {
    let mut blocks: Vec<Block> = figure(charts, "cost").into_iter().collect();
    let reads_videos = report.models.iter().any(|m| m.total.frames_waited_s.is_some());
    let mut rows = Vec::new();
    for model in &report.models {
        let cells = |name: String, count: usize, cost: &Cost| {
            let Cost { wall_s, cpu_s, peak_rss_bytes, frames_waited_s, frames_decode_s } = *cost;
            let mut cells = vec![model.name.clone(), name, count.to_string(), duration(wall_s), duration(cpu_s), memory(peak_rss_bytes)];
            if reads_videos {
                cells.extend([frames_waited_s, frames_decode_s].map(|s| s.map_or_else(dash, duration)));
            }
            cells
        };
        rows.extend(model.fractions.iter().map(|f| cells(percent_label(f.percent), f.seeds.len(), &f.cost)));
        let all = model.fractions.iter().map(|f| f.seeds.len()).sum();
        rows.push(cells("all cells together".to_owned(), all, &model.total));
    }
    let mut header = vec!["model", "training part", "cells", "wall time", "CPU time", "peak memory"];
    header.extend(reads_videos.then_some(["waiting for frames", "decoding frames"]).into_iter().flatten());
    let mut costs = table("Mean cost of a cell, and the total (memory: the largest peak)", &header, rows);
    costs.text_columns = vec![0, 1];
    blocks.push(Block::Table(costs));
    let parameters: Vec<String> =
        report.models.iter().filter_map(|m| Some(format!("{} has {} trainable parameters", m.name, grouped(m.parameters?)))).collect();
    if !parameters.is_empty() {
        blocks.push(text(format!("{}.", parameters.join("; "))));
    }
    section("cost", "What it cost", blocks)
}

fn gaps(report: &Report) -> Section {
    let mut blocks = Vec::new();
    let completeness = &report.completeness;
    if !completeness.missing.is_empty() {
        let row = |m: &super::model::Missing| {
            let seeds: Vec<String> = m.seeds.iter().map(u64::to_string).collect();
            vec![m.model.clone(), percent_label(m.percent), seeds.join(", "), m.reason.clone().unwrap_or_else(|| "not run yet".to_owned())]
        };
        let caption = format!("{} of {} cells are done; these are not", completeness.done, completeness.expected);
        let mut missing = table(caption, &["model", "training part", "seeds", "why"], completeness.missing.iter().map(row).collect());
        missing.text_columns = vec![0, 1, 2, 3];
        missing.folded = missing.rows.len() > 24;
        blocks.push(Block::Table(missing));
    }
    if !report.notes.is_empty() {
        let item = |n: &super::model::CountedNote| {
            let cells = if n.cells == 1 { "1 cell".to_owned() } else { format!("{} cells", n.cells) };
            format!("{} ({}, {cells})", n.text.trim_end_matches('.'), n.models.join(", "))
        };
        blocks.push(Block::List { items: report.notes.iter().map(item).collect() });
    }
    section("notes", "Read this before quoting", blocks)
}

fn manifest(report: &Report) -> Section {
    let rows = report.manifest.iter().map(|f| vec![f.name.to_owned(), f.value.clone()]).collect();
    let mut facts = table("Where and with what it ran", &["", ""], rows);
    facts.text_columns = vec![0, 1];
    section(
        "manifest",
        "How to run it again",
        vec![
            Block::Code { language: "sh", text: report.commands.join("\n"), summary: None },
            text("The same cells get the same keys, and on the same device and threads the same detections."),
            Block::Table(facts),
            Block::Code {
                language: "toml",
                text: report.experiment_toml.trim_end().to_owned(),
                summary: Some("experiment.toml, every default resolved".to_owned()),
            },
        ],
    )
}
