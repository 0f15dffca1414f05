//! Exit codes.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use crate::base::fsio;
use crate::profile::session;
use crate::run::Fault;
use crate::{compare, config, data, detectors, eval, report, run, store};

/// How a run of the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: unexpected failure.
    Unexpected,
    /// 2: wrong usage (clap exits with it too).
    Usage,
    /// 3: a regression was found.
    Regression,
    /// 4: inconclusive (with `--strict`).
    Inconclusive,
    /// 5: not comparable.
    NotComparable,
    /// 6: invalid experiment or input.
    BadInput,
    /// 7: cells failed or are missing.
    Incomplete,
    /// 8: the store cannot be used.
    Store,
    /// 130: interrupted.
    Interrupted,
    /// That of a command that was run for the user.
    Command(u8),
}

impl Exit {
    /// The number that the shell sees.
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Regression => 3,
            Self::Inconclusive => 4,
            Self::NotComparable => 5,
            Self::BadInput => 6,
            Self::Incomplete => 7,
            Self::Store => 8,
            Self::Interrupted => 130,
            Self::Command(code) => code,
        }
    }

    /// As a shell gives on the end of a command: its code, or 128 and the signal.
    pub fn of_command(status: ExitStatus) -> Self {
        let code = status.code().or_else(|| Some(128 + status.signal()?)).and_then(|code| u8::try_from(code).ok());
        code.map_or(Self::Unexpected, Self::Command)
    }

    /// The code for an error, from the first cause in the chain that says what kind it is.
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Unexpected)
    }

    /// A line per error type of the library; `None` where a deeper cause decides.
    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<run::Error>() {
            return match error.fault() {
                Fault::Input => Some(Self::BadInput),
                Fault::Store => Some(Self::Store),
                Fault::Other => None,
            };
        }
        if cause.is::<config::Error>()
            || cause.is::<eval::Error>()
            || cause.is::<data::features::Error>()
            || cause.is::<data::video::Error>()
        {
            return Some(Self::BadInput);
        }
        #[cfg(feature = "torch")]
        if cause.is::<crate::nn::parity::Error>() {
            return Some(Self::BadInput);
        }
        if let Some(error) = cause.downcast_ref::<session::Error>() {
            return match error {
                session::Error::Start { .. } | session::Error::NoProcess(_) => Some(Self::BadInput),
                session::Error::Wait { .. } => None,
            };
        }
        if cause.is::<crate::profile::document::Error>() || cause.is::<crate::profile::trace::Error>() {
            return Some(Self::BadInput);
        }
        if let Some(error) = cause.downcast_ref::<compare::Error>() {
            return match error {
                compare::Error::File(error) => Some(Self::of_file(error)),
                compare::Error::Launch { .. } => Some(Self::Unexpected),
                compare::Error::Interrupted => Some(Self::Interrupted),
                _ => Some(Self::BadInput),
            };
        }
        if cause.is::<super::observations::Error>() || cause.is::<super::plan_data::Error>() {
            return Some(Self::BadInput);
        }
        if let Some(error) = cause.downcast_ref::<report::Error>() {
            return Some(match error {
                report::Error::Empty { .. } => Self::Incomplete,
                report::Error::NoExperiment { .. } | report::Error::Records(_) | report::Error::NoDetections { .. } => Self::BadInput,
                _ => Self::Store,
            });
        }
        if cause.is::<store::Error>() {
            return Some(Self::Store);
        }
        if let Some(error) = cause.downcast_ref::<fsio::Error>() {
            return Some(Self::of_file(error));
        }
        // A transparent variant hides its source from the chain.
        match cause.downcast_ref::<detectors::Error>()? {
            detectors::Error::Features(_)
            | detectors::Error::Video(_)
            | detectors::Error::NoTorch(_)
            | detectors::Error::Input(_)
            | detectors::Error::Diverged { .. } => Some(Self::BadInput),
            detectors::Error::File(error) => Some(Self::of_file(error)),
            detectors::Error::Model(_) => Some(Self::Unexpected),
        }
    }

    /// Verbs read what the user names; they write into the store or next to it.
    fn of_file(error: &fsio::Error) -> Self {
        if error.operation == "read" { Self::BadInput } else { Self::Store }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn denied(operation: &'static str) -> fsio::Error {
        fsio::Error::wrap(operation, Path::new("x"))(std::io::ErrorKind::PermissionDenied.into())
    }

    #[test]
    fn the_first_cause_that_says_its_kind_decides() {
        assert_eq!(Exit::of(&anyhow::anyhow!("surprise")), Exit::Unexpected);
        assert_eq!(Exit::of(&anyhow::Error::new(eval::Error::NoInstances { videos: 0 }).context("while scoring")), Exit::BadInput);
        assert_eq!(Exit::of(&denied("read").into()), Exit::BadInput);
        assert_eq!(Exit::of(&denied("create").into()), Exit::Store);
        assert_eq!(Exit::of(&detectors::Error::File(denied("write")).into()), Exit::Store);
        assert_eq!(Exit::of(&detectors::Error::NoTorch("etad".into()).into()), Exit::BadInput);
    }
}
