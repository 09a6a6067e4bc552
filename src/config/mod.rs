//! Settings: text first ([`ServeArgs`]), then checked values ([`Config`]).
//!
//! The arguments stay text because clap reads the environment variables of `serve` for every subcommand, and a
//! typo in `SEKALI_SHARDS` must not break `sekali stats`. Only the subcommand that needs a value calls `check`,
//! which refuses a wrong one.

mod args;
mod values;

pub use args::{DatabaseArgs, LogArgs, ServeArgs};
pub use values::{BODY_BYTES_MAX_DEFAULT, database_url, duration};

use std::{fmt, ops::Deref, path::PathBuf, time::Duration};

use clap::{Args, builder::Resettable};
use ipnet::IpNet;

use crate::{event::DedupScope, origin::Origin, redact::redacted};

/// All settings of `sekali serve`, checked. The sizes are limits; their names end with the unit.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, `host:port`; with port 0 the system chooses one.
    pub listen: String,
    /// Where to answer metrics alone, `host:port`.
    pub metrics_listen: Option<String>,
    /// Namespaces that metrics show by name.
    pub metrics_namespaces_max: usize,
    /// A `sqlite:`, `postgres:` or `postgresql:` URL.
    pub database_url: DatabaseUrl,
    /// Which events are duplicates of each other; `None` keeps the scope that the database has.
    pub dedup_scope: Option<DedupScope>,
    /// Whether to migrate the database's schema at the start.
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
    /// Topics that a namespace may have; an event with another one is refused.
    pub topics_max: u32,
    /// Namespaces that the database may have; another one is refused.
    pub namespaces_max: usize,
    /// Connections that append to Postgres, and writers. SQLite has one.
    pub write_connections: usize,
    /// Client connections over all HTTP workers; one client address has half of them at most.
    pub connections_max: usize,
    /// The addresses of proxies, which may have all client connections.
    pub peer_share_exempt: Vec<IpNet>,
    /// The file of keys; without one everybody may do everything.
    pub api_keys: Option<PathBuf>,
    /// The certificate to serve HTTPS with; without one the service speaks HTTP.
    pub tls: Option<TlsFiles>,
    /// Origins besides the service's own whose pages may publish from a browser.
    pub cors_origins: Vec<Origin>,
    /// Whether each request is a line of the log.
    pub log_requests: bool,
    /// Threads that serve HTTP.
    pub http_workers: usize,
    /// Longest wait of a publish for its commit, then 503.
    pub publish_timeout: Duration,
    /// Longest wait of a reader for an event, at most 60 s.
    pub wait_max: Duration,
    /// Readers that follow a log at once; three quarters of the connections where it is not given.
    pub streams_max: Option<usize>,
    /// Longest wait for a request's body, then 408.
    pub body_timeout: Duration,
    /// Longest wait for requests under way when the service stops.
    pub drain_timeout: Duration,
    /// How long an idle client connection is kept.
    pub client_idle_timeout: Duration,
}

impl Default for Config {
    /// The settings of `sekali serve` without flags and without environment variables.
    fn default() -> Self {
        defaults::<ServeArgs>().check().expect("the defaults are within their limits")
    }
}

/// The arguments of a subcommand without flags and without environment variables.
pub fn defaults<T: Args>() -> T {
    let command = T::augment_args(clap::Command::new("sekali").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(Vec::<String>::new());
    let args = matches.and_then(|matches| T::from_arg_matches(&matches));
    args.expect("every flag has a default or is optional")
}

/// The URL of the database, which may hold a password. `Debug` and `Display` show it without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        DatabaseUrl(url)
    }
}

/// The URL as it was given, password included, to open the database with.
impl Deref for DatabaseUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redacted(&self.0))
    }
}

/// The database of `serve` and `migrate`, checked.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// As [`Config::database_url`].
    pub url: DatabaseUrl,
    /// As [`Config::dedup_scope`].
    pub dedup_scope: Option<DedupScope>,
}

/// A certificate and its key, in PEM format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and behind it those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How to log. The directives in `level` are checked by the log filter.
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

/// A flag with a value that is not allowed; the message says which values are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag} must be {allowed}, not {given:?}")]
pub struct WrongValue {
    flag: &'static str,
    allowed: String,
    given: String,
}

impl WrongValue {
    /// `--flag must be allowed, not "given"`; `given` must hold no password.
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
        assert_eq!(&*config.database_url, "sqlite://sekali.db");
        assert_eq!(config.dedup_scope, None);
        assert!(config.migrate);
        assert!((1..=256).contains(&config.shards));
        assert_eq!(config.window_ids, 1_000_000);
        assert_eq!((config.batch_events_max, config.body_bytes_max), (10_000, BODY_BYTES_MAX_DEFAULT));
        assert_eq!((config.events_in_flight_max, config.bytes_in_flight_max), (50_000, 64 << 20));
        assert_eq!((config.group_events_max, config.group_bytes_max), (8_000, 8 << 20));
        assert_eq!((config.read_connections, config.connections_max), (4, 8_192));
        assert_eq!(config.publish_timeout, Duration::from_secs(10));
        assert_eq!(config.wait_max, Duration::from_secs(60));
        assert_eq!(config.body_timeout, Duration::from_secs(10));
        assert_eq!(config.drain_timeout, Duration::from_secs(10));
        assert_eq!(config.client_idle_timeout, Duration::from_secs(75));
    }

    #[test]
    fn debug_hides_the_password() {
        let database_url = DatabaseUrl::from("postgres://sekali:secret@db/sekali".to_owned());
        let shown = format!("{:?}", Config { database_url, ..Config::default() });
        assert!(shown.contains("postgres://db/sekali"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}
