//! How long a training on videos waits for their frames: decoding, crop, mirror image and colours beside the encoder.

use std::path::{Path, PathBuf};
use std::time::Instant;

use etalon::config::ModelConfig;
use etalon::data::video::{CacheConfig, Snippets};
use etalon::data::{Dataset, Outside, SyntheticConfig, VideoSource, VideosConfig, annotations, synthetic};
use etalon::detectors::{self, Job};
use etalon::nn::encoders::VideoEncoder;
use etalon::protocol::settings::Budget;
use tch::Device;

use crate::step::THREADS;

const MODEL: &str = r#"
arch.etad = { preset = "laptop", temporal = "rescale", window = 64, max_duration = 64, batch = 4, standardise = false, ratio = 0.06 }
[encoder]
network = "tsm-resnet18"
width = 16
training.sampled = { ratio = 0.3 }
frames = { crop = [56, 56], jitter = [0.4, 0.4, 0.4, 0.1] }
"#;

/// Trains for one pass over nothing decoded, then for three over the cache that this left.
#[expect(clippy::print_stdout, reason = "the table is what this bench is for")]
pub fn waiting() {
    println!("\n| videos | cache | frames decoded | wall s | waited s | share | decoding s | cores busy |");
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let corpus = SyntheticConfig { videos: 20, ..SyntheticConfig::default() };
    let (dataset, _) = synthetic::generate(&corpus);
    rows("built-in, rendered while decoded", &dataset, "training", |config| {
        VideoSource::rendered(config, &corpus, &dataset).expect("the cache has a folder")
    });
    let Some(clips) = std::env::var_os("ETALON_SHARED").map(|folder| PathBuf::from(folder).join("data/ucf24")).filter(|f| f.exists())
    else {
        println!("UCF101-24 not measured: ETALON_SHARED names no folder with data/ucf24");
        return;
    };
    let dataset = annotations::read(&clips.join("annotations.json"), Outside::default()).expect("the annotations are good");
    rows("UCF101-24", &dataset, "training", |config| {
        let config = VideosConfig { path: Some(clips.join("videos")), extension: "avi".into(), ..config.clone() };
        VideoSource::open(&config, &dataset).expect("the videos are there")
    });
}

#[expect(clippy::print_stdout, reason = "the table is what this bench is for")]
fn rows(name: &str, dataset: &Dataset, subset: &str, open: impl Fn(&VideosConfig) -> VideoSource) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = CacheConfig { path: Some(folder.path().join("cache")), ..CacheConfig::default() };
    let config = VideosConfig { size: [72, 72], clip: 4, snippets: Snippets::Count(64), cache, ..VideosConfig::default() };
    let mut train = dataset.in_subsets(&[subset.to_owned()]);
    train.truncate(16);
    for (cache, epochs) in [("empty", 1), ("full", 3)] {
        let source = open(&config);
        let before = (Instant::now(), cpu());
        let frames = train_on(dataset, &source, &train, epochs, folder.path());
        let wall = before.0.elapsed().as_secs_f64();
        let busy = (cpu() - before.1) / wall;
        let (decoded, waited, decoding) = (frames.decoded, frames.waited_s, frames.decode_s);
        println!(
            "| {name}, {epochs} passes | {cache} | {decoded} | {wall:.1} | {waited:.2} | {:.1} % | {decoding:.1} | {busy:.2} |",
            100.0 * waited / wall
        );
    }
}

fn train_on(dataset: &Dataset, videos: &VideoSource, train: &[String], epochs: usize, folder: &Path) -> detectors::FrameFacts {
    let mut model: ModelConfig =
        toml::from_str(&MODEL.replacen("batch", &format!("epochs = {epochs}, batch"), 1)).expect("the settings are good");
    let encoder = model.encoder.as_mut().expect("there is one");
    // Weights of a file, so that nothing is decoded before the training to measure the statistics of random ones.
    let weights = folder.join("encoder.safetensors");
    VideoEncoder::new(encoder, 0, Device::Cpu).save(&weights).expect("the folder is writable");
    encoder.weights = Some(weights);
    let dir = folder.join(epochs.to_string());
    let job = Job {
        dataset,
        features: None,
        videos: Some(videos),
        train,
        test: &[],
        pool_size: train.len(),
        budget: Budget::Epochs,
        seed: 0,
        dir: &dir,
        threads: THREADS,
        device: "cpu",
        deadline: None,
    };
    let detector = detectors::build(&model).expect("this build has libtorch");
    let trained = detector.train(&job, &mut ()).expect("the training ends well");
    trained.frames.expect("it reads videos")
}

/// CPU seconds of this process and the children that it waited for (decoders).
fn cpu() -> f64 {
    let of = |who| {
        // SAFETY: rusage is plain data for which zero is valid, and getrusage fills it.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(who, &raw mut usage);
            usage
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        seconds(usage.ru_utime) + seconds(usage.ru_stime)
    };
    of(libc::RUSAGE_SELF) + of(libc::RUSAGE_CHILDREN)
}
