//! What a program uses, while it runs: a line with a sparkline per resource. Only on a terminal.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::to_stderr;
use crate::base::units;
use crate::cli::Ui;
use crate::profile::recorder::Watch;
use crate::profile::sensor::{Channel, Kind};

/// Columns of a sparkline, and the time that each stands for.
const WIDTH: usize = 40;
const STEP: Duration = Duration::from_millis(250);

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Channels that are shown, and as what.
const SHOWN: [(&str, &str, Form); 9] = [
    ("cpu.time", "CPU", Form::Cores),
    ("memory.rss", "memory", Form::Bytes),
    ("memory.bandwidth", "bandwidth", Form::Bytes),
    ("disk.read", "disk read", Form::Bytes),
    ("disk.written", "disk written", Form::Bytes),
    ("network.received", "net received", Form::Bytes),
    ("gpu0.use", "GPU 0", Form::Percent),
    ("gpu0.memory.used", "GPU 0 memory", Form::Bytes),
    ("gpu0.power", "GPU 0 power", Form::Watts),
];

#[derive(Clone, Copy)]
enum Form {
    Cores,
    Bytes,
    Percent,
    Watts,
}

/// The lines at the foot of the terminal; nothing elsewhere.
pub struct Panel {
    bars: Option<MultiProgress>,
    lines: Arc<Mutex<BTreeMap<&'static str, Line>>>,
}

struct Line {
    bar: ProgressBar,
    form: Form,
    before: Option<(Duration, f64)>,
    shown: VecDeque<f64>,
}

impl Panel {
    /// A panel where there is a terminal.
    pub fn new(ui: &Ui) -> Self {
        Self { bars: (ui.live && !ui.json).then(MultiProgress::new), lines: Arc::default() }
    }

    /// For the recorder.
    pub fn watch(&self) -> Option<Watch> {
        let (bars, lines) = (self.bars.clone()?, Arc::clone(&self.lines));
        Some(Box::new(move |at, channel, value| {
            let Some((name, label, form)) = SHOWN.iter().find(|shown| shown.0 == channel.name) else { return };
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            let line = lines.entry(name).or_insert_with(|| Line::new(&bars, label, *form));
            line.take(at, channel, value);
        }))
    }

    /// Lets the command's output scroll above the panel, or keeps it out of a JSON document.
    pub fn capture(&self, command: &mut Command, ui: &Ui) {
        if let Some(bars) = &self.bars {
            // Without a pipe the output goes where it always went, and disturbs the panel only.
            let Ok((reader, writer)) = std::io::pipe() else { return };
            let Ok(second) = writer.try_clone() else { return };
            command.stdout(writer).stderr(second);
            let bars = bars.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    let _ = bars.println(line);
                }
            });
        } else if ui.json {
            command.stdout(to_stderr());
        }
    }

    /// Removes the panel.
    pub fn finish(&self) {
        for line in self.lines.lock().unwrap_or_else(PoisonError::into_inner).values() {
            line.bar.finish_and_clear();
        }
    }
}

impl Line {
    fn new(bars: &MultiProgress, label: &'static str, form: Form) -> Self {
        let style = ProgressStyle::with_template("  {prefix:<13} {msg}").expect("the template is valid");
        let bar = bars.add(ProgressBar::new_spinner().with_style(style).with_prefix(label));
        Self { bar, form, before: None, shown: VecDeque::new() }
    }

    fn take(&mut self, at: Duration, channel: &Channel, value: f64) {
        let Some((since, before)) = self.before else {
            self.before = Some((at, value));
            return;
        };
        if at - since < STEP {
            return;
        }
        self.before = Some((at, value));
        let shown = match channel.kind {
            Kind::Level => value,
            Kind::Counter => (value - before).max(0.0) / (at - since).as_secs_f64(),
        };
        self.shown.push_back(shown);
        if self.shown.len() > WIDTH {
            self.shown.pop_front();
        }
        self.bar.set_message(format!("{:<WIDTH$} {}", sparkline(self.shown.iter().copied()), text(self.form, channel.kind, shown)));
    }
}

fn text(form: Form, kind: Kind, value: f64) -> String {
    let rate = if kind == Kind::Counter { "/s" } else { "" };
    match form {
        Form::Cores => format!("{value:.2} cores"),
        Form::Bytes => format!("{}{rate}", units::bytes(value as u64)),
        Form::Percent => format!("{value:.0} %"),
        Form::Watts => format!("{value:.0} W"),
    }
}

/// Values as bars, from zero to their largest.
pub fn sparkline(values: impl Iterator<Item = f64> + Clone) -> String {
    let top = values.clone().fold(0.0, f64::max);
    let last = BARS.len() - 1;
    values.map(|v| BARS[if top > 0.0 { ((v / top * last as f64).round() as usize).min(last) } else { 0 }]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_reaches_from_zero_to_the_largest_value() {
        assert_eq!(sparkline([0.0, 1.0, 2.0, 4.0].into_iter()), "▁▃▅█");
        assert_eq!(sparkline([0.0, 0.0].into_iter()), "▁▁");
    }
}
