//! What watching costs: `etalon profile --pid` on a tree of five processes at 10 Hz, beside psutil, and whether the watched
//! program gets as much done per CPU second.
//!
//! `cargo bench -- sampler`. psutil is looked for in `ETALON_PEER_PYTHON` (default python3); without it the row says so.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, criterion_group};
use etalon::profile::process::{Ended, try_wait, wait_for_exit};

criterion_group!(benches, cost, disturbance);

const SECONDS: u64 = 20;
const PAIRS: usize = 8;

/// The peer, written as its documentation advises: objects are kept, and each is read at once.
const PEER: &str = r#"
import sys, time, psutil
root, end = psutil.Process(int(sys.argv[1])), time.monotonic() + float(sys.argv[2])
known, due = {root.pid: root}, time.monotonic()
while time.monotonic() < end:
    for child in root.children(recursive=True):
        known.setdefault(child.pid, child)
    for process in list(known.values()):
        try:
            with process.oneshot():
                process.cpu_times(), process.memory_info(), process.io_counters(), process.num_threads()
        except psutil.NoSuchProcess:
            del known[process.pid]
    psutil.cpu_times(percpu=True), psutil.virtual_memory(), psutil.net_io_counters()
    due += 0.1
    time.sleep(max(0, due - time.monotonic()))
"#;

/// A shell with four sleeping children.
struct Tree(Child);

impl Tree {
    fn plant() -> Self {
        let script = "for i in 1 2 3 4; do sleep 600 & done; wait";
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn().expect("a shell starts");
        std::thread::sleep(Duration::from_millis(200));
        Self(child)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for pid in etalon::profile::process::children(self.0.id()) {
            // SAFETY: numbers only; the processes are ours.
            unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::zombie_processes, reason = "`try_wait` reaps it")]
fn ended(mut command: Command) -> Ended {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    let mut peak_rss_bytes = 0;
    while !wait_for_exit(child.id(), Duration::from_millis(500)).expect("a child of ours") {
        // That of wait4 includes the size of this process at the fork.
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
        peak_rss_bytes = line.trim().trim_end_matches(" kB").parse().map_or(peak_rss_bytes, |kib: u64| kib << 10);
    }
    Ended { peak_rss_bytes, ..try_wait(child.id()).expect("a child of ours").expect("it has ended") }
}

fn watcher(pid: u32, seconds: u64) -> Command {
    let out = std::env::temp_dir().join(format!("etalon-bench-{}.json", std::process::id()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
    command.args(["profile", "--quiet", "--pid", &pid.to_string(), "--duration", &format!("{seconds}s"), "--out"]).arg(out);
    command
}

fn peer(pid: u32, seconds: u64) -> Command {
    let mut command = Command::new(std::env::var("ETALON_PEER_PYTHON").unwrap_or_else(|_| "python3".into()));
    command.args(["-c", PEER, &pid.to_string(), &seconds.to_string()]);
    command
}

type Make = fn(u32, u64) -> Command;

const ROWS: [(&str, Make); 2] = [("etalon", watcher), ("psutil", peer)];

#[expect(clippy::print_stdout, reason = "the costs are what this bench is for")]
fn cost(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sampler");
    group.sample_size(10);
    // The benchmark's own figure is the price of starting; what counts is printed.
    let mut printed = false;
    group.bench_function("cost", |bencher| {
        let tree = Tree::plant();
        let rows = if std::mem::replace(&mut printed, true) { [].as_slice() } else { &ROWS };
        for (name, make) in rows {
            // Starting up is no sampling: two lengths tell them apart.
            let (short, long) = (ended(make(tree.0.id(), 2)), ended(make(tree.0.id(), 2 + SECONDS)));
            if !long.status.success() {
                println!(
                    "{name}: did not run ({})",
                    if *name == "psutil" { "install psutil, or set ETALON_PEER_PYTHON" } else { "see etalon profile" }
                );
                continue;
            }
            let percent = 100.0 * (long.cpu_s - short.cpu_s) / SECONDS as f64;
            println!("{name}: {percent:.2} % of a core at 10 Hz, {:.1} MiB", long.peak_rss_bytes as f64 / f64::from(1 << 20));
        }
        bencher.iter(|| ended(watcher(tree.0.id(), 0)));
    });
    group.finish();
}

/// A fixed amount of work.
fn work() -> Command {
    let mut command = Command::new("awk");
    command.arg("BEGIN { for (i = 0; i < 20000000; i++) s += i }");
    command
}

fn disturbance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watched");
    group.sample_size(10);
    let mut printed = false;
    group.bench_function("work", |bencher| {
        if !std::mem::replace(&mut printed, true) {
            disturb();
        }
        bencher.iter(|| ended(work()));
    });
    group.finish();
}

/// Prints how much more CPU time the same work takes while its parent's tree is watched.
#[expect(clippy::print_stdout, reason = "the ratio is what this bench is for")]
fn disturb() {
    let mut logs: Vec<f64> = (0..PAIRS)
        .map(|pair| {
            // By turns, so that a machine that slows down slows both.
            let mut seconds = [0.0; 2];
            for side in if pair % 2 == 0 { [0, 1] } else { [1, 0] } {
                let watcher = (side == 1).then(|| watcher(std::process::id(), 60).stderr(Stdio::null()).spawn().expect("it starts"));
                seconds[side] = ended(work()).cpu_s;
                if let Some(mut watcher) = watcher {
                    let _ = watcher.kill();
                    let _ = watcher.wait();
                }
            }
            (seconds[1] / seconds[0]).ln()
        })
        .collect();
    logs.sort_by(f64::total_cmp);
    let shift = |at: usize| 100.0 * (logs[at].exp() - 1.0);
    println!(
        "CPU time of watched work: {:+.2} % in the median of {PAIRS} pairs, {:+.2} to {:+.2}",
        shift(PAIRS / 2),
        shift(0),
        shift(PAIRS - 1)
    );
}
