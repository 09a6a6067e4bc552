//! The log: lines on standard error, for people or for collectors.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal, Write},
    panic, process, thread,
    time::Duration,
};

use tracing::error;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::{CliError, log_writer::LogWriter};
use crate::{
    config::{LogConfig, LogFormat, WrongValue},
    http::request_span,
    service::LinesLost,
};

/// How long the last lines may take to be written when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Threads whose panic ends the process at once, with exit code 1. The main thread starts and ends everything else:
/// unwinding it may mean to wait for threads that do not end. Without the one that accepts connections the HTTP server
/// lives on and serves nobody.
const VITAL_THREADS: [&str; 2] = ["main", "actix-server acceptor"];

/// The log of the process.
pub(super) struct Log {
    writer: LogWriter,
    format: LogFormat,
}

/// Starts the log for the whole process, panics included; a log that was started before stays as it is.
pub(super) fn start(config: &LogConfig) -> Result<Log, CliError> {
    let filter = filter(&config.level)?;
    let writer = LogWriter::start(io::stderr()).map_err(CliError::Runtime)?;
    let lines_writer = writer.clone();
    // A line that cannot be formatted must not be reported past the writer.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || lines_writer.clone())
        .log_internal_errors(false);
    let _ = match config.format {
        LogFormat::Text => lines.with_ansi(wants_colours()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    };
    let last_lines = writer.clone();
    panic::set_hook(Box::new(move |info| {
        log_panic(info);
        if thread::current().name().is_some_and(|name| VITAL_THREADS.contains(&name)) {
            last_lines.flush_within(FLUSH_TIMEOUT);
            process::exit(1);
        }
    }));
    Ok(Log { writer, format: config.format })
}

impl Log {
    /// Lines that could not be written so far.
    pub(super) fn lines_lost(&self) -> LinesLost {
        self.writer.lost()
    }

    /// Says why the process fails, if it does, and lets the last lines be written. Returns `done`; a failure is
    /// marked as told.
    pub(super) fn end<T>(mut self, done: Result<T, CliError>) -> Result<T, CliError> {
        let done = done.map_err(|failure| {
            let sentence = failure.in_words();
            match self.format {
                LogFormat::Text => drop(writeln!(self.writer, "sekali: {sentence}")),
                LogFormat::Json => error!(error = sentence, "the process failed"),
            }
            CliError::Told(Box::new(failure))
        });
        self.writer.flush_within(FLUSH_TIMEOUT);
        done
    }
}

/// A panic as a line of the log. The usual hook would write past it, and wait where nobody reads.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let _request = request_span().entered();
    let message = info.payload_as_str().unwrap_or("no message");
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    // Captured where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        error!(panic = message, thread, location, %backtrace, "a thread panicked");
    } else {
        error!(panic = message, thread, location, "a thread panicked");
    }
}

fn filter(directives: &str) -> Result<EnvFilter, WrongValue> {
    let wrong = || {
        let allowed = "error, warn, info, debug, trace, off, or directives such as info,sekali=debug";
        WrongValue::new("log-level", allowed, directives)
    };
    // To the filter a lone word that is no level is a target: "verbose" would silence everything else.
    // Nothing at all would be read as "error".
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_level_or_pair = |part: &str| part.contains('=') || is_level(part);
    if !directives.contains('[') && !directives.split(',').all(is_level_or_pair) {
        return Err(wrong());
    }
    // The HTTP server reports its threads at `info`, and each broken request of a stranger as an error. What is given
    // comes later and counts more.
    let is_verbose = |part: &str| part.parse::<LevelFilter>().is_ok_and(|level| level > LevelFilter::WARN);
    let quieted = match directives.split(',').any(is_verbose) {
        true => "actix_server=warn,actix_http=off",
        false => "actix_http=off",
    };
    EnvFilter::try_new(format!("{quieted},{directives}")).map_err(|_| wrong())
}

fn wants_colours() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !is_refused
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_one_line_of_the_log() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone());
        let usual = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        let caught = tracing::subscriber::with_default(lines.finish(), || {
            panic::catch_unwind(|| panic!("two\nlines, {}", 1))
        });
        panic::set_hook(usual);
        assert!(caught.is_err());
        let log = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches('\n').count(), 1, "{log}");
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(line["panic"], "two\nlines, 1");
        assert_eq!(line["message"], "a thread panicked");
        assert!(line["location"].as_str().unwrap().starts_with("src/cli/logging.rs:"), "{line}");
    }

    #[test]
    fn levels_and_directives_are_taken() {
        for text in ["info", "OFF", "warn,sekali=debug", "info,sekali::store=trace", "info,[span{a=1}]=debug"]
        {
            assert!(filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_given_counts_more_than_what_is_quieted() {
        let shown = |text: &str| filter(text).unwrap().to_string();
        assert!(!shown("info,sekali=debug,actix_http=debug").contains("actix_http=off"));
        assert!(!shown("debug,actix_server=debug").contains("actix_server=warn"));
        assert!(shown("info,sekali=debug").contains("actix_http=off"));
        assert!(!shown("error").contains("actix_server"));
    }

    #[test]
    fn what_would_silence_the_log_by_mistake_is_refused() {
        for text in ["", "verbose", "inof", "info,sekali", "sekali=loud", "info,,", "info, warn"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
    }
}
