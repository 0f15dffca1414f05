//! From decoded frames to what an encoder reads: crop, mirror image and colours on loader threads, normalisation on the device.
//!
//! # Deviations
//! ETAD's release draws crop, mirror image and colour factors once per video and update; so do we. Its RandAugment-like
//! `imgaug` step is left out. Brightness, contrast, saturation and hue are one linear map of the colours: contrast pivots on
//! the mean of the normalisation instead of that of the frame, and hue turns in YIQ.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};

use crate::base::Stream;
use crate::config::encoder::FrameConfig;
use crate::data::video::{self, Frames, VideoSource};

/// How a video looks in one update: the same for all of its frames.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Left and upper edge of the crop.
    corner: [usize; 2],
    mirrored: bool,
    /// Rows give the new red, green and blue from the old ones and 1; none keeps them.
    colours: Option<[[f32; 4]; 3]>,
}

/// Chunks of a read-ahead thread wait here for the encoder.
const AHEAD: usize = 2;

/// Makes views of videos, and reads their frames.
#[derive(Clone)]
pub struct Camera {
    source: VideoSource,
    config: FrameConfig,
}

/// A snippet to read: (index into the views, snippet of its video).
pub type Wanted = (usize, usize);

/// What is read ahead: the frames of a step's chunks, one after the other.
pub struct Reel {
    receiver: Receiver<Result<Chunk, video::Error>>,
    /// Time that the encoder waited for frames.
    pub waited: Duration,
}

/// Frames of a chunk, `[n, L, H, W, 3]`.
struct Chunk {
    bytes: Vec<u8>,
    shape: [i64; 5],
}

impl Camera {
    /// A camera on the videos of `source`.
    pub fn new(source: &VideoSource, config: &FrameConfig) -> Self {
        Self { source: source.clone(), config: config.clone() }
    }

    /// Width and height of what the encoder sees.
    pub fn size(&self) -> [usize; 2] {
        let [width, height] = self.source.size();
        self.config.crop.map_or([width, height], |[w, h]| [w.min(width), h.min(height)])
    }

    /// The central view, as at inference.
    pub fn central(&self) -> View {
        let ([width, height], [w, h]) = (self.source.size(), self.size());
        View { corner: [(width - w) / 2, (height - h) / 2], mirrored: false, colours: None }
    }

    /// A random view, as in training.
    pub fn random(&self, rng: &mut Stream) -> View {
        let ([width, height], [w, h]) = (self.source.size(), self.size());
        let corner = [rng.below(width - w + 1), rng.below(height - h + 1)];
        let mirrored = rng.uniform() < self.config.flip;
        let [brightness, contrast, saturation] = [0, 1, 2].map(|i| 1.0 + self.config.jitter[i] * rng.between(-1.0, 1.0));
        let turn = self.config.jitter[3] * rng.between(-1.0, 1.0);
        let plain = self.config.jitter.iter().all(|&v| v == 0.0);
        let colours = (!plain).then(|| colours(brightness, contrast, saturation, turn, self.config.mean));
        View { corner, mirrored, colours }
    }

    /// Starts to read, on a thread of its own, the chunks that `work` lists; `views` has the videos.
    pub fn roll(&self, views: Vec<(String, View)>, work: Vec<Vec<Wanted>>) -> Reel {
        let (sender, receiver) = sync_channel(AHEAD);
        let camera = self.clone();
        std::thread::spawn(move || {
            let mut open = BTreeMap::new();
            for wanted in work {
                let chunk = camera.chunk(&views, &mut open, &wanted);
                let stop = chunk.is_err();
                if sender.send(chunk).is_err() || stop {
                    return;
                }
            }
        });
        Reel { receiver, waited: Duration::ZERO }
    }

    fn chunk(&self, views: &[(String, View)], open: &mut BTreeMap<usize, Frames>, wanted: &[Wanted]) -> Result<Chunk, video::Error> {
        let ([w, h], length) = (self.size(), self.source.clip());
        let whole = self.source.size();
        let mut bytes = vec![0; wanted.len() * length * h * w * 3];
        let mut raw = vec![0; length * whole[0] * whole[1] * 3];
        for (&(index, snippet), out) in wanted.iter().zip(bytes.chunks_exact_mut(length * h * w * 3)) {
            let (video, view) = &views[index];
            let frames = match open.entry(index) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(self.source.frames(video)?),
            };
            frames.snippet(snippet, &mut raw)?;
            for (frame, out) in raw.chunks_exact(whole[0] * whole[1] * 3).zip(out.chunks_exact_mut(h * w * 3)) {
                view.apply(frame, whole, [w, h], out);
            }
        }
        Ok(Chunk { bytes, shape: [wanted.len(), length, h, w, 3].map(|n| n as i64) })
    }

    /// The clips of the next chunk, normalised, `[n, 3, L, H, W]` on `device`.
    ///
    /// # Errors
    /// A video cannot be decoded.
    ///
    /// # Panics
    /// More chunks are asked for than the reel was made for.
    pub fn clips(&self, reel: &mut Reel, device: Device) -> Result<Tensor, video::Error> {
        let begun = Instant::now();
        let chunk = reel.receiver.recv().expect("a reel holds as many chunks as it was made for")?;
        reel.waited += begun.elapsed();
        Ok(self.normalised(&Tensor::from_slice(&chunk.bytes).view(chunk.shape).to_device(device)))
    }

    fn normalised(&self, frames: &Tensor) -> Tensor {
        let values = |v: &[f64; 3]| Tensor::from_slice(&v.map(|v| v as f32)).to_device(frames.device());
        let deviation = values(&self.config.deviation);
        // One multiplication and one addition, in place.
        let mut clips = frames.to_kind(Kind::Float);
        let _ = clips.g_mul_(&deviation.reciprocal());
        let _ = clips.g_sub_(&(values(&self.config.mean) / deviation));
        clips.permute([0, 4, 1, 2, 3])
    }
}

