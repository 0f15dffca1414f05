//! Every reading of a run on disk: JSON lines, compressed, readable up to where a crash tore them.
//!
//! The first line names the sensors and their channels. Then a line per reading, `[ms, sensor, value, …]` with `null` for a
//! value that was absent, and `{"ms":…,"phase":…}` where a phase begins. Times are milliseconds of the monotonic clock since
//! the start, so that a jump of the wall clock changes nothing.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::sensor::{Channel, Reading};
use crate::base::fsio;

/// Version of the format.
const SCHEMA: u32 = 1;
/// Light: the sampler's own cost counts, and level 3 saves only a tenth more.
const ZSTD_LEVEL: i32 = 1;
/// What a crash may lose.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    schema: u32,
    period_ms: f64,
    /// Channels by sensor.
    sensors: Vec<Vec<Channel>>,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    ms: f64,
    phase: String,
}

/// Writes a trace.
pub struct TraceWriter {
    path: PathBuf,
    encoder: zstd::Encoder<'static, File>,
    line: Vec<u8>,
    flushed: Instant,
}

impl TraceWriter {
    /// Begins the file anew.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path, period: Duration, sensors: Vec<Vec<Channel>>) -> fsio::Result<Self> {
        let file = fsio::create_file(path)?;
        let encoder = zstd::Encoder::new(file, ZSTD_LEVEL).map_err(fsio::Error::wrap("compress", path))?;
        let mut writer = Self { path: path.to_owned(), encoder, line: Vec::new(), flushed: Instant::now() };
        let header = Header { schema: SCHEMA, period_ms: period.as_secs_f64() * 1e3, sensors };
        writer.json(&header)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Appends the values of one sensor.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn reading(&mut self, at: Duration, sensor: usize, reading: &Reading) -> fsio::Result<()> {
        self.line.clear();
        let mut write = || -> std::io::Result<()> {
            write!(self.line, "[{:.1},{sensor}", at.as_secs_f64() * 1e3)?;
            for value in &reading.values {
                match value {
                    // Microseconds and bytes are whole; the rest keeps six digits after the point.
                    Ok(value) if value.fract() == 0.0 => write!(self.line, ",{value:.0}")?,
                    Ok(value) => write!(self.line, ",{value:.6}")?,
                    Err(_) => write!(self.line, ",null")?,
                }
            }
            self.line.extend_from_slice(b"]\n");
            self.encoder.write_all(&self.line)
        };
        write().map_err(fsio::Error::wrap("write", &self.path))?;
        if self.flushed.elapsed() >= FLUSH_EVERY { self.flush() } else { Ok(()) }
    }

    /// Appends the beginning of a phase.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn phase(&mut self, at: Duration, name: &str) -> fsio::Result<()> {
        self.json(&Mark { ms: (at.as_secs_f64() * 1e4).round() / 10.0, phase: name.to_owned() })
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn finish(self) -> fsio::Result<()> {
        self.encoder.finish().map(drop).map_err(fsio::Error::wrap("write", &self.path))
    }

    fn json(&mut self, value: &impl Serialize) -> fsio::Result<()> {
        let mut line = serde_json::to_vec(value).expect("a trace is plain data");
        line.push(b'\n');
        self.encoder.write_all(&line).map_err(fsio::Error::wrap("write", &self.path))
    }

    fn flush(&mut self) -> fsio::Result<()> {
        self.flushed = Instant::now();
        self.encoder.flush().map_err(fsio::Error::wrap("write", &self.path))
    }
}

/// A trace as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Every channel, over time.
    pub series: Vec<Series>,
    /// Where phases begin: seconds and name.
    pub phases: Vec<(f64, String)>,
    /// Seconds of the last reading.
    pub end_s: f64,
    /// Seconds between samples, as asked.
    pub period_s: f64,
    /// The file ended in the middle: the run or the machine was killed.
    pub torn: bool,
}

/// One channel over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is.
    pub channel: Channel,
    /// Seconds and value; readings without a value are left out.
    pub points: Vec<(f64, f64)>,
}

/// Why a trace cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// It does not begin as a trace.
    #[error("{path} is no trace of etalon, or one of a newer version (this one reads schema {SCHEMA})")]
    NoTrace {
        /// The file.
        path: PathBuf,
    },
}

impl Trace {
    /// Reads what there is.
    ///
    /// # Errors
    /// The file cannot be read or is no trace. A torn end is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(fsio::Error::wrap("read", path))?;
        let decoder = zstd::Decoder::new(file).map_err(fsio::Error::wrap("read", path))?;
        Self::parse(decoder).ok_or_else(|| Error::NoTrace { path: path.to_owned() })
    }

    fn parse(text: impl Read) -> Option<Self> {
        let mut lines = BufReader::new(text).split(b'\n');
        let header: Header = serde_json::from_slice(&lines.next()?.ok()?).ok().filter(|h: &Header| h.schema == SCHEMA)?;
        let mut begins = vec![0];
        begins.extend(header.sensors.iter().scan(0, |sum, channels| {
            *sum += channels.len();
            Some(*sum)
        }));
        let channels = header.sensors.into_iter().flatten();
        let mut trace = Self {
            series: channels.map(|channel| Series { channel, points: Vec::new() }).collect(),
            phases: Vec::new(),
            end_s: 0.0,
            period_s: header.period_ms / 1e3,
            torn: false,
        };
        for line in lines {
            // A torn file ends in an error of the decoder or in half a line.
            let Ok(line) = line else {
                trace.torn = true;
                break;
            };
            if let Ok(mark) = serde_json::from_slice::<Mark>(&line) {
                trace.phases.push((mark.ms / 1e3, mark.phase));
            } else if let Ok(row) = serde_json::from_slice::<Vec<Option<f64>>>(&line) {
                trace.row(&row, &begins);
            } else {
                trace.torn = true;
            }
        }
        Some(trace)
    }

    fn row(&mut self, row: &[Option<f64>], begins: &[usize]) {
        let [Some(ms), Some(sensor), values @ ..] = row else { return };
        let Some(&begin) = begins.get(*sensor as usize) else { return };
        let at_s = ms / 1e3;
        self.end_s = self.end_s.max(at_s);
        for (series, value) in self.series.iter_mut().skip(begin).zip(values) {
            series.points.extend(value.map(|value| (at_s, value)));
        }
    }

    /// The channel of that name.
    pub fn channel(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|s| s.channel.name == name)
    }
}

