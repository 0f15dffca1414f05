//! Charts to SVG text. The only place that names `plotters`.
//!
//! The canvas is ten times finer than the picture, since the backend rounds to whole units. Colours are chosen to be
//! told apart with any colour vision and to stand on white as on dark; a style sheet adapts text and rules to the
//! reader's scheme.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::{Chart, Labels, Mark, Series};
use super::labels;
use crate::report::Error;

/// Picture width in CSS pixels.
const WIDTH: i32 = 820;
/// Canvas units per pixel.
const FINE: i32 = 10;
/// Room around the plot in pixels: left, top, bottom. The right side depends on the labels.
const MARGIN: (i32, i32, i32) = (46, 34, 62);
/// Least distance of two labels at the right edge, in pixels.
const LABEL_GAP: i32 = 30;

/// Eight colours at least 0.055 apart in OKLab for normal, red-, green- and blue-blind sight, and 2.7 : 1 or more against
/// white; markers differ as well. Each with its shade on a dark ground.
const PALETTE: [(RGBColor, &str); 8] = [
    (RGBColor(0x2a, 0x55, 0xc8), "#7c9dff"),
    (RGBColor(0xe8, 0x42, 0x0a), "#ff7a4d"),
    (RGBColor(0x00, 0x9a, 0x72), "#2fc79b"),
    (RGBColor(0xc0, 0x5c, 0xa8), "#e08fca"),
    (RGBColor(0x45, 0xa5, 0xdc), "#7cc8f2"),
    (RGBColor(0x80, 0x80, 0x1c), "#b8b84a"),
    (RGBColor(0x2b, 0x1d, 0x5c), "#cfc6ff"),
    (RGBColor(0x5f, 0x75, 0x78), "#a4b8bb"),
];
/// Text, paler text, and thin rules, each with its shade on a dark ground.
const INK: (RGBColor, &str) = (RGBColor(0x1d, 0x1f, 0x24), "#e8e9ec");
const PALE: (RGBColor, &str) = (RGBColor(0x6b, 0x70, 0x7a), "#a2a7b1");
const RULE: (RGBColor, &str) = (RGBColor(0xe3, 0xe5, 0xe9), "#33363d");

/// Least distance of two lines of the legend, in pixels.
const LEGEND_GAP: i32 = 17;
/// Opacity of a band.
const BAND: f64 = 0.13;
/// Opacity of the darker band on it.
const CORE: f64 = 0.17;
/// Opacity of thin lines.
const THIN: f64 = 0.5;

/// Radius of the open mark of something foretold, in canvas units.
const OPEN: i32 = 25;
/// Radius of a marker in canvas units.
const MARKER: f64 = 38.0;
/// Corners in radii, one shape per colour; without corners it is a circle.
const MARKERS: [&[(f64, f64)]; 8] = [
    &[],
    &[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    &[(0.0, -1.15), (1.1, 0.8), (-1.1, 0.8)],
    &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
    &[(0.0, 1.15), (1.1, -0.8), (-1.1, -0.8)],
    &[
        (-0.4, -1.15),
        (0.4, -1.15),
        (0.4, -0.4),
        (1.15, -0.4),
        (1.15, 0.4),
        (0.4, 0.4),
        (0.4, 1.15),
        (-0.4, 1.15),
        (-0.4, 0.4),
        (-1.15, 0.4),
        (-1.15, -0.4),
        (-0.4, -0.4),
    ],
    &[(-1.15, 0.0), (0.8, -1.1), (0.8, 1.1)],
    &[(1.15, 0.0), (-0.8, -1.1), (-0.8, 1.1)],
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawingError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;
type Drawn<'a> = Result<(), DrawingError<'a>>;

/// A standalone SVG document, also fit for inlining in HTML.
///
/// # Errors
/// The backend fails (it writes to memory, so this is not expected).
pub fn draw(chart: &Chart) -> Result<String, Error> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, ((WIDTH * FINE) as u32, (height(chart) * FINE) as u32)).into_drawing_area();
        let failed = |reason: String| Error::Figure { figure: chart.id.to_string(), reason };
        Painter { chart, area: &area }.paint().map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
    }
    let body = text.split_once('>').map_or("", |(_, body)| body);
    Ok(format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"100%\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
         <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n<style>{}</style>{body}",
        WIDTH * FINE,
        height(chart) * FINE,
        escape(&chart.title),
        escape(&chart.description),
        style_sheet(),
        id = chart.id,
    ))
}

