//! Small files of `/proc` and `/sys`: kept open and read again from the start, or read once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Enough for `/proc/stat` of 64 cores and for everything else here.
const ROOM: usize = 8192;

/// A file that stays open.
pub(super) struct Held {
    file: File,
    buffer: Vec<u8>,
}

impl Held {
    /// Opens it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, buffer: vec![0; ROOM] })
    }

    /// Its first [`ROOM`] bytes as they are now; `None` when it cannot be read (any more).
    pub(super) fn text(&mut self) -> Option<&str> {
        let length = self.file.read_at(&mut self.buffer, 0).ok()?;
        let text = &self.buffer[..length];
        match std::str::from_utf8(text) {
            Ok(text) => Some(text),
            // Cut within a character.
            Err(e) => std::str::from_utf8(&text[..e.valid_up_to()]).ok(),
        }
    }

    /// The number it consists of.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.text()?.trim().parse().ok()
    }
}

/// The whole file without blanks around it, read once.
pub(super) fn line(path: &Path) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The names in a folder in the order of their numbers: `card2` before `card10`.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_by_cached_key(|name| (name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned(), name.len(), name.clone()));
    names
}

/// The numbers of a list as the kernel writes them: `0-3,8`.
pub(in crate::profile) fn list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

/// A counter that starts again from zero at some value, made one that only grows.
#[derive(Debug, Default)]
pub(super) struct Growing {
    last: Option<u64>,
    sum: f64,
}

impl Growing {
    /// The growth since the first reading. `range` is what one turn counts.
    pub(super) fn add(&mut self, now: u64, range: u64) -> f64 {
        if let Some(last) = self.last {
            let grown = if now >= last { now - last } else { now.saturating_add(range.saturating_sub(last)) };
            self.sum += grown as f64;
        }
        self.last = Some(now);
        self.sum
    }
}

/// Writes the files of a tree of `/proc` or `/sys` for a test.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test input, not a result that must survive")]
pub(in crate::profile) fn plant(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// The values of one reading of a sensor.
#[cfg(test)]
pub(super) fn values(sensor: &mut dyn crate::profile::Sensor) -> Vec<Result<f64, crate::profile::Absent>> {
    let mut reading = crate::profile::Reading::default();
    sensor.read(&mut reading);
    assert_eq!(reading.values.len(), sensor.channels().len());
    reading.values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_kernel_are_numbers() {
        assert_eq!(list("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(list(""), Some(vec![]));
        assert_eq!(list("0-x"), None);
    }

    #[test]
    fn a_counter_that_turned_over_goes_on() {
        let mut counter = Growing::default();
        assert_eq!([90, 95, 3].map(|now| counter.add(now, 100)), [0.0, 5.0, 13.0]);
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), &[("card10/x", ""), ("card2/x", ""), ("bus/x", "")]);
        assert_eq!(names(dir.path()), ["bus", "card2", "card10"]);
    }
}
