//! Prints what happens, one line each, with the seconds since the beginning.

use std::{
    io::{self, Write},
    time::Instant,
};

use crate::cli::CliError;

pub struct Timeline {
    begun: Instant,
    shown: bool,
}

impl Timeline {
    /// Begins now. Lines are printed if `shown`.
    pub fn begin(shown: bool) -> Self {
        Self { begun: Instant::now(), shown }
    }

    /// Seconds since the beginning.
    pub fn seconds(&self) -> f64 {
        self.seconds_at(Instant::now())
    }

    /// Seconds from the beginning to `moment`, to the millisecond.
    pub fn seconds_at(&self, moment: Instant) -> f64 {
        (moment.saturating_duration_since(self.begun).as_secs_f64() * 1_000.0).round() / 1_000.0
    }

    /// Prints an event of now.
    pub fn line(&self, what: &str, words: &str) -> Result<(), CliError> {
        self.line_at(self.seconds(), what, words)
    }

    /// Prints an event of this number of seconds after the beginning.
    pub fn line_at(&self, seconds: f64, what: &str, words: &str) -> Result<(), CliError> {
        self.say(&format!("{seconds:>8.3} s  {what:<6}  {words}"))
    }

    /// Prints words without a time.
    pub fn say(&self, words: &str) -> Result<(), CliError> {
        match self.shown {
            true => writeln!(io::stdout(), "{words}").map_err(CliError::Output),
            false => Ok(()),
        }
    }
}
