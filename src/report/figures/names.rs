//! Names that users give, made fit for files and identifiers.

use std::collections::BTreeSet;

/// Longest name in characters: with a suffix it must fit into what a file system takes.
const LONGEST: usize = 50;

/// A name for each of `names` that every file system takes and that no other of them has: letters, digits, `_` and `.`,
/// anything else a hyphen.
pub fn of_files<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let unused = |name: &str| {
        let plain = plain(name);
        let numbered = (2..).map(|i| format!("{plain}-{i}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| taken.insert(name.to_lowercase()));
        free.expect("numbers do not end")
    };
    names.map(unused).collect()
}

fn plain(name: &str) -> String {
    let kept: String = name.chars().map(|c| if c.is_alphanumeric() || c == '_' || c == '.' { c } else { '-' }).collect();
    let parts: Vec<&str> = kept.split('-').filter(|part| !part.is_empty()).collect();
    let joined: String = parts.join("-").trim_matches(['.', '-']).chars().take(LONGEST).collect();
    if joined.is_empty() { "curve".to_owned() } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_distinct_files_in_one_folder() {
        let names = ["actionformer|thumos14|mAP@0.50", "a b", "a/b", "../..", "", "A-B", "é"];
        let files = of_files(names.into_iter());
        assert_eq!(files, ["actionformer-thumos14-mAP-0.50", "a-b", "a-b-2", "curve", "curve-2", "A-B-3", "é"]);
        let long = "x".repeat(400);
        assert_eq!(of_files([long.as_str()].into_iter())[0].len(), LONGEST);
    }
}
