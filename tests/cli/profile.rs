//! `etalon profile` on programs whose use of the machine is known.

use std::path::Path;

use serde_json::Value;

use crate::CliTest;

/// 2 s of CPU on two threads, 500 MiB touched and held, 100 MiB written; a child does half of the work but for the memory. Says what the
/// kernel counted for itself and its child.
const WORKLOAD: &str = r#"
import hashlib, os, resource, subprocess, sys, threading, time

def burn(seconds):
    block = b"x" * (1 << 20)
    while time.thread_time() < seconds:
        hashlib.sha256(block).digest()

def work(path, memory):
    held = bytearray(memory)
    held[::4096] = b"x" * (len(held) // 4096)
    threads = [threading.Thread(target=burn, args=(0.5,)) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    with open(path, "wb") as file:
        for _ in range(50): file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())

if len(sys.argv) == 3:
    work(sys.argv[2], 4096)
else:
    subprocess.run([sys.executable, __file__, "child", sys.argv[1] + ".child"], check=True)
    work(sys.argv[1], 500 << 20)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(sum(u.ru_utime + u.ru_stime for u in used), max(u.ru_maxrss for u in used) * 1024)
"#;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn within(share: f64, found: &Value, expected: f64) {
    let value = found["value"].as_f64().unwrap_or_else(|| panic!("no value in {found}"));
    assert!((value / expected - 1.0).abs() <= share, "{value} against {expected}: {found}");
}

