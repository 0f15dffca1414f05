//! `etalon report` and `fit` on a store, `evaluate --store`, `doctor`, `completions`.

use std::ffi::OsStr;
use std::path::Path;

use etalon::run::Prepared;
use etalon::store::{Granted, Outcome, Store};
use serde_json::Value;

use crate::CliTest;
use crate::recordings::{Recordings, snapshot};

/// Four fractions and two seeds of the floor baseline on the built-in corpus.
const EXPERIMENT: &str = r#"
schema = 1
name = "small"

[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 40 }

[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [10, 25, 50, 100]
seeds = [0, 1]

[model.prior]
arch.prior = {}

[fit.targets]
map = [0.5]
"#;

pub fn finished() -> CliTest {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    assert_eq!(test.run(["run", "small.toml", "--store", "S", "--quiet"]).code, Some(0));
    test
}

/// Panics unless every element of the markup is closed in order. Enough of a reader for what the report's templates write.
fn assert_well_formed(text: &str) {
    const VOID: [&str; 6] = ["meta", "br", "hr", "img", "link", "!doctype"];
    let mut open: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").expect("comments end").1;
            continue;
        }
        let (tag, after) = rest.split_once('>').expect("tags end");
        assert!(!tag.contains('<'), "an unescaped < in {tag}");
        rest = after;
        let name: String = tag.trim_start_matches('/').chars().take_while(|c| !c.is_whitespace() && *c != '/').collect();
        let name = name.to_ascii_lowercase();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name));
        } else if !tag.ends_with('/') && !tag.starts_with('?') && !VOID.contains(&name.as_str()) {
            open.push(name);
        }
        if tag.starts_with("style") {
            rest = &rest[rest.find("</style").expect("styles end")..];
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_report_is_a_page_a_text_and_numbers_that_agree() {
    let test = finished();
    let written = test.run(["report", "S", "--out", "R", "--json", "--quiet"]).json();
    assert_eq!((&written["experiment"], &written["cells"], &written["cells_expected"]), (&"small".into(), &8.into(), &8.into()));
    let folder = test.dir.path().join("R");
    let (page, text) = (read(&folder.join("report.html")), read(&folder.join("report.md")));
    assert_well_formed(&page);
    assert!(page.contains("<title>") && page.contains("<svg"), "{page}");
    for name in ["prior", "small"] {
        assert!(page.contains(name) && text.contains(name), "{name}");
    }
    // Every figure that the text shows is a file.
    let figures: Vec<&str> = text.split("](").skip(1).filter_map(|part| part.split(')').next()).filter(|p| p.ends_with(".svg")).collect();
    assert!(!figures.is_empty(), "{text}");
    figures.iter().for_each(|figure| assert_well_formed(&read(&folder.join(figure))));

    let numbers: Value = serde_json::from_str(&read(&folder.join("report.json"))).unwrap();
    let status = test.run(["status", "S", "--json"]).json();
    let (fractions, rows) = (numbers["models"][0]["fractions"].as_array().unwrap(), status[0]["rows"].as_array().unwrap());
    assert_eq!((fractions.len(), rows.len()), (4, 4));
    for (fraction, row) in fractions.iter().zip(rows) {
        assert_eq!(fraction["percent"], row["fraction"]);
        let (reported, stored) = (fraction["average_map"]["mean"].as_f64().unwrap(), row["mean_map"].as_f64().unwrap());
        assert!((reported - stored).abs() < 1e-12);
    }
    for path in written["files"].as_array().unwrap() {
        assert!(test.dir.path().join(path.as_str().unwrap()).is_file(), "{path}");
    }
}

#[test]
fn the_experiment_beside_a_report_has_the_same_cells() {
    let test = finished();
    test.run(["report", "S", "--out", "R", "--quiet"]);
    let again = test.run(["run", "R/experiment.toml", "--store", "S", "--json", "--quiet"]).json();
    assert_eq!((&again["found"], &again["done"]), (&8.into(), &0.into()));
}

#[test]
fn a_report_counts_cells_that_another_experiment_made_and_names_failures() {
    let test = finished();
    test.file("wide.toml", EXPERIMENT.replace("seeds = [0, 1]", "seeds = [0, 1, 2]").replace("\"small\"", "\"wide\""));
    // Only seed 2 at 10 % is tried, and fails.
    let ran = test.run(["run", "wide.toml", "--store", "S", "--seed", "0", "--quiet"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let grid = Prepared::open(&test.dir.path().join("wide.toml")).unwrap().grid().unwrap();
    let cell = grid.cells.iter().find(|c| c.spec.seed == 2).unwrap();
    let Granted::Lease(lease) = Store::open(&test.dir.path().join("S")).unwrap().claim(cell).unwrap() else {
        panic!("nobody else is here")
    };
    lease.end(&Outcome::Failed { stage: None, code: 1, message: "the sky fell".into() }).unwrap();

    let written = test.run(["report", "S", "--experiment", "wide", "--out", "R", "--json"]).json();
    assert_eq!((&written["cells"], &written["cells_expected"]), (&8.into(), &12.into()));
    for file in ["report.html", "report.md", "report.json"] {
        assert!(read(&test.dir.path().join("R").join(file)).contains("the sky fell"), "{file}");
    }
    let status = test.run(["status", "S", "--json"]).json();
    let wide = status.as_array().unwrap().iter().find(|s| s["name"] == "wide").unwrap();
    assert_eq!((wide["failures"].as_array().unwrap().len(), &wide["failures"][0]["message"]), (1, &"the sky fell".into()));

    let curves = |arguments: &[&str]| {
        let fitted = test.run(arguments).json();
        fitted["curves"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(curves(&["fit", "S", "--json"]), ["small/prior", "wide/prior"]);
    assert_eq!(curves(&["fit", "S", "--experiment", "wide", "--json"]), ["prior"]);
    test.run(["fit", "S", "--experiment", "narrow"]).fails_with(6, &["\"narrow\"", "\"small\", \"wide\""]);
}

#[test]
fn nothing_to_report_is_said_with_what_to_do() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    test.run(["report", "S"]).fails_with(8, &["S is not a store"]);
    std::fs::create_dir(test.dir.path().join("S")).unwrap();
    test.file("S/store.toml", "format = \"1.0\"\n");
    for verb in [&["report", "S"][..], &["fit", "S"], &["evaluate", "--store", "S"]] {
        test.run(verb).fails_with(7, &["S holds no finished cell", "etalon run"]);
    }
}

#[test]
fn a_table_where_a_store_is_meant_is_told() {
    let test = CliTest::new();
    test.file("x.csv", "n,score\n1,0.5\n");
    test.run(["fit", "x.csv"]).fails_with(6, &["x.csv is a table", "--curve x.csv"]);
}

#[test]
fn a_fit_in_json_has_forecasts_targets_families_and_a_backtest() {
    let test = finished();
    let fitted = test.run(["fit", "S", "--at", "2x,500", "--target", "0.01,0.99", "--level", "0.8", "--json"]).json();
    let curve = &fitted["curves"][0];
    assert_eq!(curve["observations"].as_array().unwrap().len(), 4);
    let numbers = |value: &Value, keys: &[&str]| {
        keys.iter().map(|k| value[k].as_f64().unwrap_or_else(|| panic!("{k} in {value}"))).collect::<Vec<_>>()
    };
    let forecasts = curve["forecasts"].as_array().unwrap();
    assert_eq!(forecasts.iter().map(|f| f["n"].as_f64().unwrap()).collect::<Vec<_>>(), [60.0, 500.0]);
    for forecast in forecasts {
        let found = numbers(forecast, &["lower", "median", "upper", "mean", "level"]);
        assert!(found[0] <= found[1] && found[1] <= found[2] && found[4] == 0.8, "{forecast}");
    }
    for target in curve["targets"].as_array().unwrap() {
        let chance = numbers(target, &["score", "probability_reachable"])[1];
        assert!((0.0..=1.0).contains(&chance));
        assert!(["n_median", "n_lower", "n_upper"].iter().all(|key| target.get(key).is_some()), "{target}");
    }
    let families = curve["families"].as_array().unwrap();
    let weights: f64 = families.iter().map(|f| f["weight"].as_f64().unwrap()).sum();
    assert!((weights - 1.0).abs() < 1e-9 && families.iter().all(|f| f["parameters"].is_array() && f["name"].is_string()));
    assert!(curve["backtest"]["predictions"].is_array() && curve["warnings"].is_array(), "{curve}");

    let table = test.file("curve.csv", "n,score,seed\n10,0.2,0\n20,0.3,0\n40,0.38,0\n80,0.43,0\n160,,\n");
    let fitted = test.run(["fit", "--curve", table.to_str().unwrap(), "--json"]).json();
    let asked: Vec<f64> = fitted["curves"][0]["forecasts"].as_array().unwrap().iter().map(|f| f["n"].as_f64().unwrap()).collect();
    assert!(asked.contains(&160.0), "{asked:?}");
}

#[test]
fn a_fit_draws_every_curve_into_files_that_any_system_takes() {
    let test = CliTest::new();
    let rows = [10, 20, 40, 80].map(|n| format!("a/b|c,{n},{}\na b c,{n},{}\n", 0.1 + f64::from(n) / 400.0, 0.5 - 1.0 / f64::from(n)));
    let table = test.file("scores.csv", format!("model,n,score\n{}", rows.concat()));
    let table = table.to_str().unwrap();
    let fitted =
        test.run(["fit", "--curve", table, "--by", "model", "--figures", "F/deep", "--family", "hill", "--json", "--quiet"]).json();
    let files: Vec<&str> = fitted["figures"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    let drawn = |name: &str| format!("F/deep/{name}");
    for name in ["a-b-c-forecast.svg", "a-b-c-residuals.svg", "a-b-c-2-forecast.svg", "a-b-c-2-residuals.svg"] {
        assert!(files.contains(&drawn(name).as_str()), "{files:?}");
        assert_well_formed(&read(&test.dir.path().join(drawn(name))));
    }
    // A machine without fonts has no pictures, and says so.
    let pictures: Vec<&&str> = files.iter().filter(|f| f.ends_with(".png")).collect();
    assert!(pictures.is_empty() || pictures.len() == 4, "{files:?}");
    pictures.iter().for_each(|f| assert!(std::fs::read(test.dir.path().join(f)).unwrap().starts_with(b"\x89PNG")));
    let mixed = test.run(["fit", "--curve", table, "--by", "model", "--figures", "G"]);
    assert!(mixed.stdout.contains("a-b-c-forecast.svg") && !mixed.stdout.contains("residuals"), "{}", mixed.stdout);
    test.file("H", "a file");
    test.run(["fit", "--curve", table, "--by", "model", "--figures", "H"])
        .fails_with(8, &["failed to write the figure H/", "cannot create H"]);
}

#[test]
fn stored_detections_score_again_to_what_is_stored() {
    let test = finished();
    let again = test.run(["evaluate", "--store", "S", "--json"]).json();
    assert_eq!(again["comparison"], serde_json::json!({ "comparable": true, "changed": 0, "largest_difference": 0.0 }));
    assert_eq!((again["rows"].as_array().unwrap().len(), again["cells"].as_array().unwrap().len()), (4, 8));
    assert!(again["cells"].as_array().unwrap().iter().all(|c| c["scores"]["average_map"] == c["stored_average_map"]));

    let stricter = test.run(["evaluate", "--store", "S", "--tiou", "0.9", "--experiment", "small", "--json"]).json();
    assert_eq!((&stricter["comparison"]["comparable"], &stricter["comparison"]["changed"]), (&false.into(), &Value::Null));
    assert!(stricter["rows"][3]["average_map"].as_f64().unwrap() < again["rows"][3]["average_map"].as_f64().unwrap());

    let text = test.run(["evaluate", "--store", "S"]).stdout;
    assert!(text.contains("prior") && text.contains("the scores equal the stored ones"), "{text}");
    let text = test.run(["evaluate", "--store", "S", "--rules", "actionformer"]).stdout;
    assert!(text.contains("no comparison"), "{text}");
    test.run(["evaluate", "--store", "S", "--subset", "test"]).fails_with(2, &["--subset"]);
    test.run(["evaluate"]).fails_with(2, &["--ground-truth", "--store"]);
}

#[test]
fn annotations_that_changed_since_are_not_scored_against() {
    let recordings = Recordings::new();
    let test = &recordings.test;
    assert_eq!(test.run(["run", crate::recordings::EXPERIMENT, "--store", "S", "--quiet"]).code, Some(0));
    // Scoring needs no features.
    std::fs::remove_dir_all(recordings.path("features")).unwrap();
    assert_eq!(test.run(["evaluate", "--store", "S", "--json"]).json()["comparison"]["changed"], 0);
    recordings.annotate("/database/v9/annotations", serde_json::json!([{ "segment": [1.0, 4.0], "label": "fly" }]));
    test.run(["evaluate", "--store", "S"]).fails_with(6, &["2 videos with 4 instances", "2 with 3", "dataset.annotations"]);
}

#[test]
fn the_resolved_plan_is_its_own_resolution() {
    let test = CliTest::new();
    test.file("small.toml", EXPERIMENT);
    let resolved = test.run(["plan", "small.toml", "--resolved"]).stdout;
    assert!(resolved.contains("attempts = 3") && resolved.contains("tiou"), "{resolved}");
    test.file("resolved.toml", &resolved);
    assert_eq!(test.run(["plan", "resolved.toml", "--resolved"]).stdout, resolved);
    let plan = |file| test.run(["plan", file, "--store", "S", "--json"]).json();
    assert_eq!(plan("small.toml"), plan("resolved.toml"));
}

#[test]
fn the_doctor_reports_machine_and_checks() {
    let test = CliTest::new();
    let report = test.run(["doctor", "--json"]).json();
    assert!(report["machine"]["usable_cores"].as_u64().unwrap() > 0, "{report}");
    let checks = report["checks"].as_array().unwrap();
    for what in ["libtorch", "ffmpeg", "gpu", "cores", "memory", "limits", "disk", "sensors"] {
        let check = checks.iter().find(|c| c["what"] == what).unwrap_or_else(|| panic!("no {what}"));
        assert!(!check["detail"].as_str().unwrap().is_empty());
    }
    let libtorch = checks.iter().find(|c| c["what"] == "libtorch").unwrap();
    assert_eq!(libtorch["verdict"], if cfg!(feature = "torch") { "good" } else { "absent" });
    let ffmpeg = checks.iter().find(|c| c["what"] == "ffmpeg").unwrap();
    assert_eq!(ffmpeg["verdict"], "good", "{ffmpeg}: `make setup` installs one");
    assert!(report["limits"]["cores"].as_f64().unwrap() > 0.0);
    let sensors = report["sensors"].as_array().unwrap();
    let named = |name: &str| sensors.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!((&named("cpu.time")["group"], &named("cpu.time")["absent"]), (&"process".into(), &Value::Null));
    for group in ["process", "cpu", "memory", "memory-bandwidth", "pressure", "network", "energy", "gpu"] {
        assert!(sensors.iter().any(|s| s["group"] == group), "{group}");
    }
}

#[test]
fn completions_name_every_verb() {
    let test = CliTest::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = test.run(["completions", shell]).stdout;
        for verb in ["plan", "run", "status", "evaluate", "fit", "report", "parity", "doctor"] {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
}

#[test]
fn results_are_plain_text_where_nobody_watches() {
    let test = finished();
    for verb in [&["status", "S"][..], &["fit", "S"], &["evaluate", "--store", "S"], &["doctor"], &["run", "S"]] {
        let ran = test.run(verb);
        assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{verb:?}");
    }
}

#[test]
fn a_report_is_rendered_again_from_the_records_beside_it_byte_for_byte() {
    let test = finished();
    test.run(["report", "S", "--out", "R", "--quiet"]);
    let records = test.dir.path().join("R/records.jsonl.zst");
    std::fs::remove_dir_all(test.dir.path().join("S")).unwrap();
    let written = test.run(["report", "R/records.jsonl.zst", "--out", "again", "--json"]).json();
    assert_eq!((&written["cells"], &written["cells_expected"]), (&8.into(), &8.into()));
    assert!(snapshot(&test.dir.path().join("R")).into_values().eq(snapshot(&test.dir.path().join("again")).into_values()));

    // What asks for curves takes the file like a store; detections are not in it.
    assert_eq!(test.run(["fit", "R/records.jsonl.zst", "--json"]).json()["curves"][0]["name"], "prior");
    test.run(["evaluate", "--store", "R/records.jsonl.zst"]).fails_with(6, &["R/records.jsonl.zst", "without their detections"]);

    let whole = std::fs::read(&records).unwrap();
    test.file("torn.jsonl.zst", &whole[..whole.len() / 2]);
    test.run(["report", "torn.jsonl.zst"]).fails_with(6, &["torn.jsonl.zst holds no records"]);
    test.file("other.jsonl.zst", zstd::encode_all(&b"{\"schema\": 1}\n"[..], 1).unwrap());
    test.run(["report", "other.jsonl.zst"]).fails_with(6, &["other.jsonl.zst holds no records", "line 1", "experiment"]);
}

#[test]
fn neither_a_resolved_experiment_nor_a_report_holds_a_path_of_this_machine() {
    let recordings = Recordings::new();
    let test = &recordings.test;
    assert_eq!(test.run(["run", crate::recordings::EXPERIMENT, "--store", "S", "--quiet"]).code, Some(0));
    test.run(["report", "S", "--out", "R", "--quiet"]);
    let here = test.dir.path().to_str().unwrap().as_bytes();
    let holds = |bytes: &[u8]| bytes.windows(here.len()).any(|window| window == here);
    let mut files = snapshot(&test.dir.path().join("R"));
    files.extend(snapshot(&test.dir.path().join("S/experiments")).into_iter().filter(|(path, _)| path.extension().unwrap() != "folder"));
    assert!(files.len() > 5);
    for (path, bytes) in files {
        let text = if path.extension().unwrap() == "zst" { zstd::decode_all(bytes.as_slice()).unwrap() } else { bytes };
        assert!(!holds(&text), "{}", path.display());
    }
    // The store knows where the paths start on this machine, wherever it is asked from.
    assert_eq!(test.run(["run", "S", "--json"]).json()["found"], 4);
}

/// Records of three real experiments: for every model, tIoU and class the measured score and the stated improvement make the forecast.
#[test]
fn what_was_measured_and_the_improvement_make_the_forecast_everywhere() {
    let test = CliTest::new();
    let mut seen = 0;
    for (name, records) in [
        ("salads50", "reports/salads50/records.jsonl.zst"),
        ("sbhar", "reports/sbhar/records.jsonl.zst"),
        ("half", "tests/fixtures/curves/half.jsonl.zst"),
    ] {
        let records = Path::new(env!("CARGO_MANIFEST_DIR")).join(records);
        let before = seen;
        assert_eq!(test.run([OsStr::new("report"), records.as_os_str(), "--out".as_ref(), name.as_ref()]).code, Some(0));
        let report: Value = serde_json::from_str(&read(&test.dir.path().join(name).join("report.json"))).unwrap();
        for model in report["models"].as_array().unwrap() {
            let last = model["fractions"].as_array().unwrap().last().unwrap();
            let mut parts = vec![(&model["outlook"], &last["average_map"]["mean"])];
            parts.extend(model["thresholds"].as_array().unwrap().iter().zip(last["map"].as_array().unwrap()).map(|(o, m)| (o, &m["mean"])));
            parts.extend(model["classes"].as_array().unwrap().iter().map(|c| (&c["outlook"], &c["average"]["mean"])));
            for (outlook, measured) in parts.into_iter().filter(|p| !p.0.is_null()) {
                let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} in {outlook}"));
                let (gain, forecast) = (&outlook["gain"], &outlook["forecast"]);
                assert!((number(&gain["today"]) - number(measured)).abs() < 1e-9, "{name}: {measured} {outlook}");
                for (improvement, foretold) in [("median", "median"), ("lower", "lower"), ("upper", "upper")] {
                    let sum = number(measured) + number(&gain[improvement]);
                    assert!((sum - number(&forecast[foretold])).abs() < 1e-9, "{name}: {measured} {outlook}");
                }
                // A forecast below today's score and a sure gain cannot stand side by side.
                assert!(number(&gain["probability"]) < 0.5 || number(&forecast["median"]) > number(measured), "{name}: {outlook}");
                seen += 1;
            }
        }
        assert!(seen > before, "{name} has no forecast");
    }
    assert!(seen > 80, "{seen}");
}
