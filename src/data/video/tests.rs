//! Whole sources, on files that ffmpeg makes here: good ones, and each kind of bad one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::base::{Bytes, Digest};
use crate::data::dataset::{Dataset, Instance, Segment, Video};
use crate::data::synthetic::{self, SyntheticConfig};

/// An executable file that runs `text` in a shell. Written by another process: a descriptor of ours that is open for writing
/// while a test beside this one starts a child would make the system refuse to run the file.
pub(super) fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("program");
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod +x \"$2\"";
    let status = Command::new("sh").args(["-c", write, "sh", text]).arg(&path).status().unwrap();
    assert!(status.success());
    path
}

/// A folder of videos and a cache, both gone afterwards.
struct Scene {
    dir: tempfile::TempDir,
    program: Program,
    videos: BTreeMap<String, Video>,
    config: VideosConfig,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = VideosConfig {
            path: Some(dir.path().join("videos")),
            size: [16, 12],
            snippets: Snippets::Count(4),
            clip: 3,
            cache: CacheConfig { path: Some(dir.path().join("cache")), limit: Bytes(64 << 20) },
            ..VideosConfig::default()
        };
        crate::base::fsio::create_dir(config.path.as_ref().unwrap()).unwrap();
        Self { dir, program: Program::find().unwrap(), videos: BTreeMap::new(), config }
    }

    fn path(&self, video: &str) -> PathBuf {
        self.config.path.as_ref().unwrap().join(format!("{video}.mp4"))
    }

    /// Annotates `video` with one instance from `start` to the end.
    fn annotate(&mut self, video: &str, duration: f64, start: f64) {
        let instances = vec![Instance { segment: Segment { start, end: duration }, label: 0 }];
        let described = Video { subset: "training".into(), duration, fps: None, frames: None, instances };
        self.videos.insert(video.into(), described);
    }

    /// Runs ffmpeg with `arguments` and the video's path after them.
    fn make(&self, video: &str, arguments: &str) -> PathBuf {
        let path = self.path(video);
        let output = Command::new(self.program.path()).args(["-y", "-nostdin"]).args(arguments.split(' ')).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    }

    /// A good video: 10 frames per second, each one grey as bright as ten times its number.
    fn grey(&mut self, video: &str, frames: usize) {
        self.make(
            video,
            &format!("-f lavfi -i color=black:size=64x48:rate=10,geq=lum='16+10*N':cb=128:cr=128 -frames:v {frames} -c:v mpeg4 -q:v 1"),
        );
        self.annotate(video, frames as f64 / 10.0, 0.0);
    }

    fn dataset(&self) -> Dataset {
        Dataset { classes: vec!["a".into()], videos: self.videos.clone(), digest: Digest::of_bytes(b"annotations"), notes: Vec::new() }
    }

    fn open(&self) -> VideoSource {
        self.config.check().unwrap();
        VideoSource::open(&self.config, &self.dataset()).unwrap()
    }

    /// The error for `video`, which survey must find as well.
    fn error(&self, video: &str) -> Error {
        let source = self.open();
        let error = source.frames(video).unwrap_err();
        let found = source.survey(&[video.to_owned()], &|_, _| {});
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.to_string(), error.to_string());
        assert!(error.to_string().contains(&*self.path(video).to_string_lossy()), "{error}");
        error
    }
}

/// Brightness of each frame of a snippet, by its first byte.
fn brightness(source: &VideoSource, frames: &Frames, index: usize) -> Vec<u8> {
    let [width, height] = source.size();
    let mut bytes = vec![0; source.clip() * width * height * 3];
    frames.snippet(index, &mut bytes).unwrap();
    bytes.chunks(width * height * 3).map(|frame| frame[0]).collect()
}

/// Numbers of the frames that a snippet of [`Scene::grey`] shows.
fn numbers(source: &VideoSource, frames: &Frames, index: usize) -> Vec<usize> {
    let swing = 255.0 / 219.0;
    brightness(source, frames, index).iter().map(|&byte| (f64::from(byte) / (10.0 * swing)).round() as usize).collect()
}

