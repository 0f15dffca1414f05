//! The only door to writing files. Two primitives: [`publish_new`] makes an immutable file appear whole or not at all
//! and only once; [`replace`] swaps a derived file. Readers never see a torn file from either.

#![expect(clippy::disallowed_methods, reason = "this is the door the lint points to")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Result of a file operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A file operation that failed, with the path and what was attempted.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}{}", path.display(), advice(source))]
pub struct Error {
    /// What was attempted: "read", "write", "create".
    pub operation: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": the disk is full; free space and run the same command again, finished work is kept"
        }
        io::ErrorKind::FileTooLarge => {
            ": it would exceed the limit on the size of a file; raise it (`ulimit -f`) and run the same command again"
        }
        io::ErrorKind::PermissionDenied => ": no permission; check the owner of the folder",
        _ => "",
    }
}

impl Error {
    /// For `map_err`: attaches the operation and the path.
    pub fn wrap<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self { operation, path: path.to_owned(), source }
    }
}

/// Whether [`publish_new`] created the file or found one already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Published {
    /// This call created the file.
    New,
    /// Somebody else's file was there first and stays as it is.
    AlreadyThere,
}

/// Creates `path` with `bytes`, durably and atomically, unless it exists.
///
/// Writes a temporary file in the same folder, syncs it, then hard-links it to `path`. A lost reply of a network file
/// server is told from a refusal by the temporary file's link count.
///
/// # Errors
/// Any I/O failure; `path` is then either absent or complete.
pub fn publish_new(path: &Path, bytes: &[u8]) -> Result<Published> {
    let folder = parent(path);
    create_dir(folder)?;
    let temporary = folder.join(format!(".{}.{}.tmp", file_name(path), uuid::Uuid::new_v4().simple()));
    let written = write_synced(&temporary, bytes).map_err(named(path));
    let linked = written.and_then(|()| match fs::hard_link(&temporary, path) {
        Ok(()) => Ok(Published::New),
        Err(_) if fs::metadata(&temporary).is_ok_and(|m| m.nlink() == 2) => Ok(Published::New),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Published::AlreadyThere),
        Err(e) => Err(Error::wrap("create", path)(e)),
    });
    // The temporary name is never read; a leftover after a crash is harmless.
    let _ = fs::remove_file(&temporary);
    sync_folder(folder);
    linked
}

/// Writes `bytes` to `path` through a temporary file and a rename. For derived files only.
///
/// # Errors
/// Any I/O failure; the old content is then still there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = parent(path);
    create_dir(folder)?;
    let temporary = folder.join(format!(".{}.{}.tmp", file_name(path), uuid::Uuid::new_v4().simple()));
    write_synced(&temporary, bytes).inspect_err(|_| drop(fs::remove_file(&temporary))).map_err(named(path))?;
    fs::rename(&temporary, path).map_err(Error::wrap("replace", path))?;
    sync_folder(folder);
    Ok(())
}

/// Moves a finished temporary file (written by a library that wants a path) over `path`.
///
/// # Errors
/// Any I/O failure; the old content is then still there.
fn replace_with_file(path: &Path, finished: &Path) -> Result<()> {
    File::open(finished).and_then(|f| f.sync_all()).map_err(Error::wrap("sync", finished))?;
    fs::rename(finished, path).map_err(Error::wrap("replace", path))?;
    sync_folder(parent(path));
    Ok(())
}

/// Creates a folder and its parents.
///
/// # Errors
/// The folder cannot be created.
pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::wrap("create", path))
}

/// Creates a file that grows while it is written (a trace), or empties it.
///
/// # Errors
/// The file cannot be created.
pub fn create_file(path: &Path) -> Result<File> {
    create_dir(parent(path))?;
    File::create(path).map_err(Error::wrap("create", path))
}

/// A file that grows under a temporary name until it is published: readers of its path see all of it or nothing. Dropped
/// before, it leaves nothing behind; killed, it leaves a temporary file (see [`is_temporary`]). For derived files only.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Unfinished {
    /// Begins what will be `path`.
    ///
    /// # Errors
    /// The temporary file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = parent(path);
        create_dir(folder)?;
        let temporary = folder.join(format!(".{}.{}.tmp", file_name(path), uuid::Uuid::new_v4().simple()));
        let opened = OpenOptions::new().create_new(true).read(true).write(true).open(&temporary);
        let file = opened.map_err(Error::wrap("create", path))?;
        Ok(Self { file, temporary, path: path.to_owned() })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::wrap("write", &self.path))
    }

    /// Moves the file to its path, over what is there. The handle returned can read it, also once somebody removes it.
    ///
    /// # Errors
    /// It cannot be synced or moved.
    pub fn publish(self) -> Result<File> {
        let file = self.file.try_clone().map_err(Error::wrap("open", &self.path))?;
        replace_with_file(&self.path, &self.temporary).map_err(named(&self.path))?;
        Ok(file)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After publishing, nothing has that name any more.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Whether a file of this name is one that somebody is writing, or was writing when killed.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// Removes a file; one that is already gone is no error.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::wrap("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Opens a file for appending whole lines; creates it.
///
/// # Errors
/// The file cannot be opened.
pub fn open_append(path: &Path) -> Result<File> {
    create_dir(parent(path))?;
    OpenOptions::new().create(true).append(true).open(path).map_err(Error::wrap("open", path))
}

/// Copies one file.
///
/// # Errors
/// Either side fails.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    create_dir(parent(to))?;
    fs::copy(from, to).map(drop).map_err(Error::wrap("copy", from))
}

