//! JSON lines with one writer: what happened in an attempt, with seconds since its start. The first line names the format;
//! the reader stops at a torn last line and says so.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::base::fsio;
use crate::event::Event;

/// First line of a journal.
const HEADER: &str = "{\"schema\":1}";

/// One event and when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since the attempt began.
    pub at_s: f64,
    /// What happened.
    pub event: Event,
}

/// The writing end.
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Starts a journal.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let mut journal = Self { path: path.to_owned(), file: fsio::open_append(path)? };
        journal.line(HEADER.to_owned())?;
        Ok(journal)
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, entry: &Entry) -> Result<()> {
        self.line(serde_json::to_string(entry).expect("an event is plain data"))
    }

    /// One write per line, so that only a crash of the machine can tear it.
    fn line(&mut self, mut text: String) -> Result<()> {
        text.push('\n');
        Ok(self.file.write_all(text.as_bytes()).map_err(fsio::Error::wrap("write", &self.path))?)
    }
}

/// What a journal holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// In order of writing.
    pub entries: Vec<Entry>,
    /// The last line was cut off (a crash while it was written) and is left out.
    pub torn: bool,
}

/// Reads a journal.
///
/// # Errors
/// It cannot be read, has another format, or a line other than a torn last one is no entry.
pub fn read(path: &Path) -> Result<Contents> {
    let text = String::from_utf8_lossy(&fsio::read(path)?).into_owned();
    let (whole, rest) = text.rsplit_once('\n').unwrap_or(("", &text));
    let mut lines = whole.lines();
    match lines.next() {
        Some(HEADER) => {}
        // Torn in its first line: nothing was recorded yet.
        None if HEADER.starts_with(rest) => {
            return Ok(Contents { entries: Vec::new(), torn: !rest.is_empty() });
        }
        _ => return Err(Error::damaged(path)(format!("its first line is not {HEADER}"))),
    }
    let parse = |(i, line): (usize, &str)| serde_json::from_str(line).map_err(|e| Error::damaged(path)(format!("line {}: {e}", i + 2)));
    Ok(Contents { entries: lines.enumerate().map(parse).collect::<Result<_>>()?, torn: !rest.is_empty() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Phase;

    #[test]
    fn a_journal_cut_at_any_byte_yields_its_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        let entries = [
            Entry { at_s: 0.1, event: Event::Phase { phase: Phase::Load } },
            Entry { at_s: 0.2, event: Event::Note { text: "padded to 1024 — fine".into() } },
        ];
        for entry in &entries {
            journal.append(entry).unwrap();
        }
        assert_eq!(read(&path).unwrap(), Contents { entries: entries.to_vec(), torn: false });

        let bytes = fsio::read(&path).unwrap();
        for length in 0..bytes.len() {
            fsio::replace(&path, &bytes[..length]).unwrap();
            let contents = read(&path).unwrap();
            let newlines = bytes[..length].iter().filter(|b| **b == b'\n').count();
            assert_eq!(contents.entries, entries[..newlines.saturating_sub(1)]);
            assert_eq!(contents.torn, length > 0 && bytes[length - 1] != b'\n');
        }
    }

    #[test]
    fn a_bad_line_before_the_end_is_damage_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        fsio::replace(&path, b"{\"schema\":1}\nnonsense\n{}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 2"));
        fsio::replace(&path, b"{\"schema\":9}\n").unwrap();
        assert!(read(&path).is_err());
    }
}
