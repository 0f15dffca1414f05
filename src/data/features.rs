//! Snippet features of a video: where they come from and how a step maps to seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::array::{self, Matrix};
use super::{Dataset, Video};
use crate::base::{Digest, fsio};

/// Features of one video, row-major `[time, channels]`, single precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Number of snippets (steps).
    pub time: usize,
    /// Values per snippet.
    pub channels: usize,
    /// `time * channels` values.
    pub data: Vec<f32>,
}

/// Where feature files are and what they hold: `dataset.features` of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeaturesConfig {
    /// Folder with one file per video.
    pub path: PathBuf,
    /// File form.
    pub kind: Kind,
    /// Values per snippet.
    pub dim: usize,
    /// Frames (of the annotations' `fps`) between consecutive snippets; or give `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<f64>,
    /// Frames that a snippet was computed from, where more (or fewer) than `stride`: its centre moves accordingly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
    /// Snippets per second, instead of `stride`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Snippets of every video, spread evenly over it, instead of `stride`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// `"time-channels"` (default) or `"channels-time"`.
    #[serde(default)]
    pub layout: Layout,
    /// Before the video identifier in the file name, such as `"v_"`.
    #[serde(default)]
    pub prefix: String,
    /// Array of an `.npz` that holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
}

/// File form of the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One `.npy` per video.
    Npy,
    /// One `.npz` per video: its only array, or the one that `array` names.
    Npz,
    /// One `.safetensors` per video: its only tensor, or the one named `features`.
    Safetensors,
}

/// Order of the two dimensions in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `[T, C]`.
    #[default]
    TimeChannels,
    /// `[C, T]`.
    ChannelsTime,
}

/// Why features cannot be used. Each names the file and what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No file of that name.
    #[error(
        "{} does not exist: no features for video {video:?}; {}check `dataset.features.path` and `prefix`, or remove the video from the annotations",
        path.display(), beside.iter().map(|name| format!("there is {name} (`dataset.features.kind`); ")).collect::<String>()
    )]
    Missing {
        /// The file looked for.
        path: PathBuf,
        /// Its identifier.
        video: String,
        /// Files of the same name with other endings.
        beside: Vec<String>,
    },
    /// The file cannot be opened.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The content is not what the form asks for.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The feature file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// Neither the expected number of channels nor a hint of it.
    #[error("{}: expected {expected} values per snippet (`dataset.features.dim`), found shape {shape:?}{hint}", path.display())]
    Dimension {
        /// The feature file.
        path: PathBuf,
        /// `dim`.
        expected: usize,
        /// As in the file.
        shape: Vec<usize>,
        /// What would fit.
        hint: &'static str,
    },
    /// The features end long before the video does.
    #[error(
        "{}: {time} snippets cover {covered:.1} s of the {duration:.1} s of video {video:?}; the file is short, or `dataset.features.stride` or `rate` is wrong",
        path.display()
    )]
    Short {
        /// The feature file.
        path: PathBuf,
        /// Its identifier.
        video: String,
        /// Snippets in the file.
        time: usize,
        /// Seconds.
        covered: f64,
        /// Seconds.
        duration: f64,
    },
    /// NaN or infinity.
    #[error("{}: {value} at snippet {snippet}, channel {channel} of video {video:?}; extract this file again", path.display())]
    NotFinite {
        /// The feature file.
        path: PathBuf,
        /// Its identifier.
        video: String,
        /// Time step, from 0.
        snippet: usize,
        /// From 0.
        channel: usize,
        /// NaN or infinity.
        value: f32,
    },
    /// The distance between snippets is unknown.
    #[error("{0}")]
    Period(String),
    /// Asked for a video that the data set does not have.
    #[error("video {0:?} is not in the data set")]
    UnknownVideo(String),
}

/// Features of videos, each with its period (seconds between snippets).
pub type ByVideo = BTreeMap<String, (f64, Features)>;

/// A place features are read from. A clone shares it; threads may read at once.
#[derive(Clone, Debug)]
pub struct FeatureSource(Arc<Origin>);

#[derive(Debug)]
enum Origin {
    Files(Files),
    Memory(Memory),
}

