//! Curves from a store or from a table, for the verbs that fit them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::curves::{At, Direction, Observation};
use crate::report::source::{Stored, observation, pool};
use crate::store::Record;

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
    /// Some curves of several cannot be fitted; the others were reported.
    #[error("{count} of {all} curves of {} could not be fitted; the first is {name:?}", path.display())]
    Curves {
        /// The file or store.
        path: PathBuf,
        /// How many.
        count: usize,
        /// Of how many.
        all: usize,
        /// The first of them.
        name: String,
        /// Why.
        #[source]
        source: crate::curves::Error,
    },
    /// A target that is no score.
    #[error("--target {0} is no score: scores lie in 0..1 (write 0.6 for 60 %), losses are not negative")]
    Target(f64),
    /// Nothing there.
    #[error("{} holds no scores to fit", path.display())]
    Empty {
        /// The file or store.
        path: PathBuf,
    },
}

/// Observations of one curve and the sizes its table asks for.
pub(super) struct Series {
    pub name: String,
    pub observations: Vec<Observation>,
    pub asked: Vec<At>,
    /// Size at which all seeds share their videos, where that is known.
    pub pool: Option<f64>,
}

fn read_store(path: &Path, experiment: Option<&str>) -> anyhow::Result<Vec<Series>> {
    let stored = Stored::read(path).with_context(|| format!("failed to read the store {}", path.display()))?;
    let curves = match experiment {
        Some(_) => stored.curves_of(stored.experiment(experiment)?)?,
        None => stored.curves(),
    };
    let series = |(name, records): (String, Vec<Record>)| {
        let observations = records.iter().map(observation).collect();
        Series { name, observations, asked: Vec::new(), pool: pool(&records) }
    };
    Ok(curves.into_iter().map(series).collect())
}

/// Where curves come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Source {
    /// Store whose records are fitted.
    #[arg(required_unless_present = "curve", conflicts_with = "curve")]
    pub store: Option<PathBuf>,
    /// Only the curves of this experiment of the store (name or digest); without it, of all.
    #[arg(long, value_name = "NAME", requires = "store")]
    pub experiment: Option<String>,
    /// CSV file with a header: columns n (training videos), score, and optionally seed.
    #[arg(long, value_name = "FILE")]
    pub curve: Option<PathBuf>,
    #[command(flatten)]
    columns: Columns,
}

impl Source {
    /// The store or the table.
    pub fn path(&self) -> &Path {
        self.curve.as_ref().or(self.store.as_ref()).map_or(Path::new("."), PathBuf::as_path)
    }

    /// Its curves, at least one.
    pub fn read(&self) -> anyhow::Result<Read> {
        let read = match (&self.curve, &self.store) {
            (Some(file), _) => read_table(file, &self.columns)?,
            (None, Some(store)) => Read { series: read_store(store, self.experiment.as_deref())?, direction: Direction::Increasing },
            (None, None) => anyhow::bail!("name a store or a table (--curve FILE)"),
        };
        if read.series.is_empty() {
            return Err(Error::Empty { path: self.path().to_owned() }.into());
        }
        Ok(read)
    }
}

/// Which columns of a table hold what; what is not named is looked for.
#[derive(Clone, Debug, Default, clap::Args)]
struct Columns {
    /// Column of the table whose values tell the curves apart; without it, a column "curve" or "curve_id" where there is one.
    #[arg(long, value_name = "COLUMN", requires = "curve")]
    by: Option<String>,
    /// Column of the numbers of training videos; without it, the first of n, n_videos, videos, size, x.
    #[arg(long = "n-column", value_name = "COLUMN", requires = "curve")]
    n: Option<String>,
    /// Columns of the scores, several for a column per seed; without it, score, loss or error, or else s0, s1, s2, …
    #[arg(long = "score-column", value_name = "COLUMNS", value_delimiter = ',', requires = "curve")]
    score: Vec<String>,
    /// The scores are losses: smaller is better. A column named loss or error says so by its name.
    #[arg(long)]
    decreasing: bool,
}

