//! Models that read videos: figures, one table of settings, scores and costs, and what each gains over a frozen encoder.

use super::format::{dash, listed, percent_label, points, probability, significant, spread};
use super::{Block, Section, figure, section, table, text};
use crate::report::figures::Chart;
use crate::report::figures::charts::{memory_unit, number_tick, time_unit};
use crate::report::figures::end_to_end::{Measure, id, on_gpu};
use crate::report::model::{EncoderGain, EncoderTraining, EndToEnd, EndToEndRow, Report, Share};

pub fn end_to_end(report: &Report, charts: &[Chart]) -> Section {
    let mut blocks = Vec::new();
    if let Some(found) = &report.end_to_end {
        for (over, explained) in [(Share::Snippets, SNIPPETS), (Share::Proposals, PROPOSALS)] {
            let figures: Vec<Block> = Measure::ALL.into_iter().filter_map(|measure| figure(charts, id(over, measure))).collect();
            if !figures.is_empty() {
                blocks.extend(figures);
                blocks.push(text(explained));
            }
        }
        blocks.push(Block::Table(settings_and_costs(found)));
        blocks.push(text(COLUMNS));
        let items = remarks(found);
        if !items.is_empty() {
            blocks.push(Block::List { items });
        }
    }
    section("end-to-end", "End to end", blocks)
}

const SNIPPETS: &str = "Solid lines join models that differ in nothing but the share of snippets, with the way of sampling below their names; bars are standard \
    deviations over seeds. Dashed lines are trainings that sample no snippets, marked at no snippet for a frozen encoder and at all for one trained through all.";
const PROPOSALS: &str = "The same over the share of proposals that ETAD draws in training: lines join models that differ in nothing else.";
const COLUMNS: &str = "Snippets are those that gradients flow through, as asked for: whole chunks are drawn, so somewhat more. Training is the wall time of that \
    phase, and an update its share of it: features that are computed apart from updates, as a frozen encoder’s are, count, and LoFi’s updates are those of both of \
    its trainings. Peak memory is the largest resident set of the process. Waiting is the share of the training in which it stood still for frames; decoding \
    runs on threads beside it, and not at all for frames that an earlier run left in the cache.";

/// A column and how a row fills it.
type Column<'a> = (String, Box<dyn Fn(&EndToEndRow) -> Option<String> + 'a>);

fn settings_and_costs(found: &EndToEnd) -> super::Table {
    let rows = &found.rows;
    let mut times: Vec<f64> = rows.iter().filter_map(|r| r.training_s).collect();
    times.sort_by(f64::total_cmp);
    let (second, second_name) = time_unit(times.get(times.len() / 2).copied().unwrap_or(0.0));
    let largest = |value: fn(&EndToEndRow) -> Option<f64>| memory_unit(rows.iter().filter_map(value).fold(0.0, f64::max));
    let (byte, byte_name) = largest(|r| Some(r.peak_rss_bytes as f64));
    let (gpu_byte, gpu_byte_name) = largest(|r| r.peak_gpu_bytes);
    // One network of all goes without saying.
    let several = rows.iter().any(|r| r.network != rows[0].network);
    let columns: Vec<Column<'_>> = vec![
        ("encoder".to_owned(), Box::new(move |r| several.then(|| r.network.clone()))),
        ("its training".to_owned(), Box::new(|r| Some(r.training.label()))),
        ("snippets (%)".to_owned(), Box::new(|r| r.training.snippets().map(percent))),
        ("proposals (%)".to_owned(), Box::new(|r| r.proposals.map(percent))),
        ("average mAP (%)".to_owned(), Box::new(|r| Some(spread(&r.score)))),
        (format!("training ({second_name})"), Box::new(move |r| r.training_s.map(|s| significant(s / second)))),
        ("update (s)".to_owned(), Box::new(|r| r.update_s.map(significant))),
        (format!("peak memory ({byte_name})"), Box::new(move |r| Some(significant(r.peak_rss_bytes as f64 / byte)))),
        (format!("peak GPU memory ({gpu_byte_name})"), Box::new(move |r| r.peak_gpu_bytes.map(|b| significant(b / gpu_byte)))),
        ("waiting (%)".to_owned(), Box::new(|r| r.waiting.map(|share| format!("{:.1}", 100.0 * share)))),
        ("decoding (s)".to_owned(), Box::new(|r| r.decode_s.map(significant))),
    ];
    // A column that nobody can fill says nothing.
    let known: Vec<&Column<'_>> = columns.iter().filter(|(_, value)| rows.iter().any(|r| value(r).is_some())).collect();
    let header: Vec<&str> = std::iter::once("model").chain(known.iter().map(|c| c.0.as_str())).collect();
    let cells = |r: &EndToEndRow| std::iter::once(r.model.clone()).chain(known.iter().map(|c| (c.1)(r).unwrap_or_else(dash))).collect();
    let caption = format!(
        "How encoders are trained, at {} of the training part ({:.0} videos), means over seeds",
        percent_label(found.percent),
        found.videos
    );
    let mut made = table(caption, &header, rows.iter().map(cells).collect());
    made.text_columns = (0..header.len()).filter(|&at| ["model", "encoder", "its training"].contains(&header[at])).collect();
    made
}

