//! The `etalon` command. It never loads libtorch: cells and parity run in `etalon-cell`.

use std::process::ExitCode;

use etalon::cli::{self, Exit};

fn main() -> ExitCode {
    match cli::run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            cli::ui::report_error(&error);
            Exit::of(&error).into()
        }
    }
}
