//! Every command in the README and the guide, run page by page in a folder where the files they speak of exist.
//!
//! A fence's first word is its language; words after it say how it is run:
//! - a `toml` block with a file name is written under that name
//! - `sh`: run, and must succeed; a `text` block right after it is what it prints on standard output, but for what a line `…`
//!   leaves out
//! - `sh long`: takes minutes; `make test-long`
//! - `sh recordings`: wants `TAD_DATA`; the second tier checks it as a dry run
//! - `sh make`: the targets that CI itself runs

use std::path::Path;
use std::process::Command;

use crate::recordings::npy;
use crate::{CliTest, Ran, recordings_folder};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A fenced block.
struct Block {
    words: Vec<String>,
    line: usize,
    text: String,
}

impl Block {
    fn is(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }
}

/// The pages by their path in the repository.
fn pages() -> Vec<String> {
    let guide = Path::new(ROOT).join("src/guide");
    let names = std::fs::read_dir(guide).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> = names.filter(|name| name.ends_with(".md")).map(|name| format!("src/guide/{name}")).collect();
    pages.sort();
    pages.insert(0, "README.md".into());
    pages
}

fn blocks(page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(words) if !open => {
                blocks.push(Block { words: words.split_whitespace().map(str::to_owned).collect(), line: index + 1, text: String::new() });
                open = true;
            }
            Some(_) => open = false,
            None if open => blocks.last_mut().unwrap().text.extend([line, "\n"]),
            None => {}
        }
    }
    assert!(!open, "{page}: a fence is not closed");
    blocks
}

/// The folder that the pages speak of: own data as in `my-recordings.toml`, the repository's experiments, reports and fixtures,
/// a program to profile, and two to compare.
fn workspace() -> CliTest {
    let test = CliTest::new();
    for name in ["experiments", "reports", "tests"] {
        std::os::unix::fs::symlink(Path::new(ROOT).join(name), test.dir.path().join(name)).unwrap();
    }
    let video = |i: usize| {
        let label = ["cut", "mix"][i % 2];
        let instances = [2.0, 30.0].map(|start| serde_json::json!({ "segment": [start, start + 9.0], "label": label }));
        let subset = if i < 15 { "training" } else { "validation" };
        (format!("v{i}"), serde_json::json!({ "subset": subset, "duration": 60.0, "annotations": instances }))
    };
    let database: serde_json::Map<_, _> = (0..20).map(video).collect();
    test.file("annotations.json", serde_json::json!({ "database": database }).to_string());
    for i in 0..20 {
        let values: Vec<f32> = (0..60 * 64).map(|at| ((at * (i + 3)) % 17) as f32).collect();
        test.file(&format!("features/v{i}.npy"), npy([60, 64], &values));
    }
    let found = serde_json::json!([{ "label": "cut", "score": 0.5, "segment": [2.0, 11.0] }]);
    let results: serde_json::Map<_, _> = (15..20).map(|i| (format!("v{i}"), found.clone())).collect();
    test.file("detections.json", serde_json::json!({ "results": results }).to_string());
    test.file("train.py", "print(sum(range(1000000)))\n");
    for name in ["old", "new"] {
        let path = test.file(name, "#!/bin/sh\nexec seq 1 200000 > /dev/null\n");
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    test
}

/// The experiment of a page with fewer and shorter trainings: what is proven is that the commands work.
fn shortened(text: &str) -> String {
    text.replace("preset = \"laptop\"", "preset = \"laptop\", steps = 2, window = 64, stride = 32, max_duration = 32")
        .replace("[10, 20, 30, 40, 50, 60, 70, 80, 90, 100]", "[20, 50, 100]")
        .replace("[0, 1, 2, 3, 4]", "[0, 1]")
}

fn shell(test: &CliTest, line: &str) -> Ran {
    let mut command = Command::new("sh");
    let programs = Path::new(env!("CARGO_BIN_EXE_etalon")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    command.args(["-euc", line]).env("PATH", path).current_dir(test.dir.path());
    Ran::of(command)
}

/// Words of a printed text, so that columns may be aligned otherwise on the page.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Runs the blocks of `page` that `wanted` names, in order, as `rewrite` changes their lines. Returns how many commands ran.
fn run(page: &str, wanted: impl Fn(&Block) -> bool, rewrite: impl Fn(&str) -> String) -> usize {
    let (test, blocks) = (workspace(), blocks(page));
    let mut ran = 0;
    for (at, block) in blocks.iter().enumerate() {
        if let [language, name] = block.words.as_slice()
            && language == "toml"
        {
            test.file(name, shortened(&block.text));
        }
        if !block.is("sh") || !wanted(block) {
            continue;
        }
        let commands = block.text.replace("\\\n", " ");
        let mut printed = String::new();
        for line in commands.lines().filter(|line| !line.trim().is_empty()) {
            let line = rewrite(line);
            let Ran { code, stdout, stderr } = shell(&test, &line);
            assert_eq!(code, Some(0), "{page}:{}: {line}\n{stdout}\n{stderr}", block.line);
            printed.push_str(&stdout);
            ran += 1;
        }
        if let Some(shown) = blocks.get(at + 1).filter(|next| next.is("text")) {
            let mut rest = words(&printed);
            for part in shown.text.split("…\n").map(words).filter(|part| !part.is_empty()) {
                let at = rest.windows(part.len()).position(|window| window == part);
                let at = at.unwrap_or_else(|| panic!("{page}:{}: the page shows other output than\n{printed}", shown.line));
                rest.drain(..at + part.len());
            }
        }
    }
    ran
}

fn is_short(block: &Block) -> bool {
    !["long", "recordings", "make"].iter().any(|word| block.is(word))
}

#[test]
fn every_command_of_the_readme_and_the_guide_works() {
    let ran: usize = pages().iter().map(|page| run(page, is_short, str::to_owned)).sum();
    assert!(ran >= 15, "{ran} commands");
}

#[test]
#[ignore = "long tier: minutes (make test-long)"]
fn every_long_command_of_the_guide_works() {
    let ran: usize = pages().iter().map(|page| run(page, |block| block.is("long"), str::to_owned)).sum();
    assert!(ran >= 2, "{ran} commands");
}

#[test]
#[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
fn every_command_on_recordings_finds_its_data() {
    let data = recordings_folder().join("data");
    let dry = |line: &str| {
        let run = line.split('#').next().unwrap().trim();
        format!("export TAD_DATA='{}'; {run}{}", data.display(), if run.starts_with("etalon run") { " --dry-run" } else { "" })
    };
    let ran: usize = pages().iter().map(|page| run(page, |block| block.is("recordings"), dry)).sum();
    assert!(ran >= 4, "{ran} commands");
}

#[test]
fn a_block_of_commands_says_how_it_is_run() {
    for page in pages() {
        for block in blocks(&page) {
            let known = ["sh", "long", "recordings", "make"];
            assert!(!block.is("sh") || block.words.iter().all(|word| known.contains(&word.as_str())), "{page}:{}", block.line);
        }
    }
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    assert!(readme.lines().count() <= 160 && readme.contains("make demo") && readme.contains("make test"));
}
