//! The binary: parse the command line, run it, and say in one sentence what went wrong.

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use sekali::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be left to read it, and that changes nothing.
            let _ = writeln!(io::stderr(), "sekali: {}", sentence(&error));
            error.exit_code()
        }
    }
}

/// The error and its causes, but for causes that the words before them already end with.
fn sentence(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !sentence.ends_with(&words) {
            sentence = format!("{sentence}: {words}");
        }
        cause = error.source();
    }
    sentence
}
