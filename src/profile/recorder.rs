//! Samples sensors at a fixed rate on a thread of its own, sums up what they say over the run and each phase, and keeps the
//! trace.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sensor::{Channel, Missing, Reading, Sensor};
use super::summary::{Metrics, PhaseSummary, Sampler, Summary, Tally};
use super::trace::TraceWriter;

/// Default time between samples.
pub const PERIOD: Duration = Duration::from_millis(100);

/// Above this share of a core the reader is warned of the sampler's cost.
const DEAR_PERCENT: f64 = 1.0;

/// Is told every value as it is read: seconds since the start, channel, value.
pub type Watch = Box<dyn FnMut(Duration, &Channel, f64) + Send>;

/// What a recorder reads, how often, and where it keeps it.
pub struct Options {
    /// What can be read.
    pub sensors: Vec<Box<dyn Sensor>>,
    /// What cannot.
    pub missing: Vec<Missing>,
    /// Time between samples.
    pub period: Duration,
    /// File of the trace.
    pub trace: Option<PathBuf>,
    /// Who looks on.
    pub watch: Option<Watch>,
}

/// A running recorder. Dropped without [`Recorder::finish`], it stops.
pub struct Recorder {
    messages: Sender<Message>,
    thread: JoinHandle<Summary>,
}

/// Tells a recorder of phases; what it says after the recorder's end is lost.
pub struct Marker(Sender<Message>);

impl Marker {
    /// A phase begins, and the one before ends.
    pub fn phase(&self, name: impl Into<String>) {
        let _ = self.0.send(Message::Phase(name.into()));
    }
}

enum Message {
    Phase(String),
    Finish,
}