#[test]
fn a_known_workload_is_measured_with_its_children() {
    let test = CliTest::new();
    test.file("work.py", WORKLOAD);
    // Beside the build, which lies on a disk: what a memory file system takes in is never written.
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("written.{}", std::process::id()));
    let ran = test.run(["profile", "--out", "p.json", "--", "python3", "work.py", file.to_str().unwrap()]);
    for path in [file.clone(), file.with_extension(format!("{}.child", std::process::id()))] {
        std::fs::remove_file(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let said: Vec<f64> = ran.stdout.lines().next().unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    let profile = read(&test.dir.path().join("p.json"));
    let metrics = &profile["metrics"];
    assert!(said[0] > 2.0, "it burns two seconds at least: {}", said[0]);
    within(0.02, &metrics["cpu.time"], said[0]);
    within(0.03, &metrics["memory.rss.peak"], said[1]);
    within(0.001, &metrics["memory.rss.largest"], said[1]);
    within(0.02, &metrics["disk.written"], 100.0 * 1024.0 * 1024.0);
    within(0.02, &metrics["io.written"], 100.0 * 1024.0 * 1024.0);
    assert!(profile["sampler"]["samples"].as_u64().unwrap() > 10 && profile["ended"] == "exit 0");
    assert!(test.dir.path().join("p.trace.jsonl.zst").exists());
    // Nothing is zero that was not measured.
    for (name, metric) in metrics.as_object().unwrap() {
        assert_eq!(metric["value"].is_null(), metric["origin"] == "unavailable", "{name}: {metric}");
    }
}

#[test]
fn the_exit_code_is_that_of_the_command_and_the_profile_is_kept() {
    let test = CliTest::new();
    let ran = test.run(["profile", "--out", "p.json", "--quiet", "--", "sh", "-c", "exit 9"]);
    assert_eq!((ran.code, read(&test.dir.path().join("p.json"))["ended"].as_str()), (Some(9), Some("exit 9")));
    let killed = test.run(["profile", "--out", "p.json", "--quiet", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!((killed.code, read(&test.dir.path().join("p.json"))["ended"].as_str()), (Some(137), Some("signal 9")));
}

#[test]
fn what_children_use_is_counted_even_when_nobody_waits_for_them() {
    let test = CliTest::new();
    // The orphan burns CPU, writes, and ends before its grandparent does.
    let script = "(sh -c 'head -c 8000000 /dev/zero | od -v > /dev/null' &) ; sleep 3";
    let found = test.run(["profile", "--json", "--", "sh", "-c", script]).json();
    assert!(found["metrics"]["cpu.time"]["value"].as_f64().unwrap() > 0.05, "{found}");
    assert!(found["metrics"]["io.written"]["value"].as_f64().unwrap() > 8e6, "{found}");
}

#[test]
fn a_process_left_behind_is_named() {
    let test = CliTest::new();
    let ran = test.run(["profile", "--out", "p.json", "--", "sh", "-c", "sleep 1.5 > /dev/null 2>&1 & exit 3"]);
    let warnings = read(&test.dir.path().join("p.json"))["warnings"].to_string();
    assert!(ran.code == Some(3) && warnings.contains("left 1 processes running"), "{warnings}");
}

#[test]
fn what_cannot_be_profiled_is_named() {
    let test = CliTest::new();
    test.run(["profile", "--", "no-such-program"]).fails_with(6, &["cannot start \"no-such-program\"", "PATH"]);
    test.run(["profile", "--pid", "999999999"]).fails_with(6, &["no process 999999999"]);
    test.run(["profile"]).fails_with(2, &["nothing to profile"]);
    test.run(["profile", "--sensors", "gpu,telepathy", "--", "true"]).fails_with(2, &["telepathy", "there are: process"]);
    test.run(["profile", "no.toml", "--model", "etad"]).fails_with(6, &["no.toml"]);
}

#[test]
fn with_json_the_document_has_standard_output_to_itself() {
    let test = CliTest::new();
    let ran = test.run(["profile", "--json", "--", "sh", "-c", "echo from the command"]);
    assert_eq!(ran.json()["subject"]["command"][0], "sh");
    assert!(ran.stderr.contains("from the command"));
}

#[test]
fn a_profile_becomes_a_page_and_what_is_none_is_refused() {
    let test = CliTest::new();
    test.run(["profile", "--quiet", "--out", "a.json", "--", "sh", "-c", "echo load >&$ETALON_PHASES; sleep 0.7"]);
    let files = test.run(["report", "a.json", "--out", "page", "--json"]).json()["files"].clone();
    assert!(files.as_array().unwrap().iter().any(|f| f == "page/figures/usage-cores.svg"), "{files}");
    let page = std::fs::read_to_string(test.dir.path().join("page/report.md")).unwrap();
    assert!(page.contains("| load |") && page.contains("| cpu.time | ") && page.contains("Not measured"), "{page}");

    test.file("b.json", "{}");
    test.run(["report", "b.json"]).fails_with(6, &["b.json is no profile"]);
    let newer = std::fs::read_to_string(test.dir.path().join("a.json")).unwrap().replace("\"schema\": 1", "\"schema\": 2");
    test.file("c.json", &newer);
    test.run(["report", "c.json"]).fails_with(6, &["c.json has schema 2"]);
}

#[cfg(feature = "torch")]
#[test]
fn a_native_model_has_times_compute_and_a_roofline() {
    let test = CliTest::new();
    test.file(
        "small.toml",
        r#"
schema = 1
name = "small"
[dataset]
format = "synthetic"
synthetic = { seed = 1, videos = 12 }
[protocol]
split = { test = 0.25, seed = 2023 }
fractions = [100]
seeds = [0]
budget = "steps"
[model.temporalmaxer.arch.temporalmaxer]
preset = "laptop"
pool = 4
window = 64
levels = 3
dim = 16
head_dim = 16
batch = 2
[model.prior]
arch.prior = {}
"#,
    );
    let arguments =
        ["profile", "small.toml", "--model", "temporalmaxer", "--steps", "4", "--videos", "2", "--threads", "1", "--out", "p.json"];
    let ran = test.run(arguments);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let profile = read(&test.dir.path().join("p.json"));
    let count = |list: &str| profile["steps"][list].as_array().unwrap().len();
    assert_eq!((count("training_s"), count("detection_s"), count("video_s")), (4, 2, 2));
    let training = &profile["compute"][0];
    let macs = training["forward_macs"].as_u64().unwrap() + training["backward_macs"].as_u64().unwrap();
    assert!(macs > 0);
    assert_eq!(training["dispatched"]["flop"].as_u64(), Some(2 * macs), "{training}");
    let phases: Vec<&str> = profile["phases"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(phases, ["load", "train", "detect"]);
    test.run(["report", "p.json", "--out", "page"]);
    assert!(test.dir.path().join("page/figures/roofline.svg").exists());

    test.run(["profile", "small.toml", "--model", "prior"]).fails_with(6, &["\"prior\" has no network"]);
    test.run(["profile", "small.toml", "--model", "nosuch"]).fails_with(6, &["nosuch", "temporalmaxer"]);
}
