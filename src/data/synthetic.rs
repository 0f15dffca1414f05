//! The built-in corpus: seeded feature sequences of untrimmed "videos", so that demo and tests need no download.
//!
//! Each class is a pattern in a latent space: an onset, a sustained phase that oscillates, and an offset. Classes come in
//! pairs that share most of their sustained phase, so they are told apart by the rest. A video is a subject who performs
//! each class in a personal style, over a wandering background with distractors (unannotated parts and mixtures of the
//! patterns), seen through a fixed random projection with noise. A detector must average over many subjects to learn
//! what a class has in common: that is why more videos help, along a curve that saturates.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Instance, Segment, Video};
use super::features::{FeatureSource, Features};
use crate::base::{Digest, Stream};

/// Bump when the same settings give another corpus.
const RECIPE: u32 = 1;

/// Dimensions of the space in which patterns live.
pub(super) const LATENT: usize = 12;

/// Shortest and longest instance, in snippets.
const LENGTHS: (f64, f64) = (5.0, 60.0);

/// Settings of the built-in corpus: `dataset.synthetic` of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyntheticConfig {
    /// Seed of everything.
    pub seed: u64,
    /// Videos in all; four of five are `training`, the others `validation`.
    pub videos: usize,
    /// Classes. The first is the most frequent, each next one a quarter rarer.
    pub classes: usize,
    /// Values per snippet.
    pub channels: usize,
    /// Shortest and longest video, in snippets.
    pub snippets: [usize; 2],
    /// Snippets per second.
    pub rate: f64,
    /// Deviation of the noise on every channel; the patterns have about 1. Main knob of the ceiling.
    pub noise: f64,
    /// How much subjects differ in style, gain and offset. Main knob of how many videos are needed.
    pub subject: f64,
    /// Share of the segments that are distractors. Main knob of precision.
    pub distractors: f64,
    /// Share of the segments that begin before the previous one ends.
    pub overlap: f64,
    /// Deviation of annotated from true boundaries, and width of the transitions, in snippets.
    pub blur: f64,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self {
            seed: 2023,
            videos: 120,
            classes: 6,
            channels: 24,
            snippets: [128, 256],
            rate: 4.0,
            noise: 1.0,
            subject: 1.2,
            distractors: 0.3,
            overlap: 0.15,
            blur: 0.6,
        }
    }
}

impl SyntheticConfig {
    /// Whether a corpus can be made from these settings.
    ///
    /// # Errors
    /// The key that is out of range, and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let ask = |ok: bool, key, problem| if ok { Ok(()) } else { Err((key, problem)) };
        let share = |value: f64| (0.0..1.0).contains(&value);
        let amount = |value: f64| value >= 0.0 && value.is_finite();
        ask((2..=100_000).contains(&self.videos), "videos", "must be 2 to 100000")?;
        ask((1..=100).contains(&self.classes), "classes", "must be 1 to 100")?;
        ask((1..=10_000).contains(&self.channels), "channels", "must be 1 to 10000")?;
        let [shortest, longest] = self.snippets;
        ask(
            (64..=100_000).contains(&longest) && (64..=longest).contains(&shortest),
            "snippets",
            "must be [shortest, longest], 64 to 100000, ascending",
        )?;
        ask(self.rate > 0.0 && self.rate.is_finite(), "rate", "must be a positive number of snippets per second")?;
        ask(amount(self.noise), "noise", "must not be negative")?;
        ask(amount(self.subject), "subject", "must not be negative")?;
        ask(amount(self.blur), "blur", "must not be negative")?;
        ask(share(self.distractors), "distractors", "must be in [0, 1)")?;
        ask(share(self.overlap), "overlap", "must be in [0, 1)")
    }
}

/// Makes the corpus: the same on every machine for the same settings, within rounding of the features.
pub fn generate(config: &SyntheticConfig) -> (Dataset, FeatureSource) {
    let world = World::new(config);
    let made: Vec<(String, Video, Features)> = (0..config.videos).into_par_iter().map(|i| world.video(i)).collect();
    let (mut videos, mut features) = (BTreeMap::new(), BTreeMap::new());
    for (id, video, values) in made {
        features.insert(id.clone(), (1.0 / config.rate, values));
        videos.insert(id, video);
    }
    let classes: Vec<String> = (0..config.classes).map(|c| format!("action-{c:02}")).collect();
    let digest = Digest::of_json(&(&classes, &videos));
    // The settings stand for the features: their last bits may differ between mathematics libraries.
    let source = FeatureSource::in_memory(config.channels, features, settings_digest(config));
    (Dataset { classes, videos, digest, notes: Vec::new() }, source)
}