#[test]
fn snippets_show_the_frames_they_should() {
    let mut scene = Scene::new();
    scene.grey("v", 20);
    let source = scene.open();
    assert_eq!((source.snippets("v"), source.period("v"), source.clip()), (4, 0.5, 3));
    let frames = source.frames("v").unwrap();
    assert_eq!(frames.len(), 20);
    assert_eq!(numbers(&source, &frames, 0), [0, 1, 2]);
    assert_eq!(numbers(&source, &frames, 3), [17, 18, 19]);
    let first = source.decoded();
    assert_eq!((first.frames, first.served), (20, 0));
    assert!(first.seconds > 0.0);
    source.clone().frames("v").unwrap();
    assert_eq!(source.decoded(), Decoded { served: 1, ..first });
    // Another process would find them too.
    let again = scene.open();
    again.frames("v").unwrap();
    assert_eq!(again.decoded(), Decoded { seconds: 0.0, frames: 0, served: 1 });
}

#[test]
fn strided_snippets_follow_the_annotated_rate_and_the_set_one_comes_first() {
    let mut scene = Scene::new();
    scene.grey("v", 20);
    scene.config.snippets = Snippets::Stride(4);
    let missing = VideoSource::open(&scene.config, &scene.dataset()).unwrap_err().to_string();
    assert!(missing.contains("\"v\"") && missing.contains("`dataset.videos.fps`"), "{missing}");
    scene.videos.get_mut("v").unwrap().fps = Some(10.0);
    let source = scene.open();
    assert_eq!((source.snippets("v"), source.period("v")), (5, 0.4));
    assert_eq!(numbers(&source, &source.frames("v").unwrap(), 4), [16, 17, 18]);
    scene.config.fps = Some(5.0);
    let source = scene.open();
    assert_eq!((source.snippets("v"), source.period("v"), source.frames("v").unwrap().len()), (3, 0.8, 10));
}

#[test]
fn a_clip_longer_than_the_video_and_a_video_of_one_frame_still_give_snippets() {
    let mut scene = Scene::new();
    scene.grey("short", 2);
    scene.grey("single", 1);
    let source = scene.open();
    assert_eq!(numbers(&source, &source.frames("short").unwrap(), 0), [0, 1, 0]);
    assert_eq!(numbers(&source, &source.frames("single").unwrap(), 3), [0, 0, 0]);
}

#[test]
fn the_digest_follows_content_and_settings_and_not_the_place() {
    let mut scene = Scene::new();
    scene.grey("v", 10);
    scene.grey("w", 12);
    let all = ["v".to_owned(), "w".to_owned()];
    let before = scene.open().digest(&all).unwrap();
    assert_eq!(scene.open().digest(&all).unwrap(), before);
    assert_ne!(scene.open().digest(&all[..1]).unwrap(), before);
    let moved = scene.dir.path().join("elsewhere");
    for video in &all {
        crate::base::fsio::copy(&scene.path(video), &moved.join(format!("x_{video}.avi"))).unwrap();
    }
    let renamed = VideosConfig { path: Some(moved), prefix: "x_".into(), extension: "avi".into(), ..scene.config.clone() };
    let elsewhere = VideoSource::open(&renamed, &scene.dataset()).unwrap();
    assert_eq!(elsewhere.digest(&all).unwrap(), before);
    let changes: [fn(&mut VideosConfig); 4] = [|c| c.size = [16, 16], |c| c.fps = Some(9.0), |c| c.clip = 4, |c| c.step = 2];
    for change in changes {
        let mut other = scene.config.clone();
        change(&mut other);
        assert_ne!(VideoSource::open(&other, &scene.dataset()).unwrap().digest(&all).unwrap(), before, "{other:?}");
    }
    scene.grey("v", 11);
    assert_ne!(scene.open().digest(&all).unwrap(), before);
}

