//! Models beside each other: who beats whom and from where, and what a score costs.

use super::format::{dash, grouped, listed, percent_label, points, probability, significant, spread};
use super::{Block, Section, figure, section, table, text};
use crate::curves::{Chances, Crossing, FEWEST_SEEDS};
use crate::report::figures::Chart;
use crate::report::figures::charts::{contenders, memory_unit, time_unit, tradeoff_id};
use crate::report::model::{Absent, Efficiency, Pair, Prospect, Report, Resource, Tradeoff};

pub fn pairs(report: &Report, charts: &[Chart]) -> Section {
    let measured: Vec<(&Pair, &Crossing)> = report.pairs.iter().filter_map(|p| Some((p, p.crossing.as_ref()?))).collect();
    let mut blocks = Vec::new();
    if let Some(close) = figure(charts, "learning-curves-close") {
        blocks.push(close);
        let close = contenders(report);
        let far = names(report.models.iter().map(|m| &m.name).filter(|name| close.iter().all(|m| m.name != **name)));
        let left_out = if far.is_empty() { String::new() } else { format!(" Too low to be shown: {}.", listed(&far)) };
        blocks.push(text(format!("Means and standard deviations over seeds, joined by straight lines.{left_out}")));
    }
    if !measured.is_empty() {
        let (first, last) = (common(&measured, |c| c.sizes[0].n), common(&measured, |c| c.sizes[c.sizes.len() - 1].n));
        let at = |n: Option<f64>, otherwise: &str| n.map_or_else(|| otherwise.to_owned(), |n| format!("at {n:.0} videos"));
        let (fewest, most) = (at(first, "at the fewest videos"), at(last, "at the most videos"));
        let level = measured.iter().find_map(|m| m.1.chances).map_or(90.0, |c| 100.0 * c.from.level);
        let header = [
            &format!("ahead {most}"),
            "behind",
            &fewest,
            &most,
            "ahead from",
            &format!("{level:.0} % interval"),
            &format!("P ahead {most}"),
            "P ahead at every size",
            "P overtakes",
        ];
        // One size needs one difference, and what no pair has needs no column.
        let columns = match (measured.iter().all(|m| m.1.sizes.len() == 1), measured.iter().any(|m| m.1.chances.is_some())) {
            (true, true) => vec![0, 1, 3, 6],
            (true, false) => vec![0, 1, 3],
            (false, true) => (0..header.len()).collect(),
            (false, false) => vec![0, 1, 2, 3, 4],
        };
        let wanted = |cells: Vec<String>| columns.iter().map(|&c| cells[c].clone()).collect();
        let rows = measured.iter().map(|(pair, crossing)| wanted(row(pair, crossing))).collect();
        let header: Vec<&str> = columns.iter().map(|&c| header[c]).collect();
        let mut beats = table("Differences in mAP points, mean ± standard deviation over paired seeds", &header, rows);
        beats.text_columns = columns.iter().enumerate().filter(|(_, c)| [0, 1, 4].contains(*c)).map(|(at, _)| at).collect();
        beats.folded = beats.rows.len() > 24;
        blocks.push(Block::Table(beats));
        let mut explained = vec![PAIRED];
        explained.extend(columns.contains(&4).then_some(AHEAD_FROM));
        explained.extend(columns.contains(&6).then_some(CHANCES));
        blocks.push(text(explained.join(" ")));
    }
    blocks.extend(prospects(report));
    let items = remarks(report);
    if !items.is_empty() {
        blocks.push(Block::List { items });
    }
    section("pairs", "Who beats whom", blocks)
}

const PAIRED: &str = "A seed draws the same videos for every model, so differences are paired.";
const AHEAD_FROM: &str = "“Ahead from” is where the mean difference last changes sign, on a line in ln n between the sizes measured; “no crossing” means \
    that the mean lead never changes. This table says nothing of more videos than were measured.";