impl Series {
    /// Growth per second between readings at least `apart_s` seconds apart, at the later one; for counters. Readings that
    /// follow one another closely (where a phase begins) would make a spike of every clock tick.
    pub fn rates(&self, apart_s: f64) -> Vec<(f64, f64)> {
        let mut rates = Vec::new();
        let mut before: Option<(f64, f64)> = None;
        for &(at_s, value) in &self.points {
            match before {
                Some((since_s, _)) if at_s - since_s < apart_s => continue,
                Some((since_s, from)) => rates.push((at_s, ((value - from) / (at_s - since_s)).max(0.0))),
                None => {}
            }
            before = Some((at_s, value));
        }
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use crate::profile::sensor::{Absent, Scope, Unit};

    fn channels() -> Vec<Vec<Channel>> {
        let channel = |name: &'static str| Channel::counter(name, Unit::Seconds, Scope::Host, "test");
        vec![vec![channel("a")], vec![channel("b"), channel("c")]]
    }

    fn write(path: &Path) {
        let mut writer = TraceWriter::create(path, Duration::from_millis(100), channels()).unwrap();
        for i in 0..1000u64 {
            let at = Duration::from_millis(100 * i);
            if i == 500 {
                writer.phase(at, "train").unwrap();
            }
            writer.reading(at, 0, &Reading { values: vec![Ok(i as f64 * 0.25)] }).unwrap();
            writer.reading(at, 1, &Reading { values: vec![Err(Absent::because("x")), Ok((i * 1_000_003) as f64)] }).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn a_trace_is_read_back_and_gaps_stay_gaps() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl.zst");
        write(&path);
        let trace = Trace::read(&path).unwrap();
        assert!(!trace.torn && trace.phases == [(50.0, "train".to_owned())]);
        assert_eq!(trace.channel("a").unwrap().points[3], (0.3, 0.75));
        assert!(trace.channel("b").unwrap().points.is_empty());
        let rates = trace.channel("a").unwrap().rates(0.05);
        assert!(rates.len() == 999 && rates.iter().all(|r| (r.1 - 2.5).abs() < 1e-6));
        assert_eq!(trace.channel("a").unwrap().rates(10.0).len(), 9);
    }

    #[test]
    fn a_torn_trace_is_readable_up_to_the_tear() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl.zst");
        write(&path);
        let whole = fsio::read(&path).unwrap();
        fsio::replace(&path, &whole[..whole.len() / 2]).unwrap();
        let trace = Trace::read(&path).unwrap();
        let read = trace.channel("a").unwrap().points.len();
        assert!(trace.torn && (200..900).contains(&read), "{read}");
        fsio::replace(&path, b"something else").unwrap();
        assert!(matches!(Trace::read(&path), Err(Error::NoTrace { .. } | Error::File(_))));
    }

    #[test]
    fn a_day_at_ten_samples_a_second_stays_below_a_hundred_megabytes() {
        // An hour of the process tree at 10 Hz, and of host, memory and network sensors at 1 Hz, all in irregular motion.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl.zst");
        let counter = |i: usize| Channel::counter(format!("c{i}"), Unit::Bytes, Scope::ProcessTree, "test");
        let sensors = vec![(0..10).map(counter).collect(), (10..30).map(counter).collect()];
        let mut writer = TraceWriter::create(&path, Duration::from_millis(100), sensors).unwrap();
        let mut rng = Stream::new(0, "trace test");
        let mut values = [0.0f64; 30];
        for tick in 0..36_000u64 {
            let at = Duration::from_millis(100 * tick) + Duration::from_micros((rng.uniform() * 300.0) as u64);
            let read = if tick % 10 == 0 { 30 } else { 10 };
            // CPU seconds in nanoseconds, bytes in pages.
            values[0] += 0.1 * rng.uniform();
            values[1..read].iter_mut().for_each(|v| *v += 4096.0 * (rng.uniform() * 1000.0).floor());
            let reading = |values: &[f64]| Reading { values: values.iter().map(|v| Ok(*v)).collect() };
            writer.reading(at, 0, &reading(&values[..10])).unwrap();
            if read == 30 {
                writer.reading(at, 1, &reading(&values[10..])).unwrap();
            }
        }
        writer.finish().unwrap();
        let day = 24 * std::fs::metadata(&path).unwrap().len();
        assert!(day < 100_000_000, "{day} bytes a day");
    }
}
