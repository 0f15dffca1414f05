//! Records like a real run's, for tests of the report, and the tests themselves.

mod end_to_end;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

use super::Error;
use super::build::{Failure, Input, build};
use super::model::Report;
use super::page::Page;
use super::render::{self, Renderer};
use super::source::Stored;
use crate::base::{Digest, Percent, Stream};
use crate::eval::Scores;
use crate::protocol::{Cell, CellSpec};
use crate::store::record::{DetectionFacts, Provenance, SampleFacts, TrainingFacts, Usage};
use crate::store::{PlannedCell, Record, Store};

const TOML: &str = r#"schema = 1
name = "sbhar-limited-data"

[protocol]
split = { test = 0.2, seed = 2023 }
fractions = [10.0, 20.0, 40.0, 60.0, 80.0, 100.0]
seeds = [0, 1, 2, 3, 4]

[model.etad.arch.etad]
epochs = 8

[model.prior.arch.prior]

[fit.targets]
sizes = ["2x", "3x"]
map = [0.5, 0.95]
"#;

/// A run of two models in which `skip(model, percent, seed)` cells are missing.
fn records(skip: impl Fn(&str, f64, u64) -> bool) -> Vec<Record> {
    records_of(&["etad", "prior"], skip)
}

/// All models of the house: some start well, some end well, so that curves cross.
const SEVEN: [&str; 7] = ["actionformer", "etad", "gtad", "prior", "tadtr", "temporalmaxer", "tridet"];

fn records_of(models: &[&str], skip: impl Fn(&str, f64, u64) -> bool) -> Vec<Record> {
    let mut all = Vec::new();
    for &model in models {
        for percent in [10.0, 20.0, 40.0, 60.0, 80.0, 100.0] {
            for seed in 0..5 {
                if !skip(model, percent, seed) {
                    all.push(record(model, percent, seed));
                }
            }
        }
    }
    all
}

/// Score with all, with none, videos for half of the way, and cost relative to ETAD; `None` for the floor baseline.
fn character(model: &str) -> Option<(f64, f64, f64, f64)> {
    Some(match model {
        "etad" => (0.74, 0.0, 40.0, 1.0),
        "actionformer" => (0.86, 0.0, 62.0, 2.1),
        "tridet" => (0.90, 0.0, 70.0, 2.6),
        "temporalmaxer" => (0.80, 0.05, 60.0, 0.7),
        "tadtr" => (0.88, 0.0, 120.0, 0.9),
        "gtad" => (0.52, 0.10, 30.0, 4.5),
        _ => return None,
    })
}

fn record(model: &str, percent: f64, seed: u64) -> Record {
    let mut stream = Stream::new(seed, &format!("example/{model}/{percent}"));
    let videos = 160.0 * percent / 100.0;
    let network = character(model);
    let level = network.map_or(0.07 + 0.02 * percent / 100.0, |(full, none, half, _)| {
        let share = (videos / half).powf(1.2) / (1.0 + (videos / half).powf(1.2));
        none + (full - none) * share
    });
    let tiou = vec![0.3, 0.4, 0.5, 0.6, 0.7];
    let shift = 0.25 * level * (1.3 - percent / 100.0) * 0.2 * stream.normal();
    let map: Vec<f64> = tiou.iter().map(|t| (level * (1.35 - 0.7 * t) + shift).clamp(0.0, 1.0)).collect();
    let classes = ["Walking", "Sitting", "StandToSit", "LieToStand", "Laying", "Stairs"];
    let per_class =
        classes.iter().map(|c| ((*c).to_owned(), map.iter().map(|m| (m + 0.05 * stream.normal()).clamp(0.0, 1.0)).collect())).collect();
    let spec = CellSpec {
        schema: 1,
        dataset: Digest::of_bytes(b"example"),
        protocol: serde_json::json!({}),
        fraction: Percent::new(percent).unwrap(),
        seed,
        model: serde_json::json!({ "name": model }),
        recipe: 1,
    };
    let heavy = network.map_or(0.02, |n| n.3);
    // As a record has it: this module may not name the phases.
    let phases = serde_json::json!([["load", 0.2], ["train", heavy * (4.0 + videos * 0.25)], ["detect", heavy * 1.2]]);
    Record {
        schema: 1,
        key: Cell::new(model, spec.clone()).key,
        model: model.to_owned(),
        fraction: spec.fraction,
        seed,
        attempt: 1,
        sample: SampleFacts {
            videos: videos as usize,
            instances: videos as usize * 9,
            seconds: videos * 210.0,
            classes: 6,
            draws: 1,
            digest: Digest::of_bytes(b"s"),
            test_videos: 40,
            test_instances: 366,
        },
        scores: Scores {
            average_map: map.iter().sum::<f64>() / 5.0,
            tiou,
            map,
            per_class,
            recall: Default::default(),
            evaluator: "activitynet/1".into(),
        },
        detections: Digest::of_bytes(b"d"),
        training: TrainingFacts {
            steps: 80,
            epochs: 8.0,
            parameters: network.map(|n| (1_234_567.0 * n.3) as u64),
            final_loss: Some(0.4),
            frames: None,
        },
        detection: DetectionFacts { macs: network.map(|n| (n.3.powf(1.5) * 9e10) as u64), seconds: 8400.0 },
        usage: Usage {
            wall_s: heavy * (6.0 + videos * 0.3),
            cpu_s: heavy * (10.0 + videos * 0.55),
            peak_rss_bytes: (heavy * 6e8) as u64 + 40_000_000,
            threads: 2,
            phases: serde_json::from_value(phases).unwrap(),
        },
        profile: None,
        provenance: Provenance {
            etalon: "0.1.0 (abcdef1)".into(),
            crates: "argmin 0.11.0, tch 0.24.0".into(),
            libtorch: network.map(|_| "2.11.0".into()),
            trainer: None,
            device: "cpu".into(),
            host: "bench-1".into(),
            cpu: "Example CPU, 2 cores".into(),
            started: format!("2026-01-01T10:{seed:02}:00Z"),
            finished: format!("2026-01-01T11:{seed:02}:00Z"),
            experiment: "0123abcd".into(),
        },
        notes: if model == "etad" { vec!["features of 61 values are zero-padded to 64".into()] } else { Vec::new() },
    }
}

