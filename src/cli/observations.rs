//! Curves from a store or from a table, for the verbs that fit them.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::curves::{At, Direction, Observation};
use crate::report::source::{Stored, observation};
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
    #[error("{} has no column {column:?}; its header is {header}; {hint}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        column: String,
        /// What is there.
        header: String,
        /// How to name another.
        hint: &'static str,
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
    /// A table where a store is meant.
    #[error("{} is a table, and a store is meant here; give it as --curve {}", path.display(), path.display())]
    Table {
        /// The file.
        path: PathBuf,
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
    pub name: String,
    pub observations: Vec<Observation>,
    pub asked: Vec<At>,
    /// The scores stand for means and deviations: no training gave one of them.
    pub summarised: bool,
}

fn read_store(path: &Path, experiment: Option<&str>) -> anyhow::Result<Vec<Series>> {
    if path.is_file() && path.extension().is_some_and(|e| ["csv", "tsv", "txt"].iter().any(|table| e.eq_ignore_ascii_case(table))) {
        return Err(Error::Table { path: path.to_owned() }.into());
    }
    let stored = Stored::read(path).with_context(|| format!("failed to read the store {}", path.display()))?;
    let curves = match experiment {
        Some(_) => stored.curves_of(stored.experiment(experiment)?)?,
        None => stored.curves(),
    };
    let series = |(name, records): (String, Vec<Record>)| {
        let observations = records.iter().map(observation).collect();
        Series { name, observations, asked: Vec::new(), summarised: false }
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
            (None, Some(store)) => {
                Read { series: read_store(store, self.experiment.as_deref())?, direction: Direction::Increasing, note: None }
            }
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
    /// Column of the numbers of training videos; without it, the first of n, n_videos, num_videos, videos, train_size, samples,
    /// size, x.
    #[arg(long = "n-column", value_name = "COLUMN", requires = "curve")]
    n: Option<String>,
    /// Columns of the scores, several for a column per seed; without it, the first of score, map, map_mean, average_map, accuracy,
    /// acc, auc, f1, miou, mean, loss, error, or else s0, s1, s2, …
    #[arg(long = "score-column", value_name = "COLUMNS", value_delimiter = ',', requires = "curve")]
    score: Vec<String>,
    /// Column of standard deviations over repeated trainings, where a row is their mean, as papers print it (needs --seeds).
    #[arg(long = "sd-column", value_name = "COLUMN", requires = "curve", requires = "seeds")]
    sd: Option<String>,
    /// Number of trainings behind every mean of the table (with --sd-column).
    #[arg(long, value_name = "COUNT", requires = "sd", value_parser = clap::value_parser!(u32).range(2..))]
    seeds: Option<u32>,
    /// The scores are percentages.
    #[arg(long, requires = "curve")]
    percent: bool,
    /// The scores are losses: smaller is better. A column named loss or error says so by its name.
    #[arg(long)]
    decreasing: bool,
}

/// Names of the column of sizes, the first that is there.
const SIZES: [&str; 8] = ["n", "n_videos", "num_videos", "videos", "train_size", "samples", "size", "x"];
/// Names of the column of scores.
const SCORES: [&str; 12] = ["score", "map", "map_mean", "average_map", "accuracy", "acc", "auc", "f1", "miou", "mean", "loss", "error"];

/// A table of curves.
pub(super) struct Read {
    /// In the order of their first row.
    pub series: Vec<Series>,
    pub direction: Direction,
    /// What was found in the table and not used, with how to use it.
    pub note: Option<String>,
}

/// Where things stand in a table.
struct Places {
    header: csv::StringRecord,
    n: usize,
    scores: Vec<usize>,
    /// Deviations, and the number of trainings behind each.
    sd: Option<(usize, u32)>,
    seed: Option<usize>,
    by: Option<usize>,
}

impl Places {
    fn find(path: &Path, header: csv::StringRecord, columns: &Columns) -> Result<Self, Error> {
        let at = |name: &str| header.iter().position(|h| h.eq_ignore_ascii_case(name));
        let missing = |name: &str, hint: &'static str| Error::Column {
            path: path.to_owned(),
            column: name.to_owned(),
            header: header.iter().collect::<Vec<_>>().join(", "),
            hint,
        };
        const NAMED: &str = "correct the name";
        let named = |name: &Option<String>| name.as_ref().map(|name| at(name).ok_or_else(|| missing(name, NAMED))).transpose();
        let first = |names: &[&str]| names.iter().find_map(|name| at(name));
        let n = match named(&columns.n)? {
            Some(n) => n,
            None => first(&SIZES).ok_or_else(|| missing("n", "name the column of training videos with --n-column"))?,
        };
        let scores = match first(&SCORES) {
            _ if !columns.score.is_empty() => {
                columns.score.iter().map(|name| at(name).ok_or_else(|| missing(name, NAMED))).collect::<Result<_, _>>()?
            }
            Some(score) => vec![score],
            None => (0..).map_while(|seed| at(&format!("s{seed}"))).collect(),
        };
        if scores.is_empty() {
            return Err(missing("score", "name the column of scores with --score-column"));
        }
        let by = named(&columns.by)?.or_else(|| first(&["curve", "curve_id"]));
        let sd = named(&columns.sd)?.zip(columns.seeds);
        Ok(Self { n, scores, sd, seed: at("seed"), by, header })
    }

    /// A column of deviations that nobody asked for.
    fn unused(&self) -> Option<String> {
        let deviation =
            |name: &&str| ["sd", "std"].iter().any(|s| name.eq_ignore_ascii_case(s) || name.to_lowercase().ends_with(&format!("_{s}")));
        let name = self.header.iter().filter(|_| self.sd.is_none()).find(deviation)?;
        Some(format!("column {name:?} is not used: as the deviation over N trainings per row it counts with --sd-column {name} --seeds N"))
    }

    /// Whether the scores are losses by their name.
    fn losses(&self) -> bool {
        self.scores.iter().all(|&at| ["loss", "error"].iter().any(|name| self.header[at].eq_ignore_ascii_case(name)))
    }
}

