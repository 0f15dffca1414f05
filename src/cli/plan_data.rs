//! `etalon plan-data`: how much to collect and annotate for a score, in how many rounds, at what cost.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use rayon::prelude::*;
use serde::Serialize;

use super::fit::{self, number, score};
use super::observations::{self, Read, Series, Source};
use super::{Exit, Ui, ui};
use crate::curves::{Aim, Curve, Direction, Options, Plan, Reach, Terms, Unreachable};
use crate::report::source::Stored;

/// Plan a collection of data: how many videos in how many rounds for a score, and what that costs.
///
/// The plan with the least expected cost: small rounds first, since each is needed only if those before were not enough.
/// After every round, train on what there is, fit the curve again and plan anew: only the first round is to be taken
/// literally.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  etalon plan-data results --target 0.6 --cost 12                          12 per video; 90 % sure to reach 0.6
  etalon plan-data results --target 0.6 --cost 12 --failure-cost 5000      missing it costs 5000
  etalon plan-data results --target 0.6 --cost 80 --per hour --rounds 4    80 per hour of video
  etalon plan-data --curve scores.csv --target 0.6 --cost 0.5 --per instance --instances-per-video 15

Costs are in any currency, the same for all. What is there already is the largest size of the curve.")]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Only this curve, by the model's name; may be repeated.
    #[arg(long, visible_alias = "model", value_name = "NAME")]
    only: Vec<String>,
    /// The score to reach.
    #[arg(long, value_name = "SCORE")]
    target: f64,
    /// What one more video, hour of video or instance costs to collect and annotate.
    #[arg(long, value_name = "PRICE", value_parser = positive)]
    cost: f64,
    /// What the cost is for.
    #[arg(long, default_value = "video")]
    per: Unit,
    /// Hours per video, for --per hour [default: from the store].
    #[arg(long, value_name = "HOURS", value_parser = positive)]
    hours_per_video: Option<f64>,
    /// Instances per video, for --per instance [default: from the store].
    #[arg(long, value_name = "COUNT", value_parser = positive)]
    instances_per_video: Option<f64>,
    /// Rounds of collection at most.
    #[arg(long, default_value = "3", value_parser = super::run::at_least_one)]
    rounds: usize,
    /// What it costs not to reach the target.
    #[arg(long, value_name = "COST", value_parser = positive, conflicts_with = "confidence")]
    failure_cost: Option<f64>,
    /// Probability of reaching the target [default: 0.9, without --failure-cost].
    #[arg(long, value_parser = fit::probability)]
    confidence: Option<f64>,
    /// Probability of the interval of the videos needed.
    #[arg(long, default_value = "0.9", value_parser = fit::probability)]
    level: f64,
}

/// What is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Unit {
    /// A video.
    Video,
    /// An hour of video.
    Hour,
    /// An annotated instance.
    Instance,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|v: &f64| *v > 0.0 && v.is_finite()).ok_or_else(|| "use a number above 0".to_owned())
}

/// Why nothing can be planned. Exit code 6.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A target that is no score.
    #[error("--target {0} is no score: use one above 0 and up to 1 (divide percentages by 100; for losses give --decreasing)")]
    Target(f64),
    /// A curve that is not there.
    #[error("{} has no curve {wanted:?}; it has: {}", path.display(), known.join(", "))]
    NoCurve {
        /// The file or store.
        path: PathBuf,
        /// `--only`.
        wanted: String,
        /// What is there.
        known: Vec<String>,
    },
    /// A price for something that nobody has counted.
    #[error("{} does not say how much of it a video holds: give {flag}", path.display())]
    Conversion {
        /// The file or store.
        path: PathBuf,
        /// What says it.
        flag: &'static str,
    },
    /// A number that answers a question nobody asked.
    #[error("{flag} belongs to {per}: add that, or leave it out")]
    Stray {
        /// The option.
        flag: &'static str,
        /// What it belongs to.
        per: &'static str,
    },
}

/// The plan for one curve.
#[derive(Serialize)]
struct Planned {
    name: String,
    /// Videos there are.
    have: f64,
    target: f64,
    per: Unit,
    /// Of what the cost is for.
    units_per_video: f64,
    cost_per_video: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_cost: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
    needed: Reach,
    /// `None` when the confidence cannot be reached.
    plan: Option<Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable: Option<String>,
    /// The median of the videos needed, collected at once; `None` when more likely than not no amount suffices.
    median_at_once: Option<Plan>,
    /// As many again as there are, collected at once.
    double_at_once: Plan,
    advice: String,
}

#[derive(Serialize)]
struct Output {
    curves: Vec<Planned>,
}

