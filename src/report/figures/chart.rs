//! A chart as data: what is shown where, without any drawing.

use std::borrow::Cow;

/// Lines, dots, bars and bands over two axes, with its text alternative.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// File name without extension, and anchor in a page.
    pub id: Cow<'static, str>,
    /// One line.
    pub title: String,
    /// What a reader who cannot see it should know.
    pub description: String,
    /// Horizontal.
    pub x: Axis,
    /// Vertical.
    pub y: Axis,
    /// The first lies on top.
    pub series: Vec<Series>,
    /// Where the names stand.
    pub labels: Labels,
    /// (x, y) of thin lines behind everything, such as a Pareto front.
    pub thin: Vec<Vec<(f64, f64)>>,
    /// Thin vertical lines and their labels, such as the end of the data.
    pub boundaries: Vec<(f64, String)>,
    /// What the marks mean, in the colour of the first series; shown where the names stand at the end.
    pub legend: Vec<(Mark, String)>,
}

/// A mark that a legend explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// [`Series::dots`].
    Dot,
    /// [`Series::bars`].
    Mean,
    /// [`Series::line`] and [`Series::dashed`].
    Line,
    /// [`Series::core`].
    Core,
    /// [`Series::band`].
    Band,
    /// [`Series::foretold`].
    Foretold,
    /// [`Chart::thin`].
    Thin,
}

/// Where the names of the series stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Right of the plot, at the height of the line's end.
    AtEnd,
    /// Beside the series' one mean.
    AtPoint,
}

/// An axis with its ticks already chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// With the unit.
    pub label: String,
    /// How values become positions.
    pub scale: Scale,
    /// Ends in values.
    pub range: (f64, f64),
    /// Ascending.
    pub ticks: Vec<Tick>,
}

/// How values become positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps are equal distances.
    Linear,
    /// Equal ratios are equal distances; values above 0 only.
    Log,
}

/// A labelled value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Value.
    pub at: f64,
    /// First line.
    pub label: String,
    /// Second, paler line.
    pub sublabel: Option<String>,
}

/// One model's marks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Chooses colour and marker: the same for a model in all charts of a report.
    pub place: usize,
    /// Written at the end of the line.
    pub label: String,
    /// A second, paler part of the label.
    pub detail: String,
    /// (x, y) of a solid line.
    pub line: Vec<(f64, f64)>,
    /// (x, y) of a dashed line: a forecast.
    pub dashed: Vec<(f64, f64)>,
    /// (x, low, high) of a shaded band.
    pub band: Vec<(f64, f64, f64)>,
    /// (x, low, high) of a darker band within it.
    pub core: Vec<(f64, f64, f64)>,
    /// (x, y) of single values.
    pub dots: Vec<(f64, f64)>,
    /// (x, low, mean, high) of means with error bars.
    pub bars: Vec<(f64, f64, f64, f64)>,
    /// (x, low, middle, high) of what was foretold: small open marks with thin error bars.
    pub foretold: Vec<(f64, f64, f64, f64)>,
    /// The means are outlined rather than filled.
    pub hollow: bool,
}

impl Axis {
    /// Position of `value` as a share of the axis, 0 at its beginning.
    pub fn position(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        match self.scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Log => (value / low).ln() / (high / low).ln(),
        }
    }

    /// A linear axis from 0 to a round number not below `largest`, about five ticks.
    pub fn from_zero(label: &str, largest: f64, format: impl Fn(f64) -> String) -> Self {
        let step = round_step(largest.max(1e-9));
        let count = (largest / step - 1e-9).ceil().max(1.0) as usize;
        let ticks = (0..=count).map(|i| Tick { at: i as f64 * step, label: format(i as f64 * step), sublabel: None }).collect();
        Self { label: label.to_owned(), scale: Scale::Linear, range: (0.0, count as f64 * step), ticks }
    }

    /// A linear axis between round numbers close around `lowest` and `highest`, about five ticks.
    pub fn close(label: &str, lowest: f64, highest: f64, format: impl Fn(f64) -> String) -> Self {
        let step = round_step((highest - lowest).max(1e-3));
        let (first, last) = ((lowest / step + 1e-9).floor(), (highest / step - 1e-9).ceil());
        let tick = |i: usize| (first + i as f64) * step;
        let count = (last - first).max(1.0) as usize;
        let ticks = (0..=count).map(|i| Tick { at: tick(i), label: format(tick(i)), sublabel: None }).collect();
        Self { label: label.to_owned(), scale: Scale::Linear, range: (tick(0), tick(count)), ticks }
    }

    /// A logarithmic axis with room on both sides of `lowest` and `highest` (above 0), at most eight ticks on round numbers.
    pub fn logarithmic(label: &str, lowest: f64, highest: f64, format: impl Fn(f64) -> String) -> Self {
        let room = (highest / lowest).powf(0.12).max(1.2);
        let (low, high) = (lowest / room, highest * room);
        let decades = low.log10().floor() as i32..=high.log10().floor() as i32;
        let round = |mantissas: &[f64]| -> Vec<f64> {
            let all = decades.clone().flat_map(|d| mantissas.iter().map(move |m| m * 10f64.powi(d)));
            all.filter(|at| (low..=high).contains(at)).collect()
        };
        let choices: [&[f64]; 5] = [
            &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
            &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            &[1.0, 2.0, 5.0],
            &[1.0, 3.0],
            &[1.0],
        ];
        let ticks = choices.iter().map(|m| round(m)).find(|ticks| ticks.len() <= 8).unwrap_or_default();
        let ticks = ticks.into_iter().map(|at| Tick { at, label: format(at), sublabel: None }).collect();
        Self { label: label.to_owned(), scale: Scale::Log, range: (low, high), ticks }
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, about a fifth of `width`.
fn round_step(width: f64) -> f64 {
    let rough = width / 5.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|&s| s >= rough * 0.999).unwrap_or(10.0 * magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_from_zero_ends_on_a_round_tick_that_holds_the_data() {
        let axis = Axis::from_zero("mAP", 0.63, |v| format!("{:.0}", 100.0 * v));
        let labels: Vec<_> = axis.ticks.iter().map(|t| t.label.as_str()).collect();
        assert_eq!(labels, ["0", "20", "40", "60", "80"]);
        assert_eq!(axis.position(0.4), 0.5);
        assert_eq!(Axis::from_zero("", 0.0, |v| v.to_string()).position(0.0), 0.0);
    }

    #[test]
    fn a_close_axis_holds_the_data_between_round_numbers() {
        let axis = Axis::close("mAP", 0.853, 0.971, |v| format!("{:.1}", 100.0 * v));
        assert_eq!(axis.ticks.iter().map(|t| t.label.as_str()).collect::<Vec<_>>(), ["85.0", "87.5", "90.0", "92.5", "95.0", "97.5"]);
        assert!(axis.position(0.853) > 0.0 && axis.position(0.971) < 1.0);
        assert!(Axis::close("", 0.5, 0.5, |v| v.to_string()).range.1 > 0.5);
    }

    #[test]
    fn a_logarithmic_axis_has_a_few_round_ticks_whatever_its_width() {
        for (low, high) in [(90.0, 110.0), (1.0, 8.0), (0.3, 400.0), (1.0, 1e7), (5.0, 5.0)] {
            let axis = Axis::logarithmic("", low, high, |v| v.to_string());
            assert!((2..=8).contains(&axis.ticks.len()), "{low} {high}: {:?}", axis.ticks);
            assert!(axis.range.0 < low && high < axis.range.1);
        }
    }
}
