//! Charts of models that read videos: score, time and memory by the share of snippets that gradients flow through, and by
//! the share of proposals.

use super::chart::{Axis, Chart, Labels, Series};
use super::charts::{bar, close_axis, memory_unit, number_tick, time_unit};
use crate::report::model::{EncoderTraining, EndToEnd, EndToEndRow, Report, Share, Sweep};

/// What stands on the vertical axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Peak memory of the process; of the GPU where every model has used one.
    Memory,
    /// Wall time of the training phase.
    Time,
    /// Average mAP.
    Score,
}

impl Measure {
    /// In the order of the page: what is saved, then what it costs in score.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Time, Self::Score];
}

/// Identifier of a chart.
pub fn id(over: Share, measure: Measure) -> &'static str {
    match (over, measure) {
        (Share::Snippets, Measure::Memory) => "snippets-memory",
        (Share::Snippets, Measure::Time) => "snippets-time",
        (Share::Snippets, Measure::Score) => "snippets-score",
        (Share::Proposals, Measure::Memory) => "proposals-memory",
        (Share::Proposals, Measure::Time) => "proposals-time",
        (Share::Proposals, Measure::Score) => "proposals-score",
    }
}

/// Every chart that the report has data for.
pub fn of(report: &Report) -> Vec<Chart> {
    let Some(found) = &report.end_to_end else { return Vec::new() };
    let every = [Share::Snippets, Share::Proposals].into_iter().flat_map(|over| Measure::ALL.map(|measure| (over, measure)));
    every.filter_map(|(over, measure)| chart(report, found, over, measure)).collect()
}

/// Whether memory means that of the GPU.
pub fn on_gpu(found: &EndToEnd) -> bool {
    found.rows.iter().all(|row| row.peak_gpu_bytes.is_some())
}

/// What a row has of a measure, in base units: lower end, mean and upper end.
fn value(row: &EndToEndRow, measure: Measure, on_gpu: bool) -> Option<(f64, f64, f64)> {
    let exact = |v: f64| (v, v, v);
    match measure {
        Measure::Memory if on_gpu => row.peak_gpu_bytes.map(exact),
        Measure::Memory => Some(exact(row.peak_rss_bytes as f64)),
        Measure::Time => row.training_s.map(exact),
        Measure::Score => {
            let (_, low, mean, high) = bar(0.0, row.score);
            Some((low, mean, high))
        }
    }
}

fn chart(report: &Report, found: &EndToEnd, over: Share, measure: Measure) -> Option<Chart> {
    let lines: Vec<&Sweep> = found.sweeps.iter().filter(|s| s.over == over).collect();
    if lines.is_empty() || found.rows.len() < 2 {
        return None;
    }
    let on_gpu = on_gpu(found);
    let known = |row: &EndToEndRow| value(row, measure, on_gpu).map(|v| v.2);
    let highest = found.rows.iter().filter(|r| over == Share::Snippets || over.of(r).is_some()).filter_map(known).fold(0.0, f64::max);
    let (unit, title, label) = match measure {
        Measure::Memory => {
            let ((unit, name), place) = (memory_unit(highest), if on_gpu { "GPU memory" } else { "memory" });
            (unit, format!("Peak {place}"), format!("peak {place}, {name}"))
        }
        Measure::Time => {
            let (unit, name) = time_unit(highest);
            (unit, "Training time".to_owned(), format!("training time, {name}"))
        }
        Measure::Score => (1.0, "Score".to_owned(), String::new()),
    };
    let bar_at = |row: &EndToEndRow, x: f64| {
        let (low, mean, high) = value(row, measure, on_gpu)?;
        Some((100.0 * x, low / unit, mean / unit, high / unit))
    };
    let row_of = |model: &str| found.rows.iter().find(|r| r.model == model);
    let line = |sweep: &&Sweep| {
        let bars: Vec<_> = sweep.models.iter().filter_map(|(model, share)| bar_at(row_of(model)?, *share)).collect();
        let first = row_of(&sweep.models.first()?.0)?;
        let label = if sweep.models.len() > 1 { format!("{} …", first.model) } else { first.model.clone() };
        let detail = if over == Share::Snippets { short(&first.training) } else { first.training.label() };
        Some(Series { label, detail, line: bars.iter().map(|b| (b.0, b.2)).collect(), bars, ..Series::default() })
    };
    let mut all: Vec<Option<Series>> = lines.iter().map(line).collect();
    let x = match over {
        Share::Snippets => {
            all.extend(found.rows.iter().filter(|r| over.of(r).is_none()).map(|row| reference(row, |x| bar_at(row, x))));
            Axis::from_zero("snippets that gradients flow through, %", 100.0, number_tick)
        }
        Share::Proposals => {
            let shares = || lines.iter().flat_map(|s| &s.models).map(|m| 100.0 * m.1).filter(|share| *share > 0.0);
            Axis::logarithmic("proposals drawn, %", shares().fold(100.0, f64::min), shares().fold(0.0, f64::max), number_tick)
        }
    };
    // Numbered before any is left out: a line has the same colour in the three charts.
    let numbered = all.into_iter().enumerate().filter_map(|(place, series)| Some(Series { place, ..series? }));
    let series: Vec<Series> = numbered.filter(|s| !s.line.is_empty() || !s.dashed.is_empty()).collect();
    let y = match measure {
        Measure::Score => close_axis(report, series.iter().flat_map(|s| &s.bars)),
        _ => Axis::from_zero(&label, highest / unit, number_tick),
    };
    let what = match over {
        Share::Snippets => "share of snippets that gradients flow through",
        Share::Proposals => "share of proposals drawn",
    };
    let names: Vec<&str> = series.iter().map(|s| s.label.as_str()).collect();
    Some(Chart {
        id: id(over, measure).into(),
        title: format!("{title} by {what}"),
        description: format!("{title} by {what}, at {} % of the training part: {}.", found.percent, names.join(", ")),
        x,
        y,
        series,
        labels: Labels::AtEnd,
        thin: Vec::new(),
        boundaries: Vec::new(),
        legend: Vec::new(),
    })
}

/// A training that samples no snippets: a dashed line all along, with its mark where gradients flow through a known share.
fn reference(row: &EndToEndRow, bar_at: impl Fn(f64) -> Option<(f64, f64, f64, f64)>) -> Option<Series> {
    let (_, _, height, _) = bar_at(0.0)?;
    Some(Series {
        label: row.model.clone(),
        detail: short(&row.training),
        dashed: vec![(0.0, height), (100.0, height)],
        bars: row.training.snippets().and_then(bar_at).into_iter().collect(),
        ..Series::default()
    })
}

/// A training in what room there is beside a plot: that it samples, the axis says.
fn short(training: &EncoderTraining) -> String {
    match training {
        EncoderTraining::Sampled { strategy, .. } => strategy.clone(),
        other => other.label(),
    }
}