#[derive(Debug)]
struct Files {
    config: FeaturesConfig,
    videos: BTreeMap<String, Timing>,
}

#[derive(Debug)]
struct Timing {
    /// Seconds between snippets.
    period: f64,
    /// Seconds of the video.
    duration: f64,
}

#[derive(Debug)]
struct Memory {
    channels: usize,
    videos: ByVideo,
    digest: Digest,
}

impl FeatureSource {
    /// Features in files, one per video of `dataset`. Opens no file: see [`FeatureSource::check`].
    ///
    /// # Errors
    /// Not exactly one of `stride`, `rate` and `count`, it is not positive, or `stride` with a video of unknown `fps`.
    pub fn open(config: &FeaturesConfig, dataset: &Dataset) -> Result<Self, Error> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let period = |id: &str, video: &Video| {
            match (config.stride, config.rate, config.count) {
            (Some(stride), None, None) if positive(stride) => video.fps.map(|fps| stride / fps).ok_or_else(|| {
                Error::Period(format!(
                    "video {id:?} has no `fps`, so `dataset.features.stride` means no time; add `fps` to the annotations or give `rate` instead of `stride`"
                ))
            }),
            (None, Some(rate), None) if positive(rate) => Ok(1.0 / rate),
            (None, None, Some(count)) if count > 0 => Ok(video.duration / count as f64),
            _ => Err(Error::Period(
                "`dataset.features` needs one of `stride` (frames), `rate` (snippets per second) and `count` (snippets per video), a positive number"
                    .into(),
            )),
        }
        };
        let timing = |(id, video): (&String, &Video)| Ok((id.clone(), Timing { period: period(id, video)?, duration: video.duration }));
        let videos = dataset.videos.iter().map(timing).collect::<Result<_, Error>>()?;
        Ok(Self(Arc::new(Origin::Files(Files { config: config.clone(), videos }))))
    }

    /// Features held in memory, each with its period (seconds between snippets). `digest` stands for what they were made
    /// from.
    pub fn in_memory(channels: usize, videos: ByVideo, digest: Digest) -> Self {
        Self(Arc::new(Origin::Memory(Memory { channels, videos, digest })))
    }

    /// Values per snippet.
    pub fn channels(&self) -> usize {
        match &*self.0 {
            Origin::Files(files) => files.config.dim,
            Origin::Memory(memory) => memory.channels,
        }
    }

    /// Seconds between the beginnings of two consecutive snippets of `video`.
    /// Step `i` covers `[i * period, (i + 1) * period)` seconds.
    ///
    /// # Panics
    /// `video` is not in the data set that the source was opened for.
    pub fn period(&self, video: &str) -> f64 {
        match &*self.0 {
            Origin::Files(files) => files.videos.get(video).expect("features are asked for videos of their data set").period,
            Origin::Memory(memory) => memory.videos.get(video).expect("features are asked for videos of their data set").0,
        }
    }

    /// Time that a snippet was computed from, in periods: its centre lies half of that after its beginning.
    pub fn snippet_span(&self) -> f64 {
        match &*self.0 {
            Origin::Files(files) => match (files.config.clip, files.config.stride) {
                (Some(clip), Some(stride)) => clip / stride,
                _ => 1.0,
            },
            Origin::Memory(_) => 1.0,
        }
    }

    /// The file that holds a video's features; `None` where they are in memory.
    pub fn file(&self, video: &str) -> Option<PathBuf> {
        match &*self.0 {
            Origin::Files(files) => Some(files.path(video)),
            Origin::Memory(_) => None,
        }
    }

    /// Order of the dimensions in the files.
    pub fn layout(&self) -> Layout {
        match &*self.0 {
            Origin::Files(files) => files.config.layout,
            Origin::Memory(_) => Layout::TimeChannels,
        }
    }

    /// Number of snippets of a video, read from the header alone.
    ///
    /// # Errors
    /// Missing, unreadable, truncated or short feature file, wrong dimension.
    pub fn time(&self, video: &str) -> Result<usize, Error> {
        match &*self.0 {
            Origin::Files(files) => files.matrix(video).map(|matrix| matrix.time),
            Origin::Memory(memory) => memory.get(video).map(|features| features.time),
        }
    }

    /// All snippets of a video.
    ///
    /// # Errors
    /// As [`FeatureSource::time`], or a value that is not finite.
    pub fn load(&self, video: &str) -> Result<Features, Error> {
        match &*self.0 {
            Origin::Files(files) => files.load(video),
            Origin::Memory(memory) => memory.get(video).cloned(),
        }
    }

    /// Reads the headers of the given videos, so that a missing or misshapen file is found before anything runs.
    ///
    /// # Errors
    /// As [`FeatureSource::time`], for the first such video.
    pub fn check(&self, videos: &[String]) -> Result<(), Error> {
        videos.iter().try_for_each(|video| self.time(video).map(drop))
    }

    /// Writes features as the `.npy` file, `[T, C]` in single precision, that [`FeatureSource::open`] reads.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(path: &Path, features: &Features) -> Result<(), Error> {
        let bytes = array::to_npy(features.time, features.channels, &features.data);
        Ok(fsio::replace(path, &bytes)?)
    }

    /// Digest of the features of the given videos: their content, order of dimensions and time base, not their path.
    /// Features in memory have one digest for all videos. Every value is read, so a bad one is found here.
    ///
    /// # Errors
    /// As [`FeatureSource::load`].
    pub fn digest(&self, videos: &[String]) -> Result<Digest, Error> {
        match &*self.0 {
            Origin::Files(files) => {
                let parts: Vec<Digest> = videos.par_iter().map(|video| files.digest(video)).collect::<Result<_, _>>()?;
                Ok(Digest::combine(&parts))
            }
            Origin::Memory(memory) => Ok(memory.digest.clone()),
        }
    }
}