const CHANCES: &str = "The probabilities are of the expected difference over all seeds on these test videos, by Student’s t over the paired differences; to \
    overtake is to be behind at the fewest videos and ahead at the most. With all training videos the seeds differ in the training alone.";

fn row(pair: &Pair, crossing: &Crossing) -> Vec<String> {
    let (first, last) = (&crossing.sizes[0], &crossing.sizes[crossing.sizes.len() - 1]);
    let one_size = crossing.sizes.len() == 1;
    let from = match crossing.n {
        None if one_size => dash(),
        None => format!("no crossing from {:.0} to {:.0} videos", first.n, last.n),
        Some(n) => {
            let again = if first.mean > 0.0 { "again from " } else { "" };
            let instances = pair.instances.map_or_else(String::new, |i| format!(" ({i:.0} instances)"));
            format!("{again}{n:.0} videos{instances}")
        }
    };
    let chance = |value: fn(&Chances) -> f64| crossing.chances.as_ref().map_or_else(dash, |c| probability(value(c)));
    vec![
        pair.ahead.clone(),
        pair.behind.clone(),
        points(first.mean, first.sd),
        points(last.mean, last.sd),
        from,
        crossing.chances.filter(|_| !one_size).map_or_else(dash, |c| interval(&c, first.n, last.n)),
        chance(|c| c.at_largest),
        chance(|c| c.throughout),
        if one_size { dash() } else { chance(|c| c.overtakes) },
    ]
}

fn interval(chances: &Chances, first: f64, last: f64) -> String {
    let end = |n: f64| match n {
        0.0 => format!("< {first:.0}"),
        n if n.is_infinite() => format!("> {last:.0}"),
        n => format!("{n:.0}"),
    };
    let (lower, upper) = (end(chances.from.lower), end(chances.from.upper));
    if lower == upper { lower } else { format!("{lower} – {upper}") }
}

/// Who would be ahead with more data, by the fitted curves.
fn prospects(report: &Report) -> Vec<Block> {
    let known: Vec<&Pair> = report.pairs.iter().filter(|p| !p.prospects.is_empty()).collect();
    let Some(first) = known.first() else { return Vec::new() };
    let cells =
        |p: &&Pair| [p.ahead.clone(), p.behind.clone()].into_iter().chain(p.prospects.iter().map(|p| probability(p.probability))).collect();
    let column = |p: &Prospect| format!("P ahead at {}×", p.times);
    let header: Vec<String> = ["ahead today", "behind"].map(String::from).into_iter().chain(first.prospects.iter().map(column)).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut ahead = table("Who would be ahead with more data", &header, known.iter().map(cells).collect());
    ahead.text_columns = vec![0, 1];
    ahead.folded = ahead.rows.len() > 24;
    vec![Block::Table(ahead), text(PROSPECTS)]
}

const PROSPECTS: &str = "Forecasts: of all pairs of a curve drawn from either model’s fit, the share in which the model that is ahead today has the \
    higher expected score. The curves of two models are drawn independently, although they were measured on the same samples.";

/// What the table cannot say of each pair.
fn remarks(report: &Report) -> Vec<String> {
    let named = |p: &Pair| format!("{} and {}", p.ahead, p.behind);
    let few = |c: &Crossing| c.chances.is_none();
    let apart: Vec<String> = report.pairs.iter().filter(|p| p.crossing.is_none()).map(named).collect();
    let unsure: Vec<String> = report.pairs.iter().filter(|p| p.crossing.as_ref().is_some_and(few)).map(named).collect();
    let single = report.pairs.iter().filter_map(|p| p.crossing.as_ref()).any(|c| c.sizes.len() == 1);
    let mut items = Vec::new();
    if !apart.is_empty() {
        items.push(format!("No seed of a fraction in common: {}.", apart.join("; ")));
    }
    if !unsure.is_empty() {
        let which = if unsure.len() == report.pairs.len() { "any pair".to_owned() } else { unsure.join("; ") };
        items.push(format!("Too few seeds for a probability of {which}: run at least {FEWEST_SEEDS}."));
    }
    if single {
        items.push("Models compared at one fraction show no crossing: run at least two.".to_owned());
    }
    items
}

