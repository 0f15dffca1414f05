//! The comment on a pull request: what decides first, the rest folded away. A hidden marker lets the next run find and edit it.

use std::fmt::Write;

use super::words;
use crate::compare::document::{Comparison, LayerChange, Outcome, Row, Verdict};

/// GitHub takes 65 536 characters.
const MOST_BYTES: usize = 60_000;
/// Layers shown; the rest is counted.
const MOST_LAYERS: usize = 40;

/// The comment.
pub fn markdown(comparison: &Comparison) -> String {
    let (gated, others) = comparison.parts();
    let mut text =
        format!("<!-- etalon:{} -->\n### {} {}\n\n", comparison.id, mark(comparison.outcome), escape(&words::headline(comparison)));
    let _ = writeln!(text, "`{}` → `{}`\n", code(&comparison.baseline), code(&comparison.candidate));
    if !gated.is_empty() {
        text.push_str(&table(gated));
    }
    text.push_str(&layers(&comparison.layers));
    for note in &comparison.notes {
        let _ = writeln!(text, "- {}", escape(note));
    }
    for accepted in &comparison.accepted {
        let _ = writeln!(text, "- accepted difference: {}", escape(accepted));
    }
    let mut footer = String::new();
    if let Some(plan) = &comparison.plan {
        let voids = comparison.pairs.iter().filter(|p| p.void.is_some()).count();
        let looks = plan.looks.iter().map(usize::to_string).collect::<Vec<_>>().join("/");
        let valid = comparison.pairs.len() - voids;
        let _ = write!(footer, "{valid} pairs in random order, seed {}, looks at {looks}, {voids} void. ", plan.seed);
    }
    let _ = writeln!(footer, "etalon {}, {}", comparison.etalon, escape(&comparison.candidate_fingerprint.cpu));
    // Whole rows are left out at the end rather than a tag cut in two.
    let mut shown = others.len();
    loop {
        let whole = format!("{text}{}\n<sub>{footer}</sub>\n", details(&others[..shown], others.len() - shown));
        if whole.len() <= MOST_BYTES {
            return whole;
        }
        if shown == 0 {
            return cut(whole);
        }
        shown /= 2;
    }
}

fn details(rows: &[Row], left_out: usize) -> String {
    if rows.is_empty() && left_out == 0 {
        return String::new();
    }
    let more = if left_out > 0 { format!("\n{left_out} more rows are in verdict.json.\n") } else { String::new() };
    format!("\n<details><summary>{} more, not gated</summary>\n\n{}{more}\n</details>\n", rows.len() + left_out, table(rows))
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| | baseline | candidate | change | bounds | detectable | verdict |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
            .to_owned();
    for row in rows {
        let [before, after] = [row.baseline, row.candidate].map(|v| words::value(v, row.unit));
        let verdict = match row.verdict {
            Verdict::Regressed => "**regressed**",
            verdict => words::verdict(verdict),
        };
        let note = row.note.as_ref().map_or_else(String::new, |note| format!(" <br>_{}_", escape(note)));
        let (name, growth, limits, least) = (escape(&row.name), words::growth(row), words::limits(row), words::detectable(row));
        let _ = writeln!(text, "| {name}{note} | {before} | {after} | {growth} | {limits} | {least} | {verdict} |");
    }
    text.push('\n');
    text
}

fn layers(changes: &[LayerChange]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let mut text = "Layers that differ:\n\n| layer | kind | parameters | MACs | |\n| --- | --- | ---: | ---: | --- |\n".to_owned();
    for change in &changes[..changes.len().min(MOST_LAYERS)] {
        let both = |of: fn(&crate::compare::document::LayerCount) -> u64| {
            let show = |count: Option<_>| count.as_ref().map_or_else(|| "–".to_owned(), |c| of(c).to_string());
            format!("{} → {}", show(change.baseline), show(change.candidate))
        };
        let what = match (change.baseline, change.candidate) {
            (None, _) => "**new**",
            (_, None) => "gone",
            _ => "changed",
        };
        let name = format!("{}: {}", change.what, change.name);
        let _ =
            writeln!(text, "| {} | {} | {} | {} | {what} |", escape(&name), escape(&change.kind), both(|c| c.parameters), both(|c| c.macs));
    }
    match changes.len().saturating_sub(MOST_LAYERS) {
        0 => {}
        more => drop(writeln!(text, "\n{more} more layers are in verdict.json.")),
    }
    text.push('\n');
    text
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass | Outcome::Improved => "✅",
        Outcome::Regressed => "❌",
        Outcome::Inconclusive => "❔",
        Outcome::NotComparable => "⚠️",
    }
}

/// What a command or a layer is called must not become markup, a mention or a new column.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\n' | '\r' => safe.push(' '),
            '@' => safe.push_str("@\u{200b}"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => safe.extend(['\\', character]),
            _ => safe.push(character),
        }
    }
    safe
}

/// Inside a code span a backtick would end it.
fn code(text: &str) -> String {
    shortened(&text.replace('`', "'").replace(['\n', '\r'], " "), 300)
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most).chain(['…']).collect() }
}

fn cut(mut text: String) -> String {
    let end = (0..=MOST_BYTES - 100).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text.truncate(end);
    text.push_str("\n\nThe rest is in verdict.json.\n");
    text
}
