//! Where videos come from: files, or the built-in corpus; and what is known of them before any is opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::cache::{self, Cache, Subject};
use super::config::{Snippets, VideosConfig};
use super::decode::{self, Decoding, Header, RECIPE, in_brackets};
use super::error::Error;
use super::frames::Frames;
use super::program::{NoProgram, Program};
use super::render::Renderer;
use super::sampling::Sampling;
use crate::base::Digest;
use crate::data::dataset::{Dataset, Video};
use crate::data::synthetic::SyntheticConfig;

/// A video whose frames cover less of its annotated duration counts as cut off.
const WHOLE: f64 = 0.9;

/// A place videos are read from. A clone shares it; threads and processes may use it at once.
#[derive(Clone, Debug)]
pub struct VideoSource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    size: [usize; 2],
    sampling: Sampling,
    videos: BTreeMap<String, Annotated>,
    cache: Cache,
    program: OnceLock<Result<Program, NoProgram>>,
    tally: Tally,
}

#[derive(Debug)]
enum Origin {
    Files { folder: PathBuf, prefix: String, extension: String },
    Rendered(Renderer),
}

/// What the annotations and settings say of a video.
#[derive(Debug)]
struct Annotated {
    /// Seconds.
    duration: f64,
    /// Constant frame rate; without one, that of the file.
    rate: Option<f64>,
    /// Seconds at which the last instance starts.
    last_start: Option<f64>,
}

/// What is remembered of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Content {
    digest: Digest,
    header: Header,
}

#[derive(Debug, Default)]
struct Tally {
    nanoseconds: AtomicU64,
    frames: AtomicU64,
    served: AtomicU64,
}

/// What reading videos took since the source was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Spent decoding (and rendering), summed over threads.
    pub seconds: f64,
    /// Frames decoded.
    pub frames: u64,
    /// Times that a video's frames were in the cache.
    pub served: u64,
}

impl VideoSource {
    /// Video files, one per video of `dataset`. Opens none of them: see [`VideoSource::digest`].
    ///
    /// # Errors
    /// No `path`, no folder for the cache, or `stride` with a video of unknown rate.
    pub fn open(config: &VideosConfig, dataset: &Dataset) -> Result<Self, Error> {
        let Some(folder) = config.path.clone() else {
            return Err(Error::Setting { key: "path", problem: "is missing: name the folder that holds the video files".into() });
        };
        let origin = Origin::Files { folder, prefix: config.prefix.clone(), extension: config.extension.clone() };
        let rate = |id: &str, video: &Video| {
            match (config.fps, config.snippets) {
            (Some(fps), _) => Ok(Some(fps)),
            (None, Snippets::Count(_)) => Ok(None),
            (None, Snippets::Stride(_)) => video.fps.map(Some).ok_or_else(|| Error::Setting {
                key: "snippets",
                problem: format!(
                    "= {{ stride = … }} means no time for video {id:?}, which has no `fps`; set `dataset.videos.fps`, add `fps` to the annotations, or use {{ count = … }}"
                ),
            }),
        }
        };
        Self::new(config, dataset, origin, rate)
    }

    /// The built-in corpus as video files, which are rendered into the cache's folder when they are first asked for.
    /// `path`, `prefix` and `extension` do not matter.
    ///
    /// # Errors
    /// No folder for the cache.
    pub fn rendered(config: &VideosConfig, synthetic: &SyntheticConfig, dataset: &Dataset) -> Result<Self, Error> {
        let renderer = Renderer::new(synthetic);
        let rate = config.fps.unwrap_or(renderer.rate());
        Self::new(config, dataset, Origin::Rendered(renderer), |_, _| Ok(Some(rate)))
    }

    fn new(
        config: &VideosConfig,
        dataset: &Dataset,
        origin: Origin,
        rate: impl Fn(&str, &Video) -> Result<Option<f64>, Error>,
    ) -> Result<Self, Error> {
        let mut videos = BTreeMap::new();
        for (id, video) in &dataset.videos {
            let last_start = video.instances.iter().map(|instance| instance.segment.start).max_by(f64::total_cmp);
            videos.insert(id.clone(), Annotated { duration: video.duration, rate: rate(id, video)?, last_start });
        }
        Ok(Self(Arc::new(Inner {
            origin,
            size: config.size,
            sampling: Sampling { snippets: config.snippets, clip: config.clip, step: config.step },
            videos,
            cache: Cache::new(&config.cache)?,
            program: OnceLock::new(),
            tally: Tally::default(),
        })))
    }

    /// Uses `program` instead of the one that [`Program::find`] finds.
    #[cfg(test)]
    pub(super) fn with_program(self, program: Program) -> Self {
        self.0.program.set(Ok(program)).expect("not used yet");
        self
    }