/// Fonts of the reader's system, and the dark shades where the reader's screen is dark (paper never is).
fn style_sheet() -> String {
    let recoloured = PALETTE.iter().chain([&INK, &PALE, &RULE]).map(|(RGBColor(r, g, b), dark)| {
        let bright = format!("#{r:02X}{g:02X}{b:02X}");
        format!("svg.chart [fill=\"{bright}\"]{{fill:{dark}}}svg.chart [stroke=\"{bright}\"]{{stroke:{dark}}}")
    });
    format!(
        "svg.chart{{font-family:-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}}@media screen and (prefers-color-scheme:dark){{{}}}",
        recoloured.collect::<String>()
    )
}

/// Escapes text for XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

struct Painter<'a, 'b> {
    chart: &'a Chart,
    area: &'a Area<'b>,
}

impl<'b> Painter<'_, 'b> {
    fn paint(&self) -> Drawn<'b> {
        self.axes()?;
        for series in &self.chart.series {
            self.bands(series)?;
        }
        for line in &self.chart.thin {
            self.line(&line.iter().map(|&(x, y)| self.at(x, y)).collect::<Vec<_>>(), PALE.0.mix(THIN).stroke_width(12))?;
        }
        // Best model last, so that it lies on top.
        for series in self.chart.series.iter().rev() {
            self.marks(series)?;
        }
        match self.chart.labels {
            Labels::AtEnd => {
                let lowest = self.end_labels()?;
                self.legend(lowest)
            }
            Labels::AtPoint => self.point_labels(),
        }
    }

    fn axes(&self) -> Drawn<'b> {
        let (left, right, top, bottom) = self.frame();
        let chart = self.chart;
        for tick in &chart.y.ticks {
            let y = self.y(tick.at);
            self.line(&[(left, y), (right, y)], RULE.0.stroke_width(8))?;
            self.text(&tick.label, (left - 80, y), 12, PALE.0, HPos::Right, VPos::Center)?;
        }
        self.text(&chart.y.label, (left - 330, top - 190), 12, PALE.0, HPos::Left, VPos::Center)?;
        self.line(&[(left, bottom), (right, bottom)], PALE.0.stroke_width(9))?;
        for tick in &chart.x.ticks {
            let x = self.x(tick.at);
            self.line(&[(x, bottom), (x, bottom + 50)], PALE.0.stroke_width(9))?;
            self.text(&tick.label, (x, bottom + 80), 12, INK.0, HPos::Center, VPos::Top)?;
            if let Some(sublabel) = &tick.sublabel {
                self.text(sublabel, (x, bottom + 230), 11, PALE.0, HPos::Center, VPos::Top)?;
            }
        }
        let two_lines = chart.x.ticks.iter().any(|t| t.sublabel.is_some());
        self.text(
            &chart.x.label,
            (f64::midpoint(f64::from(left), f64::from(right)) as i32, bottom + if two_lines { 430 } else { 270 }),
            12,
            PALE.0,
            HPos::Center,
            VPos::Top,
        )?;
        // The axis's own label stands at the left.
        let width = |label: &str| (label.chars().count() as i32 + 1) * 6 * FINE;
        let mut free = left - 330 + width(&chart.y.label) * 5 / 4;
        for (i, (at, label)) in chart.boundaries.iter().enumerate() {
            let x = self.x(*at);
            self.dashes(&[(x, top), (x, bottom)], PALE.0, 7, 30)?;
            // A label that would run into the next line is left out; its line stays.
            let begin = x.max(free);
            if chart.boundaries.get(i + 1).is_none_or(|next| self.x(next.0) >= begin + width(label)) {
                self.text(label, (begin, top - 190), 11, PALE.0, HPos::Left, VPos::Center)?;
                free = begin + width(label);
            }
        }
        Ok(())
    }

    fn bands(&self, series: &Series) -> Drawn<'b> {
        // Many bands on one another would hide the grid.
        let shade = if self.chart.series.len() > 3 { 0.08 } else { BAND };
        for (band, shade) in [(&series.band, shade), (&series.core, CORE)] {
            if !band.is_empty() {
                let upper = band.iter().map(|b| self.at(b.0, b.2));
                let lower = band.iter().rev().map(|b| self.at(b.0, b.1));
                self.area.draw(&Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour(series).mix(shade)))?;
            }
        }
        Ok(())
    }

    fn marks(&self, series: &Series) -> Drawn<'b> {
        let colour = colour(series);
        let points = |line: &[(f64, f64)]| line.iter().map(|&(x, y)| self.at(x, y)).collect::<Vec<_>>();
        for &(x, y) in &series.dots {
            self.area.draw(&Circle::new(self.at(x, y), 20, colour.mix(0.4).filled()))?;
        }
        self.line(&points(&series.line), colour.stroke_width(20))?;
        self.dashes(&points(&series.dashed), colour, 20, 60)?;
        for &(x, low, middle, high) in &series.foretold {
            self.foretold(series, [low, middle, high].map(|y| self.at(x, y)))?;
        }
        for &(x, low, mean, high) in &series.bars {
            // An error bar does not cross an outline.
            let (from, to, gap) = (self.at(x, low), self.at(x, high), if series.hollow { MARKER as i32 } else { 0 });
            let centre = self.y(mean);
            for (end, near) in [(from, centre + gap), (to, centre - gap)] {
                if (end.1 - centre).abs() > gap {
                    self.line(&[end, (end.0, near)], colour.stroke_width(13))?;
                }
            }
            self.marker(series, self.at(x, mean))?;
        }
        Ok(())
    }

    /// A small circle, and a thin line that does not cross it, from the lower end over the middle to the upper end; in the
    /// next colour, to be told apart from what was measured.
    fn foretold(&self, series: &Series, [low, middle, high]: [(i32, i32); 3]) -> Drawn<'b> {
        let style = PALETTE[(series.place + 1) % PALETTE.len()].0.mix(0.9);
        for (end, near) in [(low, middle.1 + OPEN), (high, middle.1 - OPEN)] {
            if (end.1 - middle.1).abs() > OPEN {
                self.line(&[end, (end.0, near)], style.stroke_width(7))?;
            }
        }
        self.area.draw(&Circle::new(middle, OPEN, style.stroke_width(10)))
    }

    /// A shape as large as a circle of [`MARKER`].
    fn marker(&self, series: &Series, (x, y): (i32, i32)) -> Drawn<'b> {
        let colour = colour(series);
        let corner = |&(dx, dy): &(f64, f64)| (x + (dx * MARKER).round() as i32, y + (dy * MARKER).round() as i32);
        let mut outline: Vec<(i32, i32)> = MARKERS[series.place % MARKERS.len()].iter().map(corner).collect();
        if outline.is_empty() {
            let style = if series.hollow { colour.stroke_width(16) } else { colour.filled() };
            return self.area.draw(&Circle::new((x, y), MARKER as i32, style));
        }
        if series.hollow {
            // The first side again, so that the last corner is joined too.
            outline.extend_from_within(..2);
            return self.line(&outline, colour.stroke_width(16));
        }
        self.area.draw(&Polygon::new(outline, colour.filled()))
    }

    /// Labels stand right of the frame near the height of their line's end, parted where they would overlap, each with its
    /// marker and a thin lead to its line. Gives the height of the lowest.
    fn end_labels(&self) -> Result<Option<i32>, DrawingError<'b>> {
        let (_, right, top, bottom) = self.frame();
        let end = |s: &Series| s.dashed.last().or(s.line.last()).or(s.dots.last()).map(|&(x, y)| self.at(x, y));
        let ends: Vec<(&Series, (i32, i32))> = self.chart.series.iter().filter_map(|s| Some((s, end(s)?))).collect();
        let wanted: Vec<f64> = ends.iter().map(|e| f64::from(e.1.1)).collect();
        let heights = labels::spread(&wanted, f64::from(LABEL_GAP * FINE), (f64::from(top), f64::from(bottom - 60)));
        let lowest = heights.iter().copied().reduce(f64::max).map(|y| y.round() as i32);
        for ((series, (x, y)), height) in ends.into_iter().zip(heights) {
            let at = height.round() as i32;
            let key = (right + 190, if series.detail.is_empty() { at } else { at - 70 });
            self.line(&[(x.max(right - 60) + 50, y), (right + 120, key.1)], colour(series).mix(0.5).stroke_width(6))?;
            self.marker(series, key)?;
            self.text(&series.label, (right + 270, key.1), 13, colour(series), HPos::Left, VPos::Center)?;
            self.text(&series.detail, (right + 270, key.1 + 145), 11, PALE.0, HPos::Left, VPos::Center)?;
        }
        Ok(lowest)
    }

    /// What the marks mean: at the lower right corner, or at the upper one where the names stand low.
    fn legend(&self, lowest_name: Option<i32>) -> Drawn<'b> {
        let (_, right, top, bottom) = self.frame();
        let Some(series) = self.chart.series.first() else { return Ok(()) };
        let high = (self.chart.legend.len() as i32 - 1) * LEGEND_GAP * FINE;
        let room = bottom - 60 - high;
        let first = if lowest_name.is_none_or(|y| y + LABEL_GAP * FINE <= room) { room } else { top + 60 };
        for (i, (mark, text)) in self.chart.legend.iter().enumerate() {
            let (x, y) = (right + 190, first + i as i32 * LEGEND_GAP * FINE);
            self.key(*mark, series, (x, y))?;
            self.text(text, (x + 160, y), 11, PALE.0, HPos::Left, VPos::Center)?;
        }
        Ok(())
    }

    /// A mark as the plot has it, small.
    fn key(&self, mark: Mark, series: &Series, (x, y): (i32, i32)) -> Drawn<'b> {
        const REACH: i32 = 90;
        let colour = colour(series);
        let across = [(x - REACH, y), (x + REACH, y)];
        let filled = |shade: f64| Rectangle::new([(x - REACH, y - 45), (x + REACH, y + 45)], colour.mix(shade).filled());
        match mark {
            Mark::Dot => self.area.draw(&Circle::new((x, y), 20, colour.mix(0.4).filled())),
            Mark::Mean => {
                self.line(&[(x, y - 65), (x, y + 65)], colour.stroke_width(13))?;
                self.marker(series, (x, y))
            }
            Mark::Line => self.line(&across, colour.stroke_width(20)),
            Mark::Band => self.area.draw(&filled(BAND)),
            Mark::Core => {
                self.area.draw(&filled(BAND))?;
                self.area.draw(&filled(CORE))
            }
            Mark::Foretold => self.foretold(series, [(x, y + 65), (x, y), (x, y - 65)]),
            Mark::Thin => self.line(&across, PALE.0.mix(THIN).stroke_width(12)),
        }
    }

    /// Labels stand beside their points, clear of each other, of markers and of error bars.
    fn point_labels(&self) -> Drawn<'b> {
        let (left, right, top, bottom) = self.frame();
        let named: Vec<(&Series, (i32, i32))> =
            self.chart.series.iter().filter_map(|s| s.bars.first().map(|bar| (s, self.at(bar.0, bar.2)))).collect();
        let points: Vec<(f64, f64)> = named.iter().map(|(_, at)| (f64::from(at.0), f64::from(at.1))).collect();
        let sizes: Vec<(f64, f64)> =
            named.iter().map(|n| (0.62 * 13.0 * f64::from(FINE) * n.0.label.chars().count() as f64, 150.0)).collect();
        let mark = |&(series, (x, y)): &(&Series, (i32, i32))| {
            let (x, y, reach) = (f64::from(x), f64::from(y), MARKER + 10.0);
            let (low, high) = (f64::from(self.y(series.bars[0].1)), f64::from(self.y(series.bars[0].3)));
            [(x - reach, y - reach, x + reach, y + reach), (x - 20.0, high, x + 20.0, low)]
        };
        let obstacles: Vec<labels::Area> = named.iter().flat_map(mark).collect();
        let room = (f64::from(left), f64::from(top), f64::from(right + 200), f64::from(bottom - 40));
        let centres = labels::around(&points, &sizes, &obstacles, room, 2.0 * MARKER);
        for ((series, point), ((cx, cy), (wide, _))) in named.into_iter().zip(centres.into_iter().zip(sizes)) {
            let (dx, dy) = (cx - f64::from(point.0), cy - f64::from(point.1));
            if (dx.abs() - wide / 2.0).max(dy.abs() - 75.0) > 2.5 * MARKER {
                let edge = (
                    point.0 + (dx.signum() * (dx.abs() - wide / 2.0).max(0.0)) as i32,
                    point.1 + (dy.signum() * (dy.abs() - 75.0).max(0.0)) as i32,
                );
                self.line(&[point, edge], colour(series).mix(0.5).stroke_width(6))?;
            }
            self.text(&series.label, (cx.round() as i32, cy.round() as i32), 13, colour(series), HPos::Center, VPos::Center)?;
        }
        Ok(())
    }

    fn line(&self, points: &[(i32, i32)], style: ShapeStyle) -> Drawn<'b> {
        if points.len() < 2 { Ok(()) } else { self.area.draw(&PathElement::new(points.to_vec(), style)) }
    }

    /// Dashes of equal length along a polyline.
    fn dashes(&self, points: &[(i32, i32)], colour: RGBColor, width: u32, length: i32) -> Drawn<'b> {
        for dash in dashes(points, f64::from(length), f64::from(length) * 0.7) {
            self.line(&dash, colour.stroke_width(width))?;
        }
        Ok(())
    }

    fn text(&self, text: &str, at: (i32, i32), size: i32, colour: RGBColor, horizontal: HPos, vertical: VPos) -> Drawn<'b> {
        // The backend divides font sizes by 1.24.
        let style =
            TextStyle::from(("sans-serif", f64::from(size * FINE) * 1.24).into_font()).color(&colour).pos(Pos::new(horizontal, vertical));
        self.area.draw(&Text::new(text.to_owned(), at, style))
    }

    /// Left, right, top and bottom of the plot in canvas units.
    fn frame(&self) -> (i32, i32, i32, i32) {
        let (left, top, bottom) = MARGIN;
        let right = match self.chart.labels {
            Labels::AtEnd => 150,
            Labels::AtPoint => 24,
        };
        (left * FINE, (WIDTH - right) * FINE, top * FINE, (height(self.chart) - bottom) * FINE)
    }

    fn at(&self, x: f64, y: f64) -> (i32, i32) {
        (self.x(x), self.y(y))
    }

    fn x(&self, value: f64) -> i32 {
        let (left, right, ..) = self.frame();
        (f64::from(left) + self.chart.x.position(value) * f64::from(right - left)).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        let (_, _, top, bottom) = self.frame();
        (f64::from(bottom) - self.chart.y.position(value) * f64::from(bottom - top)).round() as i32
    }
}

