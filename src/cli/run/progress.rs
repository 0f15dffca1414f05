//! Progress of a run: bars on a terminal, else one line per finished cell.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::units;
use crate::cli::Ui;
use crate::event::{Event, Phase};
use crate::protocol::{Cell, CellKey};
use crate::run::{Happening, Watch};

/// One bar for the whole run and one per running cell.
pub struct Progress {
    ui: Ui,
    bars: MultiProgress,
    overall: ProgressBar,
    running: Mutex<BTreeMap<CellKey, ProgressBar>>,
    failed: AtomicUsize,
}

impl Progress {
    /// Watches a run of `cells` cells.
    pub fn new(ui: &Ui, cells: usize) -> Self {
        let target = if ui.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let overall =
            bars.add(ProgressBar::new(cells as u64).with_style(style("[{elapsed}] {wide_bar} {pos}/{len} cells{msg}, {eta} left")));
        overall.enable_steady_tick(Duration::from_secs(1));
        Self { ui: *ui, bars, overall, running: Mutex::default(), failed: AtomicUsize::new(0) }
    }

    /// Removes the bars.
    pub fn finish(&self) {
        self.overall.finish_and_clear();
        let _ = self.bars.clear();
    }

    fn with_bar(&self, cell: &Cell, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(&cell.key) {
            act(bar);
        }
    }

    fn start(&self, cell: &Cell) {
        let bar = ProgressBar::new(0).with_style(style("  {prefix} {msg} {bar:20} {pos}/{len}")).with_prefix(name(cell));
        let bar = self.bars.add(bar);
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(cell.key.clone(), bar);
    }

    fn end(&self, cell: &Cell) {
        if let Some(bar) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&cell.key) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// A cell is settled: counts it.
    fn settle(&self) {
        self.overall.inc(1);
        match self.failed.load(Ordering::Relaxed) {
            0 => {}
            failed => self.overall.set_message(format!(", {failed} failed")),
        }
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
        match happening {
            Happening::Started { .. } => self.start(cell),
            Happening::Event(event) => self.with_bar(cell, |bar| show(bar, event)),
            Happening::Finished(record) => {
                self.end(cell);
                self.settle();
                let (done, all) = (self.overall.position(), self.overall.length().unwrap_or(0));
                let (map, time) = (record.scores.average_map, units::seconds(record.usage.wall_s));
                self.say(format!("[{done}/{all}] {}: mAP {map:.4}, {time}", name(cell)));
            }
            Happening::AlreadyDone => self.settle(),
            Happening::AttemptFailed(outcome) => {
                self.end(cell);
                self.say(format!("{}: an attempt failed: {outcome}", name(cell)));
            }
            Happening::Failed => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.settle();
            }
            Happening::Interrupted => self.end(cell),
        }
    }
}

fn show(bar: &ProgressBar, event: &Event) {
    match event {
        Event::Phase { phase } => {
            bar.reset();
            bar.set_length(0);
            bar.set_message(match phase {
                Phase::Load => "load",
                Phase::Train => "train",
                Phase::Detect => "detect",
                Phase::Evaluate => "evaluate",
            });
        }
        Event::Progress { done, total, loss } => {
            bar.set_length(*total);
            bar.set_position(*done);
            if let Some(loss) = loss {
                bar.set_message(format!("train, loss {loss:.4}"));
            }
        }
        Event::Note { .. } => {}
    }
}

fn name(cell: &Cell) -> String {
    format!("{} {} % seed {}", cell.model, cell.spec.fraction, cell.spec.seed)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are valid").progress_chars("=> ")
}
