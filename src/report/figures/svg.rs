//! Charts to SVG text. The only place that names `plotters`.
//!
//! The canvas is ten times finer than the picture, since the backend rounds to whole units. Colours are chosen to be
//! told apart with any colour vision and to stand on white as on dark; a style sheet adapts text and rules to the
//! reader's scheme.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::{Chart, Series};
use crate::report::Error;

/// Picture size in CSS pixels.
const WIDTH: i32 = 820;
const HEIGHT: i32 = 460;
/// Canvas units per pixel.
const FINE: i32 = 10;
/// Room around the plot in pixels: left, right, top, bottom.
const MARGIN: (i32, i32, i32, i32) = (46, 150, 34, 62);
/// Least distance of two labels at the right edge, in pixels.
const LABEL_GAP: i32 = 30;

/// After Okabe and Ito: told apart with any colour vision. Each with its shade on a dark ground.
const PALETTE: [(RGBColor, &str); 6] = [
    (RGBColor(0x1f, 0x77, 0xb4), "#4ea3e0"),
    (RGBColor(0xd5, 0x5e, 0x00), "#f0823a"),
    (RGBColor(0x00, 0x8f, 0x68), "#2bbd92"),
    (RGBColor(0xb8, 0x5c, 0x9a), "#d884bd"),
    (RGBColor(0x9a, 0x7b, 0x00), "#d1ae33"),
    (RGBColor(0x6f, 0x6f, 0x78), "#a3a3ad"),
];
/// Text, paler text, and thin rules, each with its shade on a dark ground.
const INK: (RGBColor, &str) = (RGBColor(0x1d, 0x1f, 0x24), "#e8e9ec");
const PALE: (RGBColor, &str) = (RGBColor(0x6b, 0x70, 0x7a), "#a2a7b1");
const RULE: (RGBColor, &str) = (RGBColor(0xe3, 0xe5, 0xe9), "#33363d");

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// A standalone SVG document, also fit for inlining in HTML.
///
/// # Errors
/// The backend fails (it writes to memory, so this is not expected).
pub fn draw(chart: &Chart) -> Result<String, Error> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, ((WIDTH * FINE) as u32, (HEIGHT * FINE) as u32)).into_drawing_area();
        let failed = |reason: String| Error::Figure { figure: chart.id.to_owned(), reason };
        Painter { chart, area: &area }.paint().map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
    }
    let body = text.split_once('>').map_or("", |(_, body)| body);
    Ok(format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"100%\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
         <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n<style>{}</style>{body}",
        WIDTH * FINE,
        HEIGHT * FINE,
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
        for (index, series) in self.chart.series.iter().enumerate() {
            self.band(series, colour(index))?;
        }
        // Best model last, so that it lies on top.
        for (index, series) in self.chart.series.iter().enumerate().rev() {
            self.marks(series, colour(index))?;
        }
        self.end_labels()
    }

    fn axes(&self) -> Drawn<'b> {
        let (left, right, top, bottom) = frame();
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
        self.text(
            &chart.x.label,
            (f64::midpoint(f64::from(left), f64::from(right)) as i32, bottom + 430),
            12,
            PALE.0,
            HPos::Center,
            VPos::Top,
        )?;
        if let Some((at, label)) = &chart.boundary {
            let x = self.x(*at);
            self.dashes(&[(x, top), (x, bottom)], PALE.0, 7, 30)?;
            self.text(&format!("{label} →"), (x + 60, top + 40), 11, PALE.0, HPos::Left, VPos::Top)?;
        }
        Ok(())
    }

    fn band(&self, series: &Series, colour: RGBColor) -> Drawn<'b> {
        if series.band.is_empty() {
            return Ok(());
        }
        let upper = series.band.iter().map(|b| self.at(b.0, b.2));
        let lower = series.band.iter().rev().map(|b| self.at(b.0, b.1));
        self.area.draw(&Polygon::new(upper.chain(lower).collect::<Vec<_>>(), colour.mix(0.13)))
    }

    fn marks(&self, series: &Series, colour: RGBColor) -> Drawn<'b> {
        for &(x, y) in &series.dots {
            self.area.draw(&Circle::new(self.at(x, y), 20, colour.mix(0.45).filled()))?;
        }
        for &(x, low, mean, high) in &series.bars {
            if low < high {
                self.line(&[self.at(x, low), self.at(x, high)], colour.stroke_width(13))?;
            }
            self.area.draw(&Circle::new(self.at(x, mean), 34, colour.filled()))?;
        }
        let points = |line: &[(f64, f64)]| line.iter().map(|&(x, y)| self.at(x, y)).collect::<Vec<_>>();
        self.line(&points(&series.line), colour.stroke_width(20))?;
        self.dashes(&points(&series.dashed), colour, 20, 60)
    }

    /// Labels stand right of the frame at the height of their line's end, pushed apart where they would overlap.
    fn end_labels(&self) -> Drawn<'b> {
        let (_, right, top, bottom) = frame();
        let end = |s: &Series| s.dashed.last().or(s.line.last()).or(s.dots.last()).map(|p| self.y(p.1));
        let mut labels: Vec<(usize, i32)> = self.chart.series.iter().enumerate().filter_map(|(i, s)| Some((i, end(s)?))).collect();
        labels.sort_by_key(|l| l.1);
        let gap = LABEL_GAP * FINE;
        for i in 1..labels.len() {
            labels[i].1 = labels[i].1.max(labels[i - 1].1 + gap);
        }
        let overflow = labels.last().map_or(0, |l| (l.1 - (bottom - 60)).max(0));
        for (index, y) in labels {
            let series = &self.chart.series[index];
            let y = (y - overflow).max(top);
            let lifted = if series.detail.is_empty() { y } else { y - 70 };
            self.text(&series.label, (right + 90, lifted), 13, colour(index), HPos::Left, VPos::Center)?;
            self.text(&series.detail, (right + 90, lifted + 145), 11, PALE.0, HPos::Left, VPos::Center)?;
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

    fn at(&self, x: f64, y: f64) -> (i32, i32) {
        (self.x(x), self.y(y))
    }

    fn x(&self, value: f64) -> i32 {
        let (left, right, ..) = frame();
        (f64::from(left) + self.chart.x.position(value) * f64::from(right - left)).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        let (_, _, top, bottom) = frame();
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

/// Left, right, top and bottom of the plot in canvas units.
fn frame() -> (i32, i32, i32, i32) {
    let (left, right, top, bottom) = MARGIN;
    (left * FINE, (WIDTH - right) * FINE, top * FINE, (HEIGHT - bottom) * FINE)
}

fn colour(index: usize) -> RGBColor {
    PALETTE[index % PALETTE.len()].0
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
