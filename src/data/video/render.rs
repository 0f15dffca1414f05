//! The built-in corpus as pictures: each latent dimension drives the contrast of its own coloured grating, which drifts over a
//! patch of the picture, before a background that differs from subject to subject, under noise.
//!
//! What happens is the same as in the built-in features (`synthetic::track`); here an encoder must first learn to see it.
//! Contrast, not position or brightness, carries the state, so averages of pixels say nothing and filters tuned to
//! orientation, colour and motion say everything.

use std::collections::BTreeMap;
use std::f64::consts::{PI, TAU};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::child;
use super::decode::{explain, in_brackets};
use super::error::Error;
use super::program::Program;
use crate::base::fsio::Unfinished;
use crate::base::{Digest, Stream};
use crate::data::synthetic::{self, LATENT, Latent, SyntheticConfig};

/// Bump when the same settings give other pictures.
const RECIPE: u32 = 1;

/// Width and height of the pictures.
const SIDE: usize = 64;

/// Pixels of a picture.
const AREA: usize = SIDE * SIDE;

/// Frames per snippet of the corpus.
const PER_SNIPPET: usize = 4;

/// Brightness around which everything swings, of 255.
const GREY: f64 = 128.0;

/// Swing of a grating at full contrast.
const SWING: f64 = 34.0;

/// Deviation of the noise on every pixel and colour.
const NOISE: f64 = 14.0;

/// Swing of each of a subject's background waves.
const SCENERY: f64 = 14.0;

/// Waves in a background.
const WAVES: usize = 6;

/// Renders videos of the built-in corpus.
#[derive(Debug)]
pub(super) struct Renderer {
    corpus: SyntheticConfig,
    numbers: BTreeMap<String, usize>,
}

impl Renderer {
    /// Renders nothing yet.
    pub fn new(corpus: &SyntheticConfig) -> Self {
        let numbers = (0..corpus.videos).map(|number| (synthetic::identifier(number), number)).collect();
        Self { corpus: corpus.clone(), numbers }
    }

    /// Frames per second.
    pub fn rate(&self) -> f64 {
        self.corpus.rate * PER_SNIPPET as f64
    }

    /// Stands for the pictures: pixels may differ in their last bits between mathematics libraries.
    pub fn digest(&self) -> Digest {
        Digest::combine([&Digest::of_json(&RECIPE), &synthetic::settings_digest(&self.corpus)])
    }

    /// Where `video` belongs in the cache's folder.
    pub fn path(&self, cache: &Path, video: &str) -> PathBuf {
        cache.join("rendered").join(self.digest().as_str()).join(format!("{video}.mkv"))
    }

    /// Writes the file of `video` to `path`.
    ///
    /// # Errors
    /// An unknown video, or ffmpeg fails.
    pub fn render(&self, program: &Program, video: &str, path: &Path) -> Result<(), Error> {
        let &number = self.numbers.get(video).ok_or_else(|| Error::UnknownVideo(video.to_owned()))?;
        let mut command = program.command();
        let (size, rate) = (format!("{SIDE}x{SIDE}"), self.rate().to_string());
        command.args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", &size, "-framerate", &rate, "-i", "pipe:0"]);
        // MPEG-4 is part of every ffmpeg. Matroska needs no way back in the file; bitexact leaves out dates and versions.
        command.args(["-c:v", "mpeg4", "-q:v", "2", "-threads", "1", "-flags", "+bitexact", "-fflags", "+bitexact"]);
        command.args(["-f", "matroska", "pipe:1"]);
        let mut file = Unfinished::create(path)?;
        let draw: child::Source<'_> = Box::new(|pipe| self.draw(number, pipe));
        let finished = child::run(&mut command, Some(draw), program.patience(), &mut |part| file.append(part));
        let finished = finished.map_err(|failure| explain(failure, program, path))?;
        if !finished.status.success() {
            let said = format!("{}{}", finished.status, in_brackets(&finished.log.complaint));
            return Err(Error::Failed { path: path.to_owned(), said });
        }
        file.publish()?;
        Ok(())
    }

    /// Writes all pictures of video `number` as RGB bytes.
    fn draw(&self, number: usize, out: &mut dyn Write) -> io::Result<()> {
        let track = synthetic::track(&self.corpus, number);
        let mut stream = Stream::new(self.corpus.seed, &format!("corpus/pictures/{number}"));
        let gratings = gratings(self.corpus.seed);
        let mut picture = Picture::new(self.corpus.subject, &mut stream);
        for frame in 0..track.len() * PER_SNIPPET {
            let latent = between(&track, frame);
            let seconds = frame as f64 / self.rate();
            out.write_all(picture.draw(&gratings, &latent, seconds, &mut stream))?;
        }
        Ok(())
    }
}

