//! `etalon fit`: learning curves through records or a table, forecasts and data requirements.

use std::path::{Path, PathBuf};

use anyhow::Context;
use comfy_table::Table;
use rayon::prelude::*;
use serde::Serialize;

use super::{Exit, Ui};
use crate::curves::{At, Curve, CurveFamily, Direction, Observation, Options, Questions, Summary, families};
use crate::report::source::Stored;

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

A row of the table whose score is empty asks for a forecast at its n.")]
pub struct Args {
    /// Store whose records are fitted.
    #[arg(required_unless_present = "curve", conflicts_with = "curve")]
    store: Option<PathBuf>,
    /// Only the curves of this experiment of the store (name or digest); without it, of all.
    #[arg(long, value_name = "NAME", requires = "store")]
    experiment: Option<String>,
    /// CSV file with a header: columns n (training videos), score, and optionally seed.
    #[arg(long, value_name = "FILE")]
    curve: Option<PathBuf>,
    /// Column of the CSV file whose values tell the curves apart.
    #[arg(long, value_name = "COLUMN", requires = "curve")]
    by: Option<String>,
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
    /// The scores are losses: smaller is better.
    #[arg(long)]
    decreasing: bool,
}

pub(super) fn probability(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err("must be above 0 and below 1, such as 0.9".to_owned()) }
}

fn family(name: &str) -> Result<&'static dyn CurveFamily, String> {
    let known = || families::ALL.map(|f| f.name()).join(", ");
    families::by_name(name).ok_or_else(|| format!("no such family; there are {}", known()))
}

/// Why the input cannot be fitted. Exit code 6.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CSV file cannot be read.
    #[error("cannot read {}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{} has no column {column:?}; its header is {header}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        column: String,
        /// What is there.
        header: String,
    },
    /// A field is no number.
    #[error("{}:{line}: column {column:?} holds {value:?}, which is {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// From 1, the header included.
        line: u64,
        /// The column.
        column: String,
        /// The field.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A curve cannot be fitted.
    #[error("cannot fit the curve {name:?} of {}", path.display())]
    Curve {
        /// The file or store.
        path: PathBuf,
        /// The curve.
        name: String,
        /// Why.
        #[source]
        source: crate::curves::Error,
    },
    /// Nothing there.
    #[error("{} holds no scores to fit", path.display())]
    Empty {
        /// The file or store.
        path: PathBuf,
    },
}

/// Observations of one curve and the sizes its table asks for.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) observations: Vec<Observation>,
    asked: Vec<At>,
}

#[derive(Serialize)]
struct Output {
    curves: Vec<Summary>,
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let direction = if args.decreasing { Direction::Decreasing } else { Direction::Increasing };
    let options =
        Options { direction, level: args.level, families: args.family.map_or_else(families::averaged, |f| vec![f]), ..Options::default() };
    let (path, series) = match (&args.curve, &args.store) {
        (Some(file), _) => (file, read_table(file, args.by.as_deref(), direction)?),
        (None, Some(store)) => (store, read_store(store, args.experiment.as_deref())?),
        (None, None) => anyhow::bail!("name a store or a table (--curve FILE)"),
    };
    if series.is_empty() {
        return Err(Error::Empty { path: path.clone() }.into());
    }
    let curves = series.par_iter().map(|s| summarise(path, s, args, &options)).collect::<Result<Vec<_>, Error>>()?;
    if ui.json {
        ui.json(&Output { curves })?;
    } else {
        curves.iter().for_each(|curve| show(curve, ui));
    }
    Ok(Exit::Done)
}

fn summarise(path: &Path, series: &Series, args: &Args, options: &Options) -> Result<Summary, Error> {
    let at = args.at.iter().chain(&series.asked).copied().collect();
    let questions = Questions { at, targets: args.target.clone() };
    Curve::fit(&series.observations, options)
        .and_then(|curve| curve.summary(&series.name, &series.observations, &questions, options))
        .map_err(|source| Error::Curve { path: path.to_owned(), name: series.name.clone(), source })
}

pub(super) fn read_store(path: &Path, experiment: Option<&str>) -> anyhow::Result<Vec<Series>> {
    let stored = Stored::read(path).with_context(|| format!("failed to read the store {}", path.display()))?;
    let curves = match experiment {
        Some(_) => stored.observations_of(stored.experiment(experiment)?)?,
        None => stored.observations(),
    };
    Ok(curves.into_iter().map(|(name, observations)| Series { name, observations, asked: Vec::new() }).collect())
}