/// Reads a table.
fn read_table(path: &Path, columns: &Columns) -> Result<Read, Error> {
    let broken = |source| Error::Csv { path: path.to_owned(), source };
    let delimiter = delimiter(path).map_err(|e| broken(e.into()))?;
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).comment(Some(b'#')).from_path(path).map_err(broken)?;
    let places = Places::find(path, reader.headers().map_err(broken)?.clone(), columns)?;
    let direction = if columns.decreasing || places.losses() { Direction::Decreasing } else { Direction::Increasing };
    let file_name = path.file_stem().map_or_else(|| "curve".to_owned(), |s| s.to_string_lossy().into_owned());
    let mut series: Vec<Series> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for row in reader.records() {
        let row = Row { path, places: &places, row: row.map_err(broken)?, comma: delimiter != b',', percent: columns.percent };
        let name = places.by.map_or_else(|| file_name.clone(), |at| row.field(at).to_owned());
        let position = *known.entry(name.clone()).or_insert_with(|| {
            series.push(Series { name, observations: Vec::new(), asked: Vec::new(), summarised: false });
            series.len() - 1
        });
        row.into_series(&mut series[position], direction)?;
    }
    Ok(Read { series, direction, note: places.unused() })
}

/// What separates the fields: whichever of comma, semicolon and tab the header holds most of.
fn delimiter(path: &Path) -> std::io::Result<u8> {
    let mut lines = std::io::BufReader::new(std::fs::File::open(path)?).lines();
    let is_header = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|l| !l.starts_with('#') && !l.trim().is_empty());
    let header = lines.find(is_header).transpose()?.unwrap_or_default();
    let count = |byte: u8| header.bytes().filter(|b| *b == byte).count();
    // Of equals the last one counts: the comma.
    Ok(*[b'\t', b';', b','].iter().max_by_key(|byte| count(**byte)).expect("there are three"))
}

