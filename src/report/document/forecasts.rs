//! What more data would give: forecasts, gains, needs, and how far the method can be trusted.

use super::format::{dash, listed, percent, points, probability, short};
use super::{Block, Section, Table, figure, section, table, text};
use crate::curves::{HORIZON, Prediction, Reach, Saturation, Summary};
use crate::report::figures::Chart;
use crate::report::figures::charts::forecast_ids;
use crate::report::model::Report;
use crate::stats::Interval;

pub fn forecasts(report: &Report, charts: &[Chart]) -> Section {
    let fitted: Vec<(&str, &Summary)> = report.models.iter().filter_map(|m| Some((m.name.as_str(), m.curve.as_ref()?))).collect();
    let mut blocks = Vec::new();
    if !fitted.is_empty() {
        blocks.extend([Block::Table(expected(&fitted)), Block::Table(gains(&fitted))]);
        blocks.push(text(
            "The interval says where a repetition of this protocol would measure the mean score. The improvement is that less the score measured today, so the two add \
             up; its probability is of the expected score. A verdict needs both this and the rise of the curve itself to be sure.",
        ));
        blocks.push(Block::List { items: fitted.iter().map(|(model, curve)| verdict(model, curve)).collect() });
        blocks.extend(precedents(&fitted));
        blocks.push(text("What would make them surer:"));
        blocks.push(Block::List { items: fitted.iter().map(|(model, curve)| format!("{model}: {}.", curve.next.in_words())).collect() });
        blocks.extend(needs(&fitted));
        let drawn: Vec<Block> = forecast_ids(report).iter().filter_map(|id| figure(charts, id)).collect();
        blocks.extend(drawn);
        blocks.push(text(FIGURES));
        blocks.extend(backtests(&fitted));
        blocks.push(Block::Table(families(&fitted)));
    }
    let remarks = remarks(report);
    if !remarks.is_empty() {
        blocks.push(Block::List { items: remarks });
    }
    section("forecasts", "What more data would give", blocks)
}

const FIGURES: &str = "Small dots are single seeds, large ones their mean with the standard deviation; the line is the median of the fit, dashed where it is a \
    forecast, with the intervals of the expected score shaded. Open marks, left of the size they are for, are what fits without that size and all larger \
    ones foretold, with their interval; where there is no room for all, those from the fewest data. Grey: each notable family alone, by least squares.";

fn expected(fitted: &[(&str, &Summary)]) -> Table {
    let level = fitted.iter().find_map(|f| f.1.forecasts.first()).map_or(90.0, |f| 100.0 * f.interval.level);
    let rows = fitted.iter().flat_map(|(model, curve)| {
        let largest = curve.observations.last().map_or(1.0, |s| s.n);
        curve.forecasts.iter().map(move |f| {
            let (n, times) = (format!("{:.0}", f.n), format!("{:.1}", f.n / largest));
            vec![(*model).to_owned(), n, times, percent(f.median), range(&f.interval)]
        })
    });
    let header = ["model", "videos", "of today", "forecast", &format!("{level:.0} % interval")];
    table("Expected average mAP (%) at more data", &header, rows.collect())
}

fn gains(fitted: &[(&str, &Summary)]) -> Table {
    let gains = || fitted.iter().flat_map(|(model, curve)| curve.gains.iter().map(move |g| (*model, g)));
    let rows = gains().map(|(model, g)| {
        let ends = format!("{} – {}", points(g.interval.lower, None), points(g.interval.upper, None));
        vec![model.to_owned(), format!("{}×", g.times), format!("{:.0}", g.n), points(g.median, None), ends, probability(g.probability)]
    });
    let (level, worthwhile) = gains().next().map_or((90.0, 1.0), |(_, g)| (100.0 * g.interval.level, 100.0 * g.worthwhile));
    let header = ["model", "data", "videos", "improvement", &format!("{level:.0} % interval"), &format!("P of {worthwhile} point or more")];
    table("Improvement over today’s measured score in mAP points", &header, rows.collect())
}

/// Whether more data still helps, in a sentence.
fn verdict(model: &str, curve: &Summary) -> String {
    let Some(gain) = curve.gains.first() else { return format!("{model}: no improvement was asked for.") };
    let (chance, points) = (probability(gain.probability), 100.0 * gain.worthwhile);
    match curve.saturation {
        Saturation::Rising => {
            format!("{model} is still rising: {}× the data brings {points} mAP point or more with probability {chance}.", gain.times)
        }
        Saturation::Saturated => {
            format!("{model} is saturated: {}× the data brings {points} mAP point or more with a probability of only {chance}.", gain.times)
        }
        Saturation::Floor => {
            format!("{model} learns nothing: every size scores next to zero. Mend the model before collecting data for it.")
        }
        Saturation::Undecided => {
            format!(
                "{model}: these sizes do not decide whether {}× the data brings {points} mAP point or more (probability {chance}).",
                gain.times
            )
        }
    }
}

/// How forecasts of the same kind did elsewhere.
fn precedents(fitted: &[(&str, &Summary)]) -> Vec<Block> {
    let mut said: Vec<String> =
        fitted.iter().flat_map(|(_, curve)| &curve.records).map(|p| p.in_words(|s| format!("{} points", percent(s)))).collect();
    said.sort_unstable();
    said.dedup();
    if said.is_empty() {
        return Vec::new();
    }
    vec![text("How forecasts of this kind did on curves left out of what they were learned from:"), Block::List { items: said }]
}