/// Latent state of every snippet of video `number`: what features and pictures of it both show.
pub(super) fn track(config: &SyntheticConfig, number: usize) -> Vec<Latent> {
    World::new(config).scene(number).track
}

/// What stands for the corpus of these settings, whichever way it is observed.
pub(super) fn settings_digest(config: &SyntheticConfig) -> Digest {
    Digest::of_json(&(RECIPE, config))
}

/// Identifier of video `number`.
pub(super) fn identifier(number: usize) -> String {
    format!("synthetic_{number:04}")
}

/// A point in the space in which patterns live; each coordinate is of the order of 1.
pub(super) type Latent = [f64; LATENT];

/// What all videos share.
struct World<'a> {
    config: &'a SyntheticConfig,
    patterns: Vec<Pattern>,
    /// One latent direction per channel.
    projection: Vec<Latent>,
}

/// A class.
struct Pattern {
    onset: Latent,
    sustained: Latent,
    offset: Latent,
    oscillation: Latent,
    /// Cycles per snippet.
    frequency: f64,
    /// Median length in snippets.
    length: f64,
    /// Relative frequency of the class.
    weight: f64,
}

/// A segment of a video, in snippets: an instance or a distractor.
struct Event {
    start: f64,
    length: f64,
    class: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Instance,
    /// A sustained phase that neither begins nor ends as the class does.
    Middle,
    /// An onset that nothing follows.
    FalseStart,
    /// Half this class, half the next one.
    Mixture,
}

/// How one person performs.
struct Subject {
    /// Added to the sustained phase of each class.
    style: Vec<Latent>,
    gain: f64,
    /// Added to each channel.
    offset: Vec<f64>,
}

/// What happens in a video, before anybody observes or annotates it.
struct Scene {
    subject: Subject,
    events: Vec<Event>,
    /// Latent state of each snippet.
    track: Vec<Latent>,
    /// Where the video's random numbers go on.
    stream: Stream,
}

impl<'a> World<'a> {
    fn new(config: &'a SyntheticConfig) -> Self {
        let mut stream = Stream::new(config.seed, "corpus/world");
        let mut common = latent(&mut stream, 1.0);
        let patterns = (0..config.classes).map(|class| {
            if class % 2 == 0 {
                common = latent(&mut stream, 1.0);
            }
            let own = latent(&mut stream, 0.7);
            // Lengths spread evenly in the logarithm; the step of 5 unties them from the frequencies.
            let rank = (class * 5 + 2) % config.classes;
            let share = (rank as f64 + 0.5) / config.classes as f64;
            Pattern {
                onset: latent(&mut stream, 1.2),
                sustained: std::array::from_fn(|d| 0.8 * common[d] + own[d]),
                offset: latent(&mut stream, 1.2),
                oscillation: latent(&mut stream, 0.6),
                frequency: stream.between(0.04, 0.2),
                length: 7.0 * (40.0f64 / 7.0).powf(share),
                weight: 0.75f64.powi(class as i32),
            }
        });
        let patterns = patterns.collect();
        let scale = 1.0 / (LATENT as f64).sqrt();
        let projection = (0..config.channels).map(|_| latent(&mut stream, 2.0 * scale)).collect();
        Self { config, patterns, projection }
    }

    fn video(&self, number: usize) -> (String, Video, Features) {
        let config = self.config;
        let Scene { subject, events, track, mut stream } = self.scene(number);
        let time = track.len();
        let features = self.observe(&track, &subject, &mut stream);
        let instances =
            events.iter().filter(|event| event.kind == Kind::Instance).map(|event| self.annotate(event, time, &mut stream)).collect();
        let subset = if number % 5 == 4 { "validation" } else { "training" };
        let duration = time as f64 / config.rate;
        let video = Video { subset: subset.into(), duration, fps: Some(config.rate), frames: Some(time as u64), instances };
        (identifier(number), video, features)
    }

    fn scene(&self, number: usize) -> Scene {
        let mut stream = Stream::new(self.config.seed, &format!("corpus/video/{number}"));
        let [shortest, longest] = self.config.snippets;
        let time = shortest + stream.below(longest - shortest + 1);
        let subject = self.subject(&mut stream);
        let events = self.events(time, &mut stream);
        let mut track = background(time, &mut stream);
        for event in &events {
            self.perform(event, &subject, &mut track, &mut stream);
        }
        Scene { subject, events, track, stream }
    }