pub fn run(args: &Args, ui: &Ui) -> anyhow::Result<Exit> {
    check_conversions(args)?;
    let Read { series, direction, note } = args.source.read()?;
    note.iter().for_each(|note| ui.remark(format!("note: {note}")));
    let path = args.source.path();
    // A loss may be any positive number.
    if !(args.target > 0.0 && args.target.is_finite() && (direction == Direction::Decreasing || args.target <= 1.0)) {
        return Err(Error::Target(args.target).into());
    }
    let series = only(series, &args.only, path)?;
    let units = units(args, path, &series)?;
    let options = Options { direction, level: args.level, ..Options::default() };
    let planned = series
        .par_iter()
        .zip(&units)
        .map(|(s, &units)| plan(args, &options, path, s, units))
        .collect::<Result<Vec<_>, observations::Error>>()?;
    if ui.json {
        ui.json(&Output { curves: planned })?;
    } else {
        planned.iter().for_each(|p| show(p, args, ui));
    }
    Ok(Exit::Done)
}

fn check_conversions(args: &Args) -> Result<(), Error> {
    if args.hours_per_video.is_some() && args.per != Unit::Hour {
        return Err(Error::Stray { flag: "--hours-per-video", per: "--per hour" });
    }
    if args.instances_per_video.is_some() && args.per != Unit::Instance {
        return Err(Error::Stray { flag: "--instances-per-video", per: "--per instance" });
    }
    Ok(())
}

/// The curves of those names, with or without the experiment's name before the model's.
fn only(series: Vec<Series>, wanted: &[String], path: &Path) -> Result<Vec<Series>, Error> {
    let is = |series: &Series, wanted: &str| series.name == wanted || series.name.rsplit_once('/').is_some_and(|(_, name)| name == wanted);
    if let Some(missing) = wanted.iter().find(|&w| !series.iter().any(|s| is(s, w))) {
        let known = series.iter().map(|s| s.name.clone()).collect();
        return Err(Error::NoCurve { path: path.to_owned(), wanted: missing.clone(), known });
    }
    Ok(series.into_iter().filter(|s| wanted.is_empty() || wanted.iter().any(|w| is(s, w))).collect())
}

/// How much of what is paid for a video holds, curve by curve.
fn units(args: &Args, path: &Path, series: &[Series]) -> anyhow::Result<Vec<f64>> {
    let (given, flag) = match args.per {
        Unit::Video => (Some(1.0), ""),
        Unit::Hour => (args.hours_per_video, "--hours-per-video"),
        Unit::Instance => (args.instances_per_video, "--instances-per-video"),
    };
    if let Some(given) = given {
        return Ok(vec![given; series.len()]);
    }
    let unknown = || Error::Conversion { path: path.to_owned(), flag };
    let store = args.source.store.as_ref().ok_or_else(unknown)?;
    let stored = Stored::read(store).with_context(|| format!("failed to read the store {}", store.display()))?;
    let curves = match args.source.experiment.as_deref() {
        Some(name) => stored.curves_of(stored.experiment(Some(name))?)?,
        None => stored.curves(),
    };
    let of = |series: &Series| {
        let (mut sum, mut videos) = (0.0, 0.0);
        for record in curves.get(&series.name).into_iter().flatten() {
            sum += if args.per == Unit::Hour { record.sample.seconds / 3600.0 } else { record.sample.instances as f64 };
            videos += record.sample.videos as f64;
        }
        // Records of an import may not know.
        Some(sum / videos).filter(|u| *u > 0.0 && u.is_finite()).ok_or_else(unknown)
    };
    Ok(series.iter().map(of).collect::<Result<_, Error>>()?)
}

fn plan(args: &Args, options: &Options, path: &Path, series: &Series, units_per_video: f64) -> Result<Planned, observations::Error> {
    let curve = Curve::fit(&series.observations, options).map_err(|source| observations::Error::Curve {
        path: path.to_owned(),
        name: series.name.clone(),
        source,
    })?;
    let aim = args.failure_cost.map_or(Aim::Confidence(args.confidence.unwrap_or(0.9)), Aim::FailureCost);
    let cost_per_video = args.cost * units_per_video;
    let terms = Terms { cost: cost_per_video, rounds: args.rounds, aim };
    let have = curve.largest();
    let (needed, requirement) = (curve.reach(args.target), curve.requirement(args.target));
    let sufficient = |n| requirement.probability(n);
    let at_once = |videos: f64| Plan::of(have, &[videos.ceil()], sufficient, &terms);
    let plan = Plan::cheapest(have, sufficient, &terms);
    let advice = advice(&plan, &needed, have, args.failure_cost.is_some());
    Ok(Planned {
        name: series.name.clone(),
        have,
        target: args.target,
        per: args.per,
        units_per_video,
        cost_per_video,
        failure_cost: args.failure_cost,
        confidence: match aim {
            Aim::Confidence(confidence) => Some(confidence),
            Aim::FailureCost(_) => None,
        },
        median_at_once: needed.n_median.map(at_once),
        double_at_once: at_once(2.0 * have),
        unreachable: plan.as_ref().err().map(ToString::to_string),
        plan: plan.ok(),
        needed,
        advice,
    })
}