impl View {
    /// Cuts `out` of `size` out of a frame of `whole`, both RGB by rows.
    fn apply(&self, frame: &[u8], whole: [usize; 2], size: [usize; 2], out: &mut [u8]) {
        let [left, top] = self.corner;
        for (row, out) in out.chunks_exact_mut(size[0] * 3).enumerate() {
            let from = ((top + row) * whole[0] + left) * 3;
            out.copy_from_slice(&frame[from..from + size[0] * 3]);
            if self.mirrored {
                let (pixels, _) = out.as_chunks_mut::<3>();
                pixels.reverse();
            }
            if let Some(colours) = &self.colours {
                let (pixels, _) = out.as_chunks_mut::<3>();
                for pixel in pixels {
                    let [r, g, b] = pixel.map(f32::from);
                    // The cast saturates, which is the clipping to 0..255.
                    *pixel = colours.map(|[x, y, z, one]| (x * r + y * g + z * b + one + 0.5) as u8);
                }
            }
        }
    }
}

/// Brightness, then contrast, then saturation as factors, then the hue turned by a share of the circle.
fn colours(brightness: f64, contrast: f64, saturation: f64, turn: f64, mean: [f64; 3]) -> [[f32; 4]; 3] {
    const GREY: [f64; 3] = [0.299, 0.587, 0.114];
    const YIQ: [[f64; 3]; 3] = [GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]];
    const RGB: [[f64; 3]; 3] = [[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]];
    let product = |a: [[f64; 3]; 3], b: [[f64; 3]; 3]| -> [[f64; 3]; 3] {
        std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
    };
    let (sine, cosine) = (std::f64::consts::TAU * turn).sin_cos();
    let turned = product(RGB, product([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]], YIQ));
    let unit = |i: usize, j: usize| f64::from(u8::from(i == j));
    let saturated = std::array::from_fn(|i| std::array::from_fn(|j| saturation * unit(i, j) + (1.0 - saturation) * GREY[j]));
    let hue = if turn == 0.0 { std::array::from_fn(|i| std::array::from_fn(|j| unit(i, j))) } else { turned };
    let linear = product(hue, saturated);
    let pivot: f64 = (0..3).map(|k| GREY[k] * mean[k]).sum::<f64>() * brightness * (1.0 - contrast);
    linear.map(|row| {
        let [r, g, b] = row.map(|v| (v * brightness * contrast) as f32);
        [r, g, b, (row.iter().sum::<f64>() * pivot) as f32]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(corner: [usize; 2], mirrored: bool) -> View {
        View { corner, mirrored, colours: None }
    }

    #[test]
    fn crops_and_mirrors_rows_of_pixels() {
        // 3 x 2 pixels; red is the place, green and blue follow it.
        let frame: Vec<u8> = (0..6).flat_map(|p| [p, p + 10, p + 20]).collect();
        let mut out = vec![0; 2 * 2 * 3];
        view([1, 0], false).apply(&frame, [3, 2], [2, 2], &mut out);
        assert_eq!(out, [1, 11, 21, 2, 12, 22, 4, 14, 24, 5, 15, 25]);
        view([1, 0], true).apply(&frame, [3, 2], [2, 2], &mut out);
        assert_eq!(out, [2, 12, 22, 1, 11, 21, 5, 15, 25, 4, 14, 24]);
    }

    #[test]
    fn colours_change_as_their_factors_say() {
        let apply = |c: [[f32; 4]; 3], rgb: [f32; 3]| c.map(|[x, y, z, o]| x * rgb[0] + y * rgb[1] + z * rgb[2] + o);
        let near = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 0.5);
        let mean = [100.0; 3];
        assert_eq!(apply(colours(1.0, 1.0, 1.0, 0.0, mean), [10.0, 20.0, 30.0]), [10.0, 20.0, 30.0]);
        assert!(near(apply(colours(1.5, 1.0, 1.0, 0.0, mean), [10.0, 20.0, 30.0]), [15.0, 30.0, 45.0]));
        // No contrast is the mean; no saturation is grey; a whole turn is none.
        assert!(near(apply(colours(1.0, 0.0, 1.0, 0.0, mean), [10.0, 20.0, 30.0]), [100.0; 3]));
        let grey = apply(colours(1.0, 1.0, 0.0, 0.0, mean), [10.0, 20.0, 30.0]);
        assert!((grey[0] - grey[1]).abs() < 1e-3 && (grey[0] - 18.15).abs() < 0.1, "{grey:?}");
        assert!(near(apply(colours(1.0, 1.0, 1.0, 1.0, mean), [10.0, 200.0, 30.0]), [10.0, 200.0, 30.0]));
        // Turning the hue leaves grey alone.
        assert!(near(apply(colours(1.0, 1.0, 1.0, 0.3, mean), [90.0, 90.0, 90.0]), [90.0; 3]));
    }
}
