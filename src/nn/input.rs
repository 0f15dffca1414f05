//! From the features of a video to what a network reads: pooled, standardised, padded cells, and the ground truth in cells.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use crate::data::windows::{CellInstance, mean_pool, rescale, stretch};
use crate::data::{Dataset, FeatureSource, Features, features};

/// How cells are made.
#[derive(Clone, Debug)]
pub struct InputSettings {
    /// Snippets averaged into one cell.
    pub pool: usize,
    /// Rescale whole videos to this many cells.
    pub rescale: Option<usize>,
    /// Rescaling interpolates linearly instead of averaging.
    pub linear: bool,
    /// Channels are zero-padded to a multiple of this.
    pub multiple: usize,
    /// Cell i stands for the centre of its snippet instead of for the time from i to i + 1.
    pub centres: bool,
}

/// Mean and deviation per channel of the training sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Standard {
    /// Means.
    pub mean: Vec<f32>,
    /// Deviations, at least 1e-3.
    pub deviation: Vec<f32>,
}

/// Reads videos as cells.
pub struct Inputs<'a> {
    dataset: &'a Dataset,
    features: &'a FeatureSource,
    settings: InputSettings,
    standard: Option<Standard>,
    cache: BTreeMap<String, Arc<Features>>,
}

/// Training cells up to this size stay in memory; larger sets are read again (from the page cache) for every batch.
const CACHE_BYTES: usize = 2 << 30;

impl<'a> Inputs<'a> {
    /// Inputs without standardisation.
    pub fn new(dataset: &'a Dataset, features: &'a FeatureSource, settings: InputSettings, standard: Option<Standard>) -> Self {
        Self { dataset, features, settings, standard, cache: BTreeMap::new() }
    }

    /// Channels after padding.
    pub fn channels(&self) -> usize {
        self.features.channels().next_multiple_of(self.settings.multiple)
    }

    /// A sentence when channels had to be padded.
    pub fn padding_note(&self) -> Option<String> {
        let (from, to) = (self.features.channels(), self.channels());
        let groups = self.settings.multiple;
        (from != to).then(|| format!("features zero-padded from {from} to {to} channels: the first convolution has {groups} groups"))
    }

    /// Measures mean and deviation per channel over `videos` and applies them from now on.
    ///
    /// # Errors
    /// A feature file is bad.
    pub fn standardise_on(&mut self, videos: &[String]) -> Result<(), features::Error> {
        let channels = self.channels();
        /// Time steps, sums and sums of squares per channel of one video.
        type Moments = (usize, Vec<f64>, Vec<f64>);
        let sums: Vec<Moments> = videos
            .par_iter()
            .map(|video| {
                let cells = self.read(video)?;
                let (mut sum, mut square) = (vec![0.0; channels], vec![0.0; channels]);
                for row in cells.data.chunks_exact(channels) {
                    for ((s, q), &v) in sum.iter_mut().zip(&mut square).zip(row) {
                        *s += f64::from(v);
                        *q += f64::from(v) * f64::from(v);
                    }
                }
                Ok((cells.time, sum, square))
            })
            .collect::<Result<_, features::Error>>()?;
        let n = sums.iter().map(|s| s.0).sum::<usize>().max(1) as f64;
        let total = |pick: &dyn Fn(&Moments) -> f64| sums.iter().map(pick).sum::<f64>() / n;
        let mean: Vec<f64> = (0..channels).map(|c| total(&|s| s.1[c])).collect();
        let deviation = (0..channels).map(|c| (total(&|s| s.2[c]) - mean[c] * mean[c]).max(0.0).sqrt().max(1e-3) as f32).collect();
        self.standard = Some(Standard { mean: mean.into_iter().map(|m| m as f32).collect(), deviation });
        Ok(())
    }

    /// Applies a stored standardisation.
    pub fn set_standard(&mut self, standard: Standard) {
        self.standard = Some(standard);
    }

