//! The charts of a report.

use super::chart::{Axis, Chart, Scale, Series, Tick};
use crate::report::model::{FractionRow, ModelReport, Report};

/// Every chart the report has data for.
pub fn of(report: &Report) -> Vec<Chart> {
    [learning_curves(report), cost(report)].into_iter().flatten().collect()
}

/// Average mAP against training videos, every model, with seeds, spread, curve and forecast.
fn learning_curves(report: &Report) -> Option<Chart> {
    let x = size_axis(report, true)?;
    let highest = |m: &ModelReport| {
        let seen = m.fractions.iter().flat_map(|f| f.seeds.iter().map(|s| s.1));
        seen.chain(m.fan.iter().map(|f| f.interval.upper)).fold(0.0, f64::max)
    };
    let top = report.models.iter().map(highest).fold(0.0, f64::max).clamp(0.05, 1.0);
    let y = Axis::from_zero(&format!("average mAP, % (tIoU {})", tiou_range(&report.tiou)), top, |v| format!("{:.0}", 100.0 * v));
    let boundary = largest(report).filter(|&n| n < x.range.1 * 0.98).map(|n| (n, "forecast".to_owned()));
    let level = report.models.iter().find_map(|m| m.fan.first()).map_or(90.0, |f| 100.0 * f.interval.level);
    Some(Chart {
        id: "learning-curves",
        title: "Learning curves".to_owned(),
        description: format!(
            "{} Dots: single seeds. Bars: mean and standard deviation over seeds. Line: median of the fitted curves, dashed beyond the data, \
             with the {level:.0} % interval of the expected score shaded.",
            report.headline.join(" ")
        ),
        x,
        y,
        series: report.models.iter().map(curve_series).collect(),
        boundary,
    })
}

fn curve_series(model: &ModelReport) -> Series {
    let last_seen = model.fractions.last().map_or(0.0, |f| f.videos);
    let means = model.fractions.iter().map(|f| (f.videos, f.average_map.mean));
    let fan = || model.fan.iter().map(|f| (f.n, f.median));
    let bar = |f: &FractionRow| {
        let sd = f.average_map.sd.unwrap_or(0.0);
        (f.videos, (f.average_map.mean - sd).max(0.0), f.average_map.mean, (f.average_map.mean + sd).min(1.0))
    };
    // The forecast as the tables print it: the band's end would differ by the seed noise of a measurement.
    let end = model.curve.as_ref().and_then(|c| c.forecasts.iter().max_by(|a, b| a.n.total_cmp(&b.n))).filter(|f| f.n > last_seen);
    Series {
        label: model.name.clone(),
        detail: end.map_or_else(String::new, |f| {
            format!("{:.1} ({:.0}–{:.0})", 100.0 * f.median, 100.0 * f.interval.lower, 100.0 * f.interval.upper)
        }),
        line: if model.fan.is_empty() { means.collect() } else { fan().filter(|p| p.0 <= last_seen).collect() },
        dashed: fan().filter(|p| p.0 >= last_seen).collect(),
        band: model.fan.iter().map(|f| (f.n, f.interval.lower, f.interval.upper)).collect(),
        dots: model.fractions.iter().filter(|f| f.seeds.len() > 1).flat_map(|f| f.seeds.iter().map(|s| (f.videos, s.1))).collect(),
        bars: model.fractions.iter().map(bar).collect(),
    }
}

/// CPU time of a cell against training videos.
fn cost(report: &Report) -> Option<Chart> {
    let x = size_axis(report, false)?;
    let dearest = report.models.iter().flat_map(|m| &m.fractions).map(|f| f.cost.cpu_s).fold(0.0, f64::max);
    if dearest <= 0.0 {
        return None;
    }
    let (unit, name) = match dearest {
        s if s < 180.0 => (1.0, "seconds"),
        s if s < 10_800.0 => (60.0, "minutes"),
        _ => (3600.0, "hours"),
    };
    let series = |m: &ModelReport| {
        let points: Vec<(f64, f64)> = m.fractions.iter().map(|f| (f.videos, f.cost.cpu_s / unit)).collect();
        let detail = points.last().map_or_else(String::new, |p| format!("{:.1} {name}", p.1));
        let bars = points.iter().map(|&(x, y)| (x, y, y, y)).collect();
        Series { label: m.name.clone(), detail, line: points, bars, ..Series::default() }
    };
    Some(Chart {
        id: "cost",
        title: "Cost of a cell".to_owned(),
        description: "Mean CPU time to train and test one cell, by number of training videos.".to_owned(),
        x,
        y: Axis::from_zero(&format!("CPU {name} per cell"), dearest / unit, |v| format!("{v}")),
        series: report.models.iter().map(series).collect(),
        boundary: None,
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
    let forecasts: Vec<f64> = report.models.iter().flat_map(|m| m.fan.last()).map(|f| f.n).collect();
    let last = if with_forecast { forecasts.into_iter().fold(full, f64::max) } else { full };
    let (low, high) = if first < last { (first / 1.08, last * 1.02) } else { (first / 2.0, first * 2.0) };
    let mut axis = Axis { label: "training videos".to_owned(), scale: Scale::Log, range: (low, high), ticks: Vec::new() };

    // The full set first, then forecasts, then fractions from both ends: what is most wanted keeps its label.
    let mut wanted: Vec<(f64, String)> = Vec::new();
    let mut by_size: Vec<&FractionRow> = rows().collect();
    by_size.sort_by(|a, b| a.videos.total_cmp(&b.videos));
    by_size.dedup_by(|a, b| a.percent == b.percent);
    wanted.extend(by_size.last().map(|f| (f.videos, format!("{} %", f.percent))));
    if with_forecast && last > full {
        let asked = report.models.iter().filter_map(|m| m.curve.as_ref()).flat_map(|c| &c.forecasts).map(|f| f.n);
        wanted.extend(asked.filter(|&n| n > full).map(|n| (n, format!("{:.3}×", n / full).replace(".000×", "×").replace("00×", "×"))));
    }
    wanted.extend(by_size.first().map(|f| (f.videos, format!("{} %", f.percent))));
    wanted.extend(by_size.iter().map(|f| (f.videos, format!("{} %", f.percent))));
    for (at, sublabel) in wanted {
        let clear = |tick: &Tick| (axis.position(tick.at) - axis.position(at)).abs() > 0.055;
        if axis.ticks.iter().all(clear) {
            axis.ticks.push(Tick { at, label: format!("{at:.0}"), sublabel: Some(sublabel) });
        }
    }
    axis.ticks.sort_by(|a, b| a.at.total_cmp(&b.at));
    Some(axis)
}

/// "0.3–0.7" or "0.5".
pub fn tiou_range(tiou: &[f64]) -> String {
    match tiou {
        [] => "–".to_owned(),
        [only] => only.to_string(),
        [first, .., last] => format!("{first}–{last}"),
    }
}
