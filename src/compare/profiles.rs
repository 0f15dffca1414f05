//! Two stored profiles: counts exactly, steps by their spread, everything else one number beside the other.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Comparison, LayerChange, LayerCount, Row, Tier, Verdict};
use super::error::Side;
use super::instructions::exact;
use super::judge::{self, Sample};
use super::settings::{LEAST_SAMPLES, Margins, Measure, Settings};
use crate::profile::compute::{Compute, Dispatched};
use crate::profile::metric::{Finding, Scope, Unit};
use crate::profile::{Metric, Profile};
use crate::stats;

/// Two counts of bytes that differ by less are equal: alignment and caches of libraries move them.
const BYTES_TOLERANCE: f64 = 0.01;
/// Names the difference in what was counted, beside the fields of the fingerprint.
pub(super) const WORK: &str = "work";

/// Compares two profiles; `names` are how the reader calls them.
pub fn compare(names: [&str; 2], [baseline, candidate]: [&Profile; 2], settings: &Settings) -> Comparison {
    let fingerprints = [baseline, candidate].map(|p| p.fingerprint.clone());
    let mut comparison = Comparison::new(&settings.id, names.map(str::to_owned), fingerprints);
    let mut differences = baseline.fingerprint.differences(&candidate.fingerprint);
    differences.extend(other_work(baseline, candidate));
    let field = |difference: &str| difference.split(':').next().unwrap_or_default().to_owned();
    let named = |difference: &String| settings.accept.contains(&field(difference));
    let accepted = |difference: &String| named(difference) || (settings.counts_only && field(difference) != WORK);
    (comparison.accepted, comparison.differences) = differences.into_iter().partition(accepted);
    if !comparison.differences.is_empty() {
        return comparison.concluded();
    }
    if baseline.subject != candidate.subject {
        comparison.notes.push("the two profiles are of different programs or models".to_owned());
    }
    for (side, profile) in [(Side::Baseline, baseline), (Side::Candidate, candidate)] {
        if profile.ended != "exit 0" {
            comparison.notes.push(format!("the {side} did not end as it should: {}", profile.ended));
        }
    }
    // What libtorch does for a network depends on the machine; what a network computes does not.
    let same_machine = comparison.accepted.iter().all(named);
    for (before, after) in common(baseline, candidate) {
        comparison.rows.extend(analytic(before, after));
        comparison.rows.extend(dispatched(before, after, same_machine));
        comparison.layers.extend(layers(before, after));
    }
    if !settings.counts_only {
        comparison.rows.extend(repeated(baseline, candidate, settings));
        comparison.rows.extend(single(baseline, candidate));
    }
    comparison.concluded()
}

/// Counts of different inputs say nothing about each other.
fn other_work(baseline: &Profile, candidate: &Profile) -> Option<String> {
    let work = |p: &Profile| p.compute.iter().map(|c| c.what.clone()).collect::<Vec<_>>();
    let (before, after) = (work(baseline), work(candidate));
    (before != after).then(|| format!("{WORK}: {before:?} against {after:?}"))
}

/// Computations of the same inputs.
fn common<'a>(baseline: &'a Profile, candidate: &'a Profile) -> impl Iterator<Item = (&'a Compute, &'a Compute)> {
    baseline.compute.iter().filter_map(|before| Some((before, candidate.compute.iter().find(|after| after.what == before.what)?)))
}

/// A count that is the same in every run.
fn count(what: &str, name: &str, unit: Unit, pair: [f64; 2], tolerance: f64) -> Row {
    let [before, after] = pair;
    Row {
        name: format!("{what}: {name}"),
        unit,
        tier: Tier::Deterministic,
        gated: true,
        baseline: Some(before),
        candidate: Some(after),
        verdict: exact(before, after, tolerance),
        ignore: Some(tolerance),
        harm: None,
        change: None,
        source: "formulas over the layers".into(),
        note: None,
    }
}

fn analytic(before: &Compute, after: &Compute) -> Vec<Row> {
    let row = |name, of: fn(&Compute) -> u64| count(&before.what, name, Unit::Count, [of(before) as f64, of(after) as f64], 0.0);
    let bytes =
        |name, of: fn(&Compute) -> u64| count(&before.what, name, Unit::Bytes, [of(before) as f64, of(after) as f64], BYTES_TOLERANCE);
    vec![
        row("parameters", |c| c.parameters),
        row("MACs forward", |c| c.forward_macs),
        row("MACs backward", |c| c.backward_macs),
        bytes("bytes moved at least", |c| c.bytes),
    ]
}