#[test]
fn a_missing_file_is_found_before_anything_runs() {
    let mut scene = Scene::new();
    scene.annotate("gone", 1.0, 0.0);
    assert!(matches!(scene.open().digest(&["gone".into()]), Err(Error::Missing { .. })));
    assert!(matches!(scene.error("gone"), Error::Missing { .. }));
    assert!(matches!(scene.open().frames("unknown"), Err(Error::UnknownVideo(_))));
    scene.config.path = None;
    assert!(VideoSource::open(&scene.config, &scene.dataset()).unwrap_err().to_string().contains("`dataset.videos.path`"));
}

#[test]
fn garbage_and_empty_files_are_unreadable() {
    let mut scene = Scene::new();
    for (video, bytes) in [("garbage", (0..5000u32).map(|n| (n * n % 251) as u8).collect()), ("empty", Vec::new())] {
        crate::base::fsio::replace(&scene.path(video), &bytes).unwrap();
        scene.annotate(video, 1.0, 0.0);
        assert!(matches!(scene.open().digest(&[video.into()]), Err(Error::Unreadable { .. })), "{video}");
        assert!(matches!(scene.error(video), Error::Unreadable { .. }), "{video}");
    }
}

#[test]
fn sound_alone_is_found_before_anything_runs() {
    let mut scene = Scene::new();
    scene.make("sound", "-f lavfi -i sine=duration=1");
    scene.annotate("sound", 1.0, 0.0);
    assert!(matches!(scene.open().digest(&["sound".into()]), Err(Error::NoPicture { .. })));
    assert!(matches!(scene.error("sound"), Error::NoPicture { .. }));
}

#[test]
fn a_video_without_frames_is_refused() {
    let mut scene = Scene::new();
    scene.make("none", "-f lavfi -i color=black:size=64x48:rate=10 -frames:v 0 -c:v mpeg4 -f avi");
    scene.annotate("none", 1.0, 0.0);
    let error = scene.error("none");
    assert!(matches!(error, Error::NoFrames { .. }), "{error}");
}

#[test]
fn a_file_that_is_cut_off_is_refused_with_what_it_still_holds() {
    let mut scene = Scene::new();
    // Many key frames and the index in front, so that the first half still decodes.
    let path = scene.make("cut", "-f lavfi -i testsrc=size=64x48:rate=10 -frames:v 60 -c:v mpeg4 -g 5 -movflags +faststart");
    scene.annotate("cut", 6.0, 0.0);
    let whole = crate::base::fsio::read(&path).unwrap();
    crate::base::fsio::replace(&path, &whole[..whole.len() / 2]).unwrap();
    let error = scene.error("cut");
    assert!(matches!(error, Error::Short { decoded, .. } if decoded > 1.0 && decoded < 5.0), "{error}");
    // Frames of no use take no place, and a corrected annotation needs them after all.
    assert!(!crate::base::fsio::list(&scene.dir.path().join("cache/frames")).unwrap().iter().any(|name| name.ends_with(".rgb")));
    scene.annotate("cut", 2.0, 0.0);
    assert!(scene.open().frames("cut").unwrap().len() > 10);
}

#[test]
fn a_file_damaged_in_the_middle_keeps_its_time_line() {
    let mut scene = Scene::new();
    let path = scene.make("hurt", "-f lavfi -i testsrc=size=64x48:rate=10 -frames:v 60 -c:v mpeg4 -g 5 -movflags +faststart");
    scene.annotate("hurt", 6.0, 5.5);
    let mut bytes = crate::base::fsio::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 400].fill(0xA5);
    crate::base::fsio::replace(&path, &bytes).unwrap();
    assert_eq!(scene.open().frames("hurt").unwrap().len(), 60);
}

#[test]
fn an_instance_after_the_end_is_refused() {
    let mut scene = Scene::new();
    scene.grey("v", 20);
    scene.annotate("v", 2.1, 2.05);
    let error = scene.error("v");
    assert!(matches!(error, Error::Beyond { start: 2.05, decoded: 2.0, .. }), "{error}");
}

