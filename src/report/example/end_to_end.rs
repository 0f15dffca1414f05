//! Records of models that read videos, and the tests of what the report says of them.

use super::*;
use crate::report::figures::charts;
use crate::report::model::{EncoderTraining, EndToEnd, Share};
use crate::store::record::FrameFacts;

const ENCODER: &str = r#"network = "tsm-resnet18"
width = 16"#;

/// Name, its training as the experiment says it, share of proposals, mAP points over the frozen encoder, memory and training
/// time relative to it.
const VIDEO_MODELS: [(&str, &str, f64, f64, f64, f64); 9] = [
    ("frozen", "\"frozen\"", 0.06, 0.0, 1.0, 1.0),
    ("whole", "\"plain\"", 0.06, 6.1, 7.4, 9.0),
    ("twice", "\"checkpointed\"", 0.06, 6.1, 1.6, 11.8),
    ("tenth", "{ sampled = { ratio = 0.1, strategy = \"random\" } }", 0.06, 3.4, 1.3, 4.6),
    ("third", "{ sampled = { ratio = 0.3, strategy = \"random\" } }", 0.06, 5.6, 1.4, 6.1),
    ("most", "{ sampled = { ratio = 0.6, strategy = \"random\" } }", 0.06, 6.0, 1.5, 8.2),
    ("third-grid", "{ sampled = { ratio = 0.3, strategy = \"grid\" } }", 0.06, 5.2, 1.4, 6.0),
    ("third-few", "{ sampled = { ratio = 0.3, strategy = \"random\" } }", 0.02, 5.0, 1.3, 5.8),
    ("low", "{ lofi = { fidelity = \"long-cycle\" } }", 0.06, 4.2, 2.1, 3.9),
];

/// An experiment of those models, and of one that reads features.
fn experiment() -> String {
    let table = |(name, training, proposals, ..): (&str, &str, f64, f64, f64, f64)| {
        format!("[model.{name}.arch.etad]\nratio = {proposals}\n[model.{name}.encoder]\n{ENCODER}\ntraining = {training}\n")
    };
    format!("{TOML}\n{}", VIDEO_MODELS.map(table).concat())
}

/// Two fractions, three seeds.
fn video_records() -> Vec<Record> {
    let mut all = records(|_, percent, seed| ![20.0, 100.0].contains(&percent) || seed > 2);
    for (name, _, _, gain, memory, time) in VIDEO_MODELS {
        for base in all.clone().into_iter().filter(|r| r.model == "etad") {
            let mut stream = Stream::new(base.seed, name);
            let score = base.scores.average_map + (gain + 0.4 * stream.normal()) / 100.0;
            let train_s = 40.0 * time * (1.0 + 0.02 * stream.normal());
            let mut made = Record { key: record(name, base.fraction.value(), base.seed).key, model: name.into(), ..base };
            made.scores.average_map = score;
            made.notes.clear();
            made.usage.peak_rss_bytes = (memory * 8e8) as u64;
            made.usage.phases = serde_json::from_value(serde_json::json!([["load", 0.2], ["train", train_s]])).unwrap();
            made.training.frames = Some(FrameFacts { waited_s: 0.05 * train_s, decode_s: 12.5, decoded: 100_000 });
            all.push(made);
        }
    }
    all
}

fn report_of(experiment_toml: String, records: Vec<Record>) -> Report {
    build(&Input { experiment_toml, cells: Vec::new(), records, failures: Vec::new(), datasets: BTreeSet::new(), runs: Vec::new() })
}

static VIDEO: LazyLock<Report> = LazyLock::new(|| report_of(experiment(), video_records()));

fn found(report: &Report) -> &EndToEnd {
    report.end_to_end.as_ref().unwrap()
}

#[test]
fn models_that_read_videos_have_a_section_of_their_own() {
    insta::assert_snapshot!(section_of(&VIDEO, "End to end"));
    let costs = section_of(&VIDEO, "What it cost");
    assert!(costs.contains("| waiting for frames | decoding frames |"), "{costs}");
    let row = |start: &str| costs.lines().find(|l| l.starts_with(start)).unwrap();
    assert!(row("| frozen | 100 %").ends_with("| 12.5 s |") && row("| etad | 100 %").ends_with("| – | – |"), "{costs}");
    assert!(row("| frozen | all cells").ends_with("| 75.0 s |"), "{costs}");
}

#[test]
fn nothing_is_said_of_videos_where_no_model_reads_any() {
    let report = report(&records(|_, _, _| false));
    let text = rendered(&render::Markdown, &report);
    assert!(!text.contains("End to end") && !text.contains("waiting for frames"));
    assert!(!rendered(&render::Json, &report).contains("end_to_end"));
}

