//! Scores in parts: per tIoU threshold and per class, with what twice the data would give.

use super::forecasts::range;
use super::format::{dash, percent, percent_label, points, probability, spread};
use super::{Block, Section, Table, section, table, text};
use crate::report::figures::charts::tiou_range;
use crate::report::model::{ClassRow, FractionRow, ModelReport, Outlook, Report};

pub fn thresholds(report: &Report) -> Section {
    let mut header = vec!["training part".to_owned(), "videos".to_owned()];
    header.extend(report.tiou.iter().map(|t| format!("@{t}")));
    header.push("average".to_owned());
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let of_model = |model: &ModelReport| {
        let row = |f: &FractionRow| {
            let mut cells = vec![percent_label(f.percent), format!("{:.0}", f.videos)];
            cells.extend(f.map.iter().map(spread));
            cells.push(spread(&f.average_map));
            cells
        };
        let rows = model.fractions.iter().map(row).chain(outlook_rows(model)).collect();
        Block::Table(table(format!("{}: mAP (%) at each tIoU", model.name), &header, rows))
    };
    let mut blocks: Vec<Block> = report.models.iter().map(of_model).collect();
    if report.models.iter().any(|m| m.thresholds.iter().any(Option::is_some)) {
        blocks.push(text("The last rows are forecasts, each from a curve through the scores at that threshold alone."));
    }
    section("tiou", "Per tIoU", blocks)
}

/// Forecast, interval and probability below the measured rows.
fn outlook_rows(model: &ModelReport) -> Vec<Vec<String>> {
    let Some(first) = model.thresholds.iter().flatten().next() else { return Vec::new() };
    let videos = format!("{:.0}", first.gain.n);
    let row = |name: String, cell: fn(&Outlook) -> String| {
        let parts = model.thresholds.iter().chain([&model.outlook]);
        [name, videos.clone()].into_iter().chain(parts.map(|o| o.as_ref().map_or_else(dash, cell))).collect()
    };
    vec![
        row(format!("{}×: forecast", first.gain.times), |o| percent(o.forecast.median)),
        row(format!("{}×: {:.0} % interval", first.gain.times, 100.0 * first.gain.interval.level), |o| range(&o.forecast.interval)),
        row(format!("P of {} point or more", 100.0 * first.gain.worthwhile), |o| probability(o.gain.probability)),
    ]
}

pub fn classes(report: &Report) -> Section {
    let names = by_gain(report);
    if names.is_empty() {
        return section("classes", "Per class", Vec::new());
    }
    let row = |name: &&str| {
        let of_model = |m: &ModelReport| m.classes.iter().find(|c| c.name == **name).map_or_else(dash, |c| spread(&c.average));
        std::iter::once((*name).to_owned()).chain(report.models.iter().map(of_model)).collect()
    };
    let header: Vec<&str> = std::iter::once("class").chain(report.models.iter().map(|m| m.name.as_str())).collect();
    let largest = report.models.iter().filter_map(|m| m.fractions.last()).map(|f| f.percent).fold(0.0, f64::max);
    let caption = format!("AP (%) averaged over tIoU {} at {largest} % of the training part", tiou_range(&report.tiou));
    let mut classes = table(caption, &header, names.iter().map(row).collect());
    classes.folded = classes.rows.len() > 24;
    let mut blocks = vec![Block::Table(classes)];
    let gains: Vec<Table> = report.models.iter().filter_map(|m| class_gains(m, &names)).collect();
    if !gains.is_empty() {
        blocks.push(text(
            "Classes that would gain most from more data stand first, by the best model. Each forecast is from a curve through that class’s own scores, so few \
             test instances make it wide.",
        ));
    }
    blocks.extend(gains.into_iter().map(Block::Table));
    section("classes", "Per class", blocks)
}

/// Class names, those first that gain most from more data by the best model that knows; others after them by name.
fn by_gain(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = report.models.iter().flat_map(|m| &m.classes).map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let Some(best) = report.models.iter().find(|m| m.classes.iter().any(|c| c.outlook.is_some())) else { return names };
    let gain = |name: &str| best.classes.iter().find(|c| c.name == name).map_or(f64::NEG_INFINITY, median_gain);
    names.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
    names
}

fn median_gain(class: &ClassRow) -> f64 {
    class.outlook.as_ref().map_or(f64::NEG_INFINITY, |o| o.gain.median)
}

/// What twice the data would give each class of a model.
fn class_gains(model: &ModelReport, names: &[&str]) -> Option<Table> {
    let (_, first) = model.classes.iter().find_map(|c| Some((c, c.outlook.as_ref()?)))?;
    let mut known: Vec<(&ClassRow, &Outlook)> = model.classes.iter().filter_map(|c| Some((c, c.outlook.as_ref()?))).collect();
    let place = |class: &ClassRow| names.iter().position(|n| *n == class.name);
    known.sort_by(|a, b| median_gain(b.0).total_cmp(&median_gain(a.0)).then(place(a.0).cmp(&place(b.0))));
    let rows = known.iter().map(|(class, o)| {
        let (forecast, interval) = (percent(o.forecast.median), range(&o.forecast.interval));
        vec![class.name.clone(), spread(&class.average), forecast, interval, points(o.gain.median, None), probability(o.gain.probability)]
    });
    let gain = &first.gain;
    let header = [
        "class",
        "AP today",
        &format!("at {}×", gain.times),
        &format!("{:.0} % interval", 100.0 * gain.interval.level),
        "improvement",
        &format!("P of {} point or more", 100.0 * gain.worthwhile),
    ];
    let mut gains =
        table(format!("{}: AP (%) per class at {}× the data ({:.0} videos)", model.name, gain.times, gain.n), &header, rows.collect());
    gains.folded = true;
    Some(gains)
}
