//! The binary: parses the command line, runs it, and prints an error as one sentence.

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
                // If standard error is closed, the exit code still tells of the failure.
                let _ = writeln!(io::stderr(), "sekali: {}", error.in_words());
            }
            error.exit_code()
        }
    }
}