/// Counts of libtorch's dispatcher; on machines that differ they are shown, not judged.
fn dispatched(before: &Compute, after: &Compute, same_machine: bool) -> Vec<Row> {
    let what = &before.what;
    let (a, b) = match (&before.dispatched, &after.dispatched) {
        (Some(a), Some(b)) => (a, b),
        (None, None) => return Vec::new(),
        (a, _) => {
            let side = if a.is_none() { "baseline" } else { "candidate" };
            let mut row = count(what, "FLOP dispatched", Unit::Flop, [0.0, 0.0], 0.0);
            (row.baseline, row.candidate) = (a.as_ref().map(|d| d.flop as f64), after.dispatched.as_ref().map(|d| d.flop as f64));
            (row.gated, row.verdict) = if same_machine { (true, Verdict::Inconclusive) } else { (false, Verdict::Informational) };
            row.note = Some(format!("libtorch's dispatcher was not observed for the {side}"));
            return vec![row];
        }
    };
    let number = |name, unit, of: &dyn Fn(&Dispatched) -> u64, tolerance| count(what, name, unit, [of(a) as f64, of(b) as f64], tolerance);
    let mut rows =
        vec![number("FLOP dispatched", Unit::Flop, &|d| d.flop, 0.0), number("operators dispatched", Unit::Count, &|d| d.operators, 0.0)];
    if let (Some(x), Some(y)) = (a.memory, b.memory) {
        rows.push(count(what, "allocations", Unit::Count, [x.allocations as f64, y.allocations as f64], 0.0));
        rows.push(count(what, "bytes allocated", Unit::Bytes, [x.allocated_bytes as f64, y.allocated_bytes as f64], BYTES_TOLERANCE));
        rows.push(count(what, "peak bytes of tensors", Unit::Bytes, [x.peak_bytes as f64, y.peak_bytes as f64], BYTES_TOLERANCE));
    }
    let uncounted = |d: &Dispatched| d.uncounted.iter().map(|o| o.name.clone()).collect::<Vec<_>>();
    let new: Vec<String> = uncounted(b).into_iter().filter(|name| !uncounted(a).contains(name)).collect();
    if !new.is_empty() {
        rows[0].note = Some(format!("the candidate has operators without a formula: {}", new.join(", ")));
    }
    for row in &mut rows {
        row.source = "dispatcher and allocator of libtorch".into();
        if !same_machine {
            (row.gated, row.verdict) = (false, Verdict::Informational);
        }
    }
    rows
}

/// Layers that are not the same on both sides, in the order of the baseline, new ones last.
fn layers(before: &Compute, after: &Compute) -> Vec<LayerChange> {
    type Key<'a> = (&'a str, &'a str);
    fn counts(compute: &Compute) -> (Vec<Key<'_>>, BTreeMap<Key<'_>, LayerCount>) {
        let (mut order, mut counts) = (Vec::new(), BTreeMap::new());
        for layer in &compute.layers {
            let key = (layer.name.as_str(), layer.kind.as_str());
            let count: &mut LayerCount = counts.entry(key).or_insert_with(|| {
                order.push(key);
                LayerCount::default()
            });
            count.parameters += layer.parameters;
            count.macs += layer.forward_macs + layer.backward_macs;
            count.activation_bytes += layer.activation_bytes;
        }
        (order, counts)
    }
    let ((mut order, old), (new_order, new)) = (counts(before), counts(after));
    order.extend(new_order.into_iter().filter(|key| !old.contains_key(key)));
    let change = |key: Key<'_>| {
        let (baseline, candidate) = (old.get(&key).copied(), new.get(&key).copied());
        let (name, kind) = (key.0.to_owned(), key.1.to_owned());
        (baseline != candidate).then(|| LayerChange { what: before.what.clone(), name, kind, baseline, candidate })
    };
    order.into_iter().filter_map(change).collect()
}

