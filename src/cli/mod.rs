//! The command line: one verb per file. The only place that prints.

pub mod exit;
pub mod ui;

pub mod cell;
mod compare;
mod doctor;
mod evaluate;
pub mod extract;
mod fit;
mod init;
mod observations;
pub mod parity;
mod plan;
mod plan_data;
mod profile;
mod report;
mod run;
mod status;
mod trainers;

use clap::{Parser, Subcommand};

pub use exit::Exit;
pub use ui::Ui;

/// Measures how temporal action detection models learn from limited data, and what they cost in hardware.
#[derive(Parser)]
#[command(name = "etalon", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Print one JSON document on standard output instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// No progress, no remarks: results and errors only.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Verb {
    Init(init::Args),
    Plan(plan::Args),
    Run(run::Args),
    Status(status::Args),
    Evaluate(evaluate::Args),
    Fit(fit::Args),
    PlanData(plan_data::Args),
    Report(report::Args),
    Extract(extract::Args),
    Profile(profile::Args),
    Parity(parity::Args),
    Compare(compare::Args),
    Doctor(doctor::Args),
    #[command(hide = true)]
    Cell(cell::Args),
    /// Print a completion script for your shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Parses the arguments and runs the verb.
///
/// # Errors
/// Whatever the verb reports; [`Exit::of`] gives the exit code.
pub fn run() -> anyhow::Result<Exit> {
    let cli = Cli::parse();
    let ui = Ui::new(cli.json, cli.quiet);
    match cli.verb {
        Verb::Init(args) => init::run(&args, &ui),
        Verb::Plan(args) => plan::run(&args, &ui),
        Verb::Run(args) => run::run(&args, &ui),
        Verb::Status(args) => status::run(&args, &ui),
        Verb::Evaluate(args) => evaluate::run(&args, &ui),
        Verb::Fit(args) => fit::run(&args, &ui),
        Verb::PlanData(args) => plan_data::run(&args, &ui),
        Verb::Extract(args) => extract::run(&args, &ui),
        Verb::Report(args) => report::run(&args, &ui),
        Verb::Profile(args) => profile::run(&args, &ui),
        Verb::Parity(args) => parity::run(&args, &ui),
        Verb::Compare(args) => compare::run(&args, &ui),
        Verb::Doctor(args) => doctor::run(&args, &ui),
        Verb::Cell(args) => cell::run(&args),
        Verb::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "etalon", &mut std::io::stdout());
            Ok(Exit::Done)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