    /// The video's file; one of the built-in corpus is rendered if it is not there yet.
    ///
    /// # Errors
    /// There is no such file, or it cannot be rendered.
    pub fn file(&self, video: &str) -> Result<PathBuf, Error> {
        self.0.file(video)
    }

    /// Width and height of frames.
    pub fn size(&self) -> [usize; 2] {
        self.0.size
    }

    /// Frames per snippet.
    pub fn clip(&self) -> usize {
        self.0.sampling.clip
    }

    /// Number of snippets of a video, from settings and annotations alone.
    ///
    /// # Panics
    /// `video` is not in the data set that the source was opened for.
    pub fn snippets(&self, video: &str) -> usize {
        let Annotated { duration, rate, .. } = self.0.known(video);
        // With `count` the number of frames does not matter.
        self.0.sampling.count((duration * rate.unwrap_or(0.0)).round() as usize)
    }

    /// Seconds between consecutive snippets of `video`.
    ///
    /// # Panics
    /// `video` is not in the data set that the source was opened for.
    pub fn period(&self, video: &str) -> f64 {
        let Annotated { duration, rate, .. } = self.0.known(video);
        match self.0.sampling.snippets {
            Snippets::Count(count) => duration / count as f64,
            Snippets::Stride(stride) => stride as f64 / rate.expect("known for every video when opened with `stride`"),
        }
    }

    /// Digest of the frames of the given videos: the content of the files (not their path) and the settings that choose, resample
    /// and scale frames; for the built-in corpus, of the settings alone. Reads the header of every file, so that one that is
    /// missing or holds no pictures is found before anything runs; a file that was read before and has not changed since (by
    /// its size and times) is not read again.
    ///
    /// # Errors
    /// As [`VideoSource::frames`], short of what only decoding shows; for the first such video.
    pub fn digest(&self, videos: &[String]) -> Result<Digest, Error> {
        let Inner { origin, size, sampling, .. } = &*self.0;
        let contents: Vec<Digest> = match origin {
            Origin::Rendered(renderer) => vec![renderer.digest()],
            Origin::Files { .. } => videos.par_iter().map(|video| self.0.content_digest(video)).collect::<Result<_, _>>()?,
        };
        let rates: Vec<Option<f64>> = videos.iter().map(|video| self.0.annotated(video).map(|a| a.rate)).collect::<Result<_, _>>()?;
        let settings = Digest::of_json(&(RECIPE, size, sampling.snippets, sampling.clip, sampling.step, rates));
        Ok(Digest::combine(std::iter::once(&settings).chain(&contents)))
    }

    /// Decodes the given videos (in parallel, into the cache) and lists those that cannot be used, in their order. Calls
    /// `progress` with the number of videos done and of all. How a decoding went is remembered beyond the frames themselves, so a
    /// second survey is quick.
    pub fn survey(&self, videos: &[String], progress: &(dyn Fn(usize, usize) + Sync)) -> Vec<(String, Error)> {
        let done = AtomicUsize::new(0);
        let examined = videos.par_iter().map(|video| {
            let found = self.0.examine(video);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, videos.len());
            found.err().map(|error| (video.clone(), error))
        });
        examined.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// The frames of a video, from the cache or decoded now.
    ///
    /// # Errors
    /// No ffmpeg; a file that is missing, unreadable, without pictures or frame rate, cut off, or ends before an instance
    /// begins; a decoder that fails or hangs; a cache that cannot be written.
    pub fn frames(&self, video: &str) -> Result<Frames, Error> {
        self.0.frames(video)
    }

    /// What reading took since the source was opened; the same for all clones.
    pub fn decoded(&self) -> Decoded {
        let Tally { nanoseconds, frames, served } = &self.0.tally;
        let [nanoseconds, frames, served] = [nanoseconds, frames, served].map(|count| count.load(Ordering::Relaxed));
        Decoded { seconds: Duration::from_nanos(nanoseconds).as_secs_f64(), frames, served }
    }
}

/// A video about to be decoded: its file, and what the frames depend on.
struct Plan {
    path: PathBuf,
    rate: f64,
    key: Digest,
}

impl Inner {
    fn known(&self, video: &str) -> &Annotated {
        self.videos.get(video).expect("videos are asked for by the names of their data set")
    }

    fn annotated(&self, video: &str) -> Result<&Annotated, Error> {
        self.videos.get(video).ok_or_else(|| Error::UnknownVideo(video.to_owned()))
    }

    fn program(&self) -> Result<&Program, Error> {
        self.program.get_or_init(Program::find).as_ref().map_err(|missing| missing.clone().into())
    }

