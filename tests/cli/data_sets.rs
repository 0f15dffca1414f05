//! The project's experiments on data sets that it does not ship: what is missing is said with the page that lists them.

use std::path::Path;
use std::process::Command;

use crate::{CliTest, Ran};

const EXPERIMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");

/// Runs a verb on an experiment of the project, with `TAD_DATA` set or not.
fn ask(verb: &str, experiment: &str, data: Option<&Path>) -> Ran {
    let test = CliTest::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
    command.arg(verb).arg(Path::new(EXPERIMENTS).join(experiment)).current_dir(test.dir.path()).env_remove("TAD_DATA");
    command.envs(data.map(|folder| ("TAD_DATA", folder)));
    Ran::of(command)
}

#[test]
fn missing_data_are_answered_with_their_section_of_the_page() {
    let empty = tempfile::tempdir().unwrap();
    for verb in ["plan", "run"] {
        ask(verb, "salads50.toml", None).fails_with(6, &["`dataset.annotations`", "TAD_DATA", "## salads50", "CC BY-NC-SA"]);
        ask(verb, "sbhar.toml", Some(empty.path())).fails_with(6, &["sbhar/annotations.json does not exist", "## sbhar", "UCI HAPT"]);
    }
}

#[test]
fn annotations_alone_can_be_planned_and_what_a_run_needs_is_said() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("sbhar");
    std::fs::create_dir(&folder).unwrap();
    let video = |i: usize| {
        let subset = if i < 8 { "training" } else { "validation" };
        let instance = serde_json::json!({ "segment": [1.0, 3.0], "label": "WALKING" });
        (format!("v{i}"), serde_json::json!({ "subset": subset, "duration": 20.0, "fps": 50.0, "annotations": [instance] }))
    };
    let database: serde_json::Map<_, _> = (0..10).map(video).collect();
    let annotations = serde_json::json!({ "database": database }).to_string();
    etalon::base::fsio::replace(&folder.join("annotations.json"), annotations.as_bytes()).unwrap();
    let planned = ask("plan", "sbhar.toml", Some(data.path()));
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    for part in ["training videos", "cannot run yet", "sbhar/features does not exist", "## sbhar"] {
        assert!(planned.stdout.contains(part), "no {part:?} in {}", planned.stdout);
    }
    ask("run", "sbhar.toml", Some(data.path())).fails_with(6, &["`dataset.features.path`", "sbhar/features does not exist", "## sbhar"]);
}

#[test]
fn the_page_has_a_section_for_every_data_set_and_names_every_experiment() {
    let page = std::fs::read_to_string(Path::new(EXPERIMENTS).join("README.md")).unwrap();
    for entry in std::fs::read_dir(EXPERIMENTS).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "README.md" {
            continue;
        }
        assert!(page.contains(&format!("[{name}]({name})")), "{name} is not listed");
        let text = std::fs::read_to_string(&path).unwrap();
        for rest in text.split("${TAD_DATA}/").skip(1) {
            let data = rest.split('/').next().unwrap();
            assert!(page.contains(&format!("\n## {data}\n")), "no section on {data}, which {name} reads");
        }
        // No other folder of any machine.
        assert!(text.lines().filter(|line| !line.starts_with('#')).all(|line| !line.contains("\"/") && !line.contains("../")), "{name}");
    }
}