impl Memory {
    fn get(&self, video: &str) -> Result<&Features, Error> {
        self.videos.get(video).map(|(_, features)| features).ok_or_else(|| Error::UnknownVideo(video.to_owned()))
    }
}

impl Files {
    fn path(&self, video: &str) -> PathBuf {
        let extension = match self.config.kind {
            Kind::Npy => "npy",
            Kind::Npz => "npz",
            Kind::Safetensors => "safetensors",
        };
        self.config.path.join(format!("{}{video}.{extension}", self.config.prefix))
    }

    fn timing(&self, video: &str) -> Result<&Timing, Error> {
        self.videos.get(video).ok_or_else(|| Error::UnknownVideo(video.to_owned()))
    }

    /// The file's matrix, its header checked against the configuration and the video's duration.
    fn matrix(&self, video: &str) -> Result<Matrix, Error> {
        let path = self.path(video);
        let timing = self.timing(video)?;
        let file = array::open(&path, self.config.kind, self.config.array.as_deref()).map_err(|error| explain(error, &path, video))?;
        let matrix = self.oriented(file, &path)?;
        if matrix.time == 0 {
            return Err(Error::Malformed { path, problem: format!("no snippets for video {video:?}; extract this file again") });
        }
        if let Some(count) = self.config.count.filter(|&count| count != matrix.time) {
            let problem =
                format!("{} snippets, but `dataset.features.count` is {count}; correct that or extract this file again", matrix.time);
            return Err(Error::Malformed { path, problem });
        }
        let covered = matrix.time as f64 * timing.period;
        // Extractors lose up to a receptive field at the end; more than that is a short file or a wrong time base.
        let tolerated = (0.1 * timing.duration).max(2.0 + 2.0 * timing.period);
        if timing.duration - covered > tolerated {
            return Err(Error::Short { path, video: video.to_owned(), time: matrix.time, covered, duration: timing.duration });
        }
        Ok(matrix)
    }

    fn oriented(&self, mut file: array::File, path: &Path) -> Result<Matrix, Error> {
        let expected = self.config.dim;
        file.squeeze();
        let shape = file.shape.clone();
        let wrong = |hint| Err(Error::Dimension { path: path.to_owned(), expected, shape: shape.clone(), hint });
        let &[rows, columns] = shape.as_slice() else {
            return wrong("; store one two-dimensional array per video");
        };
        let (channels, transposed) = match self.config.layout {
            Layout::TimeChannels => (columns, rows),
            Layout::ChannelsTime => (rows, columns),
        };
        if channels == expected {
            return Ok(file.into_matrix(self.config.layout == Layout::TimeChannels));
        }
        match (transposed == expected, self.config.layout) {
            (true, Layout::TimeChannels) => wrong("; it would fit with `layout = \"channels-time\"`"),
            (true, Layout::ChannelsTime) => wrong("; it would fit with `layout = \"time-channels\"`"),
            (false, _) => wrong(""),
        }
    }