/// The whole grid.
fn cells() -> Vec<PlannedCell> {
    let planned = |r: Record| PlannedCell { key: r.key, model: r.model, fraction: r.fraction, seed: r.seed };
    records(|_, _, _| false).into_iter().map(planned).collect()
}

fn input(records: &[Record]) -> Input {
    let datasets = BTreeSet::from(["f00d".to_owned()]);
    Input { experiment_toml: TOML.to_owned(), cells: cells(), records: records.to_vec(), failures: Vec::new(), datasets, runs: Vec::new() }
}

/// A report of some models, with the cells that are there.
fn compared(models: &[&str], skip: impl Fn(&str, f64, u64) -> bool) -> Report {
    let records = records_of(models, skip);
    build(&Input {
        experiment_toml: TOML.to_owned(),
        cells: Vec::new(),
        records,
        failures: Vec::new(),
        datasets: BTreeSet::new(),
        runs: Vec::new(),
    })
}

/// All models and cells.
static FULL: LazyLock<Report> = LazyLock::new(|| compared(&SEVEN, |_, _, _| false));

fn report(records: &[Record]) -> Report {
    build(&input(records))
}

fn rendered(renderer: &dyn Renderer, report: &Report) -> String {
    String::from_utf8(renderer.render(&Page::of(report).unwrap()).unwrap().remove(0).bytes).unwrap()
}

#[test]
fn the_best_model_comes_first_and_the_headline_says_what_it_reaches() {
    let report = report(&records(|_, _, _| false));
    assert_eq!(report.models.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["etad", "prior"]);
    assert!(
        report.headline[0].starts_with("etad reaches ") && report.headline[0].contains("with 160 training videos"),
        "{:?}",
        report.headline
    );
    assert_eq!((report.completeness.done, report.completeness.expected), (60, 60));
    assert_eq!(report.models[0].curve.as_ref().unwrap().forecasts.iter().map(|f| f.n).collect::<Vec<_>>(), [320.0, 480.0]);
}

#[test]
fn a_partly_filled_grid_is_reported_with_what_is_missing() {
    let report = report(&records(|model, percent, seed| model == "etad" && (percent > 70.0 || (percent == 20.0 && seed == 3))));
    assert_eq!((report.completeness.done, report.completeness.expected), (49, 60));
    assert_eq!(report.completeness.missing[0].seeds, [3]);
    assert!(report.headline.last().unwrap().starts_with("Preliminary: 11 of 60 cells"), "{:?}", report.headline);
    assert!(rendered(&render::Markdown, &report).contains("49 of 60 cells are done"));
}

