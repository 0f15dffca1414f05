//! SVG to PNG, for papers and slides. The only place that names `resvg`.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::Chart;
use super::svg;
use crate::report::Error;

/// Pixels from left to right: fit for print at the width of a page.
const WIDTH: u32 = 2050;

/// Families to write in, the most wanted first; without any of them, whichever there is.
const FAMILIES: [&str; 6] = ["Helvetica", "Arial", "Liberation Sans", "Noto Sans", "DejaVu Sans", "Open Sans"];

/// The fonts of this machine, read once.
static FONTS: LazyLock<Option<Arc<fontdb::Database>>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_system_fonts();
    let known = |family: &str| fonts.faces().any(|face| face.families.iter().any(|(name, _)| name == family));
    let any = || fonts.faces().next().and_then(|face| face.families.first().map(|(name, _)| name.clone()));
    let family = FAMILIES.into_iter().find(|family| known(family)).map(str::to_owned).or_else(any)?;
    fonts.set_sans_serif_family(family);
    Some(Arc::new(fonts))
});

/// The chart on white as a PNG file.
///
/// # Errors
/// This machine has no font, or drawing fails.
pub fn draw(chart: &Chart) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Figure { figure: chart.id.to_string(), reason };
    let fontdb =
        FONTS.clone().ok_or_else(|| failed("a PNG needs a font and this machine has none: install one, or take the SVG".to_owned()))?;
    let options = Options { fontdb, ..Options::default() };
    let tree = Tree::from_str(&svg::draw(chart)?, &options).map_err(|e| failed(e.to_string()))?;
    let scale = WIDTH as f32 / tree.size().width();
    let height = (tree.size().height() * scale).round() as u32;
    let mut picture = Pixmap::new(WIDTH, height).ok_or_else(|| failed("it has no height".to_owned()))?;
    picture.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut picture.as_mut());
    picture.encode_png().map_err(|e| failed(e.to_string()))
}
