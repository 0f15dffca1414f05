//! The charts of a report.

use super::chart::{Axis, Chart, Labels, Scale, Series, Tick};
use super::{end_to_end, forecast, names, usage};
use crate::report::model::{Efficiency, FractionRow, ModelReport, Report, Resource, Spread, Tradeoff};

/// Every chart the report has data for.
pub fn of(report: &Report) -> Vec<Chart> {
    let efficiency = report.efficiency.iter().flat_map(|e| TRADEOFFS.map(|resource| tradeoff(report, e, resource)));
    let hardware = report.hardware.iter().flat_map(|h| usage::over_time("cells", &h.runs, |model| place(report, model)));
    let overview = [learning_curves(report), close_curves(report), cost(report)];
    overview.into_iter().chain(efficiency).flatten().chain(end_to_end::of(report)).chain(forecasts(report)).chain(hardware).collect()
}

/// The costs that have a figure.
const TRADEOFFS: [Resource; 3] = [Resource::TrainingTime, Resource::Compute, Resource::Memory];
/// A model below this share of the best score is left out of close views: it would flatten all others.
const CLOSE: f64 = 0.5;

/// Identifier of the figure of scores against `resource`, where there is one.
pub fn tradeoff_id(resource: Resource) -> Option<&'static str> {
    match resource {
        Resource::TrainingTime => Some("score-training-time"),
        Resource::Compute => Some("score-compute"),
        Resource::Memory => Some("score-memory"),
        Resource::CpuTime | Resource::Parameters => None,
    }
}

/// Models within reach of the best at their largest fraction.
pub fn contenders(report: &Report) -> Vec<&ModelReport> {
    let score = |m: &ModelReport| m.fractions.last().map_or(0.0, |f| f.average_map.mean);
    let best = report.models.iter().map(score).fold(0.0, f64::max);
    report.models.iter().filter(|m| score(m) > CLOSE * best).collect()
}

/// The fitted curve of every model that has one, in the order of the models.
fn forecasts(report: &Report) -> Vec<Chart> {
    let ids = forecast_ids(report);
    let of_model = |(place, (model, id)): (usize, (&ModelReport, String))| {
        let fractions = &model.fractions;
        let fitted = forecast::Fitted {
            id,
            place,
            name: &model.name,
            summary: model.curve.as_ref()?,
            fan: &model.fan,
            scores: fractions.iter().flat_map(|f| f.seeds.iter().map(|s| (f.videos, s.1))).collect(),
            sizes: fractions.iter().map(|f| (f.videos, format!("{} %", f.percent))).collect(),
            score: forecast::Score { label: format!("average mAP, % (tIoU {})", tiou_range(&report.tiou)), factor: 100.0 },
        };
        Some(forecast::forecast(&fitted))
    };
    report.models.iter().zip(ids).enumerate().filter_map(of_model).collect()
}

/// Identifiers of the figures of the models' forecasts.
pub fn forecast_ids(report: &Report) -> Vec<String> {
    let names = names::of_files(report.models.iter().map(|m| m.name.as_str()));
    names.into_iter().map(|name| format!("forecast-{name}")).collect()
}

/// Average mAP against training videos, every model, with seeds, spread, curve and forecast.
fn learning_curves(report: &Report) -> Option<Chart> {
    let x = size_axis(report, true)?;
    let highest = |m: &ModelReport| {
        let seen = m.fractions.iter().flat_map(|f| f.seeds.iter().map(|s| s.1));
        seen.chain(m.fan.iter().map(|f| f.expected.interval.upper)).fold(0.0, f64::max)
    };
    let top = report.models.iter().map(highest).fold(0.0, f64::max).clamp(0.05, 1.0);
    let y = Axis::from_zero(&format!("average mAP, % (tIoU {})", tiou_range(&report.tiou)), top, percent_tick);
    let boundary = largest(report).filter(|&n| n < x.range.1 * 0.98).map(|n| (n, "forecast →".to_owned()));
    let level = report.models.iter().find_map(|m| m.fan.first()).map_or(90.0, |f| 100.0 * f.expected.interval.level);
    Some(Chart {
        id: "learning-curves".into(),
        title: "Learning curves".to_owned(),
        description: format!(
            "{} Dots: single seeds. Bars: mean and standard deviation over seeds. Line: median of the fitted curves, dashed beyond the data, \
             with the {level:.0} % interval of the expected score shaded.",
            report.headline.join(" ")
        ),
        x,
        y,
        series: report.models.iter().enumerate().map(curve_series).collect(),
        labels: Labels::AtEnd,
        thin: Vec::new(),
        boundaries: boundary.into_iter().collect(),
        legend: Vec::new(),
    })
}

