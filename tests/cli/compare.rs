//! `etalon compare`: exit codes, files and messages.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etalon::profile::compute::{Compute, Layer};
use etalon::profile::document::{SCHEMA, Subject};
use etalon::profile::summary::{Sampler, Summary};
use etalon::profile::{Fingerprint, Profile};

use crate::CliTest;

/// A profile of a network with that many layers.
fn profile(layers: u64, kernel: &str) -> String {
    let layer = |i: u64| Layer {
        name: format!("backbone.{i}.conv"),
        kind: "conv1d".into(),
        parameters: 100,
        calls: 1,
        forward_macs: 5000,
        ..Layer::default()
    };
    let compute = Compute {
        what: "detection of 128 cells".into(),
        parameters: 100 * layers,
        forward_macs: 5000 * layers,
        layers: (0..layers).map(layer).collect(),
        ..Compute::default()
    };
    let profile = Profile {
        schema: SCHEMA,
        subject: Subject::Model { experiment: "demo".into(), model: "etad".into() },
        fingerprint: Fingerprint { kernel: kernel.into(), ..Fingerprint::default() },
        etalon: "test".into(),
        started: "2026-01-01T00:00:00Z".into(),
        wall_s: 1.0,
        ended: "exit 0".into(),
        usage: Summary { metrics: [].into(), phases: Vec::new(), sampler: Sampler::default(), warnings: Vec::new() },
        verdict: etalon::profile::Verdict::default(),
        steps: None,
        compute: vec![compute],
        roofline: None,
    };
    serde_json::to_string(&profile).expect("a profile is plain data")
}

fn busy(rounds: u32) -> String {
    format!("awk 'BEGIN {{ for (i = 0; i < {rounds}; i++) s += i }}'")
}

