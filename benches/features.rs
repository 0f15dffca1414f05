//! Reading 1,000 feature files of ActivityNet's size ([128, 512] half precision): what one epoch reads.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use criterion::{Criterion, criterion_group};
use etalon::base::Digest;
use etalon::data::features::{FeatureSource, FeaturesConfig, Kind, Layout};
use etalon::data::{Dataset, Video};

criterion_group!(benches, thousand_files);

const FILES: usize = 1000;
const SHAPE: (usize, usize) = (128, 512);

fn write_npy(path: &Path) -> std::io::Result<()> {
    let mut header = format!("{{'descr': '<f2', 'fortran_order': False, 'shape': ({}, {}), }}", SHAPE.0, SHAPE.1);
    header.push_str(&" ".repeat((64 - (header.len() + 11) % 64) % 64));
    header.push('\n');
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    file.write_all(&0x3c00u16.to_le_bytes().repeat(SHAPE.0 * SHAPE.1))
}

fn thousand_files(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut videos = BTreeMap::new();
    for i in 0..FILES {
        let id = format!("v{i:04}");
        write_npy(&folder.path().join(format!("{id}.npy"))).expect("the folder is writable");
        videos.insert(id, Video { subset: "training".into(), duration: 128.0, fps: Some(1.0), frames: None, instances: Vec::new() });
    }
    let ids: Vec<String> = videos.keys().cloned().collect();
    let dataset = Dataset { classes: vec!["a".into()], videos, digest: Digest::of_bytes(b"bench"), notes: Vec::new() };
    let config = FeaturesConfig {
        path: folder.path().to_owned(),
        kind: Kind::Npy,
        dim: SHAPE.1,
        stride: Some(1.0),
        rate: None,
        count: None,
        clip: None,
        layout: Layout::TimeChannels,
        prefix: String::new(),
        array: None,
    };
    let source = FeatureSource::open(&config, &dataset).expect("the time base is known");
    let mut group = criterion.benchmark_group("features");
    group.sample_size(10);
    group.bench_function("1,000 files of [128, 512] float16, one thread", |b| {
        b.iter(|| ids.iter().map(|id| source.load(id).expect("a good file").data.len()).sum::<usize>());
    });
    group.finish();
}