fn curve_series((place, model): (usize, &ModelReport)) -> Series {
    let last_seen = model.fractions.last().map_or(0.0, |f| f.videos);
    let means = model.fractions.iter().map(|f| (f.videos, f.average_map.mean));
    let fan = || model.fan.iter().map(|f| (f.expected.n, f.expected.median));
    // The forecast as the tables print it: the band's end would differ by the seed noise of a measurement.
    let end = model.curve.as_ref().and_then(|c| c.forecasts.iter().max_by(|a, b| a.n.total_cmp(&b.n))).filter(|f| f.n > last_seen);
    Series {
        place,
        label: model.name.clone(),
        detail: end.map_or_else(String::new, |f| {
            format!("{:.1} ({:.0}–{:.0})", 100.0 * f.median, 100.0 * f.interval.lower, 100.0 * f.interval.upper)
        }),
        line: if model.fan.is_empty() { means.collect() } else { fan().filter(|p| p.0 <= last_seen).collect() },
        dashed: fan().filter(|p| p.0 >= last_seen).collect(),
        band: model.fan.iter().map(|f| (f.expected.n, f.expected.interval.lower, f.expected.interval.upper)).collect(),
        dots: model.fractions.iter().filter(|f| f.seeds.len() > 1).flat_map(|f| f.seeds.iter().map(|s| (f.videos, s.1))).collect(),
        bars: model.fractions.iter().map(|f| bar(f.videos, f.average_map)).collect(),
        ..Series::default()
    }
}

/// Mean and standard deviation, within what a score can be.
pub(super) fn bar(x: f64, score: Spread) -> (f64, f64, f64, f64) {
    let sd = score.sd.unwrap_or(0.0);
    (x, (score.mean - sd).max(0.0), score.mean, (score.mean + sd).min(1.0))
}

/// The measured means of the contenders, close enough to see them cross.
fn close_curves(report: &Report) -> Option<Chart> {
    let contenders = contenders(report);
    if contenders.len() < 2 || contenders.iter().all(|m| m.fractions.len() < 2) {
        return None;
    }
    let series = |model: &&ModelReport| {
        let bars: Vec<_> = model.fractions.iter().map(|f| bar(f.videos, f.average_map)).collect();
        let detail = model.fractions.last().map_or_else(String::new, |f| format!("{:.1}", 100.0 * f.average_map.mean));
        let line = bars.iter().map(|b| (b.0, b.2)).collect();
        Series { place: place(report, &model.name), label: model.name.clone(), detail, line, bars, ..Series::default() }
    };
    let series: Vec<Series> = contenders.iter().map(series).collect();
    Some(Chart {
        id: "learning-curves-close".into(),
        title: "Measured means, close up".to_owned(),
        description: "Mean and standard deviation of the average mAP over seeds, by number of training videos, joined by lines.".to_owned(),
        x: size_axis(report, false)?,
        y: close_axis(report, series.iter().flat_map(|s| &s.bars)),
        series,
        labels: Labels::AtEnd,
        thin: Vec::new(),
        boundaries: Vec::new(),
        legend: Vec::new(),
    })
}

