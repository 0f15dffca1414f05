//! Progress of a run: bars on a terminal, else one line per finished cell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::base::units;
use crate::cli::Ui;
use crate::event::{Event, Phase};
use crate::protocol::{Cell, CellKey};
use crate::run::{Happening, Watch};

/// Steps of the overall bar per cell: running cells count by how far they are.
const STEPS: u64 = 1000;

/// Share of a cell's time that its training takes, about.
const TRAINING: f64 = 0.9;

/// How often bars are redrawn when nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// One bar for the whole run and one per running cell.
pub struct Progress {
    ui: Ui,
    bars: MultiProgress,
    overall: ProgressBar,
    cells: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<CellKey, Running>,
    settled: usize,
    failed: usize,
    /// Messages of failed attempts that were shown.
    told: BTreeSet<String>,
}

struct Running {
    bar: ProgressBar,
    phase: Phase,
    /// How far the cell is, in 0..1.
    share: f64,
}

impl Progress {
    /// Watches a run of `cells` cells.
    pub fn new(ui: &Ui, cells: usize) -> Self {
        let target = if ui.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let bar = ProgressBar::new(cells as u64 * STEPS).with_style(overall_style()).with_message(count(0, cells, 0));
        let overall = bars.add(bar);
        overall.enable_steady_tick(TICK);
        Self { ui: *ui, bars, overall, cells, state: Mutex::default() }
    }

    /// Removes the bars.
    pub fn finish(&self) {
        self.overall.finish_and_clear();
        let _ = self.bars.clear();
    }

    /// Messages of failed attempts that were shown, and need not be shown again.
    pub fn told(&self) -> BTreeSet<String> {
        let told = &self.state.lock().unwrap_or_else(PoisonError::into_inner).told;
        if self.ui.quiet { BTreeSet::new() } else { told.clone() }
    }

    fn start(&self, cell: &Cell, state: &mut State) {
        let bar = self.bars.add(ProgressBar::new(0).with_style(waiting_style()).with_prefix(name(cell)));
        bar.enable_steady_tick(TICK);
        state.running.insert(cell.key.clone(), Running { bar, phase: Phase::Load, share: 0.0 });
    }

    fn end(&self, cell: &Cell, state: &mut State) {
        if let Some(Running { bar, .. }) = state.running.remove(&cell.key) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Moves the overall bar to where the cells are.
    fn update(&self, state: &State) {
        let done = state.settled as f64 + state.running.values().map(|r| r.share).sum::<f64>();
        self.overall.set_position((done * STEPS as f64) as u64);
        self.overall.set_message(count(state.settled, self.cells, state.failed));
    }

    /// A line above the bars, or on standard error.
    fn say(&self, text: String) {
        if !self.ui.live {
            self.ui.remark(text);
        } else if !self.ui.quiet {
            let _ = self.bars.println(text);
        }
    }
}

impl Watch for Progress {
    fn watch(&self, cell: &Cell, happening: Happening<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        match happening {
            Happening::Started { .. } => self.start(cell, state),
            Happening::Event(event) => {
                if let Some(running) = state.running.get_mut(&cell.key) {
                    running.show(event);
                }
            }
            Happening::Finished(record) => {
                self.end(cell, state);
                state.settled += 1;
                let (map, time) = (record.scores.average_map, units::seconds(record.usage.wall_s));
                self.say(format!("[{}/{}] {}: mAP {map:.4}, {time}", state.settled, self.cells, name(cell)));
            }
            Happening::AlreadyDone => state.settled += 1,
            Happening::AttemptFailed(outcome) => {
                self.end(cell, state);
                let message = outcome.to_string();
                if state.told.contains(&message) {
                    self.say(format!("{}: an attempt failed in the same way", name(cell)));
                } else {
                    self.say(format!("{}: an attempt failed: {message}", name(cell)));
                    state.told.insert(message);
                }
            }
            Happening::Failed => {
                state.failed += 1;
                state.settled += 1;
            }
            Happening::Interrupted => self.end(cell, state),
        }
        self.update(state);
    }
}

impl Running {
    fn show(&mut self, event: &Event) {
        match event {
            Event::Phase { phase } => {
                self.phase = *phase;
                self.bar.set_style(waiting_style());
                self.bar.set_message(match phase {
                    Phase::Load => "load",
                    Phase::Train => "train",
                    Phase::Detect => "detect",
                    Phase::Evaluate => "evaluate",
                });
            }
            Event::Progress { done, total, loss } => {
                let share = *done as f64 / (*total).max(1) as f64;
                self.share = match self.phase {
                    Phase::Load => 0.0,
                    Phase::Train => TRAINING * share,
                    Phase::Detect => TRAINING + (1.0 - TRAINING) * share,
                    Phase::Evaluate => 1.0,
                };
                self.bar.set_style(counting_style());
                self.bar.set_length(*total);
                self.bar.set_position(*done);
                if let Some(loss) = loss {
                    self.bar.set_message(format!("train, loss {loss:.4}"));
                }
            }
            Event::Note { .. } => {}
        }
    }
}

fn name(cell: &Cell) -> String {
    format!("{} {} % seed {}", cell.model, cell.spec.fraction, cell.spec.seed)
}

fn count(settled: usize, cells: usize, failed: usize) -> String {
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{settled}/{cells} cells{failed}")
}

fn overall_style() -> ProgressStyle {
    style("{msg} {wide_bar:.cyan/dim} {elapsed}{left}").with_key("left", |state: &ProgressState, out: &mut dyn Write| {
        // Nothing is known before anything has happened.
        if let (Some(all), done @ 1..) = (state.len(), state.pos()) {
            let left = state.elapsed().mul_f64(all.saturating_sub(done) as f64 / done as f64);
            let _ = write!(out, ", about {:#} left", HumanDuration(left));
        }
    })
}

/// A phase that does not say how far it is.
fn waiting_style() -> ProgressStyle {
    style("  {prefix:<28} {msg}")
}

fn counting_style() -> ProgressStyle {
    style("  {prefix:<28} {msg:<19} {bar:24.green/dim} {pos}/{len}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are valid").progress_chars("━╸─")
}