#[test]
fn a_variable_frame_rate_becomes_a_constant_time_line() {
    let mut scene = Scene::new();
    // 30 frames per second for 2 s, then 3 for 2 s; as bright as the second it shows.
    scene.make(
        "vfr",
        "-f lavfi -i color=black:size=64x48:rate=30,geq=lum='16+40*T':cb=128:cr=128,trim=duration=4,select='lt(t,2)+not(mod(n,10))' -fps_mode vfr -c:v mpeg4 -q:v 1",
    );
    scene.annotate("vfr", 4.0, 3.0);
    scene.config.snippets = Snippets::Stride(10);
    scene.config.fps = Some(10.0);
    scene.config.clip = 1;
    let source = scene.open();
    let frames = source.frames("vfr").unwrap();
    // The file does not say how long its last frame lasts.
    assert!((37..=41).contains(&frames.len()), "{}", frames.len());
    for (snippet, second) in [(0, 0.5), (1, 1.5), (2, 2.5), (3, 3.5)] {
        let shown = f64::from(brightness(&source, &frames, snippet)[0]) * 219.0 / 255.0 / 40.0;
        assert!((shown - second).abs() < 0.25, "second {second} shows {shown}");
    }
    // By its own average rate the video lasts as long.
    scene.config.snippets = Snippets::Count(4);
    scene.config.fps = None;
    let own = scene.open().frames("vfr").unwrap().len() as f64 / ((60.0 + 6.0) / 4.0);
    assert!((own - 4.0).abs() < 0.5, "{own}");
}

#[test]
fn pictures_that_change_size_midway_are_scaled_alike() {
    let mut scene = Scene::new();
    let parts = [("a", "64x48"), ("b", "128x96")].map(|(name, size)| {
        let path = scene.make(name, &format!("-f lavfi -i color=gray:size={size}:rate=10 -frames:v 20 -c:v mpeg2video -f mpegts"));
        crate::base::fsio::read(&path).unwrap()
    });
    crate::base::fsio::replace(&scene.path("change"), &parts.concat()).unwrap();
    scene.annotate("change", 4.0, 3.5);
    let source = scene.open();
    let frames = source.frames("change").unwrap();
    // A filter graph that began anew would repeat two seconds.
    assert!((38..=41).contains(&frames.len()), "{}", frames.len());
    let (first, last) = (brightness(&source, &frames, 0)[0], brightness(&source, &frames, 3)[2]);
    assert!(first.abs_diff(last) < 4 && first > 100, "{first} {last}");
}

#[test]
fn a_decoder_that_hangs_is_ended() {
    let mut scene = Scene::new();
    scene.grey("v", 5);
    let real = scene.program.path().display();
    // Answers for its version, describes files, and decodes a little before it hangs.
    let text = format!("case \"$*\" in *pipe:1*) head -c 500 /dev/zero; exec sleep 600;; *) exec {real} \"$@\";; esac");
    let fake = Program::start(&script(scene.dir.path(), &text), Duration::from_millis(500)).unwrap();
    let source = scene.open().with_program(fake);
    let started = Instant::now();
    let error = source.frames("v").unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(crate::base::fsio::list(&scene.dir.path().join("cache/frames")).unwrap().is_empty());
    // It is not held against the video.
    assert_eq!(scene.open().frames("v").unwrap().len(), 5);
}

#[test]
fn a_decoder_that_crashes_is_reported_with_its_words() {
    let mut scene = Scene::new();
    scene.grey("v", 5);
    let real = scene.program.path().display();
    let text = format!("case \"$*\" in *pipe:1*) echo '[x @ 0x1] [error] out of luck' >&2; kill -SEGV $$;; *) exec {real} \"$@\";; esac");
    let fake = Program::start(&script(scene.dir.path(), &text), Duration::from_secs(20)).unwrap();
    let error = scene.open().with_program(fake).frames("v").unwrap_err();
    assert!(matches!(error, Error::Failed { .. }) && error.to_string().contains("out of luck"), "{error}");
}

