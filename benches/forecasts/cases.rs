//! Curves cut off, and what came.

use std::collections::BTreeMap;
use std::path::Path;

use etalon::curves::{Direction, Observation, Options};

/// A curve cut off, and what came.
pub struct Case {
    /// Curves of one group share a data set: they are held out together.
    pub group: String,
    pub observations: Vec<Observation>,
    /// Sizes asked for, with the score that came, ascending.
    pub asked: Vec<(f64, f64)>,
    pub direction: Direction,
    /// Scores whose data requirement is asked.
    pub targets: Vec<f64>,
}

impl Case {
    /// The largest size asked for, with the score that came.
    pub fn last(&self) -> (f64, f64) {
        self.asked[self.asked.len() - 1]
    }

    /// Sizes from the largest seen to the largest asked, evenly in ln n, at which a requirement is judged.
    pub fn grid(&self) -> Vec<f64> {
        const POINTS: u32 = 24;
        let from = self.observations.iter().map(|o| o.n).fold(0.0, f64::max);
        let by = (self.last().0 / from).ln() / f64::from(POINTS);
        (1..=POINTS).map(|i| from * (by * f64::from(i)).exp()).collect()
    }

    /// Whether `target` was reached by each size of the grid, on lines between what came.
    pub fn came(&self, target: f64) -> Vec<bool> {
        let good = |score: f64| if self.direction == Direction::Decreasing { score <= target } else { score >= target };
        let mut known = vec![self.means()[self.means().len() - 1]];
        known.extend(&self.asked);
        let at = |n: f64| {
            let after = known.iter().position(|k| k.0 >= n).unwrap_or(known.len() - 1).max(1);
            let ((n0, y0), (n1, y1)) = (known[after - 1], known[after]);
            y0 + (y1 - y0) * (n / n0).ln() / (n1 / n0).ln()
        };
        let mut ever = false;
        let by = |n: f64| {
            ever |= good(at(n));
            ever
        };
        self.grid().into_iter().map(by).collect()
    }

    pub fn options(&self) -> Options {
        Options { direction: self.direction, ..Options::default() }
    }

    /// Mean score per size, ascending.
    pub fn means(&self) -> Vec<(f64, f64)> {
        self.sizes().map(|(n, scores)| (n, scores.iter().sum::<f64>() / scores.len() as f64)).collect()
    }

    /// Scores by size, ascending.
    pub fn sizes(&self) -> impl Iterator<Item = (f64, Vec<f64>)> {
        let mut sizes: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for o in &self.observations {
            sizes.entry(o.n.to_bits()).or_default().push(o.score);
        }
        sizes.into_iter().map(|(n, scores)| (f64::from_bits(n), scores))
    }
}

pub type Row = BTreeMap<String, String>;

pub fn grouped(path: &Path) -> Vec<Vec<Row>> {
    let mut reader = csv::Reader::from_path(path).unwrap_or_else(|e| panic!("{}: {e}; set ETALON_SHARED", path.display()));
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in reader.deserialize() {
        let row: Row = row.expect("a table of strings");
        groups.entry(row["curve_id"].clone()).or_default().push(row);
    }
    groups.into_values().collect()
}

pub fn number(row: &Row, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is no number in {row:?}"))
}

/// Errors of classifiers: sizes up to a third are seen (five seeds), the sizes beyond are asked.
pub fn classifiers(root: &Path) -> Vec<Case> {
    let case = |rows: Vec<Row>| {
        let of_row = |row: &Row| {
            let n = number(row, "n");
            (0..5u64).map(|s| Observation { n, score: number(row, &format!("s{s}")), seed: Some(s) }).collect::<Vec<_>>()
        };
        let role = |role: &'static str| rows.iter().filter(move |r| r["role"] == role);
        let asked = role("target").map(|r| (number(r, "n"), number(r, "truth"))).collect();
        let observations = role("fit").flat_map(of_row).collect();
        let mut case =
            Case { group: rows[0]["dataset"].clone(), observations, asked, direction: Direction::Decreasing, targets: Vec::new() };
        // A tenth and a quarter of the last error less: what one would ask for, whether or not it comes.
        let last = case.means()[case.means().len() - 1].1;
        case.targets = vec![0.9 * last, 0.75 * last];
        case
    };
    grouped(&root.join("curves/lcdb_third_dev.csv")).into_iter().map(case).collect()
}

/// mAP of ActionFormer, five seeds; 10, 20 and 40 % are seen, the rest is asked.
pub fn detectors(root: &Path) -> Vec<Case> {
    let case = |rows: Vec<Row>| {
        let of =
            |row: &Row| Observation { n: number(row, "n_videos"), score: number(row, "score"), seed: Some(number(row, "seed") as u64) };
        let (seen, beyond): (Vec<_>, Vec<_>) = rows.iter().partition(|r| number(r, "fraction") < 0.45);
        let later = Case {
            group: String::new(),
            observations: beyond.into_iter().map(of).collect(),
            asked: Vec::new(),
            direction: Direction::Increasing,
            targets: Vec::new(),
        };
        let observations = seen.into_iter().map(of).collect();
        Case {
            group: rows[0]["dataset"].clone(),
            observations,
            asked: later.means(),
            direction: Direction::Increasing,
            targets: Vec::new(),
        }
    };
    grouped(&root.join("curves/tad_actionformer_5seeds.csv")).into_iter().map(case).collect()
}

/// Losses of language models, one run per size: the first half of the range is seen. By domain.
pub fn language(root: &Path) -> BTreeMap<String, Vec<Case>> {
    let mut domains: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for rows in grouped(&root.join("curves/m4_benchmark_dev.csv")) {
        let (seen, beyond): (Vec<_>, Vec<_>) = rows.iter().partition(|r| r["train"] == "1");
        let observations = seen.into_iter().map(|r| Observation { n: number(r, "x"), score: number(r, "loss"), seed: None }).collect();
        let mut asked: Vec<(f64, f64)> = beyond.into_iter().map(|r| (number(r, "x"), number(r, "loss"))).collect();
        asked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let group = rows[0]["task"].clone();
        domains.entry(rows[0]["domain"].clone()).or_default().push(Case {
            group,
            observations,
            asked,
            direction: Direction::Decreasing,
            targets: Vec::new(),
        });
    }
    domains
}
