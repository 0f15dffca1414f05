//! One fitted curve: what was measured, what is expected beyond it, and what the method would have foretold.

use super::chart::{Axis, Chart, Labels, Mark, Series};
use super::charts::{multiple, number_tick, sizes};
use crate::curves::{Backtest, FamilyFit, FanPoint, Prediction, Size, Summary};

/// A curve to draw.
pub struct Fitted<'a> {
    /// Identifier of the figure.
    pub id: String,
    /// Chooses colour and marker.
    pub place: usize,
    /// Written at the end of the curve.
    pub name: &'a str,
    /// What was asked of the curve.
    pub summary: &'a Summary,
    /// From the smallest size to the largest forecast.
    pub fan: &'a [FanPoint],
    /// Videos and score of every training.
    pub scores: Vec<(f64, f64)>,
    /// Names of sizes, such as "40 %"; others are named as multiples of the largest observed one.
    pub sizes: Vec<(f64, String)>,
    /// What the scores are.
    pub score: Score,
}

/// What the vertical axis shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Of the axis, with the unit.
    pub label: String,
    /// From the scale of the observations to that unit: 100 for percent.
    pub factor: f64,
}

impl Score {
    fn tick(&self, value: f64) -> String {
        number_tick(value * self.factor)
    }

    /// Digits that a reader can use: three, or one of a percentage.
    fn value(&self, value: f64) -> String {
        format!("{:.*}", if self.factor > 1.0 { 1 } else { 3 }, value * self.factor)
    }
}

/// Characters that stand beside the end of a curve, and above the plot.
const ROOM: (usize, usize) = (17, 60);
/// A family with less of the forecast has no line of its own.
const NOTABLE: f64 = 0.05;
/// Share of the axis between two foretold marks of one size.
const STEP: f64 = 0.011;
/// A score axis begins at 0 unless everything lies above this share of the highest value.
const HIGH: f64 = 0.4;

