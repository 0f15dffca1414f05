//! Memory bandwidth monitoring of a group of processes by the kernel's resource control.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::super::descendants::threads;
use super::super::held::{Held, names};
use crate::profile::sensor::{Absent, Channel, Reading, Scope, Sensor, Unit};

/// A monitoring group of our own, removed when dropped.
pub(super) struct Group {
    folder: PathBuf,
    domains: Vec<Held>,
    channels: [Channel; 1],
}

/// For the tree under process `pid`; what it starts later belongs to the group as well.
///
/// # Errors
/// The file system is not mounted, the processor cannot do it, or only root may.
pub(super) fn open(root: &Path, pid: u32) -> Result<Group, Absent> {
    if !root.join("mon_groups").is_dir() {
        return Err(Absent::because("not mounted; on the metal, as root: `mount -t resctrl resctrl /sys/fs/resctrl`"));
    }
    let folder = root.join(format!("mon_groups/etalon-{pid}"));
    match std::fs::create_dir(&folder) {
        Ok(()) => {}
        // Left behind by a process of this number.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(Absent::because(format!("no group can be created ({e}); run as root"))),
    }
    let source = "/sys/fs/resctrl mbm_total_bytes";
    let channel = Channel::counter("memory.bandwidth", Unit::Bytes, Scope::ProcessTree, source);
    // From here on, dropping it removes the folder.
    let mut group = Group { folder, domains: Vec::new(), channels: [channel] };
    let data = group.folder.join("mon_data");
    let caches = names(&data).into_iter().filter(|name| name.starts_with("mon_L3_"));
    group.domains = caches.filter_map(|name| Held::open(&data.join(name).join("mbm_total_bytes")).ok()).collect();
    if group.domains.is_empty() {
        return Err(Absent::because("the processor does not count memory traffic (no mbm_total_bytes)"));
    }
    group.adopt(&threads(pid)).map_err(|e| Absent::because(format!("the process cannot be put into a group ({e})")))?;
    group.total().map(|_| group)
}

impl Group {
    fn adopt(&self, threads: &[u32]) -> io::Result<()> {
        let mut tasks = OpenOptions::new().write(true).open(self.folder.join("tasks"))?;
        for thread in threads {
            match tasks.write_all(format!("{thread}\n").as_bytes()) {
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn total(&mut self) -> Result<f64, Absent> {
        // A domain that has run out of monitors says "Unavailable".
        let sum = self.domains.iter_mut().try_fold(0, |sum, domain| Some(sum + domain.number()?));
        sum.map(|bytes| bytes as f64).ok_or_else(|| Absent::because("the processor has no monitor left for the group"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails on what is not the kernel's; its members then fall back to the group above.
        let _ = std::fs::remove_dir(&self.folder);
    }
}

impl Sensor for Group {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&mut self, reading: &mut Reading) {
        let total = self.total();
        reading.push(total);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::held::{plant, values};
    use super::*;

    #[test]
    fn domains_add_up_and_one_without_a_monitor_makes_the_sum_absent() {
        let dir = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        let file = |name: &str| format!("mon_groups/etalon-{pid}/{name}");
        let (first, second, tasks) =
            (file("mon_data/mon_L3_00/mbm_total_bytes"), file("mon_data/mon_L3_01/mbm_total_bytes"), file("tasks"));
        plant(dir.path(), &[(&first, "1000\n"), (&second, "24\n"), (&tasks, "")]);
        let mut group = open(dir.path(), pid).unwrap();
        assert_eq!(values(&mut group), [Ok(1024.0)]);
        let adopted = std::fs::read_to_string(dir.path().join(tasks)).unwrap();
        assert!(adopted.lines().any(|line| line == pid.to_string()), "{adopted}");
        plant(dir.path(), &[(&second, "Unavailable\n")]);
        assert!(values(&mut group)[0].is_err());
    }

    #[test]
    fn a_processor_that_counts_no_traffic_leaves_no_group_behind() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path(), &[("mon_groups/other/tasks", "")]);
        assert!(open(dir.path(), 4_000_000).err().unwrap().0.contains("mbm_total_bytes"));
        assert_eq!(names(&dir.path().join("mon_groups")), ["other"]);
        assert!(open(Path::new("/no/resctrl"), 1).err().unwrap().0.contains("mount -t resctrl"));
    }
}
