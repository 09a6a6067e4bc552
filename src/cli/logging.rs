//! The log: lines on standard error, for people or for collectors.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::config::{LogConfig, LogFormat, WrongValue};

/// Starts the log for the whole process; a log that was started before stays as it is.
pub fn start(config: &LogConfig) -> Result<(), WrongValue> {
    let lines = tracing_subscriber::fmt().with_env_filter(filter(&config.level)?).with_writer(io::stderr);
    let _ = match config.format {
        LogFormat::Text => lines.with_ansi(wants_colours()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
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
    // The HTTP server tells of its threads at `info`, which nobody asked for who asked for nothing.
    let directives = if directives == "info" { "info,actix_server=warn" } else { directives };
    EnvFilter::try_new(directives).map_err(|_| wrong())
}

fn wants_colours() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !is_refused
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn levels_and_directives_are_taken() {
        for text in ["info", "OFF", "warn,sekali=debug", "info,sekali::store=trace", "info,[span{a=1}]=debug"]
        {
            assert!(filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_would_silence_the_log_by_mistake_is_refused() {
        for text in ["", "verbose", "inof", "info,sekali", "sekali=loud", "info,,", "info, warn"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
    }
}
