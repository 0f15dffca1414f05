//! All records as one Parquet table, a row per cell: for notebooks and databases. Derived, safe to delete. The only place
//! that names polars.

use std::path::Path;

use polars::prelude::{Column, DataFrame, ParquetWriter};

use super::error::{Error, Result};
use super::record::Record;
use crate::base::fsio;

/// Writes the table. A model's missing value is null, never zero.
///
/// Columns: key, model, fraction (percent), seed, attempt; videos, instances, video_s, classes of the sample; average_map;
/// steps, epochs, parameters, final_loss, frames_waited_s, frames_decode_s (models that read videos); wall_s, cpu_s, peak_rss_bytes, threads; device, host, cpu, experiment, started.
///
/// # Errors
/// The file cannot be written.
pub fn write_parquet(path: &Path, records: &[Record]) -> Result<()> {
    let broken = |error: polars::error::PolarsError| Error::damaged(path)(error);
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut table(records).map_err(broken)?).map_err(broken)?;
    Ok(fsio::replace(path, &bytes)?)
}

fn table(records: &[Record]) -> polars::error::PolarsResult<DataFrame> {
    let text = |name: &str, value: fn(&Record) -> &str| {
        Column::new(name.into(), records.iter().map(|r| value(r).to_owned()).collect::<Vec<String>>())
    };
    let count = |name: &str, value: fn(&Record) -> Option<u64>| Column::new(name.into(), records.iter().map(value).collect::<Vec<_>>());
    let number = |name: &str, value: fn(&Record) -> Option<f64>| Column::new(name.into(), records.iter().map(value).collect::<Vec<_>>());
    let columns = vec![
        text("key", |r| r.key.as_str()),
        text("model", |r| &r.model),
        number("fraction", |r| Some(r.fraction.value())),
        count("seed", |r| Some(r.seed)),
        count("attempt", |r| Some(u64::from(r.attempt))),
        count("videos", |r| Some(r.sample.videos as u64)),
        count("instances", |r| Some(r.sample.instances as u64)),
        number("video_s", |r| Some(r.sample.seconds)),
        count("classes", |r| Some(r.sample.classes as u64)),
        number("average_map", |r| Some(r.scores.average_map)),
        count("steps", |r| Some(r.training.steps)),
        number("epochs", |r| Some(r.training.epochs)),
        count("parameters", |r| r.training.parameters),
        number("final_loss", |r| r.training.final_loss),
        number("frames_waited_s", |r| r.training.frames.map(|f| f.waited_s)),
        number("frames_decode_s", |r| r.training.frames.map(|f| f.decode_s)),
        number("wall_s", |r| Some(r.usage.wall_s)),
        number("cpu_s", |r| Some(r.usage.cpu_s)),
        count("peak_rss_bytes", |r| Some(r.usage.peak_rss_bytes)),
        count("threads", |r| Some(r.usage.threads as u64)),
        text("device", |r| &r.provenance.device),
        text("host", |r| &r.provenance.host),
        text("cpu", |r| &r.provenance.cpu),
        text("experiment", |r| &r.provenance.experiment),
        text("started", |r| &r.provenance.started),
    ];
    DataFrame::new(records.len(), columns)
}

#[cfg(test)]
mod tests {
    use super::super::record::FrameFacts;
    use super::super::tests::{cell, record};
    use super::*;
    use crate::base::Digest;

    #[test]
    fn what_a_record_does_not_know_is_null() {
        let read_features = record(&cell(0), 1, Digest::of_bytes(b"x"));
        let mut read_videos = read_features.clone();
        read_videos.training.frames = Some(FrameFacts { waited_s: 0.0, decode_s: 2.5, decoded: 75 });
        let table = table(&[read_features, read_videos]).unwrap();
        let column = |name: &str| {
            let values = table.column(name).unwrap().f64().unwrap();
            [values.get(0), values.get(1)]
        };
        assert_eq!((column("frames_waited_s"), column("frames_decode_s")), ([None, Some(0.0)], [None, Some(2.5)]));
    }
}
