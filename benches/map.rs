//! Mean average precision on sets of the size that the official ActivityNet evaluator was timed on.
//!
//! Besides criterion's wall time it prints the CPU time of one evaluation, since that is what was recorded.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use etalon::base::Stream;
use etalon::data::{Dataset, Instance, Segment, Video};
use etalon::eval::{Detection, Detections, GroundTruth, Rules, evaluate};

criterion_group!(benches, mean_average_precision);

/// A set of generated detections, and what the official evaluator needed for one of that size.
struct Case {
    name: &'static str,
    videos: usize,
    classes: usize,
    instances_per_video: usize,
    detections_per_video: usize,
    tiou: Vec<f64>,
    recorded_cpu_s: f64,
}

fn cases() -> [Case; 2] {
    let grid = |start: f64, step: f64, count: u32| (0..count).map(|i| start + step * f64::from(i)).collect();
    [
        Case {
            name: "42,400 detections in 212 videos at 5 tIoU",
            videos: 212,
            classes: 20,
            instances_per_video: 16,
            detections_per_video: 200,
            tiou: grid(0.3, 0.1, 5),
            recorded_cpu_s: 14.6,
        },
        Case {
            name: "94,560 detections in 4,728 videos at 10 tIoU",
            videos: 4728,
            classes: 200,
            instances_per_video: 2,
            detections_per_video: 20,
            tiou: grid(0.5, 0.05, 10),
            recorded_cpu_s: 71.0,
        },
    ]
}

/// Instances anywhere in three minutes; half of the detections are blurred instances, the rest is noise. Scores have four
/// digits, as in published files, so many tie.
fn generate(case: &Case) -> (GroundTruth, Detections) {
    let mut stream = Stream::new(1, case.name);
    let random_segment = |stream: &mut Stream| {
        let start = stream.between(0.0, 170.0);
        Segment { start, end: start + stream.between(0.5, 10.0) }
    };
    let mut dataset = Dataset {
        classes: (0..case.classes).map(|class| format!("class{class:03}")).collect(),
        videos: Default::default(),
        digest: etalon::base::Digest::of_bytes(b"generated"),
        notes: Vec::new(),
    };
    let mut detections = Detections::new();
    for video in 0..case.videos {
        // A video shows one class, as in THUMOS14 and ActivityNet.
        let label = stream.below(case.classes);
        let instances: Vec<Instance> =
            (0..case.instances_per_video).map(|_| Instance { segment: random_segment(&mut stream), label }).collect();
        let found = (0..case.detections_per_video).map(|_| {
            let near = instances[stream.below(instances.len())].segment;
            let (segment, label) = if stream.uniform() < 0.5 {
                let blur = 0.1 * near.length();
                (Segment { start: near.start + blur * stream.normal(), end: near.end + blur * stream.normal() }, label)
            } else {
                (random_segment(&mut stream), stream.below(case.classes))
            };
            Detection { segment, label, score: (stream.uniform() * 1e4).round() / 1e4 }
        });
        detections.insert(format!("video{video:05}"), found.collect());
        let video_data = Video { subset: "test".into(), duration: 180.0, fps: None, frames: None, instances };
        dataset.videos.insert(format!("video{video:05}"), video_data);
    }
    let all: Vec<String> = dataset.videos.keys().cloned().collect();
    (GroundTruth::of(&dataset, &all), detections)
}

fn mean_average_precision(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("map");
    group.sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    for case in cases() {
        let (truth, detections) = generate(&case);
        let run = || evaluate(&truth, &detections, &case.tiou, Rules::Activitynet, &[]).expect("generated input is valid");
        group.bench_function(case.name, |bencher| bencher.iter(run));
        report_cpu_time(&case, || drop(run()));
    }
    group.finish();
}

/// Prints CPU seconds per evaluation, mean over about half a second, next to the recorded line.
#[expect(clippy::print_stdout, reason = "a benchmark's result")]
fn report_cpu_time(case: &Case, run: impl Fn()) {
    let (cpu, wall) = (cpu_time(), Instant::now());
    let mut runs = 0_u32;
    while wall.elapsed() < Duration::from_millis(500) {
        run();
        runs += 1;
    }
    let per_run = (cpu_time() - cpu).as_secs_f64() / f64::from(runs);
    let ratio = case.recorded_cpu_s / per_run;
    println!("{}: {per_run:.4} CPU-seconds; official evaluator {} (recorded), {ratio:.0} times as much", case.name, case.recorded_cpu_s);
}

/// CPU time of this process, all threads.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "every Linux has this clock");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