#[test]
fn a_single_finished_cell_still_makes_a_report_without_a_curve() {
    let report = report(&records(|model, percent, seed| model != "prior" || percent != 10.0 || seed != 0));
    assert!(report.models[0].curve.is_none());
    for renderer in render::all() {
        assert!(!renderer.render(&Page::of(&report).unwrap()).unwrap().is_empty());
    }
    assert!(rendered(&render::Html, &report).contains("two different numbers of training videos"));
}

#[test]
fn the_page_is_self_contained_and_shows_names_as_text() {
    let mut all = records(|_, _, _| false);
    all.iter_mut().for_each(|r| r.notes.push("<script>alert(1)</script>".into()));
    let page = rendered(&render::Html, &report(&all));
    for forbidden in ["<script", "<link", "src=\"http", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("&lt;script&gt;") && page.matches("<svg").count() == 4);
    assert!(page.contains("<title id=\"learning-curves-title\">"));
}

#[test]
fn every_renderer_gives_the_same_bytes_for_the_same_records() {
    let (first, second) = (report(&records(|_, _, _| false)), report(&records(|_, _, _| false)));
    for renderer in render::all() {
        assert_eq!(renderer.render(&Page::of(&first).unwrap()).unwrap(), renderer.render(&Page::of(&second).unwrap()).unwrap());
    }
}

#[test]
fn json_scores_are_shares_and_never_null_where_a_record_had_a_number() {
    let json: serde_json::Value = serde_json::from_str(&rendered(&render::Json, &report(&records(|_, _, _| false)))).unwrap();
    let forecast = &json["models"][0]["curve"]["forecasts"][0];
    assert!(forecast["median"].as_f64().unwrap() < 1.0 && forecast["lower"].is_number() && forecast["level"] == 0.9);
    assert_eq!(json["models"][0]["fractions"][5]["percent"], 100.0);
}

#[test]
fn failed_cells_stand_beside_those_not_run_with_their_reason() {
    let mut input = input(&records(|model, percent, seed| model == "etad" && percent == 100.0 && seed > 1));
    let failed = record("etad", 100.0, 3).key;
    input.failures = vec![Failure { key: failed, reason: "libtorch failed: out of memory".into() }];
    let report = build(&input);
    let missing: Vec<_> = report.completeness.missing.iter().map(|m| (m.seeds.clone(), m.reason.is_some())).collect();
    assert_eq!(missing, [(vec![2, 4], false), (vec![3], true)]);
    for renderer in render::all() {
        assert!(
            String::from_utf8(renderer.render(&Page::of(&report).unwrap()).unwrap().remove(0).bytes).unwrap().contains("out of memory")
        );
    }
}

#[test]
fn an_experiment_has_the_records_its_grid_plans_whoever_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("S");
    let store = Store::create(&root).unwrap();
    assert!(matches!(Stored::read(&root), Err(Error::Empty { .. })));
    let all = cells();
    let renamed = |c: &PlannedCell| PlannedCell { model: format!("my-{}", c.model), ..c.clone() };
    store.add_experiment(TOML, Path::new(""), &all[..45]).unwrap();
    store.add_experiment(&TOML.replace("sbhar", "wide"), Path::new(""), &all.iter().map(renamed).collect::<Vec<_>>()).unwrap();
    // Made by an experiment that is not even there.
    for record in records(|_, _, seed| seed > 1) {
        let cell = root.join(format!("cells/{}/{}", &record.key.as_str()[..2], record.key));
        let _ = crate::base::fsio::publish_new(&cell.join("record.json"), &serde_json::to_vec(&record).unwrap()).unwrap();
    }
    let stored = Stored::read(&root).unwrap();
    let narrow = stored.experiment(Some("sbhar-limited-data")).unwrap();
    assert_eq!(stored.records_of(narrow).unwrap().len(), 18);
    let wide = stored.records_of(stored.experiment(Some("wide-limited-data")).unwrap()).unwrap();
    assert_eq!((wide.len(), wide[0].model.as_str(), wide[0].fraction.value()), (24, "my-etad", 10.0));
    let curves: Vec<_> = stored.curves().into_keys().collect();
    assert_eq!(curves[..2], ["sbhar-limited-data/etad", "sbhar-limited-data/prior"]);
    assert_eq!(curves[2..], ["wide-limited-data/my-etad", "wide-limited-data/my-prior"]);
    assert!(stored.experiment(Some(&narrow.digest[..4])).is_ok());
    assert!(stored.experiment(Some("other")).unwrap_err().to_string().contains("\"sbhar-limited-data\""));
    crate::base::fsio::replace(&root.join("cells/00/broken/record.json"), b"{").unwrap();
    assert!(Stored::read(&root).unwrap_err().to_string().contains("broken/record.json is damaged"));
}

