//! One update of encoder and detector: sequentialised gradient sampling (ETAD, §3.3; the release's three stages), with plain
//! back-propagation and activation checkpointing as its comparisons.
//!
//! All snippets go forward in chunks without gradients; the detector gives its own gradients and that of the features; then
//! the chosen snippets go forward once more, a chunk at a time, and each takes its part of the features' gradient back into
//! the encoder. So no more than one chunk's activations exist at once. Gradients of chunks are summed, not averaged.

use tch::{Kind, Tensor};

use crate::nn::encoders::Encoder;
use crate::nn::network::Terms;
use crate::nn::optim::Gradients;
use crate::nn::params::Params;

/// A snippet of an input: (input, cell).
pub type Place = (usize, usize);

/// Which snippets go through the encoder when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// Inputs and cells of each, padding included.
    pub shape: [usize; 2],
    /// Chunks that go forward; every snippet of every input once.
    pub forward: Vec<Vec<Place>>,
    /// Chunks that go forward again for their gradients; `None` for plain back-propagation, which keeps all activations of
    /// the one forward pass.
    pub again: Option<Vec<Vec<Place>>>,
}

/// Mean and deviation per channel that features are standardised with before the detector sees them, `[C]` each.
pub struct Scale {
    /// Means.
    pub mean: Tensor,
    /// Deviations.
    pub deviation: Tensor,
}

impl Course {
    /// Chunks of `chunk` snippets of every input: all of `cells` (one list per input: how many it has), then those of
    /// `again`, in order.
    pub fn new(time: usize, chunk: usize, cells: &[usize], again: Option<&[Vec<usize>]>) -> Self {
        let all: Vec<Vec<usize>> = cells.iter().map(|&n| (0..n).collect()).collect();
        Self { shape: [cells.len(), time], forward: chunks(&all, chunk), again: again.map(|lists| chunks(lists, chunk)) }
    }

    /// The chunks in the order in which a step asks for their frames. Plain back-propagation takes all at once.
    pub fn asked(&self) -> impl Iterator<Item = &Vec<Place>> {
        self.forward.iter().chain(self.again.iter().flatten())
    }
}

/// The k-th chunk holds the k-th `chunk` snippets of every input.
fn chunks(lists: &[Vec<usize>], chunk: usize) -> Vec<Vec<Place>> {
    let count = lists.iter().map(|l| l.len().div_ceil(chunk)).max().unwrap_or(0);
    let part = |list: &[usize], k: usize| list.iter().copied().skip(k * chunk).take(chunk).collect::<Vec<_>>();
    let of = |k: usize| lists.iter().enumerate().flat_map(move |(input, list)| part(list, k).into_iter().map(move |cell| (input, cell)));
    (0..count).map(|k| of(k).collect()).collect()
}

/// Makes the gradients of a step. `frames` gives the clips `[n, 3, L, H, W]` of the chunks of [`Course::asked`], in that order;
/// `detector` takes the features `[B, C, T]`, a leaf, and gives its loss terms and the gradient of the leaf. The gradients
/// returned are those of the encoder.
///
/// # Errors
/// Those of `frames`.
pub fn step<E>(
    (encoder, params): (&dyn Encoder, &Params),
    course: &Course,
    scale: Option<&Scale>,
    mut frames: impl FnMut() -> Result<Tensor, E>,
    detector: impl FnOnce(&Tensor) -> (Terms, Option<Tensor>),
) -> Result<(Terms, Gradients), E> {
    let [inputs, time] = course.shape.map(|n| n as i64);
    let (device, channels) = (params.device(), encoder.channels());
    let rows = |chunk: &[Place]| Tensor::from_slice(&chunk.iter().map(|&(b, t)| b as i64 * time + t as i64).collect::<Vec<_>>());
    let standard = |f: Tensor| scale.map_or_else(|| f.shallow_clone(), |s| (&f - &s.mean) / &s.deviation);

    let features = Tensor::zeros([inputs * time, channels], (Kind::Float, device));
    let mut kept = Vec::new();
    for chunk in &course.forward {
        let clips = frames()?;
        let index = rows(chunk).to_device(device);
        let vectors = if course.again.is_some() { tch::no_grad(|| encoder.forward(&clips)) } else { encoder.forward(&clips) };
        let vectors = standard(vectors);
        let _ = tch::no_grad(|| features.shallow_clone().index_copy_(0, &index, &vectors.detach()));
        if course.again.is_none() {
            kept.push((index, vectors));
        }
    }
    let x = features.view([inputs, time, channels]).transpose(1, 2).contiguous().set_requires_grad(true);
    drop(features);
    let (terms, of_features) = detector(&x);

    let mut gradients = Gradients::none(params);
    let Some(of_features) = of_features else { return Ok((terms, gradients)) };
    let upstream = of_features.transpose(1, 2).reshape([inputs * time, channels]);
    drop((x, of_features));
    // The scalar whose gradient at the vectors is what came down from the detector.
    let carried = |vectors: &Tensor, index: &Tensor| (vectors * upstream.index_select(0, index)).sum(Kind::Float);
    if !kept.is_empty() {
        let loss = kept.iter().map(|(index, vectors)| carried(vectors, index)).reduce(|a, b| a + b).expect("there are chunks");
        gradients.add(params, &loss, &[]);
    }
    for chunk in course.again.iter().flatten() {
        let vectors = standard(encoder.forward(&frames()?));
        gradients.add(params, &carried(&vectors, &rows(chunk).to_device(device)), &[]);
    }
    Ok((terms, gradients))
}