    /// The video's file; a built-in one is rendered if it is not there yet.
    fn file(&self, video: &str) -> Result<PathBuf, Error> {
        match &self.origin {
            Origin::Files { folder, prefix, extension } => {
                let path = folder.join(format!("{prefix}{video}.{extension}"));
                if path.exists() { Ok(path) } else { Err(Error::Missing { path, video: video.to_owned() }) }
            }
            Origin::Rendered(renderer) => {
                let path = renderer.path(self.cache.folder(), video);
                if !path.exists() {
                    self.timed(|| renderer.render(self.program()?, video, &path))?;
                }
                Ok(path)
            }
        }
    }

    /// What the file at `path` holds, as remembered or read now.
    fn content(&self, path: &Path) -> Result<Content, Error> {
        let stamp = cache::stamp(path)?;
        if let Some(content) = self.cache.recall(Subject::File, &stamp) {
            return Ok(content);
        }
        let header = decode::probe(self.program()?, path)?;
        let content = Content { digest: Digest::of_file(path)?, header };
        self.cache.remember(Subject::File, &stamp, &content)?;
        Ok(content)
    }

    fn content_digest(&self, video: &str) -> Result<Digest, Error> {
        let plan_rate = self.annotated(video)?.rate;
        let path = self.file(video)?;
        let content = self.content(&path)?;
        match plan_rate.or(content.header.picture.rate) {
            Some(_) => Ok(content.digest),
            None => Err(Error::NoRate { path }),
        }
    }

    fn plan(&self, video: &str) -> Result<Plan, Error> {
        let annotated = self.annotated(video)?;
        let path = self.file(video)?;
        let Content { digest, header } = self.content(&path)?;
        let Some(rate) = annotated.rate.or(header.picture.rate) else {
            return Err(Error::NoRate { path });
        };
        let key = Digest::of_json(&(RECIPE, digest, self.size, rate, self.program()?.version()));
        Ok(Plan { path, rate, key })
    }

    /// Whether a video can be used, by what is remembered of it or by decoding it.
    fn examine(&self, video: &str) -> Result<(), Error> {
        let plan = self.plan(video)?;
        match self.cache.recall::<Decoding>(Subject::Frames, &plan.key) {
            Some(decoding) => self.judge(video, &plan, &decoding),
            None => self.decode(video, &plan).map(drop),
        }
    }

    fn frames(&self, video: &str) -> Result<Frames, Error> {
        let plan = self.plan(video)?;
        if let Some(decoding) = self.cache.recall::<Decoding>(Subject::Frames, &plan.key) {
            self.judge(video, &plan, &decoding)?;
            if let Some(file) = self.cache.open(&plan.key, decoding.frames * self.frame_bytes() as u64) {
                self.tally.served.fetch_add(1, Ordering::Relaxed);
                return Ok(self.opened(file, &plan, &decoding));
            }
        }
        self.decode(video, &plan)
    }

    fn decode(&self, video: &str, plan: &Plan) -> Result<Frames, Error> {
        let mut file = self.cache.begin(&plan.key)?;
        let decoding = self.timed(|| decode::decode(self.program()?, &plan.path, self.size, plan.rate, &mut file))?;
        self.tally.frames.fetch_add(decoding.frames, Ordering::Relaxed);
        self.cache.remember(Subject::Frames, &plan.key, &decoding)?;
        // Before it is published: frames of no use need no place in the cache.
        self.judge(video, plan, &decoding)?;
        let file = self.cache.publish(&plan.key, file)?;
        Ok(self.opened(file, plan, &decoding))
    }

    /// Whether what was decoded is what the annotations describe.
    fn judge(&self, video: &str, plan: &Plan, decoding: &Decoding) -> Result<(), Error> {
        let annotated = self.annotated(video)?;
        let (path, video) = (plan.path.clone(), video.to_owned());
        let decoded = decoding.frames as f64 / plan.rate;
        if decoded < WHOLE * annotated.duration {
            return Err(Error::Short { path, video, decoded, annotated: annotated.duration, said: in_brackets(&decoding.complaint) });
        }
        match annotated.last_start {
            Some(start) if start >= decoded => Err(Error::Beyond { path, video, start, decoded }),
            _ => Ok(()),
        }
    }

    fn opened(&self, file: std::fs::File, plan: &Plan, decoding: &Decoding) -> Frames {
        Frames {
            file,
            path: self.cache.frames(&plan.key),
            frames: decoding.frames as usize,
            frame_bytes: self.frame_bytes(),
            sampling: self.sampling,
        }
    }

    fn frame_bytes(&self) -> usize {
        3 * self.size[0] * self.size[1]
    }

    fn timed<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let started = Instant::now();
        let result = work();
        self.tally.nanoseconds.fetch_add(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }
}