struct Row<'a> {
    path: &'a Path,
    places: &'a Places,
    row: csv::StringRecord,
    /// A comma separates no fields, so in a number it is the decimal sign.
    comma: bool,
    percent: bool,
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
        let text = self.field(at);
        let number = if self.comma { text.replacen(',', ".", 1).parse() } else { text.parse() };
        number.map_err(|_| self.bad(at, "not a number"))
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
            let unit = if self.percent { 100.0 } else { 1.0 };
            let score = self.number(at)? / unit;
            match direction {
                Direction::Increasing if !(0.0..=1.0).contains(&score) => {
                    let problem = if self.percent {
                        "no percentage: it lies outside 0..100"
                    } else if score > 0.0 && score <= 100.0 {
                        "outside 0..1; give --percent if the scores are percentages, or --decreasing for losses"
                    } else {
                        "outside 0..1; give --decreasing for losses"
                    };
                    return Err(self.bad(at, problem));
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
            match self.places.sd {
                None => series.observations.push(Observation { n, score, seed }),
                Some((of_sd, seeds)) => {
                    let sd = self.number(of_sd)? / unit;
                    if !(sd >= 0.0 && sd.is_finite()) {
                        return Err(self.bad(of_sd, "no standard deviation: it must not be negative"));
                    }
                    series.summarised = true;
                    let scores = with_moments(score, sd, seeds);
                    if direction == Direction::Increasing && scores.iter().any(|score| !(0.0..=1.0).contains(score)) {
                        return Err(self.bad(of_sd, "too large for this mean: scores lie in 0..1"));
                    }
                    series.observations.extend(scores.into_iter().map(|score| Observation { n, score, seed: None }));
                }
            }
        }
        Ok(())
    }
}

/// As many scores with exactly this mean and sample deviation. The curve engine reads mean, deviation and number of a size and
/// nothing else, so that any scores with these moments are the same observations to it.
fn with_moments(mean: f64, sd: f64, count: u32) -> Vec<f64> {
    let k = f64::from(count);
    // Half of them below the mean and half above, as near as can be; for an odd number the middle one lies on it.
    let pairs = f64::from(count / 2) * 2.0;
    let off = sd * ((k - 1.0) / pairs).sqrt();
    (0..count)
        .map(|i| {
            if i + 1 == count && count % 2 == 1 {
                mean
            } else if i % 2 == 0 {
                mean - off
            } else {
                mean + off
            }
        })
        .collect()
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
        let text = "scores.csv has no column \"n\"; its header is count, score; name the column of training videos with --n-column";
        assert_eq!(at("count,score\n"), text);
        assert!(at("n,score\n10,45.2\n").contains("--percent") && !at("n,score\n10,450\n").contains("--percent"));
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

    #[test]
    fn tables_are_read_as_programs_and_papers_write_them() {
        let scores = |text: &str, columns: &Columns| {
            read(text, columns).unwrap().series.remove(0).observations.iter().map(|o| (o.n, o.score)).collect::<Vec<_>>()
        };
        let plain = Columns::default();
        let wanted = [(10.0, 0.125), (20.0, 0.201)];
        assert_eq!(scores("n;score\n10;0,125\n20;0,201\n", &plain), wanted);
        assert_eq!(scores("n\tscore\n10\t0.125\n20\t0.201\n", &plain), wanted);
        assert_eq!(scores("train_size,accuracy\n10,0.125\n20,0.201\n", &plain), wanted);
        assert_eq!(scores("num_videos,mAP\n10,12.5\n20,20.1\n", &Columns { percent: true, ..plain }), wanted);
    }

    #[test]
    fn a_mean_with_its_deviation_counts_as_the_trainings_behind_it() {
        for seeds in [2, 3, 5, 6] {
            let columns = Columns { sd: Some("map_std".into()), seeds: Some(seeds), ..Columns::default() };
            let series = read("size,map_mean,map_std\n10,0.3,0.02\n20,0.4,0.01\n", &columns).unwrap().series.remove(0);
            assert!(series.summarised && series.observations.len() == 2 * seeds as usize);
            let first: Vec<f64> = series.observations.iter().filter(|o| o.n == 10.0).map(|o| o.score).collect();
            assert!((crate::stats::mean(&first).unwrap() - 0.3).abs() < 1e-12);
            assert!((crate::stats::standard_deviation(&first).unwrap() - 0.02).abs() < 1e-12);
        }
        let columns = Columns { sd: Some("sd".into()), seeds: Some(3), ..Columns::default() };
        assert!(message(read("n,score,sd\n10,0.01,0.5\n", &columns).map(|r| r.series)).contains("too large"));
    }
}