/// The state at a frame: snippets' states hold in their middle, with straight lines between.
fn between(track: &[Latent], frame: usize) -> Latent {
    let at = ((frame as f64 + 0.5) / PER_SNIPPET as f64 - 0.5).clamp(0.0, (track.len() - 1) as f64);
    let (low, share) = (at as usize, at.fract());
    let high = (low + 1).min(track.len() - 1);
    std::array::from_fn(|d| track[low][d] + share * (track[high][d] - track[low][d]))
}

/// What shows one latent dimension, the same in every video.
struct Grating {
    /// Sine and cosine of the wave at rest, faded towards the rim of its patch.
    waves: Vec<[f32; 2]>,
    /// Swing of red, green and blue; they add up to none, so that the mean brightness does not change.
    colour: [f32; 3],
    /// Cycles per second.
    drift: f64,
}

fn gratings(seed: u64) -> Vec<Grating> {
    let mut stream = Stream::new(seed, "corpus/gratings");
    (0..LATENT)
        .map(|d| {
            // Orientations all differ; frequencies and places are drawn.
            let angle = PI * (d as f64 + 0.5) / LATENT as f64;
            let cycles = stream.between(5.0, 11.0) / SIDE as f64;
            let centre = [stream.between(0.15, 0.85), stream.between(0.15, 0.85)].map(|share| share * SIDE as f64);
            let radius = 0.22 * SIDE as f64;
            let hue = TAU * stream.uniform();
            let wave = |pixel: usize| {
                let [x, y] = [(pixel % SIDE) as f64 + 0.5, (pixel / SIDE) as f64 + 0.5];
                let away = ((x - centre[0]).powi(2) + (y - centre[1]).powi(2)) / radius.powi(2);
                let phase = TAU * cycles * (x * angle.cos() + y * angle.sin());
                let fade = (-0.5 * away).exp();
                [(fade * phase.sin()) as f32, (fade * phase.cos()) as f32]
            };
            Grating {
                waves: (0..AREA).map(wave).collect(),
                colour: std::array::from_fn(|c| (hue + TAU * c as f64 / 3.0).cos() as f32),
                drift: stream.between(0.6, 2.0) * if d % 2 == 0 { 1.0 } else { -1.0 },
            }
        })
        .collect()
}

/// A picture being drawn, before the background of one subject.
struct Picture {
    background: Vec<[f32; 3]>,
    colours: Vec<[f32; 3]>,
    bytes: Vec<u8>,
}

impl Picture {
    fn new(subject: f64, stream: &mut Stream) -> Self {
        let swing = SCENERY * subject.min(2.0);
        let tint: [f64; 3] = std::array::from_fn(|_| 0.5 * swing * stream.normal());
        let waves: Vec<[f64; 6]> = (0..WAVES)
            .map(|_| {
                let (angle, cycles) = (PI * stream.uniform(), stream.between(1.0, 8.0) / SIDE as f64);
                let colour = [0; 3].map(|_| swing * stream.normal() / (WAVES as f64).sqrt());
                [cycles * angle.cos(), cycles * angle.sin(), stream.uniform(), colour[0], colour[1], colour[2]]
            })
            .collect();
        let background = (0..AREA).map(|pixel| {
            let (x, y) = ((pixel % SIDE) as f64, (pixel / SIDE) as f64);
            std::array::from_fn(|c| {
                let scenery: f64 = waves.iter().map(|w| w[3 + c] * (TAU * (w[0] * x + w[1] * y + w[2])).sin()).sum();
                (GREY + tint[c] + scenery) as f32
            })
        });
        Self { background: background.collect(), colours: vec![[0.0; 3]; AREA], bytes: vec![0; 3 * AREA] }
    }

    /// The RGB bytes of the picture at `seconds`.
    fn draw(&mut self, gratings: &[Grating], latent: &Latent, seconds: f64, stream: &mut Stream) -> &[u8] {
        self.colours.copy_from_slice(&self.background);
        for (grating, &value) in gratings.iter().zip(latent) {
            // From 0 to 1: a sign that only turned the wave around could not be seen.
            let contrast = SWING / (1.0 + (-1.5 * value).exp());
            let (sine, cosine) = (TAU * grating.drift * seconds).sin_cos();
            let [along, across] = [contrast * cosine, -contrast * sine].map(|part| part as f32);
            for (colour, wave) in self.colours.iter_mut().zip(&grating.waves) {
                let swing = along * wave[0] + across * wave[1];
                for (channel, share) in colour.iter_mut().zip(grating.colour) {
                    *channel += share * swing;
                }
            }
        }
        for (byte, value) in self.bytes.iter_mut().zip(self.colours.as_flattened()) {
            *byte = (value + (NOISE * stream.normal()) as f32).round() as u8;
        }
        &self.bytes
    }
}
