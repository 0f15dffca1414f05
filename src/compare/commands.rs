//! Two commands, run in interleaved pairs in random order until the data say something or the last look is over.

use serde::{Deserialize, Serialize};

use super::document::{Comparison, Row, Tier, Verdict};
use super::error::{Error, Side};
use super::instructions;
use super::judge::{self, Sample};
use super::launch::launch;
use super::settings::{Margins, Measure, Plan, Settings, Voids};
use crate::base::seed::Stream;
use crate::profile::Fingerprint;
use crate::profile::metric::Unit;
use crate::stats;

pub use super::launch::Launch;

/// The measures of a launch.
const MEASURES: [Measure; 3] = [Measure::Cpu, Measure::Memory, Measure::Wall];

/// One launch of either side, one right after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The side that ran first.
    pub first: Side,
    /// Launch of the baseline.
    pub baseline: Launch,
    /// Launch of the candidate.
    pub candidate: Launch,
    /// Why the pair does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<String>,
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Valid pairs so far.
    pub pairs: usize,
    /// Pairs of the next look.
    pub next_look: usize,
    /// Pairs of the last look.
    pub most: usize,
    /// Growth of CPU time so far, as a fraction; `None` before the first pair.
    pub cpu_growth: Option<f64>,
}

/// Runs the pairs and judges them.
///
/// `stop` is asked often; `watch` is told after every launch.
///
/// # Errors
/// A command fails or cannot be started, or `stop` says so.
pub fn compare(
    [baseline, candidate]: [&str; 2],
    settings: &Settings,
    stop: &dyn Fn() -> bool,
    watch: &mut dyn FnMut(Progress),
) -> Result<Comparison, Error> {
    let plan = &settings.plan;
    let here = Fingerprint::here();
    let mut comparison = Comparison::new(&settings.id, [baseline.to_owned(), candidate.to_owned()], [here.clone(), here]);
    let run = |side| launch(side, if side == Side::Baseline { baseline } else { candidate }, stop);

    if settings.instructions {
        comparison.rows.push(instructions::compare([baseline, candidate], stop)?);
    }
    // Whatever only a first launch pays for: pages of the program, caches it writes.
    for side in [Side::Baseline, Side::Candidate] {
        run(side)?;
    }
    let mut order = Stream::new(plan.seed, "compare/order");
    let mut pairs: Vec<Pair> = Vec::new();
    for &look in &plan.looks {
        while valid(&pairs).count() < look && !too_many_voids(&pairs, plan) {
            watch(progress(&pairs, look, plan));
            let first = if order.below(2) == 0 { Side::Baseline } else { Side::Candidate };
            let (baseline, candidate) = match first {
                Side::Baseline => (run(Side::Baseline)?, run(Side::Candidate)?),
                Side::Candidate => {
                    let candidate = run(Side::Candidate)?;
                    (run(Side::Baseline)?, candidate)
                }
            };
            pairs.push(Pair { first, baseline, candidate, void: void(&plan.voids, &baseline, &candidate) });
        }
        watch(progress(&pairs, look, plan));
        // Where too many pairs are void, what there is takes the place of this look: that says nothing about the values.
        if valid(&pairs).count() < look || decided(&rows(&pairs, settings)) {
            break;
        }
    }
    comparison.rows.extend(rows(&pairs, settings));
    comparison.notes = notes(&comparison.rows, &pairs, settings);
    comparison.plan = Some(plan.clone());
    comparison.pairs = pairs;
    Ok(comparison.concluded())
}

fn valid(pairs: &[Pair]) -> impl Iterator<Item = &Pair> {
    pairs.iter().filter(|p| p.void.is_none())
}

/// A machine that disturbs this many pairs is not going to calm down.
fn too_many_voids(pairs: &[Pair], plan: &Plan) -> bool {
    let most = plan.looks.last().copied().unwrap_or(0);
    pairs.len() - valid(pairs).count() > most / 2
}

/// Why a pair does not count: the rules of the plan, which see both sides alike and none of what they measured.
fn void(rules: &Voids, baseline: &Launch, candidate: &Launch) -> Option<String> {
    let [a, b] = [baseline.quality, candidate.quality];
    let stolen = a.steal_percent.into_iter().chain(b.steal_percent).fold(0.0, f64::max);
    if let Some(limit) = rules.steal_percent.filter(|limit| stolen > *limit) {
        return Some(format!("the hypervisor took {stolen:.0} % of the machine's time, more than {limit} %"));
    }
    let gap = a.pressure_percent.zip(b.pressure_percent).map_or(0.0, |(a, b)| (a - b).abs());
    let limit = rules.pressure_gap_percent.filter(|limit| gap > *limit)?;
    Some(format!("waiting for processors differed by {gap:.0} points between the launches, more than {limit}"))
}

