//! The designs of small studies, cut from the development curves: few sizes, few seeds, short spans, far horizons.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use etalon::base::Stream;
use etalon::curves::{Direction, Observation};

use super::cases::{self, Case, Row, grouped, number};

/// The domain whose values are losses rather than shares.
pub const LANGUAGE: &str = "language";

/// A case with where it comes from.
pub struct Designed {
    /// Left out together: all that measure the same thing in the same way.
    pub domain: &'static str,
    /// Sizes, seeds and horizon in words.
    pub design: &'static str,
    pub case: Case,
    /// The whole curve gets worse somewhere, beyond its noise.
    pub ill_behaved: bool,
}

impl Designed {
    /// Whether no size was repeated.
    pub fn single_runs(&self) -> bool {
        self.case.sizes().all(|(_, scores)| scores.len() == 1)
    }
}

/// Every design of every development curve.
pub fn all(root: &Path, fixtures: &Path) -> Vec<Designed> {
    let mut all = classifiers(root);
    all.extend(detectors(root));
    all.extend(published(fixtures));
    all.extend(pools(fixtures));
    all.extend(languages(root));
    all
}

fn designed(domain: &'static str, design: &'static str, group: &str, observations: Vec<Observation>, asked: (f64, f64)) -> Designed {
    let direction = if domain == "classifiers" { Direction::Decreasing } else { Direction::Increasing };
    let case = Case { group: format!("{domain}/{group}"), observations, asked: vec![asked], direction, targets: Vec::new() };
    Designed { domain, design, case, ill_behaved: false }
}

/// LCDB publishes the mean of 25 repetitions and its standard error at every anchor: seeds at anchors without any are drawn from them.
fn classifiers(root: &Path) -> Vec<Designed> {
    let of_curve = |rows: Vec<Row>| {
        let mut rows = rows;
        rows.sort_by(|a, b| number(a, "n").total_cmp(&number(b, "n")));
        let (group, id) = (rows[0]["dataset"].clone(), rows[0]["curve_id"].clone());
        let mut stream = Stream::new(0, &format!("designs/{id}"));
        let mut drawn = |row: &Row, seeds: u64| {
            let (truth, sd) = (number(row, "truth"), 5.0 * number(row, "truth_se"));
            (0..seeds)
                .map(|s| Observation { n: number(row, "n"), score: (truth + sd * stream.normal()).clamp(0.0, 1.0), seed: Some(s) })
                .collect::<Vec<_>>()
        };
        let given = |row: &Row, seeds: u64| {
            (0..seeds).map(|s| Observation { n: number(row, "n"), score: number(row, &format!("s{s}")), seed: Some(s) }).collect::<Vec<_>>()
        };
        let near = |n: f64| rows.iter().min_by(|a, b| off(a, n).total_cmp(&off(b, n))).expect("a curve has rows");
        let truth = |row: &Row| (number(row, "n"), number(row, "truth"));
        let fit: Vec<&Row> = rows.iter().filter(|r| r["role"] == "fit").collect();
        let last = &rows[rows.len() - 1];
        let end = number(last, "n");
        let mut found = Vec::new();
        let ill_behaved = worsens(&rows);
        let mut add = |design, observations: Vec<Observation>, asked: &Row| {
            found.push(Designed { ill_behaved, ..designed("classifiers", design, &group, observations, truth(asked)) });
        };
        add("5 to 8 sizes x 5 seeds, 3x", fit.iter().flat_map(|r| given(r, 5)).collect(), last);
        add("5 to 8 sizes x 1 seed, 3x", fit.iter().flat_map(|r| given(r, 1)).collect(), last);
        add("2 sizes x 3 seeds, 3x", fit[fit.len() - 2..].iter().flat_map(|r| given(r, 3)).collect(), last);
        if fit.len() > 4 && end >= 8.0 * number(fit[3], "n") {
            add("4 sizes x 5 seeds, 10x", fit[..4].iter().flat_map(|r| given(r, 5)).collect(), near(10.0 * number(fit[3], "n")));
        }
        let mut spaced = |design, from_end: f64, steps: &[f64], seeds| {
            let largest = number(near(end / from_end), "n");
            let picked: Vec<&Row> = steps.iter().map(|step| near(largest / step)).collect();
            if picked.iter().map(|r| &r["n"]).collect::<BTreeSet<_>>().len() == steps.len() {
                add(design, picked.iter().flat_map(|r| drawn(r, seeds)).collect(), last);
            }
        };
        spaced("3 sizes x 3 seeds, 2.5x", 2.5, &[4.0, 2.0, 1.0], 3);
        spaced("3 close sizes x 3 seeds, 2.5x", 2.5, &[2.0, 1.4, 1.0], 3);
        spaced("3 sizes x 1 seed, 4x", 4.0, &[5.0, 2.5, 1.0], 1);
        spaced("4 sizes x 1 seed, 2x", 2.0, &[8.0, 4.0, 2.0, 1.0], 1);
        spaced("5 sizes x 3 seeds, 2x", 2.0, &[16.0, 8.0, 4.0, 2.0, 1.0], 3);
        found
    };
    grouped(&root.join("curves/lcdb_third_dev.csv")).into_iter().flat_map(of_curve).collect()
}

