//! Instructions of a program on the processor that valgrind simulates: hardly any noise, no hardware counters needed. Blind to
//! threads that run at once, caches, GPUs and instruction sets beyond AVX2.

use std::path::Path;
use std::process::Command;

use super::document::{Row, Tier, Verdict};
use super::error::{Error, Side};
use super::launch::to_end;
use crate::base::fsio;
use crate::profile::metric::Unit;

/// What differs between two runs of one program: its environment's size, addresses it prints.
const TOLERANCE: f64 = 0.001;

/// Runs both commands once under callgrind.
pub(super) fn compare([baseline, candidate]: [&str; 2], stop: &dyn Fn() -> bool) -> Result<Row, Error> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err(Error::Valgrind("which is not installed; install it (`apt-get install valgrind`) or leave the flag out".to_owned()));
    }
    let before = count(Side::Baseline, baseline, stop)? as f64;
    let after = count(Side::Candidate, candidate, stop)? as f64;
    Ok(Row {
        name: "instructions".to_owned(),
        unit: Unit::Count,
        tier: Tier::Simulated,
        gated: true,
        baseline: Some(before),
        candidate: Some(after),
        verdict: exact(before, after, TOLERANCE),
        ignore: Some(TOLERANCE),
        harm: None,
        change: None,
        source: "callgrind, all processes".into(),
        note: None,
    })
}

/// The verdict on two numbers without noise: a difference beyond `tolerance` (a fraction) is one.
pub(super) fn exact(baseline: f64, candidate: f64, tolerance: f64) -> Verdict {
    if candidate > baseline * (1.0 + tolerance) {
        Verdict::Regressed
    } else if candidate < baseline * (1.0 - tolerance) {
        Verdict::Improved
    } else {
        Verdict::Pass
    }
}

fn count(side: Side, command: &str, stop: &dyn Fn() -> bool) -> Result<u64, Error> {
    let folder = std::env::temp_dir().join(format!("etalon-callgrind-{}", uuid::Uuid::new_v4().simple()));
    fsio::create_dir(&folder)?;
    let counted = count_in(&folder, side, command, stop);
    // The files are ours alone; what cannot be removed is left to the system's own cleaning.
    let _ = std::fs::remove_dir_all(&folder);
    counted
}

fn count_in(folder: &Path, side: Side, command: &str, stop: &dyn Fn() -> bool) -> Result<u64, Error> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--trace-children=yes", "--quiet"]);
    valgrind.arg(format!("--callgrind-out-file={}/%p", folder.display())).args(["sh", "-c", command]);
    // Python's hashes would differ from run to run.
    valgrind.env("PYTHONHASHSEED", "0");
    to_end(side, command, valgrind, stop)?;
    let mut counts = Vec::new();
    for name in fsio::list(folder)? {
        let text = String::from_utf8_lossy(&fsio::read(&folder.join(name))?).into_owned();
        counts.extend(totals(&text));
    }
    if counts.is_empty() {
        return Err(Error::Valgrind(format!("which counted nothing for the {side} command: {command}")));
    }
    Ok(counts.iter().sum())
}

/// The sum of a callgrind file.
fn totals(text: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_line_is_the_count() {
        assert_eq!(totals("events: Ir\nfn=(1)\n1 5\n\ntotals: 1426883137\n"), Some(1_426_883_137));
        assert_eq!(totals("events: Ir\n"), None);
    }

    #[test]
    fn a_count_regresses_just_beyond_its_tolerance() {
        assert_eq!(exact(1000.0, 1000.9, 0.001), Verdict::Pass);
        assert_eq!(exact(1000.0, 1001.1, 0.001), Verdict::Regressed);
        assert_eq!(exact(1000.0, 990.0, 0.001), Verdict::Improved);
        assert_eq!(
            (exact(5.0, 6.0, 0.0), exact(5.0, 5.0, 0.0), exact(0.0, 1.0, 0.01)),
            (Verdict::Regressed, Verdict::Pass, Verdict::Regressed)
        );
    }
}
