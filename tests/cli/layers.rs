//! Who may import whom, which module may name which heavy crate, and how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each module and the modules it may import. `cli`, `lib.rs`, `main.rs` and `bin/` may import everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("data", &["base"]),
    ("eval", &["base", "data"]),
    ("protocol", &["base", "data"]),
    ("stats", &["base"]),
    ("event", &["base"]),
    ("profile", &["base", "event"]),
    ("compare", &["base", "stats", "profile"]),
    ("curves", &["base", "stats"]),
    ("config", &["base", "data", "protocol", "eval", "profile"]),
    ("nn", &["base", "data", "config", "event", "eval", "profile"]),
    ("detectors", &["base", "data", "protocol", "config", "event", "eval", "nn", "profile"]),
    ("store", &["base", "protocol", "eval", "profile", "event"]),
    ("run", &["base", "data", "protocol", "config", "event", "eval", "profile", "detectors", "store"]),
    ("report", &["base", "stats", "curves", "eval", "profile", "protocol", "store"]),
];

/// Each heavy crate and the paths (by prefix, inside `src/`) that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("tch", &["nn/", "detectors/native.rs"]),
    ("polars", &["store/table.rs"]),
    ("plotters", &["report/figures/", "report/figures.rs"]),
    ("resvg", &["report/figures/png.rs"]),
    ("argmin", &["curves/fit.rs"]),
    ("nvml_wrapper", &["profile/sensors/gpu/"]),
    ("perf_event", &["profile/sensors/perf.rs"]),
    ("sysinfo", &["profile/"]),
    ("clap", &["cli/"]),
    ("quick_junit", &["compare/render/junit.rs"]),
    ("rand", &["base/seed.rs"]),
    ("ffmpeg_sidecar", &["data/video/"]),
];

const LONGEST_FILE: usize = 700;

/// A source file: its path inside `src/` and its code without comments.
struct Source {
    path: String,
    lines: usize,
    code: String,
}

impl Source {
    /// The top-level module the file belongs to.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().expect("split yields a part")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("src is readable") {
            let path: PathBuf = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                let code = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
                let path = path.strip_prefix(&root).expect("found below src").to_string_lossy().into_owned();
                found.push(Source { path, lines: text.lines().count(), code });
            }
        }
    }
    found
}

/// Modules named by `crate::NAME`, also in `crate::{A, B::{…}}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, marker) in code.match_indices("crate::") {
        if at > 0 && is_word(code.as_bytes()[at - 1]) {
            continue;
        }
        let rest = &code[at + marker.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(first_names(group)),
            None => names.extend(leading_name(rest)),
        }
    }
    names
}

/// The first path segment of each entry of a braced import.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut at_entry, mut names) = (0, true, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_entry = true,
            _ if at_entry && !character.is_whitespace() => {
                names.extend(leading_name(&group[at..]));
                at_entry = false;
            }
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether code names a crate: `NAME::`, `use NAME;`, `use NAME as`, or an attribute such as `#[NAME(`.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, next) = (&code[..at], &code[at + name.len()..]);
        let is_path = next.starts_with("::") && !before.ends_with("::") && !before.bytes().last().is_some_and(is_word);
        let is_use = before.ends_with("use ") && (next.starts_with(';') || next.starts_with(" as "));
        let is_attribute = before.ends_with("#[") && next.starts_with('(');
        is_path || is_use || is_attribute
    })
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let free = ["cli", "guide", "lib", "main", "bin"];
    let mut offences = Vec::new();
    for source in sources() {
        let module = source.module().to_owned();
        if free.contains(&module.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            offences.push(format!("{}: module {module} is missing in the table of layers", source.path));
            continue;
        };
        for import in imports(&source.code) {
            if import != module && !allowed.contains(&import.as_str()) {
                offences.push(format!("{} imports {import}", source.path));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn heavy_crates_are_named_behind_their_door_only() {
    let mut offences = Vec::new();
    for source in sources() {
        for (name, doors) in DOORS {
            if names_crate(&source.code, name) && !doors.iter().any(|door| source.path.starts_with(door)) {
                offences.push(format!("{} names {name}", source.path));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources().iter().filter(|s| s.lines > LONGEST_FILE).map(|s| format!("{}: {} lines", s.path, s.lines)).collect();
    assert!(long.is_empty(), "split what has over {LONGEST_FILE} lines:\n{}", long.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in sources() {
        let text = std::fs::read_to_string(root.join(&source.path)).expect("source is UTF-8");
        assert!(text.starts_with("//! "), "{} lacks a //! heading", source.path);
    }
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let code = "use crate::data::{Segment, Video};\nuse crate::{base::{a, b}, eval};\nlet x = crate::run::y;\nmycrate::nn::z";
    assert_eq!(imports(code).into_iter().collect::<Vec<_>>(), ["base", "data", "eval", "run"]);
    assert!(names_crate("let a = rand::random();", "rand"));
    assert!(names_crate("use clap;", "clap"));
    assert!(names_crate("#[clap(name)]", "clap"));
    assert!(!names_crate("operand::x; self::rand::y; let rand = 1;", "rand"));
}

/// Every file of Rust in these folders of the repository, with its text.
fn rust_files(folders: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).expect("the repository is readable") {
            let path = entry.expect("the repository is readable").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                found.push((path.strip_prefix(root).expect("found below it").to_string_lossy().into_owned(), text));
            }
        }
    }
    found
}

#[test]
fn what_is_not_run_belongs_to_a_tier_and_only_that_reads_recordings() {
    const TIERS: [&str; 2] =
        ["#[ignore = \"second tier: needs ETALON_SHARED (make test-recordings)\"]", "#[ignore = \"long tier: minutes (make test-long)\"]"];
    let ignored = concat!("#[", "ignore");
    let variable = concat!("\"ETALON_", "SHARED\"");
    let mut readers = BTreeSet::new();
    for (path, text) in rust_files(&["src", "tests/cli"]) {
        for line in text.lines().map(str::trim).filter(|line| line.starts_with(ignored)) {
            assert!(TIERS.contains(&line), "{path}: {line}");
        }
        if text.contains(variable) {
            readers.insert(path);
        }
    }
    assert_eq!(readers.into_iter().collect::<Vec<_>>(), ["src/data/mod.rs", "tests/cli/main.rs"]);
}

#[test]
fn nothing_points_outside_the_repository() {
    let beside = concat!("../", "shared");
    for (path, text) in rust_files(&["src", "tests/cli", "benches"]) {
        assert!(!text.contains(beside), "{path}");
    }
    for file in ["Makefile", "README.md", "experiments/README.md", "CONTRIBUTING.md"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("the repository is readable");
        assert!(!text.contains(beside), "{file}");
    }
}