/// Makes `link` a symbolic link to a file.
///
/// # Errors
/// The link cannot be made.
pub fn link(file: &Path, link: &Path) -> Result<()> {
    let make = || std::os::unix::fs::symlink(file, link);
    match make() {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            remove(link)?;
            make().map_err(Error::wrap("link", link))
        }
        made => made.map_err(Error::wrap("link", link)),
    }
}

/// Removes a folder with all that is in it; one that is not there is no error.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::wrap("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Copies a folder with all that is in it; `to` appears whole or not at all, and an existing `to` stays as it is.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    let temporary = parent(to).join(format!(".{}.{}.tmp", file_name(to), uuid::Uuid::new_v4().simple()));
    create_dir(&temporary)?;
    for name in list(from)? {
        let (from, to) = (from.join(&name), temporary.join(&name));
        if from.is_dir() { copy_folder(&from, &to)? } else { copy(&from, &to)? }
    }
    replace_with_file(to, &temporary)
}

/// Creates an empty file, or sets the modification time of an existing one, by the clock of the file server.
///
/// # Errors
/// The file cannot be opened or its time not set.
pub fn touch(path: &Path) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::wrap("open", path))?;
    // SAFETY: the descriptor is open for the whole call, and a null pointer means "now" to futimens.
    match unsafe { libc::futimens(std::os::fd::AsRawFd::as_raw_fd(&file), std::ptr::null()) } {
        0 => Ok(()),
        _ => Err(Error::wrap("touch", path)(io::Error::last_os_error())),
    }
}

/// Reads a whole file.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::wrap("read", path))
}

/// Reads a whole text file.
///
/// # Errors
/// The file cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::wrap("read", path))
}

/// Names inside a folder in ascending order; empty when the folder does not exist.
///
/// # Errors
/// The folder exists but cannot be listed.
pub fn list(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::wrap("list", path)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(Error::wrap("list", path))?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// For `map_err`: the user knows `path`, not the temporary file on the way to it.
fn named(path: &Path) -> impl FnOnce(Error) -> Error + '_ {
    move |error| Error { path: path.to_owned(), ..error }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::wrap("create", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::wrap("write", path))
}

/// Makes the new name durable. Some file systems refuse to sync a folder; the data itself is already synced.
fn sync_folder(folder: &Path) {
    if let Ok(handle) = File::open(folder) {
        let _ = handle.sync_all();
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_twice_keeps_the_first_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/record.json");
        assert_eq!(publish_new(&path, b"one").unwrap(), Published::New);
        assert_eq!(publish_new(&path, b"two").unwrap(), Published::AlreadyThere);
        assert_eq!(read(&path).unwrap(), b"one");
        assert_eq!(list(path.parent().unwrap()).unwrap(), ["record.json"]);
    }

    #[test]
    fn replacing_leaves_no_tail_of_a_longer_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        replace(&path, b"a longer text").unwrap();
        replace(&path, b"short").unwrap();
        assert_eq!(read(&path).unwrap(), b"short");
    }

    #[test]
    fn an_unfinished_file_appears_when_published_and_leaves_nothing_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/frames");
        let mut dropped = Unfinished::create(&path).unwrap();
        dropped.append(b"half").unwrap();
        let names = list(path.parent().unwrap()).unwrap();
        assert!(matches!(&names[..], [name] if is_temporary(name)), "{names:?}");
        drop(dropped);
        assert!(list(path.parent().unwrap()).unwrap().is_empty());
        let mut whole = Unfinished::create(&path).unwrap();
        whole.append(b"who").unwrap();
        whole.append(b"le").unwrap();
        let file = whole.publish().unwrap();
        assert_eq!(list(path.parent().unwrap()).unwrap(), ["frames"]);
        remove(&path).unwrap();
        remove(&path).unwrap();
        let mut held = [0; 5];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut held, 0).unwrap();
        assert_eq!(&held, b"whole");
    }

    #[test]
    fn a_full_disk_is_named_with_what_to_do() {
        let error = write_synced(Path::new("/dev/full"), b"x").unwrap_err().to_string();
        assert!(error.starts_with("cannot write /dev/full: the disk is full; free space"), "{error}");
    }

    #[test]
    fn errors_name_the_file() {
        let error = read(Path::new("/no/such/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /no/such/file");
    }
}