    fn load(&self, video: &str) -> Result<Features, Error> {
        let matrix = self.matrix(video)?;
        let (time, channels) = (matrix.time, matrix.channels);
        let data = matrix.to_f32();
        // The fold looks at all values without a branch, many at a time; where the fault is matters only if there is one.
        if data.iter().fold(false, |bad, value| bad | !value.is_finite()) {
            let at = data.iter().position(|value| !value.is_finite()).expect("the fold saw one");
            let (snippet, channel) = (at / channels, at % channels);
            return Err(Error::NotFinite { path: self.path(video), video: video.to_owned(), snippet, channel, value: data[at] });
        }
        Ok(Features { time, channels, data })
    }

    fn digest(&self, video: &str) -> Result<Digest, Error> {
        self.load(video)?;
        let path = self.path(video);
        let content = Digest::of_file(&path).map_err(|error| explain(array::Error::File(error), &path, video))?;
        let facts = (video, self.timing(video)?.period, self.config.layout, content);
        // Only where it is given, so that the digests of all other features stay what they were.
        Ok(match self.config.clip {
            None => Digest::of_json(&facts),
            Some(clip) => Digest::of_json(&(facts, clip)),
        })
    }
}

fn explain(error: array::Error, path: &Path, video: &str) -> Error {
    match error {
        array::Error::File(e) if e.source.kind() == std::io::ErrorKind::NotFound => {
            Error::Missing { path: path.to_owned(), video: video.to_owned(), beside: same_stem(path) }
        }
        array::Error::File(e) => Error::File(e),
        array::Error::Malformed(problem) => Error::Malformed { path: path.to_owned(), problem },
    }
}

