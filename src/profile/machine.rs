//! The machine a cell runs on, as far as it explains a result or a cost.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sensors::gpu;
use crate::base::fsio;

/// Version of the libtorch the native detectors were built against; `None` in a build without them.
pub fn libtorch() -> Option<&'static str> {
    Some(env!("ETALON_LIBTORCH")).filter(|version| !version.is_empty())
}

/// Version and commit of this etalon: "0.1.0 (abcdef1)".
pub fn etalon() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("ETALON_COMMIT"), ")")
}

/// Direct dependencies of this etalon with their versions: "anyhow 1.0.104, argmin 0.11.0, …".
pub fn crates() -> &'static str {
    env!("ETALON_CRATES")
}

/// Processor, memory and system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Host name.
    pub host: String,
    /// Name and version of the system.
    pub os: String,
    /// Processor model.
    pub cpu: String,
    /// Logical cores of the machine.
    pub cores: usize,
    /// Cores this process may use: affinity and the control group's quota counted in.
    pub usable_cores: usize,
    /// Main memory in bytes.
    pub memory_bytes: u64,
    /// Memory this process could still get, in bytes (the control group's limit counted in).
    pub available_bytes: u64,
}

impl Machine {
    /// Describes this machine.
    pub fn here() -> Self {
        use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
        let what = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()).with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(what);
        let unknown = || "unknown".to_owned();
        let free = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
        Self {
            host: System::host_name().unwrap_or_else(unknown),
            os: System::long_os_version().unwrap_or_else(unknown),
            cpu: system.cpus().first().map_or_else(unknown, |cpu| cpu.brand().trim().to_owned()),
            cores: system.cpus().len(),
            usable_cores: usable_cores(),
            memory_bytes: system.total_memory(),
            available_bytes: system.available_memory().min(free),
        }
    }
}

/// What must be equal for the costs of two runs to be comparable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Processor model.
    pub cpu: String,
    /// Instruction sets that numeric libraries choose by ("avx2 avx512f …").
    pub cpu_flags: String,
    /// Logical cores of the machine.
    pub cores: usize,
    /// Cores the program may use.
    pub usable_cores: usize,
    /// Main memory in bytes, rounded to GiB.
    pub memory_gib: u64,
    /// Kernel release.
    pub kernel: String,
    /// GPUs with their drivers; empty without any.
    pub gpus: Vec<String>,
    /// Version of libtorch; `None` in a build without it.
    pub libtorch: Option<String>,
    /// Settings of the environment that change speed ("OMP_NUM_THREADS" and the like), where set.
    pub environment: BTreeMap<String, String>,
}

/// Variables that change how fast numeric libraries run.
const SPEED_VARIABLES: [&str; 6] =
    ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "CUDA_VISIBLE_DEVICES"];

/// Instruction sets that numeric libraries choose by.
const SPEED_FLAGS: [&str; 8] = ["avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd"];

impl Fingerprint {
    /// Of this machine, as this process sees it.
    pub fn here() -> Self {
        let Machine { cpu, cores, usable_cores, memory_bytes, .. } = Machine::here();
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with("flags") || l.starts_with("Features")).unwrap_or_default();
        let flags: Vec<&str> = line.split_ascii_whitespace().filter(|flag| SPEED_FLAGS.contains(flag)).collect();
        let describe = |gpu: gpu::Gpu| format!("{} (driver {})", gpu.name, gpu.driver);
        Self {
            cpu,
            cpu_flags: flags.join(" "),
            cores,
            usable_cores,
            memory_gib: memory_bytes.div_ceil(1 << 30),
            kernel: sysinfo::System::kernel_version().unwrap_or_else(|| "unknown".to_owned()),
            gpus: gpu::list().unwrap_or_default().into_iter().map(describe).collect(),
            libtorch: libtorch().map(str::to_owned),
            environment: SPEED_VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect(),
        }
    }

    /// The fields that differ, as "kernel: 6.1 against 6.5".
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let fields = |f: &Self| serde_json::to_value(f).expect("a fingerprint is plain data");
        let (ours, theirs) = (fields(self), fields(other));
        let names = ours.as_object().into_iter().flat_map(|o| o.keys());
        names.filter(|n| ours[*n] != theirs[*n]).map(|n| format!("{n}: {} against {}", ours[n], theirs[n])).collect()
    }
}

/// Cores this process may use: affinity and the control group's quota counted in.
pub fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes that can still be written under `path`.
///
/// # Errors
/// The file system cannot be asked.
pub fn disk_free(path: &Path) -> fsio::Result<u64> {
    let invalid = |_| fsio::Error::wrap("measure", path)(io::ErrorKind::InvalidInput.into());
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(invalid)?;
    // SAFETY: statvfs is plain numbers, for which all zeros is a value.
    let mut facts: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is a live NUL-terminated string and `facts` a live struct of the right type.
    match unsafe { libc::statvfs(name.as_ptr(), &raw mut facts) } {
        0 => Ok(facts.f_bavail * facts.f_frsize),
        _ => Err(fsio::Error::wrap("measure", path)(io::Error::last_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_memory_and_at_least_one_usable_core() {
        let machine = Machine::here();
        assert!(machine.memory_bytes > 1 << 20 && machine.usable_cores >= 1 && machine.cores >= 1);
        assert!(machine.available_bytes <= machine.memory_bytes);
    }

    #[test]
    fn a_differing_field_of_a_fingerprint_is_named_with_both_values() {
        let here = Fingerprint::here();
        assert!(here.differences(&here).is_empty());
        let other = Fingerprint { kernel: "2.4.0".into(), ..here.clone() };
        assert_eq!(here.differences(&other), [format!("kernel: {:?} against \"2.4.0\"", here.kernel)]);
    }

    #[test]
    fn free_space_of_a_missing_folder_is_an_error_that_names_it() {
        assert!(disk_free(Path::new(".")).unwrap() > 0);
        assert!(disk_free(Path::new("/no/such/place")).unwrap_err().to_string().contains("/no/such/place"));
    }
}
