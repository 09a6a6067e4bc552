//! What happens, line by line, with the seconds since the beginning.

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
    /// Begins now; what is not `shown` is only timed.
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

    /// Something that happened now.
    pub fn line(&self, what: &str, words: &str) -> Result<(), CliError> {
        self.line_at(self.seconds(), what, words)
    }

    /// Something that happened so many seconds after the beginning.
    pub fn line_at(&self, seconds: f64, what: &str, words: &str) -> Result<(), CliError> {
        self.say(&format!("{seconds:>8.3} s  {what:<6}  {words}"))
    }

    /// Words that belong to no moment.
    pub fn say(&self, words: &str) -> Result<(), CliError> {
        match self.shown {
            true => writeln!(io::stdout(), "{words}").map_err(CliError::Output),
            false => Ok(()),
        }
    }
}