/// Scores against what they cost, with the front of what no other model beats.
fn tradeoff(report: &Report, efficiency: &Efficiency, resource: Resource) -> Option<Chart> {
    let contenders = contenders(report);
    let shown = |t: &&Tradeoff| contenders.iter().any(|m| m.name == t.model) && resource.of(t).is_some_and(|cost| cost > 0.0);
    let rows: Vec<&Tradeoff> = efficiency.rows.iter().filter(shown).collect();
    let costs: Vec<f64> = rows.iter().filter_map(|t| resource.of(t)).collect();
    if rows.len() < 2 {
        return None;
    }
    let (low, high) = (costs.iter().copied().fold(f64::INFINITY, f64::min), costs.iter().copied().fold(0.0, f64::max));
    let (unit, label) = match resource {
        Resource::TrainingTime | Resource::CpuTime => {
            let (unit, name) = time_unit((low * high).sqrt());
            (unit, format!("{}, {name}", resource.name()))
        }
        Resource::Memory => {
            let (unit, name) = memory_unit(high);
            (unit, format!("peak memory, {name}"))
        }
        Resource::Compute => (1.0, "GMAC per minute of video".to_owned()),
        Resource::Parameters => (1e6, "million parameters".to_owned()),
    };
    let series = |(t, cost): (&&Tradeoff, &f64)| Series {
        place: place(report, &t.model),
        label: t.model.clone(),
        bars: vec![bar(cost / unit, t.score)],
        hollow: !t.unbeaten.contains(&resource),
        ..Series::default()
    };
    let series: Vec<Series> = rows.iter().zip(&costs).map(series).collect();
    let x = Axis::logarithmic(&label, low / unit, high / unit, number_tick);
    let y = close_axis(report, series.iter().flat_map(|s| &s.bars));
    let front = front(&series, x.range.1, y.range.0);
    let best: Vec<&str> = series.iter().filter(|s| !s.hollow).map(|s| s.label.as_str()).collect();
    Some(Chart {
        id: tradeoff_id(resource)?.into(),
        title: format!("Score against {}", resource.name()),
        description: format!(
            "Average mAP, mean and standard deviation over seeds, at {} % of the training part. No other model scores as much for less {}: {}.",
            efficiency.percent,
            resource.name(),
            best.join(", ")
        ),
        x,
        y,
        series,
        labels: Labels::AtPoint,
        thin: vec![front],
        boundaries: Vec::new(),
        legend: Vec::new(),
    })
}

/// Steps through the filled points: at each cost the best score that it buys.
fn front(series: &[Series], last: f64, lowest: f64) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = series.iter().filter(|s| !s.hollow).flat_map(|s| &s.bars).map(|b| (b.0, b.2)).collect();
    corners.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut steps = Vec::new();
    let mut height = lowest;
    for (x, y) in corners {
        steps.extend([(x, height), (x, y)]);
        height = y;
    }
    steps.push((last, height));
    steps
}

/// Scores close around `bars`.
pub(super) fn close_axis<'a>(report: &Report, bars: impl Iterator<Item = &'a (f64, f64, f64, f64)>) -> Axis {
    let (low, high) = bars.fold((1.0, 0.0), |(low, high): (f64, f64), bar| (low.min(bar.1), high.max(bar.3)));
    Axis::close(&format!("average mAP, % (tIoU {})", tiou_range(&report.tiou)), low, high, percent_tick)
}

fn place(report: &Report, model: &str) -> usize {
    report.models.iter().position(|m| m.name == model).unwrap_or(0)
}

/// Bytes per unit, and its name, in which `bytes` reads well.
pub fn memory_unit(bytes: f64) -> (f64, &'static str) {
    const MIB: f64 = 1024.0 * 1024.0;
    if bytes < 1024.0 * MIB { (MIB, "MiB") } else { (1024.0 * MIB, "GiB") }
}

/// Seconds per unit, and its name, in which `seconds` reads well.
pub fn time_unit(seconds: f64) -> (f64, &'static str) {
    match seconds {
        s if s < 180.0 => (1.0, "seconds"),
        s if s < 10_800.0 => (60.0, "minutes"),
        _ => (3600.0, "hours"),
    }
}

pub(super) fn percent_tick(share: f64) -> String {
    number_tick(100.0 * share)
}

/// Without the digits that only binary fractions need.
pub fn number_tick(value: f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6)
}

