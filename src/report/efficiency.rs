//! What a model's score costs, beside the others, at the largest fraction of the experiment.

use super::model::{Absent, Efficiency, ModelReport, Resource, Tradeoff};
use crate::stats::mean;
use crate::store::Record;

/// Scores and costs at the largest fraction that was measured; `None` without any.
pub fn of(models: &[ModelReport], records: &[Record]) -> Option<Efficiency> {
    let rows = || models.iter().flat_map(|m| &m.fractions);
    let largest = rows().max_by(|a, b| a.percent.total_cmp(&b.percent))?;
    let (mut tradeoffs, mut absent) = (Vec::new(), Vec::new());
    for model in models {
        let cells: Vec<&Record> = records.iter().filter(|r| r.model == model.name && r.fraction.value() == largest.percent).collect();
        match model.fractions.iter().find(|f| f.percent == largest.percent) {
            Some(row) => tradeoffs.push(Tradeoff {
                model: model.name.clone(),
                score: row.average_map,
                training_s: mean_of(&cells, |r| r.usage.training_s()),
                cpu_s: row.cost.cpu_s,
                gmac_per_minute: mean_of(&cells, gmac_per_minute),
                peak_rss_bytes: row.cost.peak_rss_bytes,
                parameters: model.parameters,
                unbeaten: Vec::new(),
            }),
            None => note(&mut absent, None, &model.name, &format!("no cell at {} % is done", largest.percent)),
        }
    }
    for row in &tradeoffs {
        let cells = || records.iter().filter(|r| r.model == row.model && r.fraction.value() == largest.percent);
        if row.training_s.is_none() {
            note(&mut absent, Some(Resource::TrainingTime), &row.model, "the records do not tell the phases apart");
        }
        if row.gmac_per_minute.is_none() {
            // Since products are counted, a record also says over how many seconds.
            let counts = cells().all(|r| r.detection.seconds > 0.0);
            let reason = match () {
                () if cells().any(|r| r.provenance.trainer.is_some()) => "its trainer does not say",
                () if counts => "no native network",
                () => "not counted in records this old",
            };
            note(&mut absent, Some(Resource::Compute), &row.model, reason);
        }
        if row.parameters.is_none() {
            let told = cells().all(|r| r.provenance.trainer.is_none());
            note(&mut absent, Some(Resource::Parameters), &row.model, if told { "none to train" } else { "its trainer does not say" });
        }
    }
    for resource in Resource::ALL {
        for at in unbeaten(&tradeoffs.iter().map(|t| (resource.of(t), t.score.mean)).collect::<Vec<_>>()) {
            tradeoffs[at].unbeaten.push(resource);
        }
    }
    Some(Efficiency { percent: largest.percent, videos: largest.videos, rows: tradeoffs, absent })
}

impl Resource {
    /// In the order of tables.
    pub const ALL: [Self; 5] = [Self::TrainingTime, Self::CpuTime, Self::Compute, Self::Memory, Self::Parameters];

    /// How much of it a model takes, in its base unit.
    pub fn of(self, row: &Tradeoff) -> Option<f64> {
        match self {
            Self::TrainingTime => row.training_s,
            Self::CpuTime => Some(row.cpu_s),
            Self::Compute => row.gmac_per_minute,
            Self::Memory => Some(row.peak_rss_bytes as f64),
            Self::Parameters => row.parameters.map(|p| p as f64),
        }
    }

    /// As it is called in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::TrainingTime => "training time",
            Self::CpuTime => "CPU time",
            Self::Compute => "GMAC per minute",
            Self::Memory => "peak memory",
            Self::Parameters => "parameters",
        }
    }
}

fn gmac_per_minute(record: &Record) -> Option<f64> {
    let facts = &record.detection;
    (facts.seconds > 0.0).then_some(facts.macs? as f64 / 1e9 / (facts.seconds / 60.0))
}

/// The mean over cells; `None` as soon as one does not know.
pub(super) fn mean_of(cells: &[&Record], value: impl Fn(&Record) -> Option<f64>) -> Option<f64> {
    mean(&cells.iter().map(|r| value(r)).collect::<Option<Vec<_>>>()?)
}

fn note(absent: &mut Vec<Absent>, resource: Option<Resource>, model: &str, reason: &str) {
    match absent.iter_mut().find(|a| a.resource == resource && a.reason == reason) {
        Some(group) => group.models.push(model.to_owned()),
        None => absent.push(Absent { resource, models: vec![model.to_owned()], reason: reason.to_owned() }),
    }
}

/// The (cost, score) points that no other one matches in both and beats in one: the Pareto front, by index.
fn unbeaten(points: &[(Option<f64>, f64)]) -> Vec<usize> {
    let known: Vec<(usize, f64, f64)> = points.iter().enumerate().filter_map(|(i, p)| Some((i, p.0?, p.1))).collect();
    let beats = |a: &(usize, f64, f64), b: &(usize, f64, f64)| a.1 <= b.1 && a.2 >= b.2 && (a.1 < b.1 || a.2 > b.2);
    known.iter().filter(|point| !known.iter().any(|other| beats(other, point))).map(|p| p.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_holds_what_nothing_beats_at_its_cost() {
        let points = [(Some(10.0), 0.9), (Some(5.0), 0.8), (Some(7.0), 0.7), (None, 0.99), (Some(5.0), 0.8), (Some(12.0), 0.9)];
        assert_eq!(unbeaten(&points), [0, 1, 4]);
        assert_eq!(unbeaten(&[]), [0; 0]);
    }
}