/// The section of that title.
fn section_of(report: &Report, title: &str) -> String {
    let text = rendered(&render::Markdown, report);
    let from = text.find(&format!("## {title}")).unwrap();
    let length = text[from + 2..].find("\n## ").unwrap();
    text[from..from + 2 + length].to_owned()
}

#[test]
fn seven_models_are_compared_with_each_other_and_with_their_costs() {
    let report = &*FULL;
    assert_eq!((report.pairs.len(), report.efficiency.as_ref().unwrap().rows.len()), (21, 7));
    // What follows are forecasts, which a better prior may change.
    let beats = section_of(report, "Who beats whom");
    insta::assert_snapshot!(beats.split("**Who would be ahead").next().unwrap().trim_end());
    insta::assert_snapshot!(section_of(report, "Accuracy against cost"));
}

#[test]
fn an_overtaking_stands_where_the_measured_means_cross() {
    let report = &*FULL;
    let pair = report.pairs.iter().find(|p| p.ahead == "actionformer" && p.behind == "etad").unwrap();
    let crossing = pair.crossing.as_ref().unwrap();
    let before = crossing.sizes.iter().rposition(|s| s.mean < 0.0).unwrap();
    let n = crossing.n.unwrap();
    assert!(crossing.sizes[before].n < n && n < crossing.sizes[before + 1].n);
    assert!((pair.instances.unwrap() - 9.0 * n).abs() < 1e-6 && crossing.chances.unwrap().overtakes > 0.9);
    let sentence = report.headline.last().unwrap();
    assert!(sentence.starts_with("With more data ") && sentence.contains(&format!("etad at about {n:.0} videos")), "{sentence}");
}

#[test]
fn every_model_with_a_curve_has_its_forecast_drawn() {
    let report = report(&records(|model, percent, _| model == "prior" && percent < 100.0));
    let charts = super::figures::charts::of(&report);
    let forecasts: Vec<_> = charts.iter().map(|c| c.id.as_ref()).filter(|id| id.starts_with("forecast-")).collect();
    assert_eq!(forecasts, ["forecast-etad"]);
    let section = section_of(&report, "What more data would give");
    assert!(section.contains("figures/forecast-etad.svg") && section.contains("prior: a curve needs at least two"), "{section}");
}

#[test]
fn needs_are_said_in_plain_words() {
    let section = section_of(&FULL, "What more data would give");
    let row = |start: &str| section.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}: {section}"));
    assert!(row("| tridet | 50.0").contains("| already reached | – |"), "{section}");
    assert!(row("| prior | 95.0").contains("| not reachable | – |"), "{section}");
    assert!(["Already reached: ", "Not reachable: ", "Open: "].iter().all(|word| section.contains(word)), "{section}");
    assert!(section.contains("tadtr is still rising: 2× the data brings 1 mAP point or more"), "{section}");
    assert!(section.contains("| fitted up to |") && section.contains("| inside |"));
}

#[test]
fn parts_of_a_score_are_forecast_from_three_sizes_on() {
    let report = &*FULL;
    for model in &report.models {
        assert!(model.thresholds.len() == 5 && model.thresholds.iter().all(Option::is_some) && model.outlook.is_some());
        let own = model.curve.as_ref().unwrap().gains[0];
        assert_eq!(model.outlook.unwrap().gain, own);
    }
    let section = section_of(report, "Per tIoU");
    assert_eq!(section.matches("| 2×: forecast | 320 |").count(), 7, "{section}");
    let two = compared(&["etad", "prior"], |_, percent, _| percent < 80.0);
    assert!(two.models.iter().all(|m| m.outlook.is_none() && m.thresholds.iter().all(Option::is_none)));
    assert!(!section_of(&two, "Per tIoU").contains("2×") && !section_of(&two, "Per class").contains("improvement"));
}