/// A table of curves.
pub(super) struct Read {
    /// In the order of their first row.
    pub series: Vec<Series>,
    pub direction: Direction,
}

/// Where things stand in a table.
struct Places {
    header: csv::StringRecord,
    n: usize,
    scores: Vec<usize>,
    seed: Option<usize>,
    by: Option<usize>,
}

impl Places {
    fn find(path: &Path, header: csv::StringRecord, columns: &Columns) -> Result<Self, Error> {
        let at = |name: &str| header.iter().position(|h| h.eq_ignore_ascii_case(name));
        let missing = |name: &str| Error::Column {
            path: path.to_owned(),
            column: name.to_owned(),
            header: header.iter().collect::<Vec<_>>().join(", "),
        };
        let named = |name: &Option<String>| name.as_ref().map(|name| at(name).ok_or_else(|| missing(name))).transpose();
        let first = |names: &[&str]| names.iter().find_map(|name| at(name));
        let n = match named(&columns.n)? {
            Some(n) => n,
            None => first(&["n", "n_videos", "videos", "size", "x"]).ok_or_else(|| missing("n"))?,
        };
        let scores = match first(&["score", "loss", "error"]) {
            _ if !columns.score.is_empty() => {
                columns.score.iter().map(|name| at(name).ok_or_else(|| missing(name))).collect::<Result<_, _>>()?
            }
            Some(score) => vec![score],
            None => (0..).map_while(|seed| at(&format!("s{seed}"))).collect(),
        };
        if scores.is_empty() {
            return Err(missing("score"));
        }
        let by = named(&columns.by)?.or_else(|| first(&["curve", "curve_id"]));
        Ok(Self { n, scores, seed: at("seed"), by, header })
    }

    /// Whether the scores are losses by their name.
    fn losses(&self) -> bool {
        self.scores.iter().all(|&at| ["loss", "error"].iter().any(|name| self.header[at].eq_ignore_ascii_case(name)))
    }
}

/// Reads a table.
fn read_table(path: &Path, columns: &Columns) -> Result<Read, Error> {
    let broken = |source| Error::Csv { path: path.to_owned(), source };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_path(path).map_err(broken)?;
    let places = Places::find(path, reader.headers().map_err(broken)?.clone(), columns)?;
    let direction = if columns.decreasing || places.losses() { Direction::Decreasing } else { Direction::Increasing };
    let file_name = path.file_stem().map_or_else(|| "curve".to_owned(), |s| s.to_string_lossy().into_owned());
    let mut series: Vec<Series> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for row in reader.records() {
        let row = Row { path, places: &places, row: row.map_err(broken)? };
        let name = places.by.map_or_else(|| file_name.clone(), |at| row.field(at).to_owned());
        let position = *known.entry(name.clone()).or_insert_with(|| {
            series.push(Series { name, observations: Vec::new(), asked: Vec::new(), pool: None });
            series.len() - 1
        });
        row.into_series(&mut series[position], direction)?;
    }
    Ok(Read { series, direction })
}

struct Row<'a> {
    path: &'a Path,
    places: &'a Places,
    row: csv::StringRecord,
}

