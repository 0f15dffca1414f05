//! Features of whole videos, as the detectors read them.

use tch::{Device, Kind};

use super::frames::{Camera, Reel};
use crate::data::Features;
use crate::data::features::ByVideo;
use crate::data::video::{self, VideoSource};
use crate::event::{Event, Observer};
use crate::nn::encoders::Encoder;

/// Snippets that go through the encoder at once.
const CHUNK: usize = 8;

/// Hands the features of each of `videos`, seen in their centre, to `take` with the seconds between snippets. The next video
/// is decoded meanwhile. Returns the seconds that the encoder waited for frames.
///
/// # Errors
/// A video cannot be decoded, or `take` fails.
pub fn extract<E: From<video::Error>>(
    (encoder, camera, source): (&dyn Encoder, &Camera, &VideoSource),
    videos: &[String],
    device: Device,
    observer: &mut dyn Observer,
    mut take: impl FnMut(&str, f64, Features) -> Result<(), E>,
) -> Result<f64, E> {
    let start = |video: &String| {
        let snippets: Vec<(usize, usize)> = (0..source.snippets(video)).map(|snippet| (0, snippet)).collect();
        let work: Vec<_> = snippets.chunks(CHUNK).map(<[_]>::to_vec).collect();
        (work.len(), camera.roll(vec![(video.clone(), camera.central())], work))
    };
    let mut waited = 0.0;
    let mut next: Option<(usize, Reel)> = videos.first().map(start);
    for (done, video) in videos.iter().enumerate() {
        let (chunks, mut reel) = next.take().expect("one is started for every video");
        next = videos.get(done + 1).map(start);
        let mut data: Vec<f32> = Vec::new();
        for _ in 0..chunks {
            let clips = camera.clips(&mut reel, device)?;
            let vectors = tch::no_grad(|| encoder.forward(&clips)).to_device(Device::Cpu).to_kind(Kind::Float).reshape([-1]);
            data.extend(Vec::<f32>::try_from(&vectors).expect("a float tensor"));
        }
        waited += reel.waited.as_secs_f64();
        let channels = encoder.channels() as usize;
        take(video, source.period(video), Features { time: data.len() / channels, channels, data })?;
        observer.observe(&Event::Progress { done: done as u64 + 1, total: videos.len() as u64, loss: None });
    }
    Ok(waited)
}

/// As [`extract`], kept in memory by video.
///
/// # Errors
/// A video cannot be decoded.
pub fn collect(
    seen: (&dyn Encoder, &Camera, &VideoSource),
    videos: &[String],
    device: Device,
    observer: &mut dyn Observer,
) -> Result<(ByVideo, f64), video::Error> {
    let mut features = ByVideo::new();
    let waited = extract(seen, videos, device, observer, |video, period, found| {
        features.insert(video.to_owned(), (period, found));
        Ok::<_, video::Error>(())
    })?;
    Ok((features, waited))
}
