//! `etalon fit`: learning curves through records or a table, forecasts and data requirements.

mod figures;

use std::path::PathBuf;

use comfy_table::Table;
use rayon::iter::Either;
use rayon::prelude::*;
use serde::Serialize;

use super::observations::{Error, Read, Series, Source};
use super::{Exit, Ui};
use crate::curves::{self, At, Curve, CurveFamily, Direction, Options, Questions, Saturation, Summary, families};
use crate::report::figures::forecast::Score;

/// Fit learning curves and say what more data would give.
///
/// Every forecast mixes all curve families and comes with an interval and a backtest: the same method fitted without the
/// largest sizes, compared with what was measured there.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  etalon fit results                                   curves of every model in a store
  etalon fit results --at 2x,500 --target 0.6,0.7      scores at more data, data for a score
  etalon fit results --experiment sbhar                only those of that experiment
  etalon fit --curve scores.csv --by model --json      any table with columns n, score and (optionally) seed
  etalon fit --curve loss.csv --decreasing             losses
  etalon fit --curve table.csv --percent               percentages; separators and usual names are found
  etalon fit --curve paper.csv --sd-column std --seeds 5    means and deviations as papers print them

A row of the table whose score is empty asks for a forecast at its n.")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Sizes to forecast: multiples of the largest observed one, or numbers of videos.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_value = "2x,3x")]
    at: Vec<At>,
    /// Scores whose data requirement is asked.
    #[arg(long, value_name = "SCORES", value_delimiter = ',')]
    target: Vec<f64>,
    /// Probability of the intervals.
    #[arg(long, default_value = "0.9", value_parser = probability)]
    level: f64,
    /// Use this family alone instead of mixing all.
    #[arg(long, value_name = "NAME", value_parser = family)]
    family: Option<&'static dyn CurveFamily>,
    /// The best score that is possible, where label noise or the metric sets a bound.
    #[arg(long, value_name = "SCORE")]
    ceiling: Option<f64>,
    /// Instances of the test set: no score is taken to be known better than a share of so many.
    #[arg(long, value_name = "COUNT", value_parser = count)]
    test_instances: Option<f64>,
    /// An improvement that matters, for the verdict on saturation.
    #[arg(long, value_name = "SCORE", default_value_t = 0.01, value_parser = probability)]
    worthwhile: f64,
    /// Folder for figures: NAME-forecast.svg and .png of every curve, and with --family NAME-residuals.
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
}

pub(super) fn probability(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err("must be above 0 and below 1, such as 0.9".to_owned()) }
}

fn count(text: &str) -> Result<f64, String> {
    let value: u32 = text.parse().map_err(|_| "not a whole number".to_owned())?;
    if value > 0 { Ok(f64::from(value)) } else { Err("must be above 0".to_owned()) }
}

fn family(name: &str) -> Result<&'static dyn CurveFamily, String> {
    let known = || families::ALL.map(|f| f.name()).join(", ");
    families::by_name(name).ok_or_else(|| format!("no such family; there are {}", known()))
}

#[derive(Serialize)]
struct Output {
    curves: Vec<Summary>,
    /// Files of `--figures`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    figures: Vec<PathBuf>,
}

/// A fitted curve and where it comes from.
struct Fitted<'a> {
    series: &'a Series,
    curve: Curve,
    summary: Summary,
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let Read { series, direction, note } = args.source.read()?;
    note.iter().for_each(|note| ui.remark(format!("note: {note}")));
    if let Some(target) = args.target.iter().find(|&&t| !(t >= 0.0 && (t <= 1.0 || direction == Direction::Decreasing) && t.is_finite())) {
        return Err(Error::Target(*target).into());
    }
    let options = Options {
        direction,
        level: args.level,
        families: args.family.map_or_else(families::averaged, |f| vec![f]),
        ceiling: args.ceiling,
        test_instances: args.test_instances,
        worthwhile: args.worthwhile,
        ..Options::default()
    };
    let (fitted, failed): (Vec<_>, Vec<_>) = series.par_iter().map(|s| summarise(s, args, &options)).partition_map(|fitted| match fitted {
        Ok(fitted) => Either::Left(fitted),
        Err(failed) => Either::Right(failed),
    });
    let figures = match &args.figures {
        Some(folder) => figures::write(folder, &fitted, &score_of(args, direction), args.family.is_some(), ui)?,
        None => Vec::new(),
    };
    let curves: Vec<Summary> = fitted.into_iter().map(|f| f.summary).collect();
    if ui.json {
        ui.json(&Output { curves, figures })?;
    } else {
        curves.iter().for_each(|curve| show(curve, ui));
        figures.iter().for_each(|path| ui.line(path.display().to_string()));
    }
    // What could be fitted has been told by now.
    let (count, all, path) = (failed.len(), series.len(), args.source.path().to_owned());
    match failed.into_iter().next() {
        None => Ok(Exit::Done),
        Some((name, source)) if all == 1 => Err(Error::Curve { path, name, source }.into()),
        Some((name, source)) => Err(Error::Curves { path, count, all, name, source }.into()),
    }
}

