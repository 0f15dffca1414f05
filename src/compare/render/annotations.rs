//! GitHub annotations: an error per gated regression, a warning per gated row that is unclear; ten lines at most per step.

use super::words;
use crate::compare::document::{Comparison, Outcome, Row, Verdict};

/// GitHub shows no more per step.
const MOST: usize = 10;

/// Workflow commands, a line each.
pub fn annotations(comparison: &Comparison) -> Vec<String> {
    if comparison.outcome == Outcome::NotComparable {
        return vec![command("error", "not comparable", &words::headline(comparison))];
    }
    let (gated, _) = comparison.parts();
    let of = |verdict, level| {
        gated.iter().filter(move |r| r.verdict == verdict).map(move |row| command(level, &title(row), &sentence(row))).collect::<Vec<_>>()
    };
    let mut lines = of(Verdict::Regressed, "error");
    lines.extend(of(Verdict::Inconclusive, "warning"));
    if lines.len() > MOST {
        let left_out = lines.len() - (MOST - 1);
        lines.truncate(MOST - 1);
        lines.push(command("warning", "etalon compare", &format!("{left_out} more rows regressed or are inconclusive; see the summary")));
    }
    lines
}

fn title(row: &Row) -> String {
    format!("{} {}", row.name, words::verdict(row.verdict))
}

fn sentence(row: &Row) -> String {
    let [before, after] = [row.baseline, row.candidate].map(|v| words::value(v, row.unit));
    let limits = words::limits(row);
    let limits = if limits.is_empty() { limits } else { format!(", bounds {limits}") };
    format!("{}: {before} -> {after} ({}{limits})", row.name, words::growth(row))
}

/// As GitHub's runner reads it: percent signs, line ends and, in properties, separators are escaped.
fn command(level: &str, title: &str, message: &str) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title={}::{}", property(title), data(message))
}