/// Whether nothing more has to be known: one regression decides, else everything gated must be clear.
fn decided(rows: &[Row]) -> bool {
    let gated = || rows.iter().filter(|r| r.gated).map(|r| r.verdict);
    gated().any(|v| v == Verdict::Regressed) || gated().all(|v| v != Verdict::Inconclusive)
}

fn progress(pairs: &[Pair], next_look: usize, plan: &Plan) -> Progress {
    let [baseline, candidate] = values(Measure::Cpu, pairs);
    Progress {
        pairs: baseline.len(),
        next_look,
        most: plan.looks.last().copied().unwrap_or(next_look),
        cpu_growth: stats::median(
            &baseline.iter().zip(&candidate).filter(|(b, _)| **b > 0.0).map(|(b, c)| c / b - 1.0).collect::<Vec<_>>(),
        ),
    }
}

/// Values of the valid pairs.
fn values(measure: Measure, pairs: &[Pair]) -> [Vec<f64>; 2] {
    let of = |launch: &Launch| match measure {
        Measure::Cpu => launch.cpu_s,
        Measure::Memory => launch.peak_rss_bytes as f64,
        _ => launch.wall_s,
    };
    [valid(pairs).map(|p| of(&p.baseline)).collect(), valid(pairs).map(|p| of(&p.candidate)).collect()]
}

/// The measures as the valid pairs show them.
fn rows(pairs: &[Pair], settings: &Settings) -> Vec<Row> {
    let samples = MEASURES.map(|measure| {
        let [baseline, candidate] = values(measure, pairs);
        Sample::paired(&baseline, &candidate)
    });
    let judged: Vec<(Margins, &Sample)> = MEASURES.iter().zip(&samples).filter_map(|(m, s)| Some((settings.of(*m), s.as_ref()?))).collect();
    let mut judged = judge::judge_all(&judged, settings.plan.alpha).into_iter();
    let row = |(measure, sample): (Measure, &Option<Sample>)| {
        let (unit, tier, name, source) = match measure {
            Measure::Cpu => (Unit::Seconds, Tier::Resource, "CPU time", "wait4"),
            Measure::Memory => (Unit::Bytes, Tier::Resource, "peak memory", "wait4, the largest process alone"),
            _ => (Unit::Seconds, Tier::Environment, "wall time", "monotonic clock"),
        };
        let margins = settings.of(measure);
        let [baseline, candidate] = values(measure, pairs).map(|v| stats::median(&v));
        let (verdict, change) = match sample.as_ref().and_then(|_| judged.next()) {
            Some((verdict, change)) => (verdict, Some(change)),
            None => (Verdict::Inconclusive, None),
        };
        let note = match &change {
            None if valid(pairs).next().is_none() => Some("no pair that counts".to_owned()),
            None => Some("too short to measure: a launch took no time by the kernel's clock".to_owned()),
            Some(_) => None,
        };
        Row {
            name: name.to_owned(),
            unit,
            tier,
            gated: margins.gate,
            baseline,
            candidate,
            verdict,
            ignore: Some(margins.ignore()),
            harm: Some(margins.harm()),
            change,
            source: source.into(),
            note,
        }
    };
    MEASURES.into_iter().zip(&samples).map(row).collect()
}