    fn subject(&self, stream: &mut Stream) -> Subject {
        let spread = self.config.subject;
        Subject {
            style: self.patterns.iter().map(|_| latent(stream, 0.7 * spread)).collect(),
            gain: (0.3 * spread * stream.normal()).exp(),
            offset: (0..self.config.channels).map(|_| 0.5 * spread * stream.normal()).collect(),
        }
    }

    /// Segments from left to right, with gaps or overlaps between them; at least one is an instance.
    fn events(&self, time: usize, stream: &mut Stream) -> Vec<Event> {
        let total: f64 = self.patterns.iter().map(|p| p.weight).sum();
        let mut events: Vec<Event> = Vec::new();
        let mut cursor = stream.between(2.0, 12.0);
        loop {
            let mut at = stream.uniform() * total;
            let class = self
                .patterns
                .iter()
                .position(|p| {
                    at -= p.weight;
                    at < 0.0
                })
                .unwrap_or(self.patterns.len() - 1);
            let length = (self.patterns[class].length * (0.35 * stream.normal()).exp()).clamp(LENGTHS.0, LENGTHS.1);
            let kind = match (stream.uniform() < self.config.distractors, stream.below(3)) {
                (true, 0) => Kind::Middle,
                (true, 1) => Kind::FalseStart,
                (true, _) => Kind::Mixture,
                (false, _) => Kind::Instance,
            };
            // The longest instance, the first gap and the last snippets fit into the shortest video allowed only just.
            let fits = cursor + length <= time as f64 - 1.0;
            if !fits && events.iter().any(|event| event.kind == Kind::Instance) {
                return events;
            }
            if !fits {
                let length = LENGTHS.0 * 2.0;
                events.push(Event { start: time as f64 - 1.0 - length, length, class, kind: Kind::Instance });
                return events;
            }
            events.push(Event { start: cursor, length, class, kind });
            cursor = if stream.uniform() < self.config.overlap {
                cursor + length * stream.between(0.5, 0.9)
            } else {
                cursor + length - 8.0 * (1.0 - stream.uniform()).ln()
            };
        }
    }

    /// Adds an event to the latent track.
    fn perform(&self, event: &Event, subject: &Subject, track: &mut [Latent], stream: &mut Stream) {
        let next = (event.class + 1) % self.patterns.len();
        let (pattern, other) = (&self.patterns[event.class], &self.patterns[next]);
        // Share of: onset, sustained phase, offset, the next class's sustained phase.
        let [onset, sustained, offset, mixed] = match event.kind {
            Kind::Instance => [1.0, 1.0, 1.0, 0.0],
            Kind::Middle => [0.0, 0.8, 0.0, 0.0],
            Kind::FalseStart => [1.0, 0.0, 0.0, 0.0],
            Kind::Mixture => [0.0, 0.5, 0.0, 0.5],
        };
        let strength = subject.gain * (0.15 * stream.normal()).exp();
        let phase = stream.uniform();
        let style = &subject.style[event.class];
        let end = event.start + event.length;
        let edge = 0.5 + self.config.blur;
        let bump = (0.12 * event.length).max(1.0);
        let first = (event.start - 4.0 * edge).max(0.0) as usize;
        let last = ((end + 4.0 * edge).ceil() as usize).min(track.len());
        for (step, latent) in track.iter_mut().enumerate().take(last).skip(first) {
            let at = step as f64 + 0.5;
            let inside = logistic((at - event.start) / edge) * logistic((end - at) / edge);
            let begin = onset * (-0.5 * ((at - event.start - bump) / bump).powi(2)).exp() * inside;
            let finish = offset * (-0.5 * ((end - bump - at) / bump).powi(2)).exp() * inside;
            let wave = (TAU * (pattern.frequency * (at - event.start) + phase)).sin();
            for d in 0..LATENT {
                let middle = sustained * (pattern.sustained[d] + style[d] + wave * pattern.oscillation[d]) + mixed * other.sustained[d];
                latent[d] += strength * (inside * middle + begin * pattern.onset[d] + finish * pattern.offset[d]);
            }
        }
    }

    /// Projects the track to channels and adds noise, half of it correlated in time.
    fn observe(&self, track: &[Latent], subject: &Subject, stream: &mut Stream) -> Features {
        let channels = self.config.channels;
        let mut slow = vec![0.0; channels];
        let mut data = Vec::with_capacity(track.len() * channels);
        for latent in track {
            for (channel, direction) in self.projection.iter().enumerate() {
                slow[channel] = 0.8 * slow[channel] + 0.6 * stream.normal();
                let noise = self.config.noise * std::f64::consts::FRAC_1_SQRT_2 * (slow[channel] + stream.normal());
                let signal: f64 = latent.iter().zip(direction).map(|(a, b)| a * b).sum();
                data.push((signal + subject.offset[channel] + noise) as f32);
            }
        }
        Features { time: track.len(), channels, data }
    }

