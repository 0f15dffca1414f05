//! Where the relative paths of an experiment file start: at its own folder, or, for a resolved copy elsewhere, at the folder of
//! the file it was made from, which a note beside the copy names. So the copy itself holds no path of one machine.

use std::path::{Path, PathBuf};

use super::fsio::{self, Result};

/// Where relative paths in an experiment file start.
///
/// # Errors
/// There is a note beside the file, and it cannot be read.
pub fn folder_of(file: &Path) -> Result<PathBuf> {
    let note = note_of(file);
    if note.exists() {
        return Ok(PathBuf::from(fsio::read_text(&note)?));
    }
    Ok(file.parent().unwrap_or(Path::new("")).to_owned())
}

/// Notes beside `copy` that its relative paths start at `folder`.
///
/// # Errors
/// The disk refuses, or the folder of a relative `folder` is gone.
pub fn note(copy: &Path, folder: &Path) -> Result<()> {
    // An empty path is the working directory.
    let folder = std::path::absolute(Path::new(".").join(folder)).map_err(fsio::Error::wrap("find", folder))?;
    fsio::replace(&note_of(copy), folder.as_os_str().as_encoded_bytes())
}

fn note_of(file: &Path) -> PathBuf {
    file.with_extension("folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_with_a_note_starts_where_its_original_does() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("feed.toml");
        assert_eq!(folder_of(&copy).unwrap(), folder.path());
        note(&copy, Path::new("/data/experiments")).unwrap();
        assert_eq!(folder_of(&copy).unwrap(), Path::new("/data/experiments"));
        note(&copy, Path::new("")).unwrap();
        assert_eq!(folder_of(&copy).unwrap(), std::env::current_dir().unwrap());
    }
}