/// What the figures' vertical axis shows.
fn score_of(args: &Args, direction: Direction) -> Score {
    match (&args.source.store, direction) {
        (Some(_), _) => Score { label: "average mAP, %".to_owned(), factor: 100.0 },
        (None, Direction::Increasing) => Score { label: "score".to_owned(), factor: 1.0 },
        (None, Direction::Decreasing) => Score { label: "loss".to_owned(), factor: 1.0 },
    }
}

fn summarise<'a>(series: &'a Series, args: &Args, options: &Options) -> Result<Fitted<'a>, (String, curves::Error)> {
    let at = args.at.iter().chain(&series.asked).copied().collect();
    let questions = Questions { at, targets: args.target.clone() };
    let fitted = Curve::fit(&series.observations, options).and_then(|curve| {
        let summary = curve.summary(&series.name, &series.observations, &questions, options)?;
        Ok(Fitted { series, curve, summary })
    });
    fitted.map_err(|error| (series.name.clone(), error))
}

fn show(curve: &Summary, ui: &Ui) {
    ui.line(format!("{}\n{}", curve.name, "─".repeat(curve.name.chars().count())));
    let sizes = curve.observations.iter();
    ui.line(table(
        &["videos", "score", "± sd", "seeds"],
        sizes.map(|s| vec![number(s.n), score(s.mean), s.sd.map_or("–".into(), score), s.seeds.to_string()]),
    ));
    let fits = curve.families.iter().map(|f| {
        let parameters: Vec<String> = f.parameters.iter().map(|p| format!("{} {:.3}", p.name, p.value)).collect();
        vec![f.name.into(), chance(f.weight), score(f.asymptote), f.r2.map_or("–".into(), |r| format!("{r:.3}")), parameters.join(", ")]
    });
    ui.line(table(&["family", "weight", "asymptote", "R²", "parameters"], fits));
    let forecasts = curve
        .forecasts
        .iter()
        .map(|f| vec![number(f.n), score(f.median), format!("{} – {}", score(f.interval.lower), score(f.interval.upper))]);
    let level = curve.forecasts.first().map_or(0.0, |f| 100.0 * f.interval.level);
    ui.line(table(&["videos", "forecast", &format!("{level:.0} % interval")], forecasts));
    let gains = curve.gains.iter().map(|g| {
        let ends = format!("{:+.4} – {:+.4}", g.interval.lower, g.interval.upper);
        vec![format!("{}x", g.times), format!("{:+.4}", g.median), ends, chance(g.probability)]
    });
    let worthwhile = curve.gains.first().map_or(0.01, |g| g.worthwhile);
    ui.line(table(&["data", "improvement over measured", &format!("{level:.0} % interval"), &format!("P of {worthwhile} or more")], gains));
    if !curve.targets.is_empty() {
        let targets = curve
            .targets
            .iter()
            .map(|t| vec![score(t.score), t.needed(), t.range().unwrap_or_else(|| "–".into()), chance(t.probability_reachable)]);
        ui.line(table(&["target", "videos needed", "interval", "reachable"], targets));
    }
    ui.line(match curve.saturation {
        Saturation::Rising => format!("verdict: still rising, twice the data almost surely brings {worthwhile} or more"),
        Saturation::Saturated => format!("verdict: saturated, twice the data almost surely brings less than {worthwhile}"),
        Saturation::Undecided => format!("verdict: these sizes do not decide whether twice the data brings {worthwhile} or more"),
        Saturation::Floor => "verdict: learns nothing, every size scores next to zero; mend the model before collecting data".to_owned(),
    });
    curve.records.iter().for_each(|record| ui.line(format!("precedent: {}", record.in_words(score))));
    ui.line(format!("next: {}", curve.next.in_words()));
    match &curve.backtest {
        Some(b) => ui.line(format!(
            "backtest: {} prediction{} up to {:.1}x, median error {}, {:.0} % inside their interval",
            b.predictions.len(),
            if b.predictions.len() == 1 { "" } else { "s" },
            b.tested_factor,
            score(b.median_error),
            100.0 * b.coverage
        )),
        None => ui.line("backtest: not possible with fewer than four sizes"),
    }
    for warning in &curve.warnings {
        ui.line(format!("note: {warning}"));
    }
    ui.line("");
}

pub(super) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header.iter().copied());
    table.add_rows(rows);
    format!("{table}\n")
}

pub(super) fn score(value: f64) -> String {
    format!("{value:.4}")
}

pub(super) fn number(n: f64) -> String {
    if n >= 10.0 { format!("{n:.0}") } else { format!("{n:.2}") }
}

/// Never more certain than a forecast can be.
fn chance(probability: f64) -> String {
    match 100.0 * probability {
        p if p > 99.5 => "> 99 %".to_owned(),
        p if p < 0.5 => "< 1 %".to_owned(),
        p => format!("{p:.0} %"),
    }
}
