//! Numbers and verdicts as a reader sees them, alike in every output.

use crate::base::units;
use crate::compare::document::{Comparison, Outcome, Row, Verdict};
use crate::profile::metric::Unit;

/// Rows that a headline names.
const NAMED: usize = 3;

/// A value with its unit; "–" for one that is absent.
pub fn value(value: Option<f64>, unit: Unit) -> String {
    let Some(value) = value else { return "–".to_owned() };
    match unit {
        Unit::Seconds if value.abs() < 0.1 => format!("{:.2} ms", 1e3 * value),
        Unit::Seconds if value.abs() < 10.0 => format!("{value:.3} s"),
        Unit::Seconds => units::seconds(value),
        Unit::Bytes => units::bytes(value.max(0.0) as u64),
        Unit::BytesPerSecond => format!("{}/s", units::bytes(value.max(0.0) as u64)),
        Unit::Percent => format!("{value:.1} %"),
        Unit::Watts => format!("{value:.1} W"),
        Unit::Joules => format!("{value:.1} J"),
        Unit::Celsius => format!("{value:.0} °C"),
        Unit::Hertz => format!("{} Hz", whole(value)),
        Unit::Flop => format!("{} FLOP", whole(value)),
        Unit::FlopPerSecond => format!("{} FLOP/s", whole(value)),
        Unit::Count if value.fract() == 0.0 => whole(value),
        Unit::Count | Unit::Ratio => format!("{value:.3}"),
    }
}

/// A whole number in groups of three digits.
fn whole(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let grouped = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned()).collect::<Vec<_>>().join(" ");
    if value < 0.0 { format!("−{grouped}") } else { grouped }
}

/// The growth of a row in percent.
pub fn growth(row: &Row) -> String {
    match row.growth() {
        // Exact counts can differ by less than two digits show.
        Some(growth) if growth != 0.0 && growth.abs() < 5e-5 => format!("{}0.01 %", if growth > 0.0 { "+<" } else { "−<" }),
        Some(growth) => signed(growth),
        None if row.baseline == Some(0.0) && row.candidate == Some(0.0) => signed(0.0),
        None => "–".to_owned(),
    }
}

/// The bounds of a row's growth; empty for one number each.
pub fn limits(row: &Row) -> String {
    let bound = |bound: Option<f64>| bound.map_or_else(|| "?".to_owned(), signed);
    row.change.as_ref().map_or_else(String::new, |c| format!("{} to {}", bound(c.lower), bound(c.upper)))
}

/// The least growth that such a comparison finds in four of five cases; empty for one number each.
pub fn detectable(row: &Row) -> String {
    let least = row.change.as_ref().and_then(|c| c.detectable);
    least.map_or_else(String::new, |growth| format!("{:.1} %", 100.0 * growth))
}

fn signed(fraction: f64) -> String {
    let percent = 100.0 * fraction;
    if percent.abs() < 0.005 { "0.00 %".to_owned() } else { format!("{}{:.2} %", if percent < 0.0 { '−' } else { '+' }, percent.abs()) }
}

/// A verdict in a word.
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Regressed => "regressed",
        Verdict::Improved => "improved",
        Verdict::Pass => "pass",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Informational => "",
    }
}

/// The outcome in a sentence.
pub fn headline(comparison: &Comparison) -> String {
    let names = |wanted| {
        let (gated, _) = comparison.parts();
        let rows: Vec<String> = gated.iter().filter(|r| r.verdict == wanted).map(|r| format!("{} {}", r.name, growth(r))).collect();
        let more = rows.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", rows[..rows.len().min(NAMED)].join(", "))
    };
    match comparison.outcome {
        Outcome::Pass => "No regression: nothing gated grew beyond what is tolerated".to_owned(),
        Outcome::Improved => format!("Improved: {}", names(Verdict::Improved)),
        Outcome::Regressed => format!("Regression: {}", names(Verdict::Regressed)),
        Outcome::Inconclusive => match names(Verdict::Inconclusive) {
            unclear if unclear.is_empty() => "Inconclusive".to_owned(),
            unclear => format!("Inconclusive: {unclear}"),
        },
        Outcome::NotComparable => format!("Not comparable: {}", comparison.differences.join("; ")),
    }
}
