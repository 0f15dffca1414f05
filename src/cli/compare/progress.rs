//! A line on a terminal: pairs done, the growth so far, the time left until the next look and the last one.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::Ui;
use crate::compare::commands;

/// How often the line is redrawn when nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// The line.
pub struct Progress {
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    /// Draws where somebody looks.
    pub fn new(ui: &Ui) -> Self {
        let target = if ui.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg} {wide_bar:.cyan/dim} {elapsed}").expect("the template is valid");
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style.progress_chars("━╸─")).with_message("warm-up");
        // Redrawn by its own thread only where it is drawn: nothing else may run beside what is measured.
        if ui.live {
            bar.enable_steady_tick(TICK);
        }
        Self { bar, begun: Instant::now() }
    }

    /// Shows how far the comparison is.
    pub fn show(&self, progress: commands::Progress) {
        let commands::Progress { pairs, next_look, most, cpu_growth } = progress;
        self.bar.set_length(next_look as u64);
        self.bar.set_position(pairs as u64);
        let growth = cpu_growth.map_or_else(String::new, |g| format!(", CPU time {:+.1} %", 100.0 * g));
        let left = |of: usize| HumanDuration(self.begun.elapsed().mul_f64(of.saturating_sub(pairs) as f64 / pairs as f64));
        let left = match pairs {
            0 => String::new(),
            _ if next_look < most => format!(", {} to the next look, {} at most", left(next_look), left(most)),
            _ => format!(", {} left", left(most)),
        };
        self.bar.set_message(format!("pair {pairs}/{next_look}{growth}{left}"));
    }

    /// Removes the line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
