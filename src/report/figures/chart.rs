//! A chart as data: what is shown where, without any drawing.

/// Lines, dots, bars and bands over two axes, with its text alternative.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// File name without extension, and anchor in a page.
    pub id: &'static str,
    /// One line.
    pub title: String,
    /// What a reader who cannot see it should know.
    pub description: String,
    /// Horizontal.
    pub x: Axis,
    /// Vertical.
    pub y: Axis,
    /// Drawn in order; each has its colour from the palette.
    pub series: Vec<Series>,
    /// A thin vertical line and its label, such as the end of the data.
    pub boundary: Option<(f64, String)>,
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
    /// (x, y) of single values.
    pub dots: Vec<(f64, f64)>,
    /// (x, low, mean, high) of means with error bars.
    pub bars: Vec<(f64, f64, f64, f64)>,
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
        let rough = largest.max(1e-9) / 5.0;
        let magnitude = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * magnitude).into_iter().find(|&s| s >= rough * 0.999).unwrap_or(10.0 * magnitude);
        let count = (largest / step - 1e-9).ceil().max(1.0) as usize;
        let ticks = (0..=count).map(|i| Tick { at: i as f64 * step, label: format(i as f64 * step), sublabel: None }).collect();
        Self { label: label.to_owned(), scale: Scale::Linear, range: (0.0, count as f64 * step), ticks }
    }
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
}
