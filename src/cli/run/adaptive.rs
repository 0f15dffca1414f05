//! `etalon run --adaptive`: spends a budget of time on the cells that narrow the forecasts most.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::base::{Percent, units};
use crate::cli::{Ui, ui};
use crate::curves::{Choice, Curve, Forecast, Known, Observation, Open, Options, Reason, choose};
use crate::protocol::{Cell, CellKey};
use crate::report::source::observation;
use crate::run::{Error, Stop, Tally};
use crate::store::{State, Store};

/// What there is to spend and on what.
pub struct Task<'a> {
    /// Where results are and go.
    pub store: &'a Store,
    /// The experiment's cells: what is done of them is known.
    pub grid: &'a [Cell],
    /// Those that may be run.
    pub cells: &'a [Cell],
    /// Size of the whole training part, in videos.
    pub training: usize,
    /// Size whose forecast is narrowed, in videos.
    pub target: f64,
    /// Wall seconds of all `cells` together, those of earlier runs included.
    pub budget_s: f64,
    /// Cells at once.
    pub jobs: usize,
    /// The wish to stop.
    pub stop: &'a Stop,
    /// Who is told.
    pub ui: &'a Ui,
}

/// What the budget was spent on.
#[derive(Serialize)]
pub struct Spending {
    budget_s: f64,
    /// Wall seconds of the cells that may be run, those of earlier runs included.
    spent_s: f64,
    target_videos: f64,
    chosen: Vec<Chosen>,
    forecasts: Vec<Narrowed>,
}

/// A cell that was run, and why.
#[derive(Serialize)]
struct Chosen {
    #[serde(skip)]
    key: CellKey,
    model: String,
    fraction: Percent,
    seed: u64,
    videos: f64,
    /// By how much the interval of the forecast was to narrow; `None` in the start design.
    expected_shrinkage: Option<f64>,
    /// `None` when nothing of the model had been timed.
    predicted_s: Option<f64>,
    /// `None` when it failed.
    wall_s: Option<f64>,
}

/// What is expected of a model at the target before and after; `None` without a curve. A model that had no curve before is
/// compared with its first.
#[derive(Serialize)]
struct Narrowed {
    model: String,
    before: Option<Forecast>,
    after: Option<Forecast>,
}

/// A finished cell.
#[derive(Clone, Copy)]
struct Done {
    observation: Observation,
    wall_s: f64,
}