#[test]
fn rows_go_from_frozen_to_low_fidelity_and_sampled_ones_by_their_share() {
    let names: Vec<&str> = found(&VIDEO).rows.iter().map(|r| r.model.as_str()).collect();
    assert_eq!(names, ["frozen", "whole", "twice", "tenth", "third-grid", "third-few", "third", "most", "low"]);
    let json: serde_json::Value = serde_json::from_str(&rendered(&render::Json, &VIDEO)).unwrap();
    let row = &json["end_to_end"]["rows"][4];
    assert_eq!((&row["training"]["kind"], &row["training"]["strategy"]), (&"sampled".into(), &"grid".into()));
    assert!((row["waiting"].as_f64().unwrap() - 0.05).abs() < 1e-9 && row["decode_s"] == 12.5);
    let (training_s, update_s) = (row["training_s"].as_f64().unwrap(), row["update_s"].as_f64().unwrap());
    assert!((training_s / 80.0 - update_s).abs() < 1e-9, "{row}");
}

#[test]
fn a_line_joins_models_that_differ_in_one_share_alone() {
    let of = |over: Share| {
        let sweeps = found(&VIDEO).sweeps.iter().filter(move |s| s.over == over);
        sweeps.map(|s| s.models.iter().map(|m| m.0.as_str()).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    assert_eq!(of(Share::Snippets), [vec!["tenth", "third", "most"], vec!["third-grid"], vec!["third-few"]]);
    assert_eq!(of(Share::Proposals), [["third-few", "third"]]);
    // Another learning rate is another line.
    let faster = experiment().replace("training = { sampled = { ratio = 0.6", "lr = 1e-3\ntraining = { sampled = { ratio = 0.6");
    let report = report_of(faster, video_records());
    assert!(found(&report).sweeps.iter().any(|s| s.models == [("most".to_owned(), 0.6)]));
}

#[test]
fn a_gain_is_the_difference_of_the_same_seeds() {
    let report = report_of(experiment(), video_records().into_iter().filter(|r| r.model != "low" || r.seed > 0).collect());
    let gain = |model: &str| found(&report).gains.iter().find(|g| g.model == model).unwrap();
    let scores = |model: &str| &report.models.iter().find(|m| m.name == model).unwrap().fractions[1].seeds;
    let differences = scores("low").iter().map(|(seed, score)| score - scores("frozen").iter().find(|s| s.0 == *seed).unwrap().1);
    let low = gain("low");
    assert_eq!((low.lead.seeds, low.lead.probability, low.frozen.as_str()), (2, None, "frozen"));
    assert!((low.lead.mean - differences.sum::<f64>() / 2.0).abs() < 1e-12);
    assert!(gain("whole").lead.probability.is_some_and(|p| p > 0.9));
    assert!(gain("whole").same_detector && !gain("third-few").same_detector);
    assert!(found(&report).gains.iter().all(|g| g.model != "frozen"));
}

#[test]
fn what_cannot_be_compared_or_understood_is_named() {
    let toml = experiment()
        .replace("training = \"checkpointed\"", "training = { dreamt = { depth = 3 } }")
        .replace("[model.low.encoder]\nnetwork = \"tsm-resnet18\"", "[model.low.encoder]\nnetwork = \"r2plus1d-18\"")
        .replace("training = \"frozen\"\n", "");
    let report = report_of(toml, video_records().into_iter().filter(|r| r.model != "most" || r.fraction.value() < 100.0).collect());
    let EndToEnd { rows, absent, .. } = found(&report);
    let training = |model: &str| &rows.iter().find(|r| r.model == model).unwrap().training;
    assert_eq!((training("frozen"), training("twice")), (&EncoderTraining::Frozen, &EncoderTraining::Other { name: "dreamt".into() }));
    assert_eq!(absent, &["most"]);
    let section = section_of(&report, "End to end");
    assert!(section.contains("Nothing frozen to compare with: low (a gain needs"), "{section}");
    assert!(
        section.contains("Not shown: most (no cell at 100 % is done).") && section.contains("| twice | tsm-resnet18 | dreamt |"),
        "{section}"
    );
}

#[test]
fn lines_keep_their_colour_and_references_reach_across() {
    let charts = charts::of(&VIDEO);
    let chart = |id: &str| charts.iter().find(|c| c.id == id).unwrap();
    let (memory, score) = (chart("snippets-memory"), chart("snippets-score"));
    let places = |c: &super::super::figures::Chart| c.series.iter().map(|s| (s.place, s.label.clone())).collect::<Vec<_>>();
    assert_eq!(places(memory), places(score));
    let series = |label: &str| memory.series.iter().find(|s| s.label == label).unwrap();
    assert_eq!(series("tenth …").bars.iter().map(|b| b.0).collect::<Vec<_>>(), [10.0, 30.0, 60.0]);
    let whole = series("whole");
    assert_eq!((whole.dashed.iter().map(|p| p.0).collect::<Vec<_>>(), whole.bars[0].0), (vec![0.0, 100.0], 100.0));
    assert!(series("low").bars.is_empty() && series("low").dashed.len() == 2);
    assert_eq!(chart("proposals-time").series[0].bars.iter().map(|b| b.0).collect::<Vec<_>>(), [2.0, 6.0]);
    // Frozen, plain and low fidelity alone have no share to draw anything by.
    let few = video_records().into_iter().filter(|r| ["frozen", "whole", "low"].contains(&r.model.as_str())).collect();
    assert!(charts::of(&report_of(experiment(), few)).iter().all(|c| !c.id.starts_with("snippets-")));
}
