//! Which processes a tree consists of, looked up at most once a second.

use std::time::{Duration, Instant};

use crate::profile::process::descendants;

const PERIOD: Duration = Duration::from_secs(1);

/// A process and what it started.
pub(super) struct Descendants {
    root: u32,
    found: Option<Instant>,
    pids: Vec<u32>,
}

impl Descendants {
    /// Of process `root`.
    pub(super) fn of(root: u32) -> Self {
        Self { root, found: None, pids: Vec::new() }
    }

    /// The processes as of now or of up to a second ago, the root first.
    pub(super) fn pids(&mut self) -> &[u32] {
        if self.found.is_none_or(|at| at.elapsed() >= PERIOD) {
            self.found = Some(Instant::now());
            self.pids = vec![self.root];
            self.pids.extend(descendants(self.root));
        }
        &self.pids
    }
}

/// Every thread of the tree.
pub(super) fn threads(root: u32) -> Vec<u32> {
    let of_process = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let number = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Descendants::of(root).pids().iter().flat_map(of_process).filter_map(number).collect()
}