/// Whether the error at some anchor is above that at an earlier one by more than two points and three standard errors.
fn worsens(rows: &[Row]) -> bool {
    let anchors: Vec<(f64, f64)> = rows.iter().map(|r| (number(r, "truth"), number(r, "truth_se"))).collect();
    let above = |later: &(f64, f64), earlier: &(f64, f64)| later.0 - earlier.0 > (3.0 * later.1.hypot(earlier.1)).max(0.02);
    anchors.iter().enumerate().any(|(i, later)| anchors[..i].iter().any(|earlier| above(later, earlier)))
}

/// Distance of an anchor from `n` in ln n.
fn off(row: &Row, n: f64) -> f64 {
    (number(row, "n") / n).ln().abs()
}

/// ActionFormer: the first sizes, five seeds or one.
fn detectors(root: &Path) -> Vec<Designed> {
    let of_curve = |rows: Vec<Row>| {
        let mut sizes: BTreeMap<u64, Vec<Observation>> = BTreeMap::new();
        for row in &rows {
            let n = number(row, "n_videos");
            let seed = number(row, "seed") as u64;
            sizes.entry(n as u64).or_default().push(Observation { n, score: number(row, "score"), seed: Some(seed) });
        }
        let group = &rows[0]["dataset"];
        let cut = |design, seen: usize, seeds: u64| cut("detectors", design, group, &sizes, seen, sizes.len() - 1, seeds);
        vec![
            cut("2 sizes x 5 seeds, 5x", 2, 5),
            cut("3 sizes x 5 seeds, 2.5x", 3, 5),
            cut("3 sizes x 3 seeds, 2.5x", 3, 3),
            cut("3 sizes x 1 seed, 2.5x", 3, 1),
            cut("4 sizes x 5 seeds, 1.7x", 4, 5),
            cut("4 sizes x 1 seed, 1.7x", 4, 1),
            cut("5 sizes x 5 seeds, 1.25x", 5, 5),
        ]
    };
    grouped(&root.join("curves/tad_actionformer_5seeds.csv")).into_iter().flat_map(of_curve).collect()
}

/// The first `seen` sizes with their first `seeds` seeds, and the mean at size number `asked`.
fn cut(
    domain: &'static str,
    design: &'static str,
    group: &str,
    sizes: &BTreeMap<u64, Vec<Observation>>,
    seen: usize,
    asked: usize,
    seeds: u64,
) -> Designed {
    let all: Vec<&Vec<Observation>> = sizes.values().collect();
    let observations = all[..seen].iter().flat_map(|o| o.iter().filter(|o| o.seed.is_none_or(|s| s < seeds))).copied().collect();
    let truth = all[asked].iter().map(|o| o.score).sum::<f64>() / all[asked].len() as f64;
    designed(domain, design, group, observations, (all[asked][0].n, truth))
}

/// Scores by share of the labels as papers print them: one number per size.
fn published(fixtures: &Path) -> Vec<Designed> {
    let of_curve = |rows: Vec<Row>| {
        let row = |r: &Row| (number(r, "n") as u64, vec![Observation { n: number(r, "n"), score: number(r, "score"), seed: None }]);
        let sizes: BTreeMap<u64, Vec<Observation>> = rows.iter().map(row).collect();
        (3..sizes.len())
            .map(|seen| cut("published", "3 or more sizes x 1, next size", &rows[0]["group"], &sizes, seen, seen, 1))
            .collect::<Vec<_>>()
    };
    grouped(&fixtures.join("published.csv")).into_iter().flat_map(of_curve).collect()
}

/// Losses of single long trainings (the M4 benchmark): the second half of the range from the first.
fn languages(root: &Path) -> Vec<Designed> {
    let of = |case: Case| Designed { domain: LANGUAGE, design: "one training, 2x", case, ill_behaved: false };
    cases::language(root).into_values().flatten().map(of).collect()
}

/// Halves of two training parts, run to their own 100 %, asked at the whole part.
fn pools(fixtures: &Path) -> Vec<Designed> {
    let mut reader = csv::Reader::from_path(fixtures.join("pools.csv")).expect("the fixture is there");
    let rows: Vec<Row> = reader.deserialize().map(|row| row.expect("a table of strings")).collect();
    let mut found = Vec::new();
    for column in ["map", "map_0.3", "map_0.5", "map_0.7"] {
        let mut pools: BTreeMap<(&str, &str), BTreeMap<u64, Vec<Observation>>> = BTreeMap::new();
        for row in &rows {
            let observation = Observation { n: number(row, "n"), score: number(row, column), seed: Some(number(row, "seed") as u64) };
            pools.entry((&row["dataset"], &row["pool"])).or_default().entry(observation.n as u64).or_default().push(observation);
        }
        for ((dataset, _), sizes) in pools.iter().filter(|p| p.0.1 != "full") {
            let whole = &pools[&(*dataset, "full")];
            let (n, scores) = whole.last_key_value().expect("a pool has sizes");
            let mut with_whole = sizes.clone();
            with_whole.insert(*n, scores.clone());
            let seen = sizes.len();
            found.push(cut("halves", "4 sizes x 3 seeds, 2x", dataset, &with_whole, seen, seen, 3));
            found.push(cut("halves", "3 sizes x 3 seeds, 2x", dataset, sizes, seen - 1, seen - 1, 3));
        }
    }
    found
}