#[test]
fn classes_that_gain_most_from_more_data_come_first() {
    let mut records = records(|_, _, _| false);
    for record in &mut records {
        // One class is learnt at once, another hardly begins: the others lie between.
        let n = record.sample.videos as f64;
        record.scores.per_class.insert("Saturated".into(), vec![0.8; 5]);
        record.scores.per_class.insert("Hungry".into(), vec![0.9 * n / (n + 400.0) + 1e-3 * record.seed as f64; 5]);
    }
    let report = report(&records);
    let section = section_of(&report, "Per class");
    let classes: Vec<&str> = section.lines().filter_map(|l| l.strip_prefix("| ")?.split(" |").next()).collect();
    assert_eq!((classes[0], classes[1]), ("class", "Hungry"), "{section}");
    let gains = classes.iter().rposition(|c| *c == "class").unwrap();
    assert!(gains > 1 && classes[gains + 1] != "Saturated", "{section}");
}

#[test]
fn who_will_be_ahead_is_forecast_from_both_curves() {
    let report = &*FULL;
    let pair = |ahead: &str, behind: &str| report.pairs.iter().find(|p| p.ahead == ahead && p.behind == behind).unwrap();
    let clear = pair("tridet", "prior");
    assert_eq!(clear.prospects.iter().map(|p| (p.times, p.n)).collect::<Vec<_>>(), [(2.0, 320.0), (3.0, 480.0)]);
    assert!(clear.prospects.iter().all(|p| p.probability > 0.95), "{clear:?}");
    assert!(report.pairs.iter().flat_map(|p| &p.prospects).all(|p| (0.0..=1.0).contains(&p.probability)));
    let section = section_of(report, "Who beats whom");
    assert!(
        section.contains("| ahead today | behind | P ahead at 2× | P ahead at 3× |") && section.contains("drawn independently, although")
    );
    let one_size = compared(&["etad", "prior"], |_, percent, _| percent < 100.0);
    assert!(one_size.pairs.iter().all(|p| p.prospects.is_empty()));
}

#[test]
fn close_views_leave_out_what_would_flatten_them_and_say_so() {
    let report = &*FULL;
    let charts = super::figures::charts::of(report);
    let place = |m: &str| report.models.iter().position(|r| r.name == m).unwrap();
    for id in ["learning-curves-close", "score-training-time", "score-compute", "score-memory"] {
        let chart = charts.iter().find(|c| c.id == id).unwrap();
        assert_eq!(chart.series.len(), 6, "{id}");
        assert!(chart.series.iter().all(|s| s.label != "prior" && s.place == place(&s.label)), "{id}");
    }
    for title in ["Who beats whom", "Accuracy against cost"] {
        assert!(section_of(report, title).contains("Too low to be shown: prior."));
    }
}

#[test]
fn two_seeds_give_differences_without_probabilities() {
    let report = &compared(&["actionformer", "etad", "prior"], |_, _, seed| seed > 1);
    assert!(report.pairs.iter().all(|p| p.crossing.as_ref().is_some_and(|c| c.chances.is_none())));
    assert!(!report.headline.iter().any(|s| s.starts_with("With more data")));
    assert!(section_of(report, "Who beats whom").contains("Too few seeds for a probability of any pair: run at least 3."));
}

#[test]
fn models_that_share_nothing_are_named() {
    let report = &compared(&["etad", "gtad", "tadtr"], |model, percent, seed| match model {
        "gtad" => percent == 100.0 || seed > 2,
        "tadtr" => seed < 3,
        _ => false,
    });
    let section = section_of(report, "Who beats whom");
    assert!(section.contains("No seed of a fraction in common: tadtr and gtad."), "{section}");
    assert!(section_of(report, "Accuracy against cost").contains("Not compared: gtad (no cell at 100 % is done)."));
}

#[test]
fn one_fraction_shows_who_leads_but_no_crossing() {
    let report = &compared(&["actionformer", "etad", "prior"], |_, percent, _| percent < 100.0);
    let section = section_of(report, "Who beats whom");
    assert!(section.contains("show no crossing: run at least two.") && section.contains("| actionformer | etad | +"), "{section}");
    assert!(report.pairs.iter().all(|p| p.crossing.as_ref().is_some_and(|c| c.n.is_none())));
}

#[test]
fn costs_that_old_records_lack_are_a_dash_and_a_reason() {
    let mut records = records(|_, _, _| false);
    for record in &mut records {
        record.detection = DetectionFacts::default();
        record.usage.phases.clear();
    }
    let section = section_of(&report(&records), "Accuracy against cost");
    assert!(section.contains("No training time for etad and prior: the records do not tell the phases apart."), "{section}");
    assert!(section.contains("No GMAC per minute for etad and prior: not counted in records this old."), "{section}");
    assert!(section.lines().filter(|l| l.starts_with("| etad") || l.starts_with("| prior")).all(|l| l.contains("| – |")));
}