impl Task<'_> {
    /// Runs cells by `work` until the budget covers no other one, or none is left.
    ///
    /// # Errors
    /// A model has only one size, the store cannot be read, or `work` fails.
    pub fn run(&self, work: impl Fn(&[Cell]) -> anyhow::Result<Tally>) -> anyhow::Result<(Tally, Spending)> {
        let names: BTreeSet<&str> = self.cells.iter().map(|c| c.model.as_str()).collect();
        let forecasts = names.iter().map(|&name| Narrowed { model: name.to_owned(), before: None, after: None }).collect();
        let mut spending = Spending { budget_s: self.budget_s, spent_s: 0.0, target_videos: self.target, chosen: Vec::new(), forecasts };
        let (mut tally, seen, mut failed) = (Tally::default(), RefCell::default(), BTreeSet::new());
        loop {
            let models = self.models(&names, &seen, &failed)?;
            spending.spent_s = self.done(&seen).map(|(_, done)| done.wall_s).sum();
            spending.note(&models);
            if self.stop.requested() {
                break;
            }
            let (batch, waiting) = self.batch(models, spending.spent_s);
            let cells: Vec<Cell> = match (batch.is_empty(), waiting) {
                (true, None) => break,
                // Another run works on all that could be chosen: what it finds decides what is next.
                (true, Some(cell)) => vec![cell.clone()],
                (false, _) => batch.iter().map(|(cell, _)| (*cell).clone()).collect(),
            };
            let chosen = batch.iter().map(|(cell, choice)| self.chosen(cell, choice));
            spending.chosen.extend(chosen.inspect(|chosen| self.tell(chosen)));
            let made = work(&cells)?;
            tally.done += made.done;
            failed.extend(made.failed.iter().map(|f| f.cell.key.clone()));
            tally.failed.extend(made.failed);
        }
        let done: BTreeMap<CellKey, Done> = self.done(&seen).collect();
        spending.chosen.iter_mut().for_each(|c| c.wall_s = done.get(&c.key).map(|d| d.wall_s));
        spending.chosen.retain(|c| c.wall_s.is_some() || failed.contains(&c.key));
        tally.found = done.len() - tally.done;
        tally.left = self.cells.iter().filter(|c| !done.contains_key(&c.key) && !failed.contains(&c.key)).count();
        Ok((tally, spending))
    }

    fn videos(&self, cell: &Cell) -> f64 {
        cell.spec.fraction.of(self.training) as f64
    }

    /// The finished ones of the cells that may be run.
    fn done<'b>(&'b self, seen: &'b RefCell<BTreeMap<CellKey, Done>>) -> impl Iterator<Item = (CellKey, Done)> + 'b {
        self.cells.iter().filter_map(move |c| Some((c.key.clone(), *seen.borrow().get(&c.key)?)))
    }

    /// What is known of each model now, with the cells behind [`Known::open`].
    fn models<'b>(
        &'b self,
        names: &BTreeSet<&str>,
        seen: &RefCell<BTreeMap<CellKey, Done>>,
        failed: &BTreeSet<CellKey>,
    ) -> anyhow::Result<Vec<(Known, Vec<&'b Cell>)>> {
        let mut seen = seen.borrow_mut();
        for cell in self.grid.iter().filter(|c| names.contains(c.model.as_str())) {
            if !seen.contains_key(&cell.key)
                && let Some(record) = self.store.record(&cell.key)?
            {
                seen.insert(cell.key.clone(), Done { observation: observation(&record), wall_s: record.usage.wall_s });
            }
        }
        names.iter().map(|name| self.model(name, &seen, failed)).collect()
    }

    fn model<'b>(
        &'b self,
        name: &str,
        seen: &BTreeMap<CellKey, Done>,
        failed: &BTreeSet<CellKey>,
    ) -> anyhow::Result<(Known, Vec<&'b Cell>)> {
        let mut known = Known::default();
        for done in self.grid.iter().filter(|c| c.model == name).filter_map(|c| seen.get(&c.key)) {
            known.observations.push(done.observation);
            known.costs.push((done.observation.n, done.wall_s));
        }
        let mine = || self.cells.iter().filter(|c| c.model == name);
        known.planned = mine().map(|c| self.videos(c)).chain(known.observations.iter().map(|o| o.n)).collect();
        if known.planned.iter().all(|n| *n == known.planned[0]) {
            let text = format!(
                "--adaptive needs at least two numbers of training videos, and the cells of {name:?} have only one, {}: add fractions, or \
                 drop --only and --fraction",
                known.planned[0]
            );
            return Err(Error::Request(text).into());
        }
        let mut cells = Vec::new();
        for cell in mine().filter(|c| !seen.contains_key(&c.key) && !failed.contains(&c.key)) {
            let pending = self.store.attempts(&cell.key)?.last().is_some_and(|a| a.state == State::Running);
            known.open.push(Open { n: self.videos(cell), pending });
            cells.push(cell);
        }
        Ok((known, cells))
    }

    /// As many cells as run at once, each chosen as if those before had been run; and, where not the budget forbids another
    /// one, a cell that another run holds.
    fn batch<'b>(&self, models: Vec<(Known, Vec<&'b Cell>)>, spent_s: f64) -> (Vec<(&'b Cell, Choice)>, Option<&'b Cell>) {
        let (mut known, cells): (Vec<Known>, Vec<Vec<&Cell>>) = models.into_iter().unzip();
        let held = |(known, cells): (&Known, &Vec<&'b Cell>)| Some(cells[known.open.iter().position(|o| o.pending)?]);
        let waiting = known.iter().zip(&cells).find_map(held);
        let mut batch = Vec::new();
        while batch.len() < self.jobs
            && let Some(choice) = choose(&known, self.target, self.budget_s - spent_s, &Options::default())
        {
            known[choice.model].open[choice.open].pending = true;
            batch.push((cells[choice.model][choice.open], choice));
        }
        let is_budget_spent = batch.is_empty() && choose(&known, self.target, f64::INFINITY, &Options::default()).is_some();
        (batch, waiting.filter(|_| !is_budget_spent))
    }

    fn chosen(&self, cell: &Cell, choice: &Choice) -> Chosen {
        let expected_shrinkage = match choice.reason {
            Reason::Start => None,
            Reason::Narrows(by) => Some(by),
        };
        Chosen {
            key: cell.key.clone(),
            model: cell.model.clone(),
            fraction: cell.spec.fraction,
            seed: cell.spec.seed,
            videos: self.videos(cell),
            expected_shrinkage,
            predicted_s: choice.cost,
            wall_s: None,
        }
    }

    /// The line of a cell that is about to run.
    fn tell(&self, chosen: &Chosen) {
        let Chosen { model, fraction, seed, videos, expected_shrinkage, predicted_s, .. } = chosen;
        let why = match expected_shrinkage {
            None => "start of the curve".to_owned(),
            Some(by) => format!("narrows the interval at {:.0} videos by {by:.4}", self.target),
        };
        let cost = predicted_s.map_or("for a time not known yet".to_owned(), |s| format!("for about {}", units::seconds(s)));
        let line = format!("{model} {fraction} % ({videos:.0} videos) seed {seed}: {why}, {cost}");
        if self.ui.json { self.ui.remark(line) } else { self.ui.line(line) }
    }
}

impl Spending {
    /// Keeps what is expected at the target now.
    fn note(&mut self, models: &[(Known, Vec<&Cell>)]) {
        for (narrowed, (known, _)) in self.forecasts.iter_mut().zip(models) {
            narrowed.after = Curve::fit(&known.observations, &Options::default()).ok().map(|c| c.expected(self.target_videos));
            narrowed.before = narrowed.before.or(narrowed.after);
        }
    }

    /// The end of the run, as a table.
    pub fn show(&self, ui: &Ui) {
        let mut table = ui::table(&["model", "expected score", "interval before", "interval after", "width before", "width after"]);
        for Narrowed { model, before, after } in &self.forecasts {
            let interval = |f: &Option<Forecast>| f.map_or("–".into(), |f| format!("{:.4} – {:.4}", f.interval.lower, f.interval.upper));
            let width = |f: &Option<Forecast>| f.map_or("–".into(), |f| format!("{:.4}", f.interval.width()));
            let median = after.map_or("–".into(), |f| format!("{:.4}", f.median));
            table.add_row([model.clone(), median, interval(before), interval(after), width(before), width(after)]);
        }
        let level = self.forecasts.iter().find_map(|f| f.after).map_or(String::new(), |f| format!(" ({:.0} %)", 100.0 * f.interval.level));
        ui.line(format!("at {:.0} videos{level}:\n{table}", self.target_videos));
        let [spent, budget] = [self.spent_s, self.budget_s].map(units::seconds);
        ui.line(format!("{spent} of the budget of {budget} are spent, earlier runs included"));
    }
}
