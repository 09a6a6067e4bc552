//! The binary: parse the command line, run it, and say in one sentence what went wrong.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use sekali::cli::{self, Cli, CliError};

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CliError::Told(_)) {
                // Nobody may be left to read it, and that changes nothing.
                let _ = writeln!(io::stderr(), "sekali: {}", cli::sentence(&error));
            }
            error.exit_code()
        }
    }
}