fn advice(plan: &Result<Plan, Unreachable>, needed: &Reach, have: f64, priced: bool) -> String {
    let reached = if needed.reached { "; the mean score at an observed size is that good already" } else { "" };
    match plan {
        Err(unreachable) => {
            let chance = share(unreachable.probability);
            format!(
                "more data will hardly do: the target is reached at all with {chance}; lower it or the confidence, or change the model{reached}"
            )
        }
        Ok(plan) => match plan.rounds.first() {
            None => {
                let more = if priced { ", and more would cost more than it saves" } else { "" };
                format!("collect nothing: what is there suffices with {}{more}{reached}", share(1.0 - plan.failure_probability))
            }
            Some(first) => format!(
                "collect {} videos now (to {}, from {}), train on them, fit the curve again and plan anew: only the first round is to be \
                 taken literally{reached}",
                count(first.add),
                count(first.videos),
                count(have)
            ),
        },
    }
}

fn show(p: &Planned, args: &Args, ui: &Ui) {
    ui.line(format!("{}\n{}", p.name, "─".repeat(p.name.chars().count())));
    let needed = &p.needed;
    let reachable = format!("reachable with {:.0} %", 100.0 * needed.probability_reachable);
    let needs = match (needed.n_median, needed.n_lower) {
        (Some(median), Some(lower)) => {
            let upper = needed.n_upper.map_or("unbounded".to_owned(), number);
            let level = 100.0 * needed.level;
            format!("{} needs {} ({level:.0} % interval: {} to {upper}), {reachable}", score(p.target), number(median), number(lower))
        }
        _ => format!("{} is out of reach of up to {} more likely than not: {reachable}", score(p.target), number(needed.horizon)),
    };
    ui.line(format!("{} videos are there; {needs}\n", count(p.have)));
    if let Some(plan) = &p.plan
        && !plan.rounds.is_empty()
    {
        ui.line(rounds(plan, p));
    }
    if let Some(text) = &p.unreachable {
        ui.line(format!("{text}\n"));
    }
    let failure = if args.failure_cost.is_some() { "expected cost with failure" } else { "expected cost" };
    let mut table = ui::table(&["", failure, "worst cost", "target missed"]);
    let mut row = |name: String, plan: &Plan| {
        let cells = [money(plan.expected_cost), money(plan.worst_cost), share(plan.failure_probability)];
        table.add_row([vec![name], cells.into()].concat());
    };
    if let Some(plan) = &p.plan {
        row("this plan".into(), plan);
    }
    if let (Some(plan), Some(median)) = (&p.median_at_once, needed.n_median) {
        row(format!("the median at once ({})", count(median.ceil())), plan);
    }
    row(format!("2x at once ({})", count((2.0 * p.have).ceil())), &p.double_at_once);
    ui.line(format!("{table}\n"));
    ui.line(format!("{}\n", p.advice));
}

fn rounds(plan: &Plan, p: &Planned) -> String {
    let paid = match p.per {
        Unit::Video => None,
        Unit::Hour => Some("hours"),
        Unit::Instance => Some("instances"),
    };
    let header = ["round", "videos", "to add"].into_iter().chain(paid).chain(["cost", "needed", "reached by then"]);
    let mut table = ui::table(&header.collect::<Vec<_>>());
    for (index, round) in plan.rounds.iter().enumerate() {
        let units = paid.map(|_| format!("{:.1}", round.add * p.units_per_video));
        let row = [(index + 1).to_string(), count(round.videos), count(round.add)];
        let rest = [money(round.cost), share(round.probability_needed), share(round.probability_reached)];
        table.add_row(row.into_iter().chain(units).chain(rest));
    }
    format!("{table}\n")
}

/// Videos: whole where they are whole.
fn count(n: f64) -> String {
    if n.fract() == 0.0 { format!("{n:.0}") } else { number(n) }
}

fn money(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn share(probability: f64) -> String {
    format!("{:.0} %", 100.0 * probability)
}
