//! A small data set of real files: annotations and one `.npy` per video.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::CliTest;

/// Values per snippet; one snippet per second.
pub const CHANNELS: usize = 4;

/// Seconds of every video.
pub const DURATION: usize = 20;

/// Name of the experiment file.
pub const EXPERIMENT: &str = "recordings.toml";

/// Ten videos, `v0` to `v9`, two of them for testing.
pub struct Recordings {
    pub test: CliTest,
}

impl Recordings {
    pub fn new() -> Self {
        let recordings = Self { test: CliTest::new() };
        std::fs::create_dir(recordings.path("features")).expect("the temporary folder is writable");
        recordings.restore();
        recordings
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.test.dir.path().join(name)
    }

    /// Writes every file as it should be.
    pub fn restore(&self) {
        self.test.file("annotations.json", annotations().to_string());
        self.test.file(EXPERIMENT, experiment());
        for video in 0..10 {
            self.write(&format!("features/v{video}.npy"), &npy([DURATION, CHANNELS], &[0.5; DURATION * CHANNELS]));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "test input, not a result that must survive")]
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("the temporary folder is writable");
    }

    /// Writes the annotations with one value changed, named by its JSON pointer.
    pub fn annotate(&self, pointer: &str, value: serde_json::Value) {
        let mut annotations = annotations();
        *annotations.pointer_mut(pointer).expect("the annotations have that place") = value;
        self.test.file("annotations.json", annotations.to_string());
    }

    /// Writes the experiment with one text replaced.
    pub fn configure(&self, from: &str, to: &str) {
        let text = experiment();
        assert!(text.contains(from), "{from}");
        self.test.file(EXPERIMENT, text.replace(from, to));
    }
}

fn annotations() -> serde_json::Value {
    let video = |i: usize| {
        let label = ["jump", "fly"][i % 2];
        let instances = [2.0, 9.0].map(|start| json!({ "segment": [start, start + 3.0 + 0.1 * i as f64], "label": label }));
        let subset = if i < 8 { "training" } else { "validation" };
        (format!("v{i}"), json!({ "subset": subset, "duration": DURATION, "annotations": instances }))
    };
    json!({ "classes": ["fly", "jump"], "database": (0..10).map(video).collect::<serde_json::Map<_, _>>() })
}

fn experiment() -> String {
    format!(
        r#"
schema = 1
name = "recordings"

[dataset]
format = "activitynet"
annotations = "annotations.json"
features = {{ path = "features", kind = "npy", rate = 1.0, dim = {CHANNELS} }}

[protocol]
pool = ["training", "validation"]
split = "official"
fractions = [50, 100]
seeds = [0, 1]

[model.prior]
arch.prior = {{}}
"#
    )
}

/// A `.npy` file of 32-bit floats.
pub fn npy([rows, columns]: [usize; 2], values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    header.push_str(&" ".repeat(117 - header.len()));
    header.push('\n');
    let data = values.iter().flat_map(|v| v.to_le_bytes());
    b"\x93NUMPY\x01\x00\x76\x00".iter().copied().chain(header.into_bytes()).chain(data).collect()
}

/// Every file below `folder` with its content.
pub fn snapshot(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the store is readable") {
            let path = entry.expect("the store is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = std::fs::read(&path).expect("the store is readable");
                files.insert(path, content);
            }
        }
    }
    files
}