/// Times of the repeated work, judged where there are enough of them.
fn repeated(baseline: &Profile, candidate: &Profile, settings: &Settings) -> Vec<Row> {
    let (Some(before), Some(after)) = (&baseline.steps, &candidate.steps) else { return Vec::new() };
    // The same videos in the same order are pairs; else their lengths would decide.
    let pairs = before.video_s == after.video_s && before.detection_s.len() == after.detection_s.len();
    let train = Sample::between(&before.training_s, &after.training_s);
    let detect = if pairs { Sample::paired(&before.detection_s, &after.detection_s) } else { None };
    let series = [
        (Measure::Train, "training step", [&before.training_s, &after.training_s], train),
        (Measure::Detect, "detection of a video", [&before.detection_s, &after.detection_s], detect),
    ];
    let enough = |values: &[&Vec<f64>; 2]| values.iter().all(|v| v.len() >= LEAST_SAMPLES);
    let judged: Vec<(Margins, &Sample)> = series
        .iter()
        .filter(|(.., values, _)| enough(values))
        .filter_map(|(measure, .., sample)| Some((settings.of(*measure), sample.as_ref()?)))
        .collect();
    // One look: the pairs of a stored profile do not grow.
    let level = stats::multiple::pocock(1).unwrap_or(settings.plan.alpha);
    let mut judged = judge::judge_all(&judged, level).into_iter();
    let mut rows = Vec::new();
    for (measure, name, values, sample) in &series {
        if values.iter().all(|v| v.is_empty()) {
            continue;
        }
        let margins = settings.of(*measure);
        let note = if !enough(values) {
            Some(format!("{} and {} values: fewer than {LEAST_SAMPLES} say nothing about noise", values[0].len(), values[1].len()))
        } else if sample.is_none() {
            Some("the videos differ, or a time is not positive".to_owned())
        } else {
            Some("one process per side, measured at different times: a drift of the machine counts as a difference".to_owned())
        };
        let found = if enough(values) && sample.is_some() { judged.next() } else { None };
        let (verdict, change) = found.map_or((Verdict::Inconclusive, None), |(verdict, change)| (verdict, Some(change)));
        rows.push(Row {
            name: (*name).to_owned(),
            unit: Unit::Seconds,
            tier: Tier::Environment,
            gated: margins.gate,
            baseline: stats::median(values[0]),
            candidate: stats::median(values[1]),
            verdict,
            ignore: Some(margins.ignore()),
            harm: Some(margins.harm()),
            change,
            source: "monotonic clock".into(),
            note,
        });
    }
    rows
}

/// Metrics with one number per side.
fn single(baseline: &Profile, candidate: &Profile) -> Vec<Row> {
    let wall = |p: &Profile| Metric::measured(p.wall_s, Unit::Seconds, Scope::ProcessTree, "monotonic clock");
    let cost =
        |p: &Profile| Metric::measured(p.usage.sampler.cpu_percent, Unit::Percent, Scope::ProcessTree, "clock of the sampling thread");
    let mut rows = vec![
        informational("wall", &wall(baseline), &wall(candidate)),
        informational("sampler's own CPU", &cost(baseline), &cost(candidate)),
    ];
    let (before, after) = (&baseline.usage.metrics, &candidate.usage.metrics);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let missing = |other: &Metric| Metric::unavailable(other.unit, other.scope, "not in this profile");
        let (a, b) = match (before.get(name), after.get(name)) {
            (Some(a), Some(b)) => (a.clone(), b.clone()),
            (Some(a), None) => (a.clone(), missing(a)),
            (None, Some(b)) => (missing(b), b.clone()),
            (None, None) => continue,
        };
        // What neither side could read is no comparison.
        if a.value().or(b.value()).is_some() {
            rows.push(informational(name, &a, &b));
        }
    }
    rows
}