impl Row<'_> {
    fn field(&self, at: usize) -> &str {
        self.row.get(at).unwrap_or("")
    }

    fn bad(&self, at: usize, problem: &'static str) -> Error {
        let (column, value) = (self.places.header[at].to_owned(), self.field(at).to_owned());
        Error::Field { path: self.path.to_owned(), line: self.row.position().map_or(0, csv::Position::line), column, value, problem }
    }

    fn number(&self, at: usize) -> Result<f64, Error> {
        self.field(at).parse().map_err(|_| self.bad(at, "not a number"))
    }

    /// The row's scores; without any it asks for a forecast.
    fn into_series(self, series: &mut Series, direction: Direction) -> Result<(), Error> {
        let Places { n: n_at, ref scores, seed: seed_at, .. } = *self.places;
        let n = self.number(n_at)?;
        if !(n > 0.0 && n.is_finite()) {
            return Err(self.bad(n_at, "not a positive number of training videos"));
        }
        let given: Vec<usize> = scores.iter().copied().filter(|&at| !self.field(at).is_empty()).collect();
        if given.is_empty() {
            series.asked.push(At::Videos(n));
        }
        for at in given {
            let score = self.number(at)?;
            match direction {
                Direction::Increasing if !(0.0..=1.0).contains(&score) => {
                    return Err(self.bad(at, "outside 0..1; divide percentages by 100, or give --decreasing for losses"));
                }
                Direction::Decreasing if !(score >= 0.0 && score.is_finite()) => {
                    return Err(self.bad(at, "no loss: it must be finite and not negative"));
                }
                _ => {}
            }
            let seed = match seed_at.map(|at| (at, self.field(at))) {
                None | Some((_, "")) => None,
                Some((at, text)) => Some(text.parse::<u64>().map_err(|_| self.bad(at, "not a seed (a whole number from 0)"))?),
            };
            let same = |o: &Observation| o.n == n && seed.is_some() && o.seed == seed;
            if scores.len() == 1 && series.observations.iter().any(same) {
                return Err(
                    self.bad(n_at, "there twice with the same seed; if the table holds several curves, tell them apart with --by COLUMN")
                );
            }
            series.observations.push(Observation { n, score, seed });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_of(text: &str, by: Option<&str>, direction: Direction) -> Result<Vec<Series>, Error> {
        let columns = Columns { by: by.map(str::to_owned), decreasing: direction == Direction::Decreasing, ..Columns::default() };
        read(text, &columns).map(|read| read.series)
    }

    fn read(text: &str, columns: &Columns) -> Result<Read, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.csv");
        crate::base::fsio::replace(&path, text.as_bytes()).unwrap();
        read_table(&path, columns)
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
        assert_eq!(at("count,score\n"), "scores.csv has no column \"n\"; its header is count, score");
        assert!(at("n,score\n10,0.5,7\n").starts_with("scores.csv"));
    }

    #[test]
    fn losses_may_exceed_one_but_not_be_negative() {
        assert!(table_of("n,score\n10,3.5\n", None, Direction::Decreasing).is_ok());
        assert!(message(table_of("n,score\n10,-1\n", None, Direction::Decreasing)).contains("no loss"));
    }

    #[test]
    fn a_table_with_a_column_per_seed_is_read_as_it_is() {
        let text = "curve_id,n,role,s0,s1\na,10,fit,0.5,0.4\na,20,fit,0.3,\na,40,target,,\nb,10,fit,0.2,0.3\n";
        let series = read(text, &Columns::default()).unwrap().series;
        assert_eq!(series.iter().map(|s| (s.name.as_str(), s.observations.len())).collect::<Vec<_>>(), [("a", 3), ("b", 2)]);
        assert_eq!(series[0].asked, [At::Videos(40.0)]);
        let losses = read("x,loss\n1e6,3.1\n2e6,2.9\n", &Columns::default()).unwrap();
        assert_eq!((losses.direction, losses.series[0].observations[0].n), (Direction::Decreasing, 1e6));
        let named = Columns { n: Some("clips".into()), score: vec!["a".into(), "b".into()], ..Columns::default() };
        assert_eq!(read("clips,a,b\n5,0.1,0.2\n", &named).unwrap().series[0].observations.len(), 2);
        let absent = Columns { score: vec!["c".into()], ..named };
        assert!(message(read("clips,a,b\n5,0.1,0.2\n", &absent).map(|r| r.series)).contains("no column \"c\""));
    }

    #[test]
    fn the_same_seed_twice_at_one_size_is_two_curves_in_one() {
        let text = "model,n,score,seed\na,10,0.1,0\nb,10,0.2,0\n";
        assert!(message(table_of(text, None, Direction::Increasing)).contains("--by COLUMN"));
        assert!(table_of("n,score\n10,0.1\n10,0.2\n", None, Direction::Increasing).is_ok());
    }
}