/// Reads the table; curves keep the order of their first row.
pub(super) fn read_table(path: &Path, by: Option<&str>, direction: Direction) -> Result<Vec<Series>, Error> {
    let broken = |source| Error::Csv { path: path.to_owned(), source };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_path(path).map_err(broken)?;
    let header = reader.headers().map_err(broken)?.clone();
    let column = |names: &[&str]| {
        let found = names.iter().find_map(|name| header.iter().position(|h| h.eq_ignore_ascii_case(name)));
        let missing =
            || Error::Column { path: path.to_owned(), column: names[0].to_owned(), header: header.iter().collect::<Vec<_>>().join(", ") };
        found.ok_or_else(missing)
    };
    let (n_at, score_at) = (column(&["n", "n_videos", "videos"])?, column(&["score"])?);
    let seed_at = column(&["seed"]).ok();
    let by_at = by.map(|name| column(&[name])).transpose()?;
    let file_name = || path.file_stem().map_or_else(|| "curve".to_owned(), |s| s.to_string_lossy().into_owned());

    let mut series: Vec<Series> = Vec::new();
    for row in reader.records() {
        let row = row.map_err(broken)?;
        let line = row.position().map_or(0, csv::Position::line);
        let field = |index: usize| row.get(index).unwrap_or("");
        let bad = |index: usize, problem| {
            let (column, value) = (header[index].to_owned(), field(index).to_owned());
            Error::Field { path: path.to_owned(), line, column, value, problem }
        };
        let number = |index: usize| field(index).parse::<f64>().map_err(|_| bad(index, "not a number"));

        let name = by_at.map_or_else(file_name, |index| field(index).to_owned());
        let position = series.iter().position(|s| s.name == name).unwrap_or_else(|| {
            series.push(Series { name, observations: Vec::new(), asked: Vec::new() });
            series.len() - 1
        });
        let n = number(n_at)?;
        if !(n > 0.0 && n.is_finite()) {
            return Err(bad(n_at, "not a positive number of training videos"));
        }
        if field(score_at).is_empty() {
            series[position].asked.push(At::Videos(n));
            continue;
        }
        let score = number(score_at)?;
        match direction {
            Direction::Increasing if !(0.0..=1.0).contains(&score) => {
                return Err(bad(score_at, "outside 0..1; divide percentages by 100, or give --decreasing for losses"));
            }
            Direction::Decreasing if !(score >= 0.0 && score.is_finite()) => {
                return Err(bad(score_at, "no loss: it must be finite and not negative"));
            }
            _ => {}
        }
        let seed = match seed_at.map(field) {
            None | Some("") => None,
            Some(text) => Some(text.parse::<u64>().map_err(|_| bad(seed_at.unwrap_or(0), "not a seed (a whole number from 0)"))?),
        };
        series[position].observations.push(Observation { n, score, seed });
    }
    Ok(series)
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
        vec![
            f.name.into(),
            format!("{:.0} %", 100.0 * f.weight),
            score(f.asymptote),
            f.r2.map_or("–".into(), |r| format!("{r:.3}")),
            parameters.join(", "),
        ]
    });
    ui.line(table(&["family", "weight", "asymptote", "R²", "parameters"], fits));
    let forecasts = curve
        .forecasts
        .iter()
        .map(|f| vec![number(f.n), score(f.median), format!("{} – {}", score(f.interval.lower), score(f.interval.upper))]);
    let level = curve.forecasts.first().map_or(0.0, |f| 100.0 * f.interval.level);
    ui.line(table(&["videos", "forecast", &format!("{level:.0} % interval")], forecasts));
    if !curve.targets.is_empty() {
        let needed = |n: Option<f64>| n.map_or("not reachable".to_owned(), number);
        let targets = curve.targets.iter().map(|t| {
            let range =
                t.n_lower.map_or("–".to_owned(), |low| format!("{} – {}", number(low), t.n_upper.map_or("unbounded".into(), number)));
            vec![score(t.score), needed(t.n_median), range, format!("{:.0} %", 100.0 * t.probability_reachable)]
        });
        ui.line(table(&["target", "videos needed", "interval", "reachable"], targets));
    }
    match &curve.backtest {
        Some(b) => ui.line(format!(
            "backtest: {} predictions up to {:.1}x, median error {}, {:.0} % inside their interval",
            b.predictions.len(),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn table_of(text: &str, by: Option<&str>, direction: Direction) -> Result<Vec<Series>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.csv");
        crate::base::fsio::replace(&path, text.as_bytes()).unwrap();
        read_table(&path, by, direction)
    }

    fn message(result: Result<Vec<Series>, Error>) -> String {
        let text = result.err().unwrap().to_string();
        text[text.find("scores.csv").unwrap()..].to_owned()
    }

    #[test]
    fn rows_are_grouped_and_an_empty_score_asks_for_a_forecast() {
        let text = "model,n,score,seed\na,10,0.1,0\nb, 10 ,0.2,0\na,20,0.3,\na,40,,\n";
        let series = table_of(text, Some("model"), Direction::Increasing).unwrap();
        assert_eq!(series.iter().map(|s| (s.name.as_str(), s.observations.len())).collect::<Vec<_>>(), [("a", 2), ("b", 1)]);
        assert_eq!(series[0].asked, [At::Videos(40.0)]);
        assert_eq!((series[0].observations[0].seed, series[0].observations[1].seed), (Some(0), None));
        assert_eq!(table_of("n,score\n1,0.5\n", None, Direction::Increasing).unwrap()[0].name, "scores");
    }

    #[test]
    fn a_bad_field_is_named_by_file_line_and_column() {
        let at = |text| message(table_of(text, None, Direction::Increasing));
        assert_eq!(at("n,score\n10,0.1\n20,high\n"), "scores.csv:3: column \"score\" holds \"high\", which is not a number");
        assert!(at("n,score\n10,45.2\n").starts_with("scores.csv:2: column \"score\" holds \"45.2\", which is outside 0..1"));
        assert!(at("n,score\n0,0.5\n").starts_with("scores.csv:2: column \"n\" holds \"0\""));
        assert!(at("n,score,seed\n5,0.5,x\n").starts_with("scores.csv:2: column \"seed\""));
        assert_eq!(at("size,score\n"), "scores.csv has no column \"n\"; its header is size, score");
        assert!(at("n,score\n10,0.5,7\n").starts_with("scores.csv"));
    }

    #[test]
    fn losses_may_exceed_one_but_not_be_negative() {
        assert!(table_of("n,score\n10,3.5\n", None, Direction::Decreasing).is_ok());
        assert!(message(table_of("n,score\n10,-1\n", None, Direction::Decreasing)).contains("no loss"));
    }
}
