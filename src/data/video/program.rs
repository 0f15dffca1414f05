//! The ffmpeg program: which one, and what it says of itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ffmpeg_sidecar::command::FfmpegCommand;
use ffmpeg_sidecar::log_parser::try_parse_version;

use super::child;

/// The one that `make setup` installed, as the build script found it; empty when there was none.
const INSTALLED: &str = env!("ETALON_FFMPEG_INSTALLED");

/// What to do without ffmpeg.
const REMEDIES: &str = "run `make setup` and build again (it installs a pinned one), install ffmpeg so that it is on PATH, or set ETALON_FFMPEG to the program";

/// How long ffmpeg may be silent before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// A working ffmpeg program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    version: String,
    patience: Duration,
}

/// There is no working ffmpeg.
#[derive(Clone, Debug, thiserror::Error)]
#[error("videos need the ffmpeg program, and {problem}: {REMEDIES}")]
pub struct NoProgram {
    problem: String,
}

impl Program {
    /// What `ETALON_FFMPEG` names, else the program that `make setup` installed, else `ffmpeg` on `PATH`.
    ///
    /// # Errors
    /// None of them works. A program that `ETALON_FFMPEG` names is never replaced by another one.
    pub fn find() -> Result<Self, NoProgram> {
        match std::env::var_os("ETALON_FFMPEG").filter(|value| !value.is_empty()) {
            Some(named) => Self::start(Path::new(&named), PATIENCE)
                .map_err(|words| NoProgram { problem: format!("ETALON_FFMPEG={} {words}", Path::new(&named).display()) }),
            None => Self::choose(Path::new(INSTALLED), Path::new("ffmpeg")),
        }
    }

    fn choose(installed: &Path, on_path: &Path) -> Result<Self, NoProgram> {
        if installed.exists() {
            let problem = |words| NoProgram { problem: format!("{}, which `make setup` installed, {words}", installed.display()) };
            return Self::start(installed, PATIENCE).map_err(problem);
        }
        Self::start(on_path, PATIENCE)
            .map_err(|words| NoProgram { problem: format!("neither did `make setup` install one nor is there one on PATH (it {words})") })
    }

    /// Asks the program at `path` for its version. `patience` is how long it may be silent, now and when it decodes.
    pub(super) fn start(path: &Path, patience: Duration) -> Result<Self, String> {
        let mut said = Vec::new();
        let mut command = FfmpegCommand::new_with_path(path);
        command.arg("-version");
        let finished = child::run(&mut command, None, patience, &mut |bytes| {
            said.extend_from_slice(bytes);
            Ok(())
        });
        match finished {
            Ok(_) => {}
            Err(child::Failure::Stalled) => return Err("does not answer".into()),
            Err(child::Failure::Pipe(error)) => return Err(format!("does not start: {error}")),
            Err(child::Failure::Sink(error)) => return Err(error.to_string()),
        }
        let text = String::from_utf8_lossy(&said);
        let version = text.lines().next().and_then(try_parse_version);
        let version = version.ok_or_else(|| "is no ffmpeg: it does not tell its version".to_owned())?;
        Ok(Self { path: path.to_owned(), version, patience })
    }

    /// Where it is; a bare name when `PATH` decided.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As it tells it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How long it may be silent.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// A command that asks nothing, logs each message with its level and works on one thread.
    pub(super) fn command(&self) -> FfmpegCommand {
        let mut command = FfmpegCommand::new_with_path(&self.path);
        command.args(["-loglevel", "repeat+level+info", "-nostats", "-hide_banner", "-nostdin", "-threads", "1"]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_ffmpeg_names_three_remedies() {
        let error = Program::choose(Path::new(""), Path::new("no-such-ffmpeg")).unwrap_err().to_string();
        for remedy in ["make setup", "PATH", "ETALON_FFMPEG"] {
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn a_program_that_is_no_ffmpeg_is_refused() {
        let words = Program::start(Path::new("/bin/true"), PATIENCE).unwrap_err();
        assert!(words.contains("no ffmpeg"), "{words}");
        let words = Program::start(Path::new("/bin/cat"), Duration::from_millis(200)).unwrap_err();
        assert!(words.contains("no ffmpeg"), "{words}");
    }

    #[test]
    fn the_installed_program_tells_its_version() {
        let program = Program::find().unwrap();
        assert!(program.version().contains('.'), "{program:?}");
    }
}