/// What the reader has to know about the run.
fn notes(rows: &[Row], pairs: &[Pair], settings: &Settings) -> Vec<String> {
    let voids = pairs.len() - valid(pairs).count();
    let mut notes = Vec::new();
    if voids > 0 {
        notes.push(format!("{voids} of {} pairs are void and were run again", pairs.len()));
    }
    if too_many_voids(pairs, &settings.plan) {
        notes.push("the machine is too disturbed: the comparison ended early; run it again, or relax the rules under [voids]".to_owned());
    }
    for row in rows.iter().filter(|r| r.gated && r.verdict == Verdict::Inconclusive) {
        let Some((change, harm, ignore)) = row.change.as_ref().zip(row.harm).zip(row.ignore).map(|((c, h), i)| (c, h, i)) else { continue };
        if let Some((deviation, detectable)) = change.deviation.zip(change.detectable).filter(|(_, d)| *d > harm) {
            let margins = Margins { gate: true, ignore_percent: 100.0 * ignore, harm_percent: 100.0 * harm };
            notes.push(format!(
                "{}: this runner cannot see {:.0} %: after {} pairs it finds {:.1} % at the least; {:.0} % would take about {:.0} pairs",
                row.name,
                100.0 * harm,
                change.samples,
                100.0 * detectable,
                100.0 * harm,
                judge::pairs_needed(deviation, &margins, settings.plan.alpha)
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::document::Outcome;
    use super::super::quality::Quality;
    use super::*;

    fn settings(looks: &[usize]) -> Settings {
        let mut settings = Settings::default();
        settings.plan.looks = looks.to_vec();
        settings.plan.voids.steal_percent = None;
        settings.checked().unwrap()
    }

    fn made(baseline_cpu: f64, candidate_cpu: f64) -> Pair {
        let launch = |cpu_s| Launch { cpu_s, peak_rss_bytes: 1 << 20, wall_s: 1.0, quality: Quality::default() };
        Pair { first: Side::Baseline, baseline: launch(baseline_cpu), candidate: launch(candidate_cpu), void: None }
    }

    #[test]
    fn rows_follow_the_pairs_that_count() {
        let mut pairs: Vec<Pair> = (0..10).map(|i| made(1.0 + 0.001 * f64::from(i), 1.1)).collect();
        pairs.push(Pair { void: Some("stolen".into()), ..made(1.0, 99.0) });
        let rows = rows(&pairs, &settings(&[10]));
        let [cpu, memory, wall] = rows.as_slice() else { panic!("three measures") };
        assert_eq!((cpu.verdict, memory.verdict, wall.gated), (Verdict::Regressed, Verdict::Pass, false));
        assert!((cpu.growth().unwrap() - 0.095).abs() < 0.002 && cpu.change.as_ref().unwrap().samples == 10);
        assert!(decided(&rows));
    }

    #[test]
    fn a_command_too_short_to_measure_is_inconclusive_not_equal() {
        let pairs: Vec<Pair> = (0..10).map(|_| made(0.0, 0.0)).collect();
        let rows = rows(&pairs, &settings(&[10]));
        assert_eq!(rows[0].verdict, Verdict::Inconclusive);
        assert!(rows[0].note.as_ref().unwrap().contains("too short") && rows[0].change.is_none());
        // The others keep their own verdicts.
        assert_eq!((rows[1].verdict, rows[2].verdict), (Verdict::Pass, Verdict::Pass));
    }

    #[test]
    fn rules_void_a_pair_whichever_side_was_disturbed() {
        let rules = Voids { steal_percent: Some(10.0), pressure_gap_percent: Some(30.0) };
        let quality = |steal, pressure| Quality { steal_percent: Some(steal), pressure_percent: Some(pressure) };
        let launch = |quality| Launch { quality, ..made(1.0, 1.0).baseline };
        let voided = |a, b| void(&rules, &launch(a), &launch(b));
        assert_eq!(voided(quality(1.0, 50.0), quality(9.0, 70.0)), None);
        for (a, b) in [(quality(11.0, 0.0), quality(0.0, 0.0)), (quality(0.0, 90.0), quality(0.0, 10.0))] {
            assert!(voided(a, b).is_some() && voided(a, b) == voided(b, a));
        }
        assert_eq!(voided(Quality::default(), Quality::default()), None);
    }

    #[test]
    fn pairs_interleave_in_the_order_of_the_seed_and_stop_at_a_clear_look() {
        let busy = |n: u32| format!("awk 'BEGIN {{ for (i = 0; i < {n}; i++) s += i }}'");
        let mut settings = settings(&[8, 40]);
        settings.plan.seed = 5;
        let mut seen = Vec::new();
        let found = compare([&busy(200_000), &busy(2_000_000)], &settings, &|| false, &mut |p| seen.push(p.pairs)).unwrap();
        assert_eq!((found.outcome, found.pairs.len()), (Outcome::Regressed, 8));
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut order = Stream::new(5, "compare/order");
        let expected: Vec<Side> = (0..8).map(|_| [Side::Baseline, Side::Candidate][order.below(2)]).collect();
        assert_eq!(found.pairs.iter().map(|p| p.first).collect::<Vec<_>>(), expected);
        assert!(expected.contains(&Side::Baseline) && expected.contains(&Side::Candidate), "choose another seed");
    }
}