/// What each training brings, and what cannot be compared.
fn remarks(found: &EndToEnd) -> Vec<String> {
    let mut items: Vec<String> = found.gains.iter().map(|gain| gained(found, gain)).collect();
    let alone = |row: &&EndToEndRow| row.training != EncoderTraining::Frozen && found.gains.iter().all(|g| g.model != row.model);
    let alone: Vec<String> = found.rows.iter().filter(alone).map(|r| r.model.clone()).collect();
    if !alone.is_empty() {
        items.push(format!(
            "Nothing frozen to compare with: {} (a gain needs a model with `training = \"frozen\"`, the same network, weights and detector, and a seed in common).",
            listed(&alone)
        ));
    }
    if !found.absent.is_empty() {
        items.push(format!("Not shown: {} (no cell at {} % is done).", listed(&found.absent), found.percent));
    }
    items
}

fn gained(found: &EndToEnd, EncoderGain { model, frozen, same_detector, lead }: &EncoderGain) -> String {
    let row_of = |name: &str| found.rows.iter().find(|r| r.model == name);
    let (row, rival) = (row_of(model), row_of(frozen));
    let kind = row.map_or_else(String::new, |r| format!(" ({})", r.training.label()));
    let seeds = if lead.seeds == 1 { "1 paired seed".to_owned() } else { format!("{} paired seeds", lead.seeds) };
    let sure = lead.probability.map_or_else(String::new, |p| format!(", P better {}", probability(p)));
    let times = |value: fn(&EndToEndRow) -> Option<f64>| Some(value(row?)? / value(rival?).filter(|v| *v > 0.0)?);
    let memory: fn(&EndToEndRow) -> Option<f64> = if on_gpu(found) { |r| r.peak_gpu_bytes } else { |r| Some(r.peak_rss_bytes as f64) };
    let costs = [(times(|r| r.training_s), "training time"), (times(memory), "peak memory")];
    let costs: Vec<String> =
        costs.into_iter().filter_map(|(times, what)| Some(format!("{} times the {what}", significant(times?)))).collect();
    let price = if costs.is_empty() { String::new() } else { format!(", for {}", listed(&costs)) };
    let caveat = if *same_detector { "" } else { " The two detectors are set differently." };
    format!("{model}{kind}: {} mAP points over {frozen} ({seeds}{sure}){price}.{caveat}", points(lead.mean, lead.sd))
}

/// A share without the digits that only binary fractions need.
fn percent(share: f64) -> String {
    number_tick(100.0 * share)
}