impl Recorder {
    /// Takes the first sample before it returns, so that what follows is measured from here. Never fails: what cannot be
    /// read or written becomes an absent value or a warning.
    pub fn start(options: Options) -> Self {
        let (messages, inbox) = mpsc::channel();
        let (ready, begun) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            lower_priority();
            let mut state = State::new(options);
            state.sample(true);
            let _ = ready.send(());
            let mut next = state.period;
            loop {
                match inbox.recv_timeout(next.saturating_sub(state.elapsed())) {
                    Ok(Message::Phase(name)) => state.begin_phase(name),
                    Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        let late = state.elapsed().saturating_sub(next);
                        state.sampler.late += u64::from(late > state.period / 2);
                        state.sample(false);
                        // On the grid of the start: lateness does not add up, and a long pause is not caught up on.
                        let passed = (state.elapsed().as_nanos() / state.period.as_nanos()) as u32;
                        let due = (next.as_nanos() / state.period.as_nanos()) as u32;
                        state.sampler.missed += u64::from(passed.saturating_sub(due));
                        next = state.period * (passed.max(due) + 1);
                    }
                }
            }
            state.finish()
        });
        let _ = begun.recv();
        Self { messages, thread }
    }

    /// A phase begins, and the one before ends.
    pub fn phase(&self, name: impl Into<String>) {
        self.marker().phase(name);
    }

    /// For another thread that sees phases begin.
    pub fn marker(&self) -> Marker {
        Marker(self.messages.clone())
    }

    /// Takes the last sample and sums up.
    pub fn finish(self) -> Summary {
        let _ = self.messages.send(Message::Finish);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

struct Stretch {
    name: String,
    wall: Duration,
    tallies: Vec<Vec<Tally>>,
}

struct State {
    begun: Instant,
    period: Duration,
    sensors: Vec<Box<dyn Sensor>>,
    due: Vec<Duration>,
    missing: Vec<Missing>,
    total: Vec<Vec<Tally>>,
    phase: Option<(String, Duration, Vec<Vec<Tally>>)>,
    phases: Vec<Stretch>,
    trace: Option<TraceWriter>,
    watch: Option<Watch>,
    sampler: Sampler,
    warnings: Vec<String>,
    reading: Reading,
}

impl State {
    fn new(options: Options) -> Self {
        let Options { sensors, missing, period, trace, watch } = options;
        let mut warnings = Vec::new();
        let channels = || sensors.iter().map(|s| s.channels().to_vec()).collect();
        let trace = trace.and_then(|path| {
            TraceWriter::create(&path, period, channels()).map_err(|e| warnings.push(format!("no trace is kept: {}", chain(&e)))).ok()
        });
        Self {
            begun: Instant::now(),
            period: period.max(Duration::from_millis(1)),
            due: vec![Duration::ZERO; sensors.len()],
            total: sensors.iter().map(|s| vec![Tally::default(); s.channels().len()]).collect(),
            sensors,
            missing,
            phase: None,
            phases: Vec::new(),
            trace,
            watch,
            sampler: Sampler { period_s: period.as_secs_f64(), ..Sampler::default() },
            warnings,
            reading: Reading::default(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Reads the sensors whose time has come, or all.
    fn sample(&mut self, all: bool) {
        self.sampler.samples += 1;
        for at in 0..self.sensors.len() {
            let now = self.begun.elapsed();
            if !all && now < self.due[at] {
                continue;
            }
            let sensor = &mut self.sensors[at];
            // Half a period of grace: a sensor of 1 Hz is read at every tenth sample of 10 Hz, not at every eleventh.
            self.due[at] = now + sensor.period().saturating_sub(self.period / 2);
            self.reading.values.clear();
            sensor.read(&mut self.reading);
            debug_assert_eq!(self.reading.values.len(), sensor.channels().len(), "a value per channel");
            let phase = self.phase.as_mut().map(|p| &mut p.2[at]);
            for (tally, value) in self.total[at].iter_mut().zip(&self.reading.values) {
                tally.add(now.as_secs_f64(), value);
            }
            for (tally, value) in phase.into_iter().flatten().zip(&self.reading.values) {
                tally.add(now.as_secs_f64(), value);
            }
            if let Some(watch) = &mut self.watch {
                for (channel, value) in sensor.channels().iter().zip(&self.reading.values) {
                    if let Ok(value) = value {
                        watch(now, channel, *value);
                    }
                }
            }
            if let Some(trace) = &mut self.trace
                && let Err(error) = trace.reading(now, at, &self.reading)
            {
                self.warnings.push(format!("the trace ends early: {}", chain(&error)));
                self.trace = None;
            }
        }
    }

    fn begin_phase(&mut self, name: String) {
        self.sample(true);
        let now = self.elapsed();
        self.end_phase(now);
        let tallies = self.total.iter().map(|sensor| sensor.iter().map(Tally::continued).collect()).collect();
        if let Some(trace) = &mut self.trace {
            // A failure shows at the next reading.
            let _ = trace.phase(now, &name);
        }
        self.phase = Some((name, now, tallies));
    }

    fn end_phase(&mut self, now: Duration) {
        let Some((name, begun, tallies)) = self.phase.take() else { return };
        let wall = now - begun;
        match self.phases.iter_mut().find(|p| p.name == name) {
            Some(earlier) => {
                earlier.wall += wall;
                for (a, b) in earlier.tallies.iter_mut().flatten().zip(tallies.iter().flatten()) {
                    a.merge(b);
                }
            }
            None => self.phases.push(Stretch { name, wall, tallies }),
        }
    }

    fn finish(mut self) -> Summary {
        self.sample(true);
        let wall = self.elapsed();
        self.end_phase(wall);
        if let Some(trace) = self.trace.take()
            && let Err(error) = trace.finish()
        {
            self.warnings.push(format!("the trace ends early: {}", chain(&error)));
        }
        let wall_s = wall.as_secs_f64();
        let cpu_s = thread_cpu_s();
        self.sampler.achieved_hz = self.sampler.samples as f64 / wall_s;
        self.sampler.cpu_s = cpu_s;
        self.sampler.cpu_percent = 100.0 * cpu_s / wall_s;
        if self.sampler.cpu_percent > DEAR_PERCENT && wall_s > 1.0 {
            let percent = self.sampler.cpu_percent;
            self.warnings.push(format!("sampling took {percent:.1} % of a core; a longer period takes less"));
        }
        Summary {
            metrics: self.metrics(&self.total, wall_s),
            phases: self.phases.iter().map(|p| self.phase_summary(p)).collect(),
            sampler: self.sampler.clone(),
            warnings: self.warnings,
        }
    }

    fn phase_summary(&self, stretch: &Stretch) -> PhaseSummary {
        let wall_s = stretch.wall.as_secs_f64();
        let mut metrics = self.metrics(&stretch.tallies, wall_s);
        // Why a channel is absent is said once, for the whole run. A rate over less than a sample is noise.
        let short = stretch.wall < self.period;
        metrics.retain(|name, metric| metric.value().is_some() && !(short && name.ends_with(".rate")));
        PhaseSummary { name: stretch.name.clone(), wall_s, metrics }
    }

    fn metrics(&self, tallies: &[Vec<Tally>], wall_s: f64) -> Metrics {
        let mut metrics = Metrics::new();
        for (sensor, tallies) in self.sensors.iter().zip(tallies) {
            for (channel, tally) in sensor.channels().iter().zip(tallies) {
                tally.report(channel, wall_s, &mut metrics);
            }
        }
        for Missing { channels, reason } in &self.missing {
            for channel in channels {
                let mut tally = Tally::default();
                tally.add(0.0, &Err(reason.clone()));
                tally.report(channel, wall_s, &mut metrics);
            }
        }
        metrics
    }
}

/// The error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What is measured comes first. Fails only where it does no harm.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    // SAFETY: numbers only; on Linux, 0 names the calling thread.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 5);
    }
}

/// CPU seconds of this thread.
fn thread_cpu_s() -> f64 {
    super::process::clock_s(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::sensor::{Absent, Scope, Unit};
    use crate::profile::trace::Trace;

    /// Counts its readings, and fails from some reading on.
    struct Counter {
        channels: [Channel; 1],
        readings: u32,
        fails_at: u32,
        period: Duration,
    }

    impl Counter {
        fn boxed(name: &'static str, fails_at: u32, period: Duration) -> Box<dyn Sensor> {
            let channels = [Channel::counter(name, Unit::Count, Scope::Host, "test")];
            Box::new(Self { channels, readings: 0, fails_at, period })
        }
    }

    impl Sensor for Counter {
        fn channels(&self) -> &[Channel] {
            &self.channels
        }
        fn read(&mut self, reading: &mut Reading) {
            self.readings += 1;
            reading.push(if self.readings >= self.fails_at { Err(Absent::because("gone")) } else { Ok(f64::from(self.readings)) });
        }
        fn period(&self) -> Duration {
            self.period
        }
    }

    fn options(sensors: Vec<Box<dyn Sensor>>, trace: Option<PathBuf>) -> Options {
        Options { sensors, missing: Vec::new(), period: Duration::from_millis(5), trace, watch: None }
    }

    #[test]
    fn phases_split_a_counter_without_a_gap_and_the_trace_holds_every_reading() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl.zst");
        let recorder = Recorder::start(options(vec![Counter::boxed("n", u32::MAX, Duration::ZERO)], Some(path.clone())));
        recorder.phase("load");
        std::thread::sleep(Duration::from_millis(40));
        recorder.phase("train");
        std::thread::sleep(Duration::from_millis(40));
        recorder.phase("load");
        let summary = recorder.finish();
        let grown = |m: &Metrics| m["n"].value().unwrap();
        let names: Vec<&str> = summary.phases.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["load", "train"]);
        assert!(summary.sampler.samples > 5 && summary.phases[1].wall_s > 0.02);
        let trace = Trace::read(&path).unwrap();
        let points = &trace.channel("n").unwrap().points;
        assert_eq!(points.len() as u64, summary.sampler.samples);
        // The readings up to the first mark lie before the first phase: one at least, more on a busy machine.
        let before = points.iter().filter(|p| p.0 <= trace.phases[0].0).count() as f64 - 1.0;
        assert_eq!(grown(&summary.metrics), before + grown(&summary.phases[0].metrics) + grown(&summary.phases[1].metrics));
        assert_eq!(trace.phases.iter().map(|p| p.1.as_str()).collect::<Vec<_>>(), ["load", "train", "load"]);
    }

    #[test]
    fn a_sensor_that_fails_keeps_what_it_said_and_a_missing_one_its_reason() {
        let missing = Missing {
            channels: vec![Channel::level("gpu0.power", Unit::Watts, Scope::Device, "NVML")],
            reason: Absent::because("no driver"),
        };
        let sensors = vec![Counter::boxed("dies", 3, Duration::ZERO), Counter::boxed("slow", u32::MAX, Duration::from_secs(60))];
        let recorder = Recorder::start(Options { missing: vec![missing], ..options(sensors, Some("/proc/no/trace".into())) });
        std::thread::sleep(Duration::from_millis(30));
        let summary = recorder.finish();
        assert_eq!(summary.value("dies"), Some(1.0));
        assert_eq!(summary.value("slow"), Some(1.0), "read at the start and at the end only");
        assert_eq!(summary.value("gpu0.power.peak"), None);
        assert!(summary.warnings[0].starts_with("no trace is kept: "), "{:?}", summary.warnings);
    }
}
