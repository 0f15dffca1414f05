//! `etalon compare`: did a change make it dearer?

mod progress;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Exit, Ui, ui};
use crate::base::fsio;
use crate::compare::document::{Comparison, LayerChange, Outcome, Row};
use crate::compare::settings::Measure;
use crate::compare::{Error, Settings, commands, profiles, render};
use crate::profile::Profile;
use crate::run::Stop;

use progress::Progress;

/// Compare two stored profiles, or two commands run in interleaved pairs.
///
/// Stored profiles: parameters, operations, operators and bytes of tensors must be equal; layers that differ are named. Times of
/// two stored profiles are shown and, with --gate, judged. Profiles from different machines are not comparable (--ignore FIELD
/// passes over a difference, --counts-only compares what does not depend on the machine).
///
/// Commands: both run again and again in random order, one right after the other, measured from outside. After 10, 20 and 40
/// pairs the growth of CPU time and of peak memory is judged with bounds that hold for all looks and measures together:
/// "regressed" when it surely exceeds the ignore band, "pass" when it surely stays below the tolerated harm, else "inconclusive".
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  etalon compare base.json new.json
  etalon compare base.json new.json --counts-only            also of profiles from different machines
  etalon compare --baseline './old/etalon …' --candidate './new/etalon …' --out verdict --github
  etalon compare --config experiments/profile-ci.toml --gate wall --harm wall=15
  etalon compare --baseline 'make old' --candidate 'make new' --instructions

--out DIR writes verdict.json (everything; decide by this), comment.md, junit.xml and metrics.txt (for GitLab).

Exit codes: 0 no regression (and inconclusive, unless --strict), 3 regression, 4 inconclusive with --strict, 5 not comparable,
6 a file or command cannot be used, 130 interrupted. --advisory turns 3, 4 and 5 into 0.")]
pub struct Args {
    /// The profile that was, and the one that is to come.
    #[arg(num_args = 2, value_names = ["BASELINE.json", "CANDIDATE.json"], conflicts_with_all = ["baseline", "candidate"])]
    profiles: Vec<PathBuf>,
    /// Shell command that was.
    #[arg(long, value_name = "COMMAND")]
    baseline: Option<String>,
    /// Shell command that is to come.
    #[arg(long, value_name = "COMMAND")]
    candidate: Option<String>,
    /// Commands, measures and thresholds from a TOML file; flags win.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let this measure decide as well: cpu, memory, wall; train, detect for profiles. May be repeated.
    #[arg(long, value_name = "MEASURE")]
    gate: Vec<Measure>,
    /// Show this measure without letting it decide; may be repeated.
    #[arg(long, value_name = "MEASURE", conflicts_with = "gate")]
    no_gate: Vec<Measure>,
    /// Growth in percent that counts as none [default: 2; memory 3].
    #[arg(long, value_name = "MEASURE=PERCENT")]
    band: Vec<Share>,
    /// Growth in percent that is not tolerated [default: 5; memory 10].
    #[arg(long, value_name = "MEASURE=PERCENT")]
    harm: Vec<Share>,
    /// Numbers of pairs at which the data are looked at [default: 10,20,40].
    #[arg(long, value_name = "PAIRS", value_delimiter = ',')]
    looks: Vec<usize>,
    /// Seed of the order within pairs [default: drawn, and written into the verdict].
    #[arg(long)]
    seed: Option<u64>,
    /// Count instructions too: each command once under valgrind, 0.1 % tolerated.
    #[arg(long)]
    instructions: bool,
    /// A field of the profiles' fingerprint that may differ, such as kernel; may be repeated.
    #[arg(long, value_name = "FIELD")]
    ignore: Vec<String>,
    /// Compare the networks' counts only; those hold on any machine.
    #[arg(long, requires = "profiles")]
    counts_only: bool,
    /// Name of this comparison among several on one pull request [default: profile].
    #[arg(long)]
    id: Option<String>,
    /// Write verdict.json, comment.md, junit.xml and metrics.txt there.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print annotations for GitHub Actions (on standard error with --json).
    #[arg(long)]
    github: bool,
    /// Inconclusive is a failure.
    #[arg(long, conflicts_with = "advisory")]
    strict: bool,
    /// Say what was found and exit with 0.
    #[arg(long)]
    advisory: bool,
}

/// "cpu=5".
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share(Measure, f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (measure, percent) = text.split_once('=').ok_or_else(|| "write MEASURE=PERCENT, such as cpu=5".to_owned())?;
        let percent = percent.trim_end_matches('%').parse().map_err(|_| format!("{percent:?} is no number of percent"))?;
        Ok(Self(measure.parse()?, percent))
    }
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    let settings = settings(args)?;
    let comparison = match args.profiles.as_slice() {
        [before, after] => {
            let profiles = [Profile::read(before)?, Profile::read(after)?];
            let names = [before.to_string_lossy(), after.to_string_lossy()];
            profiles::compare([&names[0], &names[1]], [&profiles[0], &profiles[1]], &settings)
        }
        _ => {
            let (Some(baseline), Some(candidate)) = (&settings.baseline, &settings.candidate) else {
                let text = "nothing to compare: name two profiles, or give --baseline and --candidate (or both in --config)";
                return Err(Error::Settings(text.to_owned()).into());
            };
            if !args.ignore.is_empty() {
                ui.remark("note: --ignore has no effect on commands, which run on this machine both");
            }
            let (stop, progress) = (Stop::on_signals()?, Progress::new(ui));
            let found = commands::compare([baseline, candidate], &settings, &|| stop.requested(), &mut |p| progress.show(p));
            progress.finish();
            found?
        }
    };
    if let Some(folder) = &args.out {
        write(folder, &comparison)?;
    }
    if args.github {
        let lines = render::annotations(&comparison);
        // Standard output belongs to the document.
        lines.iter().for_each(|line| if ui.json { ui.remark(line) } else { ui.line(line) });
    }
    if ui.json {
        ui.json(&comparison)?;
    } else {
        show(&comparison, ui);
    }
    Ok(exit(args, comparison.outcome))
}