/// Targets in plain words.
fn needs(fitted: &[(&str, &Summary)]) -> Vec<Block> {
    let asked: Vec<(&str, &Reach)> = fitted.iter().flat_map(|(model, curve)| curve.targets.iter().map(move |t| (*model, t))).collect();
    let Some((_, first)) = asked.first() else { return Vec::new() };
    let row = |(model, t): &(&str, &Reach)| {
        vec![(*model).to_owned(), percent(t.score), t.needed(), t.range().unwrap_or_else(dash), probability(t.probability_reachable)]
    };
    let level = format!("{:.0} % interval", 100.0 * first.level);
    let header = ["model", "average mAP (%)", "videos", &level, "P of reaching it"];
    let holds = |what: fn(&Reach) -> bool| asked.iter().any(|(_, t)| what(t));
    let mut words = Vec::new();
    if holds(|t| t.reached) {
        words.push("Already reached: the mean at a size that was measured is that good.".to_owned());
    }
    if holds(|t| !t.reached && t.n_median.is_none()) {
        words.push(format!("Not reachable: more likely than not, no amount up to {HORIZON} times today’s data suffices; change the model rather than collect."));
    }
    if holds(|t| !t.reached && t.n_lower.is_some() && t.n_upper.is_none()) {
        let never = 50.0 * (1.0 - first.level);
        words.push(format!(
            "Open: with a probability of {never:.0} % or more even {HORIZON} times today’s data does not suffice, so there is no upper end; collect in rounds and \
             fit again."
        ));
    }
    let mut blocks = vec![Block::Table(table("Training videos needed for a score", &header, asked.iter().map(row).collect()))];
    blocks.extend((!words.is_empty()).then(|| text(words.join(" "))));
    blocks
}

/// Claims and what became of them on the sizes that were measured.
fn backtests(fitted: &[(&str, &Summary)]) -> Vec<Block> {
    let tested: Vec<_> = fitted.iter().filter_map(|(model, curve)| Some((*model, curve.backtest.as_ref()?))).collect();
    let untested: Vec<String> = fitted.iter().filter(|f| f.1.backtest.is_none()).map(|f| f.0.to_owned()).collect();
    let mut blocks = Vec::new();
    if !tested.is_empty() {
        let level = tested.iter().find_map(|t| t.1.predictions.first()).map_or(90.0, |p| 100.0 * p.interval.level);
        let rows = tested.iter().map(|(model, b)| {
            let inside = b.predictions.iter().filter(|p| p.covered()).count();
            let share = format!("{inside} of {} ({:.0} %)", b.predictions.len(), 100.0 * b.coverage);
            vec![(*model).to_owned(), percent(b.median_error), percent(b.mean_error), share, format!("{:.1}×", b.tested_factor)]
        });
        let header = ["model", "median error", "mean error", &format!("inside the {level:.0} % interval"), "tested to"];
        blocks.push(Block::Table(table("Backtest: the same method on fewer sizes, in mAP points", &header, rows.collect())));
        blocks.push(text(
            "Every measured size is predicted from each set of at least three smaller ones. The predictions share data, so their number overstates what they prove; \
             a forecast beyond the factor tested is a guess.",
        ));
        let row = |model: &str, p: &Prediction| {
            vec![
                model.to_owned(),
                format!("{:.0}", p.fitted_to),
                format!("{:.0}", p.n),
                percent(p.predicted),
                range(&p.interval),
                percent(p.observed),
                points(p.error(), None),
                if p.covered() { "inside" } else { "outside" }.to_owned(),
            ]
        };
        let rows = tested.iter().flat_map(|(model, b)| b.predictions.iter().map(move |p| row(model, p)));
        let header = ["model", "fitted up to", "videos", "predicted", "interval", "measured", "error", "measured lies"];
        let mut predictions = table("Every prediction of the backtest", &header, rows.collect());
        predictions.folded = true;
        predictions.text_columns.push(7);
        blocks.push(Block::Table(predictions));
    }
    if !untested.is_empty() {
        blocks.push(text(format!("No backtest of {}: it needs at least four sizes.", listed(&untested))));
    }
    blocks
}

fn families(fitted: &[(&str, &Summary)]) -> Table {
    let share = |weight: f64| format!("{:.0} %", 100.0 * weight);
    let mut rows = Vec::new();
    for (model, curve) in fitted {
        rows.extend(curve.families.iter().map(|f| {
            let parameters: Vec<String> = f.parameters.iter().map(|p| format!("{} {}", p.name, short(p.value))).collect();
            let r2 = f.r2.map_or_else(dash, |r| format!("{r:.3}"));
            vec![(*model).to_owned(), f.name.to_owned(), share(f.weight), percent(f.asymptote), r2, parameters.join(", ")]
        }));
    }
    let header = ["model", "family", "weight", "asymptote (%)", "R²", "parameters"];
    let mut families = table("Curve families behind the forecast, each fitted alone", &header, rows);
    families.text_columns = vec![0, 1, 5];
    families.folded = true;
    families
}

/// Models without a curve, and what to keep in mind of the others.
fn remarks(report: &Report) -> Vec<String> {
    let absent = report.models.iter().filter_map(|m| m.no_curve.as_ref().map(|why| format!("{}: {why}.", m.name)));
    let warned = report.models.iter().flat_map(|m| m.curve.iter().flat_map(|c| c.warnings.iter().map(|w| format!("{}: {w}.", m.name))));
    absent.chain(warned).collect()
}

/// "61.2 – 64.0" of shares.
pub fn range(interval: &Interval) -> String {
    format!("{} – {}", percent(interval.lower), percent(interval.upper))
}
