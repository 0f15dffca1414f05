//! Training inputs: which part of which video every pass over the sample takes, a pure function of (seed, pass), and their
//! content in plain numbers, prepared on the loader's thread.

use super::input::Inputs;
use crate::base::Stream;
use crate::config::settings::{Common, Temporal};
use crate::data::features;
use crate::data::windows::{CellInstance, instances_in_window, window_starts};

/// A training input before it becomes numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Index into the sample.
    pub video: usize,
    /// First cell.
    pub start: usize,
    /// Cells.
    pub cells: usize,
    /// Its instances in its cells.
    pub truth: Vec<CellInstance>,
}

/// A sampled video as the passes see it.
pub struct Source {
    /// All its instances in cells.
    pub truth: Vec<CellInstance>,
    /// Its cells.
    pub cells: usize,
    /// Cells by which an input reaches beyond its outer cells, for instances.
    pub margin: f64,
}

/// Tries to find a crop that holds an instance.
const TRIES: usize = 200;

/// The passes over a sample.
pub struct Passes<'a> {
    /// Settings.
    pub common: &'a Common,
    /// Seed of the training.
    pub seed: u64,
    /// The sampled videos.
    pub sources: &'a [Source],
}

impl Passes<'_> {
    /// Batches of inputs that hold at least one instance, shuffled; an incomplete last batch only when it is the only one.
    pub fn batches(&self, pass: u64) -> Vec<Vec<Clip>> {
        let mut rng = Stream::new(self.seed, &format!("train/pass/{pass}"));
        let mut clips = Vec::new();
        for (video, source) in self.sources.iter().enumerate() {
            if self.common.temporal == Temporal::Whole {
                clips.extend(self.crop(video, source, &mut rng));
            } else {
                clips.extend(self.windows(video, source, &mut rng));
            }
        }
        rng.shuffle(&mut clips);
        let batch = self.common.batch;
        let whole = if clips.len() >= batch { clips.len() / batch * batch } else { clips.len() };
        clips[..whole].chunks(batch).map(<[Clip]>::to_vec).collect()
    }

    fn windows(&self, video: usize, source: &Source, rng: &mut Stream) -> Vec<Clip> {
        let Common { window, stride, jitter, .. } = *self.common;
        let last = source.cells.saturating_sub(window);
        let place = |start: usize, rng: &mut Stream| {
            let half = (stride / 2) as f64;
            let shift = if jitter { rng.between(-half, half).round() } else { 0.0 };
            (start as f64 + shift).clamp(0.0, last as f64) as usize
        };
        let starts = window_starts(source.cells, window, stride);
        let clip = |start: usize| self.clip(video, source, start, window.min(source.cells - start), window);
        starts.into_iter().filter_map(|start| clip(place(start, rng))).collect()
    }

    /// A random crop of at most `window` cells (ActionFormer, `truncate_feats`): of that many when the video is longer, of a
    /// random length from `crop` of it on otherwise. Tried again while it holds no instance.
    fn crop(&self, video: usize, source: &Source, rng: &mut Stream) -> Option<Clip> {
        let Common { window, crop, .. } = *self.common;
        (0..TRIES).find_map(|_| {
            let cells = if source.cells > window {
                window
            } else {
                let least = ((source.cells as f64 * crop).round() as usize).clamp(1, source.cells);
                least + rng.below(source.cells - least + 1)
            };
            let start = rng.below(source.cells - cells + 1);
            self.clip(video, source, start, cells, cells)
        })
    }

    /// The input of `cells` cells from `start` on, which sees instances over `span` cells; `None` when it has none.
    fn clip(&self, video: usize, source: &Source, start: usize, cells: usize, span: usize) -> Option<Clip> {
        let truth = instances_in_window(&source.truth, start, span, source.margin, self.common.keep_share);
        (!truth.is_empty()).then_some(Clip { video, start, cells, truth })
    }
}

/// A training batch in plain numbers.
pub struct Prepared {
    /// `[B, T, C]`, zero-padded.
    pub x: Vec<f32>,
    /// B, T, C.
    pub shape: [usize; 3],
    /// Cells that are not padding.
    pub valid: Vec<usize>,
    /// Instances in cells.
    pub truth: Vec<Vec<CellInstance>>,
    /// What is left of the update's random stream.
    pub rng: Stream,
}

/// Makes batches on the loader's thread.
pub struct Loader<'a> {
    /// Settings.
    pub common: &'a Common,
    /// Reads cells.
    pub inputs: &'a Inputs<'a>,
    /// The sample.
    pub videos: &'a [String],
    /// Seed of the training.
    pub seed: u64,
    /// The network sees one class.
    pub class_agnostic: bool,
}

impl Loader<'_> {
    /// The batch of update `step`, its inputs padded to `time` cells.
    ///
    /// # Errors
    /// A feature file is bad.
    pub fn prepare(&self, clips: &[Clip], time: usize, step: u64) -> Result<Prepared, features::Error> {
        let mut rng = Stream::new(self.seed, &format!("train/step/{step}"));
        let channels = self.inputs.channels();
        let mut x = vec![0.0; clips.len() * time * channels];
        for (clip, x) in clips.iter().zip(x.chunks_exact_mut(time * channels)) {
            let cells = self.inputs.cells(&self.videos[clip.video])?;
            let x = &mut x[..clip.cells * channels];
            x.copy_from_slice(&cells.data[clip.start * channels..][..clip.cells * channels]);
            if self.common.noise > 0.0 {
                x.iter_mut().for_each(|v| *v += (self.common.noise * rng.normal()) as f32);
            }
        }
        let label = |i: &CellInstance| CellInstance { label: if self.class_agnostic { 0 } else { i.label }, ..*i };
        Ok(Prepared {
            x,
            shape: [clips.len(), time, channels],
            valid: clips.iter().map(|c| c.cells).collect(),
            truth: clips.iter().map(|c| c.truth.iter().map(label).collect()).collect(),
            rng,
        })
    }
}