/// Cuts a polyline into dashes of `length` with gaps of `gap`, measured along it.
fn dashes(points: &[(i32, i32)], length: f64, gap: f64) -> Vec<Vec<(i32, i32)>> {
    let mut cut = Vec::new();
    let (mut dash, mut drawing, mut left) = (points.first().copied().into_iter().collect::<Vec<_>>(), true, length);
    for pair in points.windows(2) {
        let (from, to) = ((f64::from(pair[0].0), f64::from(pair[0].1)), (f64::from(pair[1].0), f64::from(pair[1].1)));
        let whole = (to.0 - from.0).hypot(to.1 - from.1);
        let mut walked = 0.0;
        while whole - walked > left {
            walked += left;
            let share = walked / whole;
            let here = ((from.0 + share * (to.0 - from.0)).round() as i32, (from.1 + share * (to.1 - from.1)).round() as i32);
            if drawing {
                dash.push(here);
                cut.push(std::mem::take(&mut dash));
            } else {
                dash = vec![here];
            }
            drawing = !drawing;
            left = if drawing { length } else { gap };
        }
        left -= whole - walked;
        if drawing {
            dash.push(pair[1]);
        }
    }
    if drawing && dash.len() > 1 {
        cut.push(dash);
    }
    cut
}

/// Picture height in CSS pixels: names at the edge need more than points do.
fn height(chart: &Chart) -> i32 {
    match chart.labels {
        Labels::AtEnd => 460,
        Labels::AtPoint => 360,
    }
}

fn colour(series: &Series) -> RGBColor {
    PALETTE[series.place % PALETTE.len()].0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_turn_corners_and_keep_their_rhythm() {
        let cut = dashes(&[(0, 0), (10, 0), (10, 20)], 15.0, 5.0);
        assert_eq!(cut, [vec![(0, 0), (10, 0), (10, 5)], vec![(10, 10), (10, 20)]]);
    }

    #[test]
    fn markup_in_names_is_text() {
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
    }
}
