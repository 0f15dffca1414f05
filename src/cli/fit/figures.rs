//! `etalon fit --figures`: the curves drawn, as SVG and PNG.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Fitted;
use crate::base::fsio;
use crate::cli::Ui;
use crate::report::figures::forecast::{self, Score, residuals};
use crate::report::figures::{Chart, names, png, svg};

/// Writes the forecast of every curve into `folder`, and with `with_residuals` what its heaviest family leaves over. Gives the
/// files. A machine without fonts gets no PNG, and is told.
pub fn write(folder: &Path, fitted: &[Fitted<'_>], score: &Score, with_residuals: bool, ui: &Ui) -> anyhow::Result<Vec<PathBuf>> {
    let names = names::of_files(fitted.iter().map(|f| f.series.name.as_str()));
    let mut files = Vec::new();
    for (Fitted { summary, curve, series }, name) in fitted.iter().zip(names) {
        let last = summary.forecasts.iter().map(|f| f.n).fold(0.0, f64::max);
        let shown = forecast::Fitted {
            id: format!("{name}-forecast"),
            place: 0,
            name: &summary.name,
            summary,
            fan: &curve.fan(last),
            // Dots are single trainings, of which a table of means knows none.
            scores: if series.summarised { Vec::new() } else { series.observations.iter().map(|o| (o.n, o.score)).collect() },
            sizes: Vec::new(),
            score: score.clone(),
        };
        let heaviest = summary.families.first().filter(|_| with_residuals);
        let residuals = heaviest.map(|f| residuals(&format!("{name}-residuals"), f, &summary.observations, score));
        for chart in std::iter::once(forecast::forecast(&shown)).chain(residuals) {
            draw(folder, &chart, ui, &mut files)?;
        }
    }
    Ok(files)
}

fn draw(folder: &Path, chart: &Chart, ui: &Ui, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut put = |extension: &str, bytes: &[u8]| {
        let path = folder.join(format!("{}.{extension}", chart.id));
        fsio::replace(&path, bytes).with_context(|| format!("failed to write the figure {}", path.display()))?;
        files.push(path);
        anyhow::Ok(())
    };
    put("svg", svg::draw(chart)?.as_bytes())?;
    match png::draw(chart) {
        Ok(bytes) => put("png", &bytes),
        Err(error) => {
            ui.remark(format!("note: {error}"));
            Ok(())
        }
    }
}
