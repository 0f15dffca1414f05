//! What a program may use of the machine: a container's share rather than the host's cores and memory.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::sensors::cpu_list;

/// Upper bounds set from outside.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Cores' worth of time: the quota of the control groups, and no more than there are cores to run on.
    pub cores: f64,
    /// Bytes of memory; `None` where only the machine's end limits it.
    pub memory_bytes: Option<u64>,
}

/// Version 1 writes "unlimited" as a number near the largest there is.
const UNLIMITED: u64 = 1 << 60;

impl Limits {
    /// Of this process.
    pub fn here() -> Self {
        Self::read(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"), affine_cores())
    }

    /// From the list of a process's control groups and their file system, for one that may run on `running` cores.
    fn read(groups: &Path, mount: &Path, running: usize) -> Self {
        let mut limits = Self { cores: running as f64, memory_bytes: None };
        let text = std::fs::read_to_string(groups).unwrap_or_default();
        for line in text.lines() {
            // `HIERARCHY:CONTROLLERS:PATH`; version 2 names no controllers.
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let roots = match controllers {
                "" => vec![mount.to_owned(), mount.join("unified")],
                names => names.split(',').map(|name| mount.join(name)).chain([mount.join(names)]).collect(),
            };
            // A limit anywhere above holds here too. Seen from within a container, the upper part of the path may not exist.
            let folders = roots.iter().flat_map(|root| ancestors(root, path));
            folders.for_each(|folder| limits.tighten(&folder));
        }
        limits
    }

    /// Applies what one group says, in either version.
    fn tighten(&mut self, folder: &Path) {
        let text = |name| Some(std::fs::read_to_string(folder.join(name)).ok()?.trim().to_owned());
        let number = |name| text(name)?.parse::<u64>().ok();
        let quota = text("cpu.max").and_then(|max| {
            let (quota, period) = max.split_once(' ')?;
            Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
        });
        let quota_v1 = || Some(number("cpu.cfs_quota_us")? as f64 / number("cpu.cfs_period_us")? as f64);
        let sets = ["cpuset.cpus.effective", "cpuset.effective_cpus"].into_iter().filter_map(|name| cpu_list(&text(name)?));
        let sets = sets.filter(|cores| !cores.is_empty()).map(|cores| cores.len() as f64);
        let bounds = quota.or_else(quota_v1).into_iter().chain(sets).filter(|cores| *cores > 0.0);
        self.cores = bounds.fold(self.cores, f64::min);
        let memory = number("memory.max").or_else(|| number("memory.limit_in_bytes")).filter(|bytes| *bytes < UNLIMITED);
        self.memory_bytes = self.memory_bytes.into_iter().chain(memory).min();
    }
}

/// Cores the scheduler may put this process on.
fn affine_cores() -> usize {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a set of cores is plain numbers, for which all zeros is a value.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live local variable of the size given; 0 names this thread.
        if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } == 0 {
            // SAFETY: the set was filled above.
            return unsafe { libc::CPU_COUNT(&set) }.unsigned_abs() as usize;
        }
    }
    super::machine::usable_cores()
}

/// The folder of a group and those above it, up to the root of the hierarchy.
fn ancestors(root: &Path, path: &str) -> Vec<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    relative.ancestors().map(|above| root.join(above)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sensors::plant;
    use super::*;

    fn limits(groups: &str, files: &[(&str, &str)]) -> Limits {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), &[("groups", groups)]);
        plant(dir.path(), files);
        Limits::read(&dir.path().join("groups"), dir.path(), 8)
    }

    #[test]
    fn the_tightest_group_above_a_process_counts() {
        let files = [
            ("a/cpu.max", "250000 100000\n"),
            ("a/b/cpu.max", "max 100000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/memory.max", "1048576\n"),
            ("a/b/cpuset.cpus.effective", "0-3\n"),
            ("other/cpu.max", "1 100000\n"),
        ];
        assert_eq!(limits("0::/a/b\n", &files), Limits { cores: 2.5, memory_bytes: Some(1 << 20) });
        assert_eq!(limits("0::/\n", &files), Limits { cores: 8.0, memory_bytes: None });
    }

    #[test]
    fn version_1_has_a_hierarchy_per_controller_and_a_path_from_outside_a_container() {
        let files = [
            ("cpu/cpu.cfs_quota_us", "50000\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/x/memory.limit_in_bytes", "4096\n"),
        ];
        let groups = "4:memory:/x\n3:cpuset:/\n1:cpu,cpuacct:/docker/0123\n0::/\n";
        assert_eq!(limits(groups, &files), Limits { cores: 0.5, memory_bytes: Some(4096) });
        let unlimited = [("cpu/cpu.cfs_quota_us", "-1\n"), ("cpu/cpu.cfs_period_us", "100000\n")];
        assert_eq!(limits(groups, &unlimited), Limits { cores: 8.0, memory_bytes: None });
    }

    #[test]
    fn this_process_may_use_something() {
        assert!(Limits::here().cores > 0.0);
    }
}