#[test]
fn a_survey_lists_what_cannot_be_used_and_is_quick_the_second_time() {
    let mut scene = Scene::new();
    scene.grey("a", 10);
    scene.grey("c", 10);
    scene.annotate("b", 1.0, 0.0);
    scene.annotate("c", 9.0, 0.0);
    let all: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
    let calls = std::sync::Mutex::new(Vec::new());
    let source = scene.open();
    let found = source.survey(&all, &|done, of| calls.lock().unwrap().push((done, of)));
    assert!(matches!(&found[..], [(b, Error::Missing { .. }), (c, Error::Short { .. })] if b == "b" && c == "c"), "{found:?}");
    let mut calls = calls.into_inner().unwrap();
    calls.sort_unstable();
    assert_eq!(calls, [(1, 3), (2, 3), (3, 3)]);
    let again = scene.open();
    assert_eq!(again.survey(&all, &|_, _| {}).len(), 2);
    assert_eq!(again.decoded(), Decoded::default());
}

#[test]
fn several_threads_may_ask_for_the_same_video_at_once() {
    let mut scene = Scene::new();
    scene.grey("v", 20);
    let source = scene.open();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(numbers(&source, &source.frames("v").unwrap(), 3), [17, 18, 19]));
        }
    });
}

fn small_corpus() -> SyntheticConfig {
    SyntheticConfig { videos: 3, snippets: [64, 70], ..SyntheticConfig::default() }
}

#[test]
fn the_built_in_corpus_is_rendered_when_asked_for_and_the_same_everywhere() {
    let scene = Scene::new();
    let corpus = small_corpus();
    let (dataset, features) = synthetic::generate(&corpus);
    let config = VideosConfig { path: None, size: [64, 64], snippets: Snippets::Stride(4), clip: 4, ..scene.config.clone() };
    let source = VideoSource::rendered(&config, &corpus, &dataset).unwrap();
    let all: Vec<String> = dataset.videos.keys().cloned().collect();
    let digest = source.digest(&all).unwrap();
    assert_eq!(source.decoded(), Decoded::default(), "a digest renders nothing");
    let show = |source: &VideoSource| {
        let frames = source.frames("synthetic_0001").unwrap();
        let mut bytes = vec![0; 4 * 64 * 64 * 3];
        frames.snippet(40, &mut bytes).unwrap();
        (frames.len(), bytes)
    };
    let (length, shown) = show(&source);
    let time = features.load("synthetic_0001").unwrap().time;
    assert_eq!(
        (length, source.snippets("synthetic_0001"), source.period("synthetic_0001")),
        (4 * time, time, features.period("synthetic_0001"))
    );
    // Another folder, from the beginning.
    let other = Scene::new();
    let again = VideoSource::rendered(&VideosConfig { cache: other.config.cache.clone(), ..config.clone() }, &corpus, &dataset).unwrap();
    assert_eq!(show(&again), (length, shown));
    assert_eq!(again.digest(&all).unwrap(), digest);
    let reseeded = SyntheticConfig { seed: 1, ..corpus };
    let (dataset, _) = synthetic::generate(&reseeded);
    assert_ne!(VideoSource::rendered(&config, &reseeded, &dataset).unwrap().digest(&all).unwrap(), digest);
}

#[test]
#[ignore = "second tier: needs ETALON_SHARED (make test-recordings)"]
fn real_clips_hold_the_frames_that_their_annotations_count() {
    let folder = crate::data::testing::recordings("data/ucf24");
    let dataset = crate::data::annotations::read(&folder.join("annotations.json"), crate::data::Outside::Refuse).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let config = VideosConfig {
        path: Some(folder.join("videos")),
        extension: "avi".into(),
        size: [64, 64],
        snippets: Snippets::Stride(4),
        clip: 8,
        cache: CacheConfig { path: Some(cache.path().to_owned()), ..CacheConfig::default() },
        ..VideosConfig::default()
    };
    let source = VideoSource::open(&config, &dataset).unwrap();
    let all: Vec<String> = dataset.videos.keys().cloned().collect();
    let found = source.survey(&all, &|_, _| {});
    assert!(found.is_empty(), "{found:?}");
    for (id, video) in &dataset.videos {
        let frames = source.frames(id).unwrap();
        assert!(frames.len().abs_diff(video.frames.unwrap() as usize) <= 1, "{id}: {} {video:?}", frames.len());
        assert_eq!(source.snippets(id), (video.frames.unwrap() as usize).div_ceil(4), "{id}");
    }
}