    /// The instance as an annotator marks it: a little off, in hundredths of a second.
    fn annotate(&self, event: &Event, time: usize, stream: &mut Stream) -> Instance {
        let mark = |at: f64, stream: &mut Stream| {
            // An error beyond a third of the shortest instance could turn it around.
            let off = (self.config.blur * stream.normal()).clamp(-LENGTHS.0 / 3.0, LENGTHS.0 / 3.0);
            ((at + off).clamp(0.0, time as f64) / self.config.rate * 100.0).round() / 100.0
        };
        let start = mark(event.start, stream);
        let end = mark(event.start + event.length, stream);
        Instance { segment: Segment { start, end }, label: event.class }
    }
}

/// A slow random walk that forgets: what happens when nothing does.
fn background(time: usize, stream: &mut Stream) -> Vec<Latent> {
    let mut state = [0.0; LATENT];
    (0..time)
        .map(|_| {
            for value in &mut state {
                *value = 0.95 * *value + 0.15 * stream.normal();
            }
            state
        })
        .collect()
}

fn latent(stream: &mut Stream, scale: f64) -> Latent {
    std::array::from_fn(|_| scale * stream.normal())
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-4.0 * x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_corpus_has_what_the_demo_needs() {
        let (dataset, features) = generate(&SyntheticConfig::default());
        let all: Vec<String> = dataset.videos.keys().cloned().collect();
        assert_eq!((all.len(), dataset.in_subsets(&["training".into()]).len(), features.channels()), (120, 96, 24));
        let mut per_class = vec![0usize; dataset.classes.len()];
        let mut overlapping = 0;
        for (id, video) in &dataset.videos {
            assert!(!video.instances.is_empty(), "{id}");
            for instance in &video.instances {
                let Segment { start, end } = instance.segment;
                assert!(0.0 <= start && start + 0.3 < end && end <= video.duration, "{id}: {instance:?}");
                per_class[instance.label] += 1;
            }
            overlapping += video.instances.windows(2).filter(|pair| pair[1].segment.start < pair[0].segment.end).count();
            let loaded = features.load(id).unwrap();
            assert_eq!(loaded.time as f64 * features.period(id), video.duration);
            assert!(loaded.data.iter().all(|v| v.is_finite()));
        }
        assert!(per_class.iter().all(|&n| n >= 20) && per_class[0] > 2 * per_class[5], "{per_class:?}");
        assert!(overlapping > 20, "{overlapping}");
    }

    #[test]
    fn the_seed_decides_everything() {
        let small = |seed| generate(&SyntheticConfig { seed, videos: 4, ..SyntheticConfig::default() });
        let ((a, features_a), (b, features_b), (c, features_c)) = (small(1), small(1), small(2));
        assert_eq!(a, b);
        assert_ne!(a.digest, c.digest);
        let id = "synthetic_0000";
        assert_eq!(features_a.load(id).unwrap(), features_b.load(id).unwrap());
        let digest = |source: &FeatureSource| source.digest(&[]).unwrap();
        assert_eq!(digest(&features_a), digest(&features_b));
        assert_ne!(digest(&features_a), digest(&features_c));
    }

    #[test]
    fn extreme_settings_that_pass_the_check_still_give_a_corpus() {
        let extreme = SyntheticConfig {
            videos: 20,
            classes: 1,
            channels: 1,
            snippets: [64, 64],
            noise: 0.0,
            subject: 0.0,
            distractors: 0.99,
            overlap: 0.99,
            blur: 50.0,
            ..SyntheticConfig::default()
        };
        extreme.check().unwrap();
        let (dataset, _) = generate(&extreme);
        for video in dataset.videos.values() {
            assert!(!video.instances.is_empty());
            assert!(video.instances.iter().all(|i| i.segment.length() > 0.0));
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_key() {
        let check = |change: fn(&mut SyntheticConfig)| {
            let mut config = SyntheticConfig::default();
            change(&mut config);
            config.check().unwrap_err().0
        };
        assert_eq!(check(|c| c.videos = 1), "videos");
        assert_eq!(check(|c| c.snippets = [300, 200]), "snippets");
        assert_eq!(check(|c| c.noise = f64::NAN), "noise");
        assert_eq!(check(|c| c.distractors = 1.0), "distractors");
    }
}