/// Names of files beside `path` that differ from it in their ending alone.
fn same_stem(path: &Path) -> Vec<String> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem().and_then(|stem| stem.to_str())) else { return Vec::new() };
    let names = fsio::list(folder).unwrap_or_default();
    names.into_iter().filter(|name| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'))).collect()
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::data::testing::recordings;
    use crate::data::{Outside, Video, annotations};

    /// Time 3, channels 2: small integers, exact in every form.
    const VALUES: [f64; 6] = [1.0, 2.0, -3.0, 4.0, 5.0, -6.0];

    fn bytes(form: &str, values: &[f64]) -> Vec<u8> {
        let each = |v: &f64| match form {
            "<f2" => f16::from_f64(*v).to_le_bytes().to_vec(),
            "bf16" => bf16::from_f64(*v).to_le_bytes().to_vec(),
            "<f4" => (*v as f32).to_le_bytes().to_vec(),
            ">f4" => (*v as f32).to_be_bytes().to_vec(),
            _ => v.to_le_bytes().to_vec(),
        };
        values.iter().flat_map(each).collect()
    }

    fn npy(form: &str, fortran: bool, shape: &str, values: &[f64]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '{form}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        header.push_str(&" ".repeat(117 - header.len()));
        header.push('\n');
        [b"\x93NUMPY\x01\x00\x76\x00".as_slice(), header.as_bytes(), &bytes(form, values)].concat()
    }

    fn tensors(tensors: &[(&str, Dtype, &str)]) -> Vec<u8> {
        let data: Vec<Vec<u8>> = tensors.iter().map(|(_, _, form)| bytes(form, &VALUES)).collect();
        let view = |((name, dtype, _), data)| (name, TensorView::new(dtype, vec![3, 2], data).unwrap());
        safetensors::serialize(tensors.iter().copied().zip(data.iter().map(Vec::as_slice)).map(view), None).unwrap()
    }

    struct Bench {
        folder: tempfile::TempDir,
        config: FeaturesConfig,
        dataset: Dataset,
    }

    impl Bench {
        fn new(kind: Kind, content: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let name = if kind == Kind::Npy { "v_a.npy" } else { "v_a.safetensors" };
            fsio::replace(&folder.path().join(name), content).unwrap();
            let config = FeaturesConfig {
                path: folder.path().to_owned(),
                kind,
                dim: 2,
                stride: Some(10.0),
                rate: None,
                count: None,
                clip: None,
                layout: Layout::TimeChannels,
                prefix: "v_".into(),
                array: None,
            };
            let video = Video { subset: "t".into(), duration: 1.5, fps: Some(20.0), frames: None, instances: Vec::new() };
            let digest = Digest::of_bytes(b"");
            let dataset = Dataset { classes: Vec::new(), videos: [("a".to_owned(), video)].into(), digest, notes: Vec::new() };
            Self { folder, config, dataset }
        }

        fn npy(content: Vec<u8>) -> Self {
            Self::new(Kind::Npy, &content)
        }

        fn channels_first(mut self) -> Self {
            self.config.layout = Layout::ChannelsTime;
            self
        }

        fn open(&self) -> FeatureSource {
            FeatureSource::open(&self.config, &self.dataset).unwrap()
        }

        fn load(&self) -> Vec<f64> {
            let features = self.open().load("a").unwrap();
            assert_eq!((features.time, features.channels), (3, 2));
            features.data.into_iter().map(f64::from).collect()
        }

        fn refusal(&self) -> String {
            self.open().load("a").unwrap_err().to_string()
        }
    }

    #[test]
    fn every_number_form_gives_the_same_values() {
        for form in ["<f2", "<f4", "<f8"] {
            assert_eq!(Bench::npy(npy(form, false, "(3, 2)", &VALUES)).load(), VALUES, "{form}");
        }
        for (dtype, form) in [(Dtype::F16, "<f2"), (Dtype::BF16, "bf16"), (Dtype::F32, "<f4"), (Dtype::F64, "<f8")] {
            assert_eq!(Bench::new(Kind::Safetensors, &tensors(&[("x", dtype, form)])).load(), VALUES, "{form}");
        }
    }

    #[test]
    fn the_layout_and_the_memory_order_are_independent() {
        let by_channel = [1.0, -3.0, 5.0, 2.0, 4.0, -6.0];
        assert_eq!(Bench::npy(npy("<f4", false, "(2, 3)", &by_channel)).channels_first().load(), VALUES);
        assert_eq!(Bench::npy(npy("<f4", true, "(3, 2)", &by_channel)).load(), VALUES);
        assert_eq!(Bench::npy(npy("<f4", true, "(2, 3)", &VALUES)).channels_first().load(), VALUES);
    }

    #[test]
    fn of_several_tensors_the_one_named_features_is_read() {
        let content = tensors(&[("features", Dtype::F32, "<f4"), ("mask", Dtype::F16, "<f2")]);
        assert_eq!(Bench::new(Kind::Safetensors, &content).load(), VALUES);
        let content = tensors(&[("a", Dtype::F32, "<f4"), ("b", Dtype::F32, "<f4")]);
        let text = Bench::new(Kind::Safetensors, &content).refusal();
        assert!(text.contains("[\"a\", \"b\"]") && text.contains("name it \"features\""), "{text}");
    }

    #[test]
    fn a_wrong_dimension_is_refused_with_the_layout_that_would_fit() {
        let text = Bench::npy(npy("<f4", false, "(2, 3)", &VALUES)).refusal();
        assert!(
            text.contains("v_a.npy") && text.contains("expected 2") && text.contains("[2, 3]") && text.contains("channels-time"),
            "{text}"
        );
        assert!(Bench::npy(npy("<f4", false, "(3, 2)", &VALUES)).channels_first().refusal().contains("time-channels"));
        assert!(Bench::npy(npy("<f4", false, "(1, 6)", &VALUES)).refusal().contains("`dataset.features.dim`"));
        assert!(Bench::npy(npy("<f4", false, "(6,)", &VALUES)).refusal().contains("two-dimensional"));
    }

    #[test]
    fn unusable_files_are_refused_by_name() {
        let whole = npy("<f4", false, "(3, 2)", &VALUES);
        for (content, part) in [
            (whole[..whole.len() - 1].to_vec(), "truncated: the header promises shape [3, 2], 24 bytes, but 23 follow"),
            (whole[..40].to_vec(), "not a readable .npy file"),
            (Vec::new(), "not a readable .npy file"),
            (npy("<f4", false, "(0, 2)", &[]), "no snippets"),
            (npy("<f4", false, "(9223372036854775807, 2)", &VALUES), "truncated"),
        ] {
            let text = Bench::npy(content).refusal();
            assert!(text.contains(part) && text.contains("v_a.npy"), "{text}");
        }
        let content = tensors(&[("x", Dtype::F32, "<f4")]);
        let text = Bench::new(Kind::Safetensors, &content[..content.len() - 2]).refusal();
        assert!(text.contains("not a readable .safetensors file"), "{text}");
    }

    #[test]
    fn a_missing_file_is_named_before_anything_runs() {
        let bench = Bench::npy(npy("<f4", false, "(3, 2)", &VALUES));
        std::fs::remove_file(bench.folder.path().join("v_a.npy")).unwrap();
        let text = bench.open().check(&["a".to_owned()]).unwrap_err().to_string();
        assert!(text.contains("v_a.npy does not exist") && text.contains("`dataset.features.path`"), "{text}");
    }

    #[test]
    fn a_value_that_is_not_finite_is_located() {
        let mut values = VALUES;
        values[5] = f64::NAN;
        let text = Bench::npy(npy("<f2", false, "(3, 2)", &values)).refusal();
        assert!(text.contains("NaN at snippet 2, channel 1 of video \"a\""), "{text}");
    }

    #[test]
    fn features_that_end_long_before_the_video_are_refused() {
        let mut bench = Bench::npy(npy("<f4", false, "(3, 2)", &VALUES));
        bench.dataset.videos.get_mut("a").unwrap().duration = 20.0;
        assert!(bench.refusal().contains("3 snippets cover 1.5 s of the 20.0 s"), "{}", bench.refusal());
    }

    #[test]
    fn the_period_comes_from_stride_and_fps_or_from_the_rate() {
        let mut bench = Bench::npy(npy("<f4", false, "(3, 2)", &VALUES));
        assert_eq!(bench.open().period("a"), 0.5);
        (bench.config.stride, bench.config.rate) = (None, Some(4.0));
        assert_eq!(bench.open().period("a"), 0.25);
        (bench.config.stride, bench.config.rate) = (Some(10.0), None);
        bench.dataset.videos.get_mut("a").unwrap().fps = None;
        assert!(FeatureSource::open(&bench.config, &bench.dataset).unwrap_err().to_string().contains("give `rate`"));
    }

    #[test]
    fn the_digest_follows_content_and_time_base_but_not_the_place() {
        let digest = |bench: &Bench| bench.open().digest(&["a".to_owned()]).unwrap();
        let content = npy("<f4", false, "(3, 2)", &VALUES);
        let (here, there) = (Bench::npy(content.clone()), Bench::npy(content));
        assert_eq!(digest(&here), digest(&there));
        let mut faster = here;
        faster.config.stride = Some(5.0);
        assert_ne!(digest(&faster), digest(&there));
    }

    #[test]
    #[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
    fn real_feature_files_are_read_whole() {
        for (name, dim, stride) in [("sbhar", 132, 10.0), ("salads50", 30, 1.0)] {
            let folder = recordings(&format!("data/{name}"));
            let dataset = annotations::read(&folder.join("annotations.json"), Outside::Refuse).unwrap();
            let config = FeaturesConfig {
                path: folder.join("features"),
                kind: Kind::Npy,
                dim,
                stride: Some(stride),
                rate: None,
                count: None,
                clip: None,
                layout: Layout::TimeChannels,
                prefix: String::new(),
                array: None,
            };
            let source = FeatureSource::open(&config, &dataset).unwrap();
            for (id, video) in &dataset.videos {
                let features = source.load(id).unwrap();
                assert_eq!(features.data.len(), features.time * dim);
                assert!((features.time as f64 * source.period(id) - video.duration).abs() < 0.01, "{id}");
            }
        }
    }
}
