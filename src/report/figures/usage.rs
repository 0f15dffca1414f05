//! Charts of what runs used over time, and of computations below the roofs of their machine.

use super::chart::{Axis, Chart, Labels, Scale, Series};
use super::charts::{memory_unit, number_tick, time_unit};
use crate::profile::roofline::Roofline;
use crate::report::model::Run;

/// A run's values of one resource: seconds and values.
type Points = fn(&Run) -> &[(f64, f64)];

/// Cores, memory, memory bandwidth and GPU over time: a line per run, a chart per resource that was measured. `family`
/// begins the charts' identifiers; `place` gives a run its colour.
pub fn over_time(family: &str, runs: &[Run], place: impl Fn(&str) -> usize) -> Vec<Chart> {
    let top = |points: Points| runs.iter().flat_map(points).map(|p| p.1).fold(0.0, f64::max);
    let (memory, memory_name) = memory_unit(top(|r| &r.memory));
    let resources: [(&str, &str, String, f64, Points); 4] = [
        ("cores", "Cores in use", "cores".to_owned(), 1.0, |r| &r.cores),
        ("memory", "Resident memory", format!("memory, {memory_name}"), memory, |r| &r.memory),
        ("bandwidth", "Memory bandwidth", "GB/s".to_owned(), 1e9, |r| &r.bandwidth),
        ("gpu", "GPU busy", "% of the time".to_owned(), 1.0, |r| &r.gpu),
    ];
    let end = runs.iter().flat_map(|r| r.cores.last().into_iter().chain(r.memory.last())).map(|p| p.0).fold(0.0, f64::max);
    let (second, second_name) = time_unit(end);
    // One run has its phases marked; several would mark each other's.
    let boundaries = match runs {
        [run] => run.phases.iter().map(|(at, name)| (at / second, name.clone())).collect(),
        _ => Vec::new(),
    };
    let chart = |(id, title, label, unit, points): (&str, &str, String, f64, Points)| {
        let shown: Vec<&Run> = runs.iter().filter(|r| points(r).len() > 1).collect();
        if shown.is_empty() {
            return None;
        }
        let series = |run: &&Run| {
            let line: Vec<(f64, f64)> = points(run).iter().map(|p| (p.0 / second, p.1 / unit)).collect();
            let peak = line.iter().map(|p| p.1).fold(0.0, f64::max);
            Series {
                place: place(&run.model),
                label: run.model.clone(),
                detail: format!("peak {}", short(peak)),
                line,
                ..Series::default()
            }
        };
        Some(Chart {
            id: format!("{family}-{id}").into(),
            title: title.to_owned(),
            description: format!(
                "{title} over time: {}.",
                shown.iter().map(|r| format!("{} ({})", r.model, r.label)).collect::<Vec<_>>().join(", ")
            ),
            x: Axis::from_zero(second_name, end / second, number_tick),
            y: Axis::from_zero(&label, top(points) / unit, number_tick),
            series: shown.iter().map(series).collect(),
            labels: Labels::AtEnd,
            thin: Vec::new(),
            boundaries: boundaries.clone(),
            legend: Vec::new(),
        })
    };
    resources.into_iter().filter_map(chart).collect()
}

/// Computations of several models below the roofs of their machine; `None` without a peak or a point.
pub fn roofline(rooflines: &[(String, &Roofline)]) -> Option<Chart> {
    let (_, first) = rooflines.first()?;
    let (flops, bandwidth) = (first.peak_flops.value()?, first.peak_bandwidth.value()?);
    let ridge = flops / bandwidth;
    let mut series = Vec::new();
    for (place, (name, roofline)) in rooflines.iter().enumerate() {
        for point in &roofline.points {
            let (Some(intensity), Some(reached)) = (point.intensity.value(), point.flops.value()) else { continue };
            let (kind, _) = point.name.split_once(" of ").unwrap_or((&point.name, ""));
            let label = if rooflines.len() > 1 { format!("{name}, {kind}") } else { kind.to_owned() };
            let height = reached / 1e9;
            series.push(Series { place, label, bars: vec![(intensity, height, height, height)], ..Series::default() });
        }
    }
    let points = || series.iter().flat_map(|s: &Series| &s.bars);
    points().next()?;
    let low = points().map(|b| b.0).fold(ridge, f64::min) / 2.0;
    let high = points().map(|b| b.0).fold(ridge, f64::max) * 2.0;
    let bottom = points().map(|b| b.2).fold(low * bandwidth / 1e9, f64::min);
    let x = Axis::logarithmic("FLOP per byte (weights and activations moved once)", low, high, number_tick);
    let y = Axis::logarithmic("GFLOP/s", bottom, flops / 1e9, number_tick);
    debug_assert_eq!((x.scale, y.scale), (Scale::Log, Scale::Log));
    // The roof starts where it enters the picture: at the left edge, or at the bottom.
    let start = x.range.0.max(y.range.0 * 1e9 / bandwidth);
    let corner = |intensity: f64| Some((intensity, first.roof(intensity)? / 1e9));
    let front = [start, ridge, x.range.1].into_iter().filter_map(corner).collect();
    Some(Chart {
        id: "roofline".into(),
        title: "Roofline".to_owned(),
        description: format!(
            "Floating-point rate against operations per byte. The roof: {:.0} GFLOP/s of a matrix product, {:.1} GB/s of a triad; they meet at {ridge:.1} FLOP \
             per byte.",
            flops / 1e9,
            bandwidth / 1e9
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

fn short(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