#[test]
fn an_extra_layer_in_a_stored_profile_exits_3_and_is_named_in_every_output() {
    let test = CliTest::new();
    test.file("base.json", profile(3, "6.1"));
    test.file("more.json", profile(4, "6.1"));
    assert_eq!(test.run(["compare", "base.json", "base.json"]).code, Some(0));
    let ran = test.run(["compare", "base.json", "more.json", "--out", "V", "--github"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for part in ["new layer in detection of 128 cells: backbone.3.conv", "::error title=", "Regression: "] {
        assert!(ran.stdout.contains(part), "{}", ran.stdout);
    }
    let read = |name: &str| std::fs::read_to_string(test.dir.path().join("V").join(name)).unwrap();
    let verdict: serde_json::Value = serde_json::from_str(&read("verdict.json")).unwrap();
    assert_eq!((&verdict["schema"], &verdict["outcome"]), (&1.into(), &"regressed".into()));
    assert_eq!(verdict["layers"][0]["candidate"]["parameters"], 100);
    assert!(read("comment.md").starts_with("<!-- etalon:profile -->") && read("comment.md").contains("backbone.3.conv"));
    assert!(read("junit.xml").contains("<failure") && read("metrics.txt").contains("etalon{"));
    let advisory = test.run(["compare", "base.json", "more.json", "--advisory", "--json"]);
    assert_eq!(advisory.json()["outcome"], "regressed");
}

#[test]
fn profiles_of_two_machines_exit_5_and_name_the_field() {
    let test = CliTest::new();
    test.file("here.json", profile(3, "6.1"));
    test.file("there.json", profile(3, "6.5"));
    let ran = test.run(["compare", "here.json", "there.json"]);
    assert_eq!(ran.code, Some(5), "{}", ran.stderr);
    assert!(ran.stdout.contains(r#"kernel: "6.1" against "6.5""#) && ran.stdout.contains("--ignore"), "{}", ran.stdout);
    for accepted in [["--ignore", "kernel"].as_slice(), &["--counts-only"], &["--advisory"]] {
        let ran = test.run([["compare", "here.json", "there.json"].as_slice(), accepted].concat());
        assert_eq!(ran.code, Some(0), "{accepted:?}: {}", ran.stdout);
    }
}

#[test]
fn what_cannot_be_compared_is_refused_with_its_name() {
    let test = CliTest::new();
    test.file("ok.json", profile(3, "6.1"));
    test.file("newer.json", r#"{"schema": 7}"#);
    test.file("bad.toml", "schema = 1\n[measure.cpu]\nharm = 3\n");
    let fails = |arguments: &[&str], code, parts: &[&str]| test.run([&["compare"], arguments].concat()).fails_with(code, parts);
    fails(&["ok.json", "newer.json"], 6, &["newer.json has schema 7, newer than"]);
    fails(&["ok.json", "missing.json"], 6, &["missing.json"]);
    fails(&["ok.json"], 2, &["2 values"]);
    fails(&[], 6, &["--baseline and --candidate"]);
    fails(&["--baseline", "true", "--candidate", "true", "--looks", "3"], 6, &["looks = [3]"]);
    fails(&["--baseline", "true", "--candidate", "true", "--harm", "gpu=3"], 2, &["no such measure", "memory"]);
    fails(&["--baseline", "true", "--candidate", "true", "--config", "bad.toml"], 6, &["bad.toml", "harm"]);
    fails(&["--baseline", "true", "--candidate", "echo no luck >&2; exit 9"], 6, &["candidate command failed (exit 9)", "no luck"]);
    fails(&["ok.json", "ok.json", "--ignore", "kernal"], 6, &["ignore = \"kernal\"", "kernel"]);
    fails(&["--baseline", "no-such-program", "--candidate", "true"], 6, &["baseline command failed (exit 127)", "no-such-program"]);
}

#[test]
fn without_valgrind_instructions_are_refused_with_what_to_install() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
    command.args(["compare", "--baseline", "true", "--candidate", "true", "--instructions"]).env("PATH", "/nowhere");
    crate::Ran::of(command).fails_with(6, &["needs valgrind", "apt-get install valgrind"]);
}

#[test]
fn a_slower_command_exits_3_and_the_verdict_holds_every_pair() {
    let test = CliTest::new();
    let config = format!("schema = 1\nid = \"awk\"\nbaseline = \"{}\"\n[voids]\n", busy(300_000));
    test.file("ci.toml", &config);
    let ran = test.run([
        "compare",
        "--config",
        "ci.toml",
        "--candidate",
        &busy(3_000_000),
        "--looks",
        "8,12",
        "--seed",
        "3",
        "--json",
        "--out",
        "V",
    ]);
    assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
    let verdict: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&verdict["rows"][0]["name"], &verdict["rows"][0]["verdict"]), (&"CPU time".into(), &"regressed".into()));
    assert_eq!((&verdict["plan"]["seed"], &verdict["plan"]["looks"]), (&3.into(), &serde_json::json!([8, 12])));
    let valid = verdict["pairs"].as_array().unwrap().iter().filter(|p| p["void"].is_null()).count();
    assert_eq!(valid, 8);
    assert_eq!(ran.stdout.trim(), std::fs::read_to_string(test.dir.path().join("V/verdict.json")).unwrap().trim());
}

#[test]
fn a_noisy_command_is_inconclusive_which_fails_only_when_strict() {
    let test = CliTest::new();
    // Ten times as long in one run of every pair, the first and the second by turns: no verdict hangs on luck or load.
    let noisy = "n=$(cat n || echo 0); echo $((n + 1)) > n; \
        awk -v n=$n 'BEGIN { for (i = 0; i < ((n + int(n / 2)) % 2 ? 3000000 : 300000); i++) s += i }'";
    let run = |extra: &[&str]| {
        let pair = ["compare", "--looks", "8", "--seed", "3", "--no-gate", "memory", "--baseline", noisy, "--candidate", noisy];
        test.run([&pair, extra].concat())
    };
    let ran = run(&["--strict"]);
    assert_eq!(ran.code, Some(4), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("this runner cannot see 5 %"), "{}", ran.stdout);
    assert_eq!(run(&[]).code, Some(0));
}

#[test]
fn an_interrupt_leaves_no_child_and_exits_130() {
    let test = CliTest::new();
    let pids = test.dir.path().join("pids");
    let script = format!("sleep 60 & echo $$ $! > {}; wait", pids.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_etalon"));
    command.args(["compare", "--baseline", &script, "--candidate", &script]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let text = loop {
        match std::fs::read_to_string(&pids) {
            Ok(text) if text.ends_with('\n') => break text,
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
    };
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    for pid in text.split_whitespace() {
        let gone = || etalon::profile::process::Stat::of(pid.parse().unwrap()).is_none_or(|s| !s.alive);
        while !gone() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{pid} lives");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
