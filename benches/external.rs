//! A trainer of the user: what it costs to hand it 10,000 videos, beside making as many links alone, in the same run.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;

use criterion::{BatchSize, Criterion, criterion_group};
use etalon::base::Digest;
use etalon::config::ExternalConfig;
use etalon::data::features::{FeatureSource, FeaturesConfig, Kind, Layout};
use etalon::data::{Dataset, Instance, Segment, Video};
use etalon::detectors::Job;
use etalon::detectors::external::External;
use etalon::protocol::settings::Budget;

criterion_group!(benches, handed_over);

const VIDEOS: usize = 10_000;

fn handed_over(criterion: &mut Criterion) {
    let features = Path::new("/nowhere/features");
    let config = FeaturesConfig {
        path: features.to_owned(),
        kind: Kind::Npy,
        dim: 4,
        stride: None,
        rate: Some(1.0),
        count: None,
        clip: None,
        layout: Layout::TimeChannels,
        prefix: String::new(),
        array: None,
    };
    let video = |i| {
        let instances = vec![Instance { segment: Segment { start: 1.0, end: 3.0 }, label: 0 }; 5];
        (format!("v{i:05}"), Video { subset: "training".into(), duration: 128.0, fps: Some(1.0), frames: None, instances })
    };
    let videos: BTreeMap<String, Video> = (0..VIDEOS).map(video).collect();
    let ids: Vec<String> = videos.keys().cloned().collect();
    let (train, test) = ids.split_at(VIDEOS * 4 / 5);
    let dataset = Dataset { classes: vec!["a".into()], videos, digest: Digest::of_bytes(b"bench"), notes: Vec::new() };
    let source = FeatureSource::open(&config, &dataset).expect("the time base is known");
    let trainer: ExternalConfig = toml::from_str("train = [\"true\"]\ndirectory = \".\"").expect("two settings are enough");
    let external = External::new(&trainer);
    let folder = || tempfile::tempdir().expect("a temporary folder");
    let mut group = criterion.benchmark_group("external");
    group.sample_size(10);
    group.bench_function("10,000 videos linked and described", |b| {
        let lay_out = |folder: &mut tempfile::TempDir| {
            let job = Job {
                dataset: &dataset,
                features: Some(&source),
                videos: None,
                train,
                test,
                pool_size: train.len(),
                budget: Budget::Epochs,
                seed: 0,
                dir: folder.path(),
                threads: 1,
                device: "cpu",
                deadline: None,
            };
            external.lay_out(&job).expect("nothing is opened").handed
        };
        b.iter_batched_ref(folder, lay_out, BatchSize::PerIteration);
    });
    group.bench_function("10,000 links alone", |b| {
        let link = |folder: &mut tempfile::TempDir| {
            ids.iter().for_each(|id| symlink(features.join(id), folder.path().join(id)).expect("the folder is writable"));
        };
        b.iter_batched_ref(folder, link, BatchSize::PerIteration);
    });
    group.finish();
}