/// CPU time of a cell against training videos.
fn cost(report: &Report) -> Option<Chart> {
    let x = size_axis(report, false)?;
    let dearest = report.models.iter().flat_map(|m| &m.fractions).map(|f| f.cost.cpu_s).fold(0.0, f64::max);
    if dearest <= 0.0 {
        return None;
    }
    let (unit, name) = time_unit(dearest);
    let series = |(place, m): (usize, &ModelReport)| {
        let points: Vec<(f64, f64)> = m.fractions.iter().map(|f| (f.videos, f.cost.cpu_s / unit)).collect();
        let detail = points.last().map_or_else(String::new, |p| format!("{:.*} {name}", if p.1 < 1.0 { 2 } else { 1 }, p.1));
        let bars = points.iter().map(|&(x, y)| (x, y, y, y)).collect();
        Series { place, label: m.name.clone(), detail, line: points, bars, ..Series::default() }
    };
    Some(Chart {
        id: "cost".into(),
        title: "Cost of a cell".to_owned(),
        description: "Mean CPU time to train and test one cell, by number of training videos.".to_owned(),
        x,
        y: Axis::from_zero(&format!("CPU {name} per cell"), dearest / unit, number_tick),
        series: report.models.iter().enumerate().map(series).collect(),
        labels: Labels::AtEnd,
        thin: Vec::new(),
        boundaries: Vec::new(),
        legend: Vec::new(),
    })
}

fn largest(report: &Report) -> Option<f64> {
    report.models.iter().filter_map(|m| m.fractions.last()).map(|f| f.videos).max_by(f64::total_cmp)
}

/// Training videos on a logarithmic axis, with the share of the training part below; labels are thinned until they fit.
fn size_axis(report: &Report, with_forecast: bool) -> Option<Axis> {
    let rows = || report.models.iter().flat_map(|m| &m.fractions);
    let first = rows().map(|f| f.videos).min_by(f64::total_cmp)?;
    let full = largest(report)?;
    let forecasts: Vec<f64> = report.models.iter().flat_map(|m| m.fan.last()).map(|f| f.expected.n).collect();
    let last = if with_forecast { forecasts.into_iter().fold(full, f64::max) } else { full };

    // The full set first, then forecasts, then fractions from both ends: what is most wanted keeps its label.
    let mut wanted: Vec<(f64, String)> = Vec::new();
    let mut by_size: Vec<&FractionRow> = rows().collect();
    by_size.sort_by(|a, b| a.videos.total_cmp(&b.videos));
    by_size.dedup_by(|a, b| a.percent == b.percent);
    wanted.extend(by_size.last().map(|f| (f.videos, format!("{} %", f.percent))));
    if with_forecast && last > full {
        let asked = report.models.iter().filter_map(|m| m.curve.as_ref()).flat_map(|c| &c.forecasts).map(|f| f.n);
        wanted.extend(asked.filter(|&n| n > full).map(|n| (n, multiple(n, full))));
    }
    wanted.extend(by_size.first().map(|f| (f.videos, format!("{} %", f.percent))));
    wanted.extend(by_size.iter().map(|f| (f.videos, format!("{} %", f.percent))));
    Some(sizes(first, last, wanted))
}

/// "2×", "1.5×": so many times `full`.
pub(super) fn multiple(n: f64, full: f64) -> String {
    format!("{}×", (n / full * 100.0).round() / 100.0)
}

/// A logarithmic axis of training videos with the `wanted` ticks that have room, the most wanted first.
pub(super) fn sizes(first: f64, last: f64, wanted: Vec<(f64, String)>) -> Axis {
    let (low, high) = if first < last { (first / 1.08, last * 1.02) } else { (first / 2.0, first * 2.0) };
    let mut axis = Axis { label: "training videos".to_owned(), scale: Scale::Log, range: (low, high), ticks: Vec::new() };
    for (at, sublabel) in wanted {
        let clear = |tick: &Tick| (axis.position(tick.at) - axis.position(at)).abs() > 0.055;
        if axis.ticks.iter().all(clear) {
            axis.ticks.push(Tick { at, label: format!("{at:.0}"), sublabel: Some(sublabel) });
        }
    }
    axis.ticks.sort_by(|a, b| a.at.total_cmp(&b.at));
    axis
}

/// "0.3–0.7" or "0.5".
pub fn tiou_range(tiou: &[f64]) -> String {
    match tiou {
        [] => "–".to_owned(),
        [only] => only.to_string(),
        [first, .., last] => format!("{first}–{last}"),
    }
}