    /// The standardisation in force.
    pub fn standard(&self) -> Option<&Standard> {
        self.standard.as_ref()
    }

    /// Keeps the cells of `videos` in memory if they fit.
    ///
    /// # Errors
    /// A feature file is bad.
    pub fn keep(&mut self, videos: &[String]) -> Result<(), features::Error> {
        let mut bytes = 0;
        for video in videos {
            bytes += self.settings.rescale.unwrap_or(self.features.time(video)? / self.settings.pool + 1) * self.channels() * 4;
        }
        if bytes <= CACHE_BYTES {
            let read = |video: &String| Ok((video.clone(), self.cells(video)?));
            self.cache = videos.par_iter().map(read).collect::<Result<_, features::Error>>()?;
        }
        Ok(())
    }

    /// The cells of a video.
    ///
    /// # Errors
    /// The feature file is bad.
    pub fn cells(&self, video: &str) -> Result<Arc<Features>, features::Error> {
        if let Some(cells) = self.cache.get(video) {
            return Ok(Arc::clone(cells));
        }
        let mut cells = self.read(video)?;
        if let Some(standard) = &self.standard {
            for row in cells.data.chunks_exact_mut(cells.channels) {
                for ((v, m), d) in row.iter_mut().zip(&standard.mean).zip(&standard.deviation) {
                    *v = (*v - m) / d;
                }
            }
        }
        Ok(Arc::new(cells))
    }

    /// Number of cells of a video, without reading its features.
    ///
    /// # Errors
    /// The feature file is bad.
    pub fn cell_count(&self, video: &str) -> Result<usize, features::Error> {
        match self.settings.rescale {
            Some(cells) => Ok(cells),
            None => Ok(self.features.time(video)?.div_ceil(self.settings.pool)),
        }
    }

    /// Seconds per cell.
    pub fn cell_seconds(&self, video: &str) -> f64 {
        match self.settings.rescale {
            Some(cells) => self.dataset.videos[video].duration / cells as f64,
            None => self.features.period(video) * self.settings.pool as f64,
        }
    }

    /// Cells by which the origin of the cells lies after that of the video: half of what a snippet sees, where a cell
    /// stands for the centre of its snippet.
    pub fn offset(&self) -> f64 {
        match self.settings.rescale {
            _ if !self.settings.centres => 0.0,
            Some(_) => 0.5,
            None => {
                let pool = self.settings.pool as f64;
                0.5 * (self.features.snippet_span() + pool - 1.0) / pool
            }
        }
    }

    /// Annotated instances in cells, clipped to the video.
    pub fn truth(&self, video: &str) -> Vec<CellInstance> {
        let (cell, offset) = (self.cell_seconds(video), self.offset());
        let annotated = &self.dataset.videos[video];
        let clip = |seconds: f64| seconds.clamp(0.0, annotated.duration) / cell - offset;
        let instance = |i: &crate::data::Instance| CellInstance { start: clip(i.segment.start), end: clip(i.segment.end), label: i.label };
        annotated.instances.iter().map(instance).filter(|i| i.end > i.start).collect()
    }

    /// Seconds of the video.
    pub fn duration(&self, video: &str) -> f64 {
        self.dataset.videos[video].duration
    }

    fn read(&self, video: &str) -> Result<Features, features::Error> {
        let mut cells = mean_pool(self.features.load(video)?, self.settings.pool);
        if let Some(length) = self.settings.rescale {
            cells = if self.settings.linear { stretch(&cells, length) } else { rescale(&cells, length) };
        }
        let (from, to) = (cells.channels, self.channels());
        if from != to {
            let mut padded = vec![0.0; cells.time * to];
            for (row, source) in padded.chunks_exact_mut(to).zip(cells.data.chunks_exact(from)) {
                row[..from].copy_from_slice(source);
            }
            cells = Features { time: cells.time, channels: to, data: padded };
        }
        Ok(cells)
    }
}
