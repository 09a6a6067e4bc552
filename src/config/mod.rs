//! Settings: raw text first ([`ServeArgs`]), then values that are known to be right ([`Config`]).
//!
//! The raw side keeps text on purpose. clap reads the environment of `serve` for every subcommand, and a typo
//! in `SEKALI_SHARDS` must not break `sekali stats`; so a wrong value is found by `check`, which only the
//! subcommand that needs the value calls.

mod args;
mod values;

pub use args::{DatabaseArgs, LogArgs, ServeArgs};
pub use values::{database_url, duration};

use std::{fmt, time::Duration};

use clap::{Args, FromArgMatches, builder::Resettable};

use crate::{event::DedupScope, redact::redacted};

/// Everything `sekali serve` has to know, checked. The sizes are limits, with their unit in the name.
#[derive(Clone)]
pub struct Config {
    /// Where to listen, `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// A `sqlite:`, `postgres:` or `postgresql:` URL. It may hold a password: show it only [`redacted`].
    pub database_url: String,
    /// Which events are the same one; nothing takes the database's own scope.
    pub dedup_scope: Option<DedupScope>,
    /// Whether to bring the database's schema up to date first.
    pub migrate: bool,
    /// Deduplicating actors, 1 to 256.
    pub shards: usize,
    /// Ids that the windows of all shards remember together; about 60 bytes each.
    pub window_ids: usize,
    /// Events in one request.
    pub batch_events_max: usize,
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Events accepted and not yet answered; never below `batch_events_max`.
    pub events_in_flight_max: usize,
    /// Bytes of bodies being read or not yet answered; never below `body_bytes_max`.
    pub bytes_in_flight_max: usize,
    /// Events in one transaction; a larger request is a transaction alone.
    pub group_events_max: usize,
    /// Bytes of events in one transaction; a larger request is a transaction alone.
    pub group_bytes_max: usize,
    /// Connections to the database for reading; the writer has its own.
    pub read_connections: usize,
    /// Client connections over all HTTP workers.
    pub connections_max: usize,
    /// Threads that serve HTTP.
    pub http_workers: usize,
    /// Longest wait of a publish for its commit, then 503.
    pub publish_timeout: Duration,
    /// Longest wait for a request's body, then 408.
    pub body_timeout: Duration,
    /// Longest wait for the requests in hand when stopping.
    pub drain_timeout: Duration,
    /// How long an idle client connection is kept.
    pub client_idle_timeout: Duration,
}

impl Default for Config {
    /// What `sekali serve` without a flag runs with, whatever the environment says.
    fn default() -> Self {
        let command = ServeArgs::augment_args(clap::Command::new("sekali").no_binary_name(true))
            .mut_args(|arg| arg.env(Resettable::Reset));
        let matches = command.try_get_matches_from(Vec::<String>::new());
        let args = matches.and_then(|matches| ServeArgs::from_arg_matches(&matches));
        let args = args.expect("every flag has a default or is optional");
        args.check().expect("the defaults are within their limits")
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand for one line: the URL, whose password must never reach a log.
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("database_url", &redacted(&self.database_url))
            .field("dedup_scope", &self.dedup_scope)
            .field("migrate", &self.migrate)
            .field("shards", &self.shards)
            .field("window_ids", &self.window_ids)
            .field("batch_events_max", &self.batch_events_max)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("events_in_flight_max", &self.events_in_flight_max)
            .field("bytes_in_flight_max", &self.bytes_in_flight_max)
            .field("group_events_max", &self.group_events_max)
            .field("group_bytes_max", &self.group_bytes_max)
            .field("read_connections", &self.read_connections)
            .field("connections_max", &self.connections_max)
            .field("http_workers", &self.http_workers)
            .field("publish_timeout", &self.publish_timeout)
            .field("body_timeout", &self.body_timeout)
            .field("drain_timeout", &self.drain_timeout)
            .field("client_idle_timeout", &self.client_idle_timeout)
            .finish()
    }
}

/// The database of `serve` and `migrate`, checked.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// As [`Config::database_url`].
    pub url: String,
    /// As [`Config::dedup_scope`].
    pub dedup_scope: Option<DedupScope>,
}

/// How to log, checked but for the directives, which only the filter itself can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines there are: a level, or `target=level` directives.
    pub level: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// A flag whose value is not allowed; its sentence says what is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag} must be {allowed}, not {given:?}")]
pub struct WrongValue {
    flag: &'static str,
    allowed: String,
    given: String,
}

impl WrongValue {
    /// `--flag must be allowed, not "given"`; `given` must be fit to be shown.
    pub fn new(flag: &'static str, allowed: impl Into<String>, given: impl Into<String>) -> Self {
        WrongValue { flag, allowed: allowed.into(), given: given.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = Config::default();
        assert_eq!(config.listen, "127.0.0.1:8080");
        assert_eq!(config.database_url, "sqlite://sekali.db");
        assert_eq!(config.dedup_scope, None);
        assert!(config.migrate);
        assert!((1..=256).contains(&config.shards));
        assert_eq!(config.window_ids, 1_000_000);
        assert_eq!((config.batch_events_max, config.body_bytes_max), (10_000, 16 << 20));
        assert_eq!((config.events_in_flight_max, config.bytes_in_flight_max), (50_000, 64 << 20));
        assert_eq!((config.group_events_max, config.group_bytes_max), (8_000, 8 << 20));
        assert_eq!((config.read_connections, config.connections_max), (4, 8_192));
        assert_eq!(config.publish_timeout, Duration::from_secs(10));
        assert_eq!(config.body_timeout, Duration::from_secs(10));
        assert_eq!(config.drain_timeout, Duration::from_secs(10));
        assert_eq!(config.client_idle_timeout, Duration::from_secs(60));
    }

    #[test]
    fn debug_hides_the_password() {
        let database_url = "postgres://sekali:secret@db/sekali".to_owned();
        let shown = format!("{:?}", Config { database_url, ..Config::default() });
        assert!(shown.contains("postgres://sekali:***@db/sekali"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}