fn informational(name: &str, before: &Metric, after: &Metric) -> Row {
    let source = |metric: &Metric| match &metric.finding {
        Finding::Measured { source, .. } => format!("measured: {source}"),
        Finding::Derived { source, .. } => format!("derived: {source}"),
        Finding::Estimated { source, .. } => format!("estimated: {source}"),
        Finding::Spec { source, .. } => format!("spec: {source}"),
        Finding::Unavailable { reason } => format!("unavailable: {reason}"),
    };
    let (a, b) = (source(before), source(after));
    Row {
        name: name.to_owned(),
        unit: before.unit,
        tier: Tier::Environment,
        gated: false,
        baseline: before.value(),
        candidate: after.value(),
        verdict: Verdict::Informational,
        ignore: None,
        harm: None,
        change: None,
        source: if a == b { a } else { format!("{a}; {b}") }.into(),
        note: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Outcome;
    use super::*;
    use crate::profile::compute::{AllocatorMemory, Layer, Operator};
    use crate::profile::document::{SCHEMA, Steps, Subject};
    use crate::profile::summary::{Metrics, Sampler};
    use crate::profile::{Fingerprint, Summary};

    fn layer(name: &str, macs: u64) -> Layer {
        let (name, kind) = (name.to_owned(), "conv1d".to_owned());
        Layer { name, kind, parameters: macs / 10, calls: 1, forward_macs: macs, backward_macs: 2 * macs, activation_bytes: macs / 100 }
    }

    /// A network of those layers, as a profile stores it.
    fn profile(layers: Vec<Layer>) -> Profile {
        let sum = |of: fn(&Layer) -> u64| layers.iter().map(of).sum::<u64>();
        let macs = sum(|l| l.forward_macs + l.backward_macs);
        let operators = layers.len() as u64 * 3;
        let memory = AllocatorMemory { peak_bytes: 100_000, allocated_bytes: 500_000, allocations: 7 * operators, reserved_bytes: None };
        let convolution = Operator { name: "aten::convolution".into(), calls: operators, flop: 2 * macs };
        let dispatched = Dispatched {
            operators,
            host_reads: 0,
            flop: 2 * macs,
            by_operator: vec![convolution],
            uncounted: Vec::new(),
            memory: Some(memory),
        };
        let compute = Compute {
            what: "training step of 16 inputs of 128 cells".into(),
            parameters: sum(|l| l.parameters),
            forward_macs: sum(|l| l.forward_macs),
            backward_macs: sum(|l| l.backward_macs),
            bytes: 100_000,
            dispatched: Some(dispatched),
            layers,
        };
        let cpu = Metric::measured(12.5, Unit::Seconds, Scope::ProcessTree, "wait4");
        let power = Metric::unavailable(Unit::Watts, Scope::Device, "no driver");
        let metrics = Metrics::from([("cpu.time".to_owned(), cpu), ("gpu0.power".to_owned(), power)]);
        Profile {
            schema: SCHEMA,
            subject: Subject::Model { experiment: "demo".into(), model: "etad".into() },
            fingerprint: Fingerprint { cpu: "Model X".into(), cores: 2, kernel: "6.1".into(), ..Fingerprint::default() },
            etalon: "test".into(),
            started: "2026-01-01T00:00:00Z".into(),
            wall_s: 20.0,
            ended: "exit 0".into(),
            usage: Summary { metrics, phases: Vec::new(), sampler: Sampler::default(), warnings: Vec::new() },
            verdict: crate::profile::Verdict::default(),
            steps: None,
            compute: vec![compute],
            roofline: None,
        }
    }

    fn network() -> Profile {
        profile(vec![layer("embed", 10_000), layer("head", 20_000)])
    }

    fn compared(baseline: &Profile, candidate: &Profile, settings: &Settings) -> Comparison {
        compare(["a.json", "b.json"], [baseline, candidate], settings)
    }

    #[test]
    fn a_profile_equals_itself() {
        let found = compared(&network(), &network(), &Settings::default());
        assert_eq!(found.outcome, Outcome::Pass);
        let (gated, others) = found.parts();
        assert_eq!((gated.len(), found.layers.len()), (9, 0));
        // What neither side could read is no row.
        assert_eq!(others.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["wall", "sampler's own CPU", "cpu.time"]);
    }

    #[test]
    fn an_extra_layer_is_caught_in_every_count_and_named() {
        let more = profile(vec![layer("embed", 10_000), layer("neck", 1000), layer("head", 20_000)]);
        let found = compared(&network(), &more, &Settings::default());
        assert_eq!(found.outcome, Outcome::Regressed);
        let regressed: Vec<&str> =
            found.rows.iter().filter(|r| r.verdict == Verdict::Regressed).filter_map(|r| r.name.rsplit(": ").next()).collect();
        let expected = ["parameters", "MACs forward", "MACs backward", "FLOP dispatched", "operators dispatched", "allocations"];
        assert_eq!(regressed, expected);
        let [change] = found.layers.as_slice() else { panic!("{:?}", found.layers) };
        assert_eq!((change.name.as_str(), change.baseline, change.candidate.unwrap().macs), ("neck", None, 3000));
        // The other way round it is gone, and that is an improvement.
        let found = compared(&more, &network(), &Settings::default());
        assert_eq!((found.outcome, found.layers[0].candidate), (Outcome::Improved, None));
    }

    #[test]
    fn one_operation_more_in_one_layer_is_seen_and_a_few_bytes_are_not() {
        let changed = profile(vec![layer("embed", 10_000), layer("head", 20_001)]);
        let found = compared(&network(), &changed, &Settings::default());
        assert_eq!((found.outcome, found.layers.len(), found.layers[0].name.as_str()), (Outcome::Regressed, 1, "head"));
        let mut padded = network();
        padded.compute[0].dispatched.as_mut().unwrap().memory.as_mut().unwrap().peak_bytes += 900;
        assert_eq!(compared(&network(), &padded, &Settings::default()).outcome, Outcome::Pass);
        padded.compute[0].dispatched.as_mut().unwrap().memory.as_mut().unwrap().peak_bytes += 200;
        assert_eq!(compared(&network(), &padded, &Settings::default()).outcome, Outcome::Regressed);
    }

    #[test]
    fn another_machine_is_not_comparable_unless_accepted_or_only_counts_are() {
        let mut elsewhere = network();
        elsewhere.fingerprint.kernel = "6.5".into();
        let found = compared(&network(), &elsewhere, &Settings::default());
        assert_eq!(
            (found.outcome, found.differences.as_slice()),
            (Outcome::NotComparable, ["kernel: \"6.1\" against \"6.5\"".to_owned()].as_slice())
        );
        assert!(found.rows.is_empty());
        let accepting = Settings { accept: vec!["kernel".into()], ..Settings::default() };
        assert_eq!(compared(&network(), &elsewhere, &accepting).outcome, Outcome::Pass);

        elsewhere.compute[0].dispatched.as_mut().unwrap().operators += 1;
        let counts = Settings { counts_only: true, ..Settings::default() };
        let found = compared(&network(), &elsewhere, &counts);
        // What another machine's libtorch dispatched is shown, and decides nothing.
        assert_eq!((found.outcome, found.parts().0.len(), found.accepted.len()), (Outcome::Pass, 4, 1));
        // On the same machine it does.
        elsewhere.fingerprint = network().fingerprint;
        assert_eq!(compared(&network(), &elsewhere, &counts).outcome, Outcome::Regressed);
    }

    #[test]
    fn counts_of_other_inputs_are_not_comparable() {
        let mut other = network();
        other.compute[0].what = "training step of 8 inputs of 128 cells".into();
        for counts_only in [false, true] {
            let found = compared(&network(), &other, &Settings { counts_only, ..Settings::default() });
            assert_eq!(found.outcome, Outcome::NotComparable);
            assert!(found.differences[0].starts_with("work: "), "{:?}", found.differences);
        }
    }

    #[test]
    fn a_count_that_one_side_lacks_is_inconclusive() {
        let mut unobserved = network();
        unobserved.compute[0].dispatched = None;
        let found = compared(&network(), &unobserved, &Settings::default());
        assert_eq!(found.outcome, Outcome::Inconclusive);
        assert!(found.rows.iter().any(|r| r.note.as_ref().is_some_and(|n| n.ends_with("for the candidate"))));
        let bare = |mut p: Profile| {
            p.compute.clear();
            p
        };
        let found = compared(&bare(network()), &bare(network()), &Settings::default());
        assert_eq!(found.outcome, Outcome::Inconclusive);
        assert!(found.notes[0].contains("nothing was gated"));
    }

    #[test]
    fn steps_are_judged_on_request_and_only_when_there_are_enough() {
        let timed = |steps: usize, factor: f64| {
            let training_s = (0..steps).map(|i| factor * (1.0 + 0.001 * (i % 7) as f64)).collect();
            let video_s: Vec<f64> = (0..12).map(|i| 60.0 + f64::from(i)).collect();
            let detection_s = video_s.iter().map(|v| 0.01 * v * factor).collect();
            Profile { steps: Some(Steps { training_s, detection_s, video_s }), ..network() }
        };
        let mut gating = Settings::default();
        assert_eq!(compared(&timed(50, 1.0), &timed(50, 1.2), &gating).outcome, Outcome::Pass);
        gating.of_mut(Measure::Train).gate = true;
        gating.of_mut(Measure::Detect).gate = true;
        let found = compared(&timed(50, 1.0), &timed(50, 1.2), &gating);
        let verdicts: Vec<Verdict> = found.rows.iter().filter(|r| r.gated && r.change.is_some()).map(|r| r.verdict).collect();
        assert_eq!((found.outcome, verdicts), (Outcome::Regressed, vec![Verdict::Regressed; 2]));
        assert_eq!(compared(&timed(50, 1.0), &timed(50, 1.0), &gating).outcome, Outcome::Pass);
        // Five steps say nothing, and say so.
        gating.of_mut(Measure::Detect).gate = false;
        let found = compared(&timed(5, 1.0), &timed(5, 1.2), &gating);
        assert_eq!(found.outcome, Outcome::Inconclusive);
        assert!(found.rows.iter().any(|r| r.note.as_ref().is_some_and(|n| n.contains("fewer than 6"))));
    }
}