/// Defaults, the file over them, flags over both.
fn settings(args: &Args) -> Result<Settings, Error> {
    let mut settings = args.config.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read)?;
    for (given, set) in [(&args.baseline, &mut settings.baseline), (&args.candidate, &mut settings.candidate)] {
        if given.is_some() {
            set.clone_from(given);
        }
    }
    for measure in &args.gate {
        settings.of_mut(*measure).gate = true;
    }
    for measure in &args.no_gate {
        settings.of_mut(*measure).gate = false;
    }
    for Share(measure, percent) in &args.band {
        settings.of_mut(*measure).ignore_percent = *percent;
    }
    for Share(measure, percent) in &args.harm {
        settings.of_mut(*measure).harm_percent = *percent;
    }
    if !args.looks.is_empty() {
        settings.plan.looks.clone_from(&args.looks);
    }
    settings.plan.seed = args.seed.unwrap_or(settings.plan.seed);
    settings.id = args.id.clone().unwrap_or(settings.id);
    settings.accept.extend(args.ignore.iter().cloned());
    settings.counts_only = args.counts_only;
    settings.instructions |= args.instructions;
    settings.checked()
}

fn exit(args: &Args, outcome: Outcome) -> Exit {
    let exit = match outcome {
        Outcome::Pass | Outcome::Improved => Exit::Done,
        Outcome::Inconclusive if !args.strict => Exit::Done,
        Outcome::Inconclusive => Exit::Inconclusive,
        Outcome::Regressed => Exit::Regression,
        Outcome::NotComparable => Exit::NotComparable,
    };
    if args.advisory { Exit::Done } else { exit }
}

fn write(folder: &Path, comparison: &Comparison) -> anyhow::Result<()> {
    fsio::create_dir(folder)?;
    let file = |name: &str, text: String| fsio::replace(&folder.join(name), text.as_bytes());
    file("comment.md", render::markdown(comparison))?;
    file("junit.xml", render::junit(comparison))?;
    file("metrics.txt", render::metrics(comparison))?;
    // The authority comes last: where it is, the others are.
    file("verdict.json", format!("{}\n", serde_json::to_string_pretty(comparison)?))?;
    Ok(())
}

fn show(comparison: &Comparison, ui: &Ui) {
    let (gated, others) = comparison.parts();
    for (rows, title) in [(gated, "gated"), (others, "not gated")] {
        if !rows.is_empty() {
            ui.line(format!("{}\n", table(title, rows)));
        }
    }
    for change in &comparison.layers {
        ui.line(layer(change));
    }
    for pair in comparison.pairs.iter().filter_map(|p| p.void.as_ref()) {
        ui.remark(format!("void pair: {pair}"));
    }
    for note in comparison.rows.iter().filter_map(|r| Some(format!("{}: {}", r.name, r.note.as_ref()?))) {
        ui.line(format!("note: {note}"));
    }
    for note in &comparison.notes {
        ui.line(format!("note: {note}"));
    }
    for accepted in &comparison.accepted {
        ui.line(format!("accepted: {accepted}"));
    }
    if let Some(plan) = &comparison.plan {
        let valid = comparison.pairs.iter().filter(|p| p.void.is_none()).count();
        ui.line(format!("{valid} pairs, order by seed {}", plan.seed));
    }
    ui.line(render::headline(comparison));
    if comparison.outcome == Outcome::NotComparable {
        ui.line("pass over a difference with --ignore FIELD, or compare what does not depend on the machine with --counts-only");
    }
}

fn table(title: &str, rows: &[Row]) -> String {
    let mut table = ui::table(&[title, "baseline", "candidate", "change", "bounds", "detectable", "verdict"]);
    for row in rows {
        table.add_row([
            row.name.clone(),
            render::value(row.baseline, row.unit),
            render::value(row.candidate, row.unit),
            render::growth(row),
            render::limits(row),
            render::detectable(row),
            render::verdict(row.verdict).to_owned(),
        ]);
    }
    table.to_string()
}

fn layer(change: &LayerChange) -> String {
    let LayerChange { what, name, kind, baseline, candidate } = change;
    let counts = |c: &crate::compare::document::LayerCount| format!("{} parameters, {} MACs", c.parameters, c.macs);
    match (baseline, candidate) {
        (None, Some(new)) => format!("new layer in {what}: {name} ({kind}), {}", counts(new)),
        (Some(gone), None) => format!("layer gone from {what}: {name} ({kind}), {}", counts(gone)),
        (Some(old), Some(new)) => format!("layer changed in {what}: {name} ({kind}), {} → {}", counts(old), counts(new)),
        (None, None) => format!("{what}: {name} ({kind})"),
    }
}