/// The value all have in common.
fn common(measured: &[(&Pair, &Crossing)], value: impl Fn(&Crossing) -> f64) -> Option<f64> {
    let first = value(measured[0].1);
    measured.iter().all(|m| value(m.1) == first).then_some(first)
}

pub fn efficiency(report: &Report, charts: &[Chart]) -> Section {
    let Some(efficiency) = report.efficiency.as_ref().filter(|e| !e.rows.is_empty()) else {
        return section("efficiency", "Accuracy against cost", Vec::new());
    };
    let mut blocks: Vec<Block> = Resource::ALL.into_iter().filter_map(tradeoff_id).filter_map(|id| figure(charts, id)).collect();
    let close = contenders(report);
    let far = names(efficiency.rows.iter().map(|r| &r.model).filter(|name| close.iter().all(|m| m.name != **name)));
    if !blocks.is_empty() {
        let left_out = if far.is_empty() { String::new() } else { format!(" Too low to be shown: {}.", listed(&far)) };
        blocks.push(text(format!("Filled: no other model scores as much for less, by the means; the thin line joins them.{left_out}")));
    }
    let mut times: Vec<f64> = efficiency.rows.iter().map(|t| t.cpu_s).collect();
    times.sort_by(f64::total_cmp);
    let (unit, unit_name) = time_unit(times[times.len() / 2]);
    let (bytes, bytes_name) = memory_unit(efficiency.rows.iter().map(|t| t.peak_rss_bytes).max().unwrap_or(0) as f64);
    let seconds = |s: f64| significant(s / unit);
    let row = |t: &Tradeoff| {
        vec![
            t.model.clone(),
            spread(&t.score),
            t.training_s.map_or_else(dash, seconds),
            seconds(t.cpu_s),
            t.gmac_per_minute.map_or_else(dash, significant),
            significant(t.peak_rss_bytes as f64 / bytes),
            t.parameters.map_or_else(dash, grouped),
            match t.unbeaten.len() {
                0 => dash(),
                all if all == Resource::ALL.len() => "all".to_owned(),
                _ => t.unbeaten.iter().map(|r| r.name()).collect::<Vec<_>>().join(", "),
            },
        ]
    };
    let caption = format!(
        "Score and cost at {} of the training part ({:.0} videos), means over seeds",
        percent_label(efficiency.percent),
        efficiency.videos
    );
    let header = [
        "model",
        "average mAP (%)",
        &format!("training ({unit_name})"),
        &format!("CPU time ({unit_name})"),
        "GMAC per minute",
        &format!("peak memory ({bytes_name})"),
        "parameters",
        "unbeaten in",
    ];
    let mut costs = table(caption, &header, efficiency.rows.iter().map(row).collect());
    costs.text_columns = vec![0, 7];
    blocks.push(Block::Table(costs));
    blocks.push(text(
        "Training is the wall time of that phase, CPU time that of the whole cell. GMAC per minute are the multiply-accumulates of convolutions, linear layers \
         and matrix products to detect in a minute of test video. Peak memory is the largest resident set of the process; a GPU’s own memory is not in it.",
    ));
    if !efficiency.absent.is_empty() {
        blocks.push(Block::List { items: gaps(efficiency) });
    }
    section("efficiency", "Accuracy against cost", blocks)
}

fn gaps(efficiency: &Efficiency) -> Vec<String> {
    let item = |a: &Absent| {
        let of = listed(&a.models);
        a.resource.map_or_else(|| format!("Not compared: {of} ({}).", a.reason), |r| format!("No {} for {of}: {}.", r.name(), a.reason))
    };
    efficiency.absent.iter().map(item).collect()
}

fn names<'a>(of: impl Iterator<Item = &'a String>) -> Vec<String> {
    of.cloned().collect()
}
