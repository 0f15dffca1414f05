//! Paths in an experiment file: `${NAME}` and `${NAME:-default}` are replaced from the environment, relative paths start
//! at the experiment file's folder. What `${TAD_DATA}` should hold is said by the project's page of data sets.

use std::path::{Component, Path, PathBuf};

/// The variable that names the folder of data sets in the project's experiments.
const DATA: &str = "${TAD_DATA}";

/// The page of data sets: a section `## NAME` for every folder below [`DATA`] that the project's experiments read.
const PAGE: &str = include_str!("../../experiments/README.md");

/// The section of [`PAGE`] on the data set that a path as written, such as `${TAD_DATA}/salads50/features`, belongs to.
pub(super) fn section(written: &Path) -> Option<String> {
    let Some(Component::Normal(name)) = written.strip_prefix(DATA).ok()?.components().next() else { return None };
    let heading = format!("## {}", name.to_str()?);
    let lines = PAGE.lines().skip_while(|line| *line != heading);
    let section: Vec<&str> = lines.enumerate().take_while(|(i, line)| *i == 0 || !line.starts_with("## ")).map(|(_, line)| line).collect();
    (!section.is_empty()).then(|| format!("From experiments/README.md:\n\n{}", section.join("\n").trim_end()))
}

/// Replaces variables in `text`; `variable` looks one up. An empty variable counts as unset, as in a shell's `:-`.
///
/// # Errors
/// What is wrong with `text`, as a phrase.
pub(super) fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        let Some(end) = after.find('}') else {
            return Err(format!("{text:?} has `${{` without `}}`"));
        };
        let (name, default) = match after[..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&after[..end], None),
        };
        let value = variable(name).filter(|value| !value.is_empty());
        let Some(value) = value.as_deref().or(default) else {
            return Err(format!("names the environment variable {name}, which is not set; set it or write ${{{name}:-some/path}}"));
        };
        out.push_str(before);
        out.push_str(value);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// `path` with variables replaced, absolute, from `folder` where it is relative.
///
/// # Errors
/// What is wrong with `path`, as a phrase.
pub(super) fn resolve(path: &Path, folder: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let path = absolute(path, folder, variable)?;
    // A path that does not exist is reported by whoever opens it, under this spelling.
    Ok(path.canonicalize().unwrap_or(path))
}

/// As [`resolve`], but links stay: an interpreter knows its environment by the link that it was started through.
///
/// # Errors
/// What is wrong with `path`, as a phrase.
pub(super) fn absolute(path: &Path, folder: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<PathBuf, String> {
    let path = folder.join(expand(path.to_str().ok_or("the path is not UTF-8")?, variable)?);
    std::path::absolute(&path).map_err(|e| format!("{} has no absolute form: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "HOME_OF_DATA" => Some("/data".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_and_their_defaults_are_replaced() {
        assert_eq!(expand("${HOME_OF_DATA}/x", variable).unwrap(), "/data/x");
        assert_eq!(expand("a/${NO:-../b}/${HOME_OF_DATA:-c}", variable).unwrap(), "a/../b//data");
        assert_eq!(expand("${EMPTY:-d}", variable).unwrap(), "d");
        assert_eq!(expand("plain $x", variable).unwrap(), "plain $x");
    }

    #[test]
    fn an_unset_variable_and_an_open_brace_are_named() {
        assert!(expand("${NO}/x", variable).unwrap_err().contains("NO, which is not set"));
        assert!(expand("${NO", variable).unwrap_err().contains("without `}`"));
    }

    #[test]
    fn an_interpreter_keeps_the_link_it_is_started_through() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("python");
        std::os::unix::fs::symlink("/bin/sh", &link).unwrap();
        assert_eq!(absolute(Path::new("python"), folder.path(), variable).unwrap(), link);
        assert_ne!(resolve(Path::new("python"), folder.path(), variable).unwrap(), link);
    }

    #[test]
    fn relative_paths_start_at_the_folder_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let resolved = resolve(Path::new("none/../x.json"), folder.path(), variable).unwrap();
        assert!(resolved.is_absolute() && resolved.starts_with(folder.path()), "{resolved:?}");
        assert_eq!(resolve(Path::new("/x.json"), folder.path(), variable).unwrap(), Path::new("/x.json"));
    }
}