/// Seeds, means, curve and forecast with its intervals, single families behind, and the backtest beside the means.
pub fn forecast(fitted: &Fitted<'_>) -> Chart {
    let (summary, score) = (fitted.summary, &fitted.score);
    let observed = &summary.observations;
    let (first, largest) = (observed[0].n, observed[observed.len() - 1].n);
    let last = fitted.fan.last().map_or(largest, |f| f.expected.n).max(largest);
    let x = sizes(first, last, wanted_sizes(fitted, largest));
    let mut y = score_axis(fitted);
    // A name too long for the margin stands above the plot.
    let label = if fitted.name.chars().count() <= ROOM.0 {
        fitted.name.to_owned()
    } else {
        y.label = format!("{}: {}", shortened(fitted.name), y.label);
        "forecast".to_owned()
    };
    let fan = || fitted.fan.iter().map(|f| (f.expected.n, f.expected.median));
    let level = fitted.fan.first().map_or(0.9, |f| f.expected.interval.level);
    let repeated = observed.iter().any(|s| s.seeds > 1);
    let foretold = summary.backtest.as_ref().map_or_else(Vec::new, |b| foretold(b, observed, &x, &y));
    let thin: Vec<_> = summary.families.iter().filter(|f| f.weight >= NOTABLE).flat_map(|f| family_line(f, &x, &y)).collect();
    // As the tables print it: the fan is without the noise of a fresh measurement.
    let end = summary.forecasts.iter().filter(|f| f.n > largest).max_by(|a, b| a.n.total_cmp(&b.n));
    let detail = end.map_or_else(String::new, |f| {
        format!("{} ({}–{})", score.value(f.median), score.value(f.interval.lower), score.value(f.interval.upper))
    });
    let band = format!("{:.0} % interval", 100.0 * level);
    let wide = level > 0.5;
    let marks = [
        (repeated, Mark::Dot, "single seed"),
        (true, Mark::Mean, if repeated { "mean ± sd" } else { "measured" }),
        (true, Mark::Line, "median of the fit"),
        (wide, Mark::Core, "50 % interval"),
        (true, Mark::Band, &band),
        (!foretold.is_empty(), Mark::Foretold, "backtest"),
        (!thin.is_empty(), Mark::Thin, "single families"),
    ];
    let series = Series {
        place: fitted.place,
        label,
        detail,
        line: fan().filter(|p| p.0 <= largest).collect(),
        dashed: if last > largest { fan().filter(|p| p.0 >= largest).collect() } else { Vec::new() },
        band: fitted.fan.iter().map(|f| (f.expected.n, f.expected.interval.lower, f.expected.interval.upper)).collect(),
        core: if wide { fitted.fan.iter().map(|f| (f.expected.n, f.half.lower, f.half.upper)).collect() } else { Vec::new() },
        dots: if repeated { fitted.scores.clone() } else { Vec::new() },
        bars: observed.iter().map(|s| bar(s, s.sd.unwrap_or(0.0), s.mean, &y)).collect(),
        foretold,
        hollow: false,
    };
    Chart {
        id: fitted.id.clone().into(),
        title: format!("Forecast of {}", fitted.name),
        description: description(fitted, &band),
        boundaries: if last > largest * 1.02 { vec![(largest, "forecast →".to_owned())] } else { Vec::new() },
        x,
        y,
        series: vec![series],
        labels: Labels::AtEnd,
        thin,
        legend: marks.into_iter().filter(|m| m.0).map(|(_, mark, text)| (mark, text.to_owned())).collect(),
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(ROOM.1) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

fn description(fitted: &Fitted<'_>, band: &str) -> String {
    let score = &fitted.score;
    let (first, last) = (&fitted.summary.observations[0], &fitted.summary.observations[fitted.summary.observations.len() - 1]);
    let measured = format!(
        "{}, {}: {} with {:.0} training videos, {} with {:.0}.",
        fitted.name,
        score.label,
        score.value(first.mean),
        first.n,
        score.value(last.mean),
        last.n
    );
    let forecasts = fitted.summary.forecasts.iter().map(|f| {
        let (low, high) = (score.value(f.interval.lower), score.value(f.interval.upper));
        format!(" Forecast with {:.0}: {} ({band} {low} to {high}).", f.n, score.value(f.median))
    });
    measured + &forecasts.collect::<String>()
}

/// The largest size first, then forecasts, the smallest, and the rest: what is most wanted keeps its label.
fn wanted_sizes(fitted: &Fitted<'_>, largest: f64) -> Vec<(f64, String)> {
    let named = |n: f64| {
        let known = fitted.sizes.iter().find(|s| (s.0 / n - 1.0).abs() < 1e-9);
        (n, known.map_or_else(|| multiple(n, largest), |s| s.1.clone()))
    };
    let observed = || fitted.summary.observations.iter().map(|s| s.n);
    let forecasts = fitted.summary.forecasts.iter().map(|f| f.n);
    std::iter::once(largest).chain(forecasts).chain(observed()).map(named).collect()
}

/// Holds what was measured, the fan and the medians of the backtest.
fn score_axis(fitted: &Fitted<'_>) -> Axis {
    let fan = fitted.fan.iter().flat_map(|f| [f.expected.interval.lower, f.expected.interval.upper]);
    let measured = fitted.summary.observations.iter().flat_map(|s| [s.mean - s.sd.unwrap_or(0.0), s.mean + s.sd.unwrap_or(0.0)]);
    let foretold = fitted.summary.backtest.iter().flat_map(|b| b.predictions.iter().map(|p| p.predicted));
    let all = || fitted.scores.iter().map(|s| s.1);
    let (low, high) =
        fan.chain(measured).chain(foretold).chain(all()).fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
    // Scores end at 1; losses may not.
    let high = if all().all(|s| s <= 1.0) { high.min(1.0) } else { high };
    match low > HIGH * high {
        true => Axis::close(&fitted.score.label, low.max(0.0), high, |v| fitted.score.tick(v)),
        false => Axis::from_zero(&fitted.score.label, high, |v| fitted.score.tick(v)),
    }
}

/// Mean and spread, within the axis.
fn bar(size: &Size, spread: f64, at: f64, y: &Axis) -> (f64, f64, f64, f64) {
    (size.n, within(at - spread, y), at, within(at + spread, y))
}

fn within(value: f64, y: &Axis) -> f64 {
    value.clamp(y.range.0, y.range.1)
}

/// The parts of a family's line that lie in the plot.
fn family_line(fit: &FamilyFit, x: &Axis, y: &Axis) -> Vec<Vec<(f64, f64)>> {
    const POINTS: usize = 120;
    let (low, high) = x.range;
    let all: Vec<(f64, f64)> =
        (0..=POINTS).map(|i| low * (high / low).powf(i as f64 / POINTS as f64)).map(|n| (n, fit.line.at(n))).collect();
    let inside = |point: &(f64, f64)| (y.range.0..=y.range.1).contains(&point.1);
    all.split(|point| !inside(point)).filter(|part| part.len() > 1).map(<[_]>::to_vec).collect()
}

/// The predictions left of the size they are for, the furthest-reaching leftmost; where there is no room for all, those
/// from the fewest data, which are the hardest test.
fn foretold(backtest: &Backtest, observed: &[Size], x: &Axis, y: &Axis) -> Vec<(f64, f64, f64, f64)> {
    let mut marks = Vec::new();
    for pair in observed.windows(2) {
        let (before, n) = (pair[0].n, pair[1].n);
        let room = 0.7 * (x.position(n) - x.position(before));
        let mut of_size: Vec<&Prediction> = backtest.predictions.iter().filter(|p| p.n == n).collect();
        of_size.sort_by(|a, b| a.fitted_to.total_cmp(&b.fitted_to));
        of_size.truncate(((room / STEP) as usize).max(1));
        let count = of_size.len();
        marks.extend(of_size.into_iter().enumerate().map(|(i, p)| {
            let share = x.position(n) - (STEP * (count - i) as f64).min(room.max(STEP / 2.0));
            let at = x.range.0 * (x.range.1 / x.range.0).powf(share);
            (at, within(p.interval.lower, y), within(p.predicted, y), within(p.interval.upper, y))
        }));
    }
    marks
}

/// What one family's own fit leaves over: observed minus fitted mean per size, each with the standard error of the mean.
pub fn residuals(id: &str, fit: &FamilyFit, observed: &[Size], score: &Score) -> Chart {
    let largest = observed[observed.len() - 1].n;
    let error = |s: &Size| s.sd.map_or(0.0, |sd| sd / (s.seeds as f64).sqrt());
    let reach = observed.iter().zip(&fit.residuals).map(|(s, r)| r.abs() + error(s)).fold(0.0, f64::max).max(1e-4);
    let unit = if score.factor > 1.0 { "points" } else { "score" };
    let label = format!("measured − {}, {unit} ± standard error", fit.name);
    let y = Axis::close(&label, -reach, reach, |v| score.tick(v).replace('-', "−"));
    let x = sizes(observed[0].n, largest, observed.iter().rev().map(|s| (s.n, multiple(s.n, largest))).collect());
    let bars = observed.iter().zip(&fit.residuals).map(|(s, &r)| bar(s, error(s), r, &y)).collect();
    let off = observed
        .iter()
        .zip(&fit.residuals)
        .map(|(s, r)| format!("{:+.*} at {:.0}", if score.factor > 1.0 { 2 } else { 4 }, r * score.factor, s.n));
    Chart {
        id: id.to_owned().into(),
        title: format!("Residuals of {}", fit.name),
        description: format!(
            "Measured minus fitted mean score of the family {} by number of training videos, with standard errors: {}.",
            fit.name,
            off.collect::<Vec<_>>().join(", ")
        ),
        thin: vec![vec![(x.range.0, 0.0), (x.range.1, 0.0)]],
        x,
        y,
        series: vec![Series { bars, ..Series::default() }],
        labels: Labels::AtPoint,
        boundaries: Vec::new(),
        legend: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use crate::curves::{At, Curve, Direction, Observation, Options, Questions};
    use crate::report::figures::{png, svg};

    fn observations(sizes: &[f64], seeds: u64, score: impl Fn(f64) -> f64) -> Vec<Observation> {
        let mut stream = Stream::new(3, "test/figures");
        let of_size = |&n: &f64| (0..seeds).map(|seed| (n, seed)).collect::<Vec<_>>();
        let observe = |(n, seed): (f64, u64)| Observation { n, score: (score(n) + 0.01 * stream.normal()).max(0.0), seed: Some(seed) };
        sizes.iter().flat_map(of_size).map(observe).collect()
    }

    fn chart(observations: &[Observation], options: &Options) -> Chart {
        let curve = Curve::fit(observations, options).unwrap();
        let questions = Questions { at: vec![At::Times(3.0)], targets: Vec::new() };
        let summary = curve.summary("curve", observations, &questions, options).unwrap();
        forecast(&Fitted {
            id: "curve-forecast".to_owned(),
            place: 0,
            name: "curve",
            summary: &summary,
            fan: &curve.fan(3.0 * curve.largest()),
            scores: observations.iter().map(|o| (o.n, o.score)).collect(),
            sizes: vec![(160.0, "100 %".to_owned())],
            score: Score { label: "score".to_owned(), factor: 1.0 },
        })
    }

    const SIZES: [f64; 6] = [20.0, 40.0, 60.0, 80.0, 120.0, 160.0];

    fn rising() -> Chart {
        chart(&observations(&SIZES, 3, |n| 0.8 * n / (n + 60.0)), &Options::default())
    }

    #[test]
    fn predictions_stand_left_of_their_size_and_right_of_the_one_before() {
        let chart = rising();
        let marks = &chart.series[0].foretold;
        // From 3, 4 and 5 sizes: 3 + 2 + 1 predictions, all of which have room.
        assert_eq!(marks.len(), 6);
        for (i, n) in SIZES.iter().enumerate().skip(3) {
            let own = marks.iter().filter(|m| SIZES[i - 1] < m.0 && m.0 < *n).count();
            assert_eq!(own, i - 2, "{n}: {marks:?}");
        }
    }

    #[test]
    fn everything_drawn_lies_in_the_plot() {
        let flat = chart(&observations(&SIZES, 3, |_| 0.02), &Options::default());
        let losses =
            chart(&observations(&SIZES, 2, |n| 4.0 / n.sqrt()), &Options { direction: Direction::Decreasing, ..Options::default() });
        for chart in [rising(), flat, losses] {
            let inside = |&(x, y): &(f64, f64)| {
                let (x, y) = (chart.x.position(x), chart.y.position(y));
                assert!((-1e-9..=1.0 + 1e-9).contains(&x) && (-1e-9..=1.0 + 1e-9).contains(&y), "{x} {y}");
            };
            let series = &chart.series[0];
            series.line.iter().chain(&series.dashed).chain(&series.dots).chain(chart.thin.iter().flatten()).for_each(inside);
            series.band.iter().chain(&series.core).for_each(|b| [(b.0, b.1), (b.0, b.2)].iter().for_each(inside));
            series.bars.iter().chain(&series.foretold).for_each(|b| [(b.0, b.1), (b.0, b.2), (b.0, b.3)].iter().for_each(inside));
            assert!(series.band.iter().zip(&series.core).all(|(wide, half)| wide.1 <= half.1 && half.2 <= wide.2));
        }
    }

    #[test]
    fn the_legend_explains_what_is_there_and_nothing_else() {
        let marks = |chart: &Chart| chart.legend.iter().map(|l| l.0).collect::<Vec<_>>();
        assert_eq!(marks(&rising()), [Mark::Dot, Mark::Mean, Mark::Line, Mark::Core, Mark::Band, Mark::Foretold, Mark::Thin]);
        let few = observations(&SIZES[..3], 1, |n| 0.8 * n / (n + 60.0));
        let narrow = chart(&few, &Options { level: 0.5, ..Options::default() });
        assert_eq!(marks(&narrow), [Mark::Mean, Mark::Line, Mark::Band, Mark::Thin]);
        assert!(narrow.series[0].core.is_empty() && narrow.series[0].dots.is_empty());
    }

    #[test]
    fn sizes_carry_their_names_or_multiples_of_the_largest() {
        let names: Vec<_> = rising().x.ticks.into_iter().map(|t| t.sublabel.unwrap()).collect();
        assert!(names.contains(&"100 %".to_owned()) && names.contains(&"3×".to_owned()) && names.contains(&"0.5×".to_owned()), "{names:?}");
    }

    #[test]
    fn a_figure_becomes_a_picture_where_there_is_a_font() {
        let chart = rising();
        assert!(svg::draw(&chart).unwrap().contains("curve-forecast-desc"));
        match png::draw(&chart) {
            Ok(bytes) => assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "{} bytes", bytes.len()),
            Err(error) => assert!(error.to_string().contains("needs a font"), "{error}"),
        }
    }

    #[test]
    fn residuals_stand_around_nought_with_their_standard_errors() {
        let observations = observations(&SIZES, 4, |n| 0.8 * n / (n + 60.0));
        let curve = Curve::fit(&observations, &Options::default()).unwrap();
        let (families, sizes) = (curve.families(), curve.sizes());
        let chart = residuals("r", &families[0], &sizes, &Score { label: "score".to_owned(), factor: 1.0 });
        let bars = &chart.series[0].bars;
        assert_eq!(bars.iter().map(|b| b.2).collect::<Vec<_>>(), families[0].residuals);
        assert!(bars.iter().zip(&sizes).all(|(b, s)| (b.3 - b.1 - s.sd.unwrap()).abs() < 1e-12), "half the sd on either side: four seeds");
        assert!(chart.y.range.0 < 0.0 && 0.0 < chart.y.range.1 && chart.thin[0].iter().all(|p| p.1 == 0.0));
    }
}
