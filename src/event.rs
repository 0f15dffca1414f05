//! What happens while a cell runs, as typed messages: the child writes them as JSON lines, the parent journals them and
//! draws progress.

use serde::{Deserialize, Serialize};

/// A stage of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Reading annotations and features.
    Load,
    /// Fitting the model.
    Train,
    /// Predicting on the test videos.
    Detect,
    /// Computing mAP.
    Evaluate,
}

impl Phase {
    /// As it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Train => "train",
            Self::Detect => "detect",
            Self::Evaluate => "evaluate",
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A stage begins (and the previous one ends).
    Phase {
        /// Which.
        phase: Phase,
    },
    /// Progress inside the stage.
    Progress {
        /// Units done (training steps, videos).
        done: u64,
        /// Units in all.
        total: u64,
        /// Mean training loss since the last message, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loss: Option<f64>,
    },
    /// Something the reader of the record should know, such as a zero-padded feature dimension.
    Note {
        /// One sentence.
        text: String,
    },
}

/// Takes events as they happen.
pub trait Observer {
    /// One event. Must not fail: an observer that cannot write says so by its own means.
    fn observe(&mut self, event: &Event);
}

impl Observer for () {
    fn observe(&mut self, _: &Event) {}
}
