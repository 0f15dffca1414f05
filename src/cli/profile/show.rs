//! A profile as text: what it was bound by, what it used, what could not be measured.

use crate::base::units;
use crate::cli::Ui;
use crate::cli::ui::table;
use crate::profile::Profile;
use crate::profile::document::Steps;
use crate::profile::metric::{Metric, Unit};
use crate::profile::summary::Metrics;
use crate::stats::quantile;

/// Metrics that everybody asks for, and as what: the rest is in the JSON.
const ROWS: [(&str, &[&str]); 12] = [
    ("CPU", &["cpu.time", "cpu.time.rate"]),
    ("memory", &["memory.rss.peak", "memory.rss"]),
    ("PSS", &["memory.pss.peak", "memory.pss"]),
    ("bandwidth", &["memory.bandwidth.rate"]),
    ("bandwidth read", &["memory.bandwidth.read.rate"]),
    ("bandwidth write", &["memory.bandwidth.write.rate"]),
    ("disk read", &["disk.read", "disk.read.rate"]),
    ("disk written", &["disk.written", "disk.written.rate"]),
    ("read", &["io.read", "io.read.rate"]),
    ("written", &["io.written", "io.written.rate"]),
    ("received", &["network.received", "network.received.rate"]),
    ("sent", &["network.sent", "network.sent.rate"]),
];

/// Prints it.
pub fn show(profile: &Profile, ui: &Ui) {
    ui.line(format!("{}: {} after {}", profile.subject, profile.ended, units::seconds(profile.wall_s)));
    ui.line(profile.verdict.sentence());
    for line in profile.verdict.evidence.iter().chain(&profile.verdict.disturbed) {
        ui.line(format!("  {line}"));
    }
    for (label, names) in ROWS {
        let found: Vec<String> = names.iter().filter_map(|name| present(&profile.usage.metrics, name)).collect();
        if !found.is_empty() {
            ui.line(format!("{label:<16} {}", found.join("  ")));
        }
    }
    for (name, metric) in &profile.usage.metrics {
        if (name.starts_with("gpu") || name.starts_with("energy")) && metric.value().is_some() {
            ui.line(format!("{name:<16} {}", text(metric).unwrap_or_default()));
        }
    }
    if let Some(steps) = &profile.steps {
        times(steps, ui);
    }
    phases(profile, ui);
    let absent: Vec<String> = profile.usage.absences().into_iter().flat_map(|(_, names)| names).collect();
    if !absent.is_empty() {
        ui.remark(format!("not measured: {} (`etalon doctor` and the profile say why)", absent.join(", ")));
    }
    let sampler = &profile.usage.sampler;
    let (hz, late, percent) = (sampler.achieved_hz, sampler.late, sampler.cpu_percent);
    ui.remark(format!("sampled at {hz:.1} Hz for {percent:.2} % of a core, {late} of {} samples late", sampler.samples));
    for warning in &profile.usage.warnings {
        ui.remark(format!("warning: {warning}"));
    }
}

/// "4.1 s", "512.3 MiB peak".
fn present(metrics: &Metrics, name: &str) -> Option<String> {
    let text = text(metrics.get(name)?)?;
    Some(if name.ends_with(".peak") { format!("{text} peak") } else { text })
}

fn text(metric: &Metric) -> Option<String> {
    let value = metric.value()?;
    Some(match metric.unit {
        Unit::Seconds => units::seconds(value),
        Unit::Bytes => units::bytes(value as u64),
        Unit::BytesPerSecond => format!("{}/s", units::bytes(value as u64)),
        Unit::Percent => format!("{value:.0} %"),
        Unit::Watts => format!("{value:.1} W"),
        Unit::Joules => format!("{value:.0} J"),
        Unit::Celsius => format!("{value:.0} °C"),
        Unit::Hertz => format!("{:.0} MHz", value / 1e6),
        Unit::Flop | Unit::FlopPerSecond | Unit::Count | Unit::Ratio => format!("{value}"),
    })
}

/// Latency percentiles and throughput.
fn times(steps: &Steps, ui: &Ui) {
    for (label, seconds) in [("training step", &steps.training_s), ("detection", &steps.detection_s)] {
        let mut ascending = seconds.clone();
        ascending.sort_by(f64::total_cmp);
        let at = |q| quantile(&ascending, q).map(|s| format!("{:.1} ms", s * 1e3));
        if let (Some(p50), Some(p90), Some(p99)) = (at(0.5), at(0.9), at(0.99)) {
            ui.line(format!("{label:<16} median {p50}  90 % {p90}  99 % {p99}  of {}", seconds.len()));
        }
    }
    if let Some(times) = steps.times_real_time() {
        let videos = steps.detection_s.len() as f64 / steps.detection_s.iter().sum::<f64>();
        ui.line(format!("{:<16} {videos:.2} videos/s, {times:.0} x real time", "throughput"));
    }
}

fn phases(profile: &Profile, ui: &Ui) {
    if profile.usage.phases.is_empty() {
        return;
    }
    let mut rows = table(&["phase", "wall", "CPU", "cores", "peak memory"]);
    for phase in &profile.usage.phases {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        rows.add_row([
            phase.name.clone(),
            units::seconds(phase.wall_s),
            or_dash(phase.value("cpu.time").map(units::seconds)),
            or_dash(phase.value("cpu.time.rate").map(|p| format!("{:.2}", p / 100.0))),
            or_dash(phase.value("memory.rss.peak").map(|b| units::bytes(b as u64))),
        ]);
    }
    ui.line(rows.to_string());
}
