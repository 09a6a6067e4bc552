//! Flags and environment variables as text, and the checks that turn them into values.

use std::{path::PathBuf, thread, time::Duration};

use clap::Args;

use super::{Config, DatabaseConfig, LogConfig, LogFormat, TlsFiles, WrongValue, values};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// The longest wait that a reader may ask for.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The arguments of `sekali serve`, not yet checked.
#[derive(Args, Clone)]
pub struct ServeArgs {
    /// Where to listen for HTTP, host:port; with port 0 the system chooses one
    #[arg(long, env = "SEKALI_LISTEN", hide_env_values = true)]
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: String,

    /// Where to answer /metrics alone, host:port, without keys and TLS
    #[arg(long, env = "SEKALI_METRICS_LISTEN", hide_env_values = true, value_name = "HOST:PORT")]
    metrics_listen: Option<String>,

    /// Namespaces that metrics show by name, 0 to 100000; the others are shown together
    #[arg(long, env = "SEKALI_METRICS_NAMESPACES_MAX", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "1000")]
    metrics_namespaces_max: String,

    #[command(flatten)]
    database: DatabaseArgs,

    /// Migrate the database's schema at the start, true or false
    #[arg(long, env = "SEKALI_MIGRATE", hide_env_values = true)]
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "true")]
    migrate: String,

    /// Deduplicating actors, 1 to 256 [default: one per core]
    #[arg(long, env = "SEKALI_SHARDS", hide_env_values = true, value_name = "N")]
    shards: Option<String>,

    /// Stored ids that all shards together remember, about 60 bytes each, 0 to 16777216
    #[arg(long, env = "SEKALI_WINDOW_IDS", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "1000000")]
    window_ids: String,

    /// Events in one request, 1 to 100000
    #[arg(long, env = "SEKALI_BATCH_EVENTS_MAX", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "10000")]
    batch_events_max: String,

    /// Size of one request's body, 1KiB to 256MiB; in bytes or with KiB, MiB or GiB
    #[arg(long, env = "SEKALI_BODY_BYTES_MAX", hide_env_values = true)]
    #[arg(value_name = "SIZE", default_value = "16MiB")]
    body_bytes_max: String,

    /// Events accepted and not yet answered, from --batch-events-max to 10000000; above it 503
    #[arg(long, env = "SEKALI_EVENTS_IN_FLIGHT_MAX", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "50000")]
    events_in_flight_max: String,

    /// Bodies being read or not yet answered, from --body-bytes-max to 64GiB; above it 503
    #[arg(long, env = "SEKALI_BYTES_IN_FLIGHT_MAX", hide_env_values = true)]
    #[arg(value_name = "SIZE", default_value = "64MiB")]
    bytes_in_flight_max: String,

    /// Events in one transaction, 1 to 100000; a larger request has a transaction of its own
    #[arg(long, env = "SEKALI_GROUP_EVENTS_MAX", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "8000")]
    group_events_max: String,

    /// Size of one transaction, 1KiB to 256MiB; a larger request has a transaction of its own
    #[arg(long, env = "SEKALI_GROUP_BYTES_MAX", hide_env_values = true)]
    #[arg(value_name = "SIZE", default_value = "8MiB")]
    group_bytes_max: String,

    /// Connections to Postgres that append, 1 to 64; namespaces share them. SQLite has one
    #[arg(long, env = "SEKALI_WRITE_CONNECTIONS", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "4")]
    write_connections: String,

    /// Connections to the database for reading, 1 to 64; those that append come on top
    #[arg(long, env = "SEKALI_READ_CONNECTIONS", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "4")]
    read_connections: String,

    /// Namespaces that the database may have, 1 to 100000
    #[arg(long, env = "SEKALI_NAMESPACES_MAX", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "10000")]
    namespaces_max: String,

    /// Topics that a namespace may have, 1 to 100000000
    #[arg(long, env = "SEKALI_TOPICS_MAX", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "1000000")]
    topics_max: String,

    /// Client connections over all HTTP workers, 1 to 1000000; one client address has half of them at most
    #[arg(long, env = "SEKALI_CONNECTIONS_MAX", hide_env_values = true)]
    #[arg(value_name = "N", default_value = "8192")]
    connections_max: String,

    /// Addresses of proxies, which may have all client connections: 10.0.0.1 or 10.0.0.0/24, several with commas
    #[arg(long, env = "SEKALI_PEER_SHARE_EXEMPT", hide_env_values = true, value_name = "ADDRESS,…")]
    peer_share_exempt: Option<String>,

    /// File of the keys that are asked for, made with `sekali key new`; without it everybody may do everything
    #[arg(long, env = "SEKALI_API_KEYS", hide_env_values = true, value_name = "FILE")]
    api_keys: Option<String>,

    /// Certificate to serve HTTPS with, PEM, with those that lead to its authority behind it
    #[arg(long, env = "SEKALI_TLS_CERT", hide_env_values = true, value_name = "FILE")]
    tls_cert: Option<String>,

    /// Private key of the certificate, PEM
    #[arg(long, env = "SEKALI_TLS_KEY", hide_env_values = true, value_name = "FILE")]
    tls_key: Option<String>,

    /// Origins besides the service's own whose pages may read and publish from a browser: https://HOST[:PORT], several with commas
    #[arg(long, env = "SEKALI_CORS_ORIGIN", hide_env_values = true, value_name = "ORIGIN,…")]
    cors_origin: Option<String>,

    /// Threads that serve HTTP, 1 to 256 [default: one per core]
    #[arg(long, env = "SEKALI_HTTP_WORKERS", hide_env_values = true, value_name = "N")]
    http_workers: Option<String>,

    /// Longest wait of a publish for its commit, then 503; 1ms to 1h, such as 500ms, 10s or 2m
    #[arg(long, env = "SEKALI_PUBLISH_TIMEOUT", hide_env_values = true)]
    #[arg(value_name = "TIME", default_value = "10s")]
    publish_timeout: String,

    /// Longest wait of a reader for an event (?wait=), then an empty page; 1ms to 60s
    #[arg(long, env = "SEKALI_WAIT_MAX", hide_env_values = true)]
    #[arg(value_name = "TIME", default_value = "60s")]
    wait_max: String,

    /// Readers that follow a log at once (GET /stream), 1 to 1000000 [default: three quarters of the connections]
    #[arg(long, env = "SEKALI_STREAMS_MAX", hide_env_values = true, value_name = "N")]
    streams_max: Option<String>,

    /// Longest wait for a request's body, then 408; 1ms to 1h
    #[arg(long, env = "SEKALI_BODY_TIMEOUT", hide_env_values = true)]
    #[arg(value_name = "TIME", default_value = "10s")]
    body_timeout: String,

    /// Longest wait for requests under way when the service stops; 1ms to 1h
    #[arg(long, env = "SEKALI_DRAIN_TIMEOUT", hide_env_values = true)]
    #[arg(value_name = "TIME", default_value = "10s")]
    drain_timeout: String,

    /// How long an idle client connection is kept, longer than by the balancers before it; 1ms to 1h
    #[arg(long, env = "SEKALI_CLIENT_IDLE_TIMEOUT", hide_env_values = true)]
    #[arg(value_name = "TIME", default_value = "75s")]
    client_idle_timeout: String,

    /// Log a line for each request: its method, path, status and time; true or false
    #[arg(long, env = "SEKALI_LOG_REQUESTS", hide_env_values = true)]
    #[arg(value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    log_requests: String,

    /// How to log; read before anything else starts.
    #[command(flatten)]
    pub log: LogArgs,
}

impl ServeArgs {
    /// The checked values, or the first one that is not allowed.
    pub fn check(&self) -> Result<Config, WrongValue> {
        let database = self.database.check()?;
        let batch_events_max = values::whole("batch-events-max", &self.batch_events_max, 1..=100_000)?;
        let body_bytes_max = values::size("body-bytes-max", &self.body_bytes_max, KIB..=256 * MIB)?;
        Ok(Config {
            listen: values::address("listen", &self.listen)?,
            metrics_listen: self.check_metrics_listen()?,
            metrics_namespaces_max: values::whole(
                "metrics-namespaces-max",
                &self.metrics_namespaces_max,
                0..=100_000,
            )?,
            database_url: database.url,
            dedup_scope: database.dedup_scope,
            migrate: values::truth("migrate", &self.migrate)?,
            shards: whole_or_cores("shards", self.shards.as_deref())?,
            window_ids: values::whole("window-ids", &self.window_ids, 0..=1 << 24)?,
            batch_events_max,
            body_bytes_max,
            events_in_flight_max: self.check_events_in_flight_max(batch_events_max)?,
            bytes_in_flight_max: self.check_bytes_in_flight_max(body_bytes_max)?,
            group_events_max: values::whole("group-events-max", &self.group_events_max, 1..=100_000)?,
            group_bytes_max: values::size("group-bytes-max", &self.group_bytes_max, KIB..=256 * MIB)?,
            read_connections: values::whole("read-connections", &self.read_connections, 1..=64)?,
            namespaces_max: values::whole("namespaces-max", &self.namespaces_max, 1..=100_000)?,
            topics_max: values::whole("topics-max", &self.topics_max, 1..=100_000_000)? as u32,
            write_connections: values::whole("write-connections", &self.write_connections, 1..=64)?,
            connections_max: values::whole("connections-max", &self.connections_max, 1..=1_000_000)?,
            peer_share_exempt: values::networks("peer-share-exempt", self.peer_share_exempt.as_deref())?,
            api_keys: file(self.api_keys.as_deref()),
            tls: self.check_tls()?,
            cors_origins: values::origins("cors-origin", self.cors_origin.as_deref())?,
            log_requests: values::truth("log-requests", &self.log_requests)?,
            http_workers: whole_or_cores("http-workers", self.http_workers.as_deref())?,
            publish_timeout: values::duration("publish-timeout", &self.publish_timeout)?,
            wait_max: self.check_wait_max()?,
            streams_max: self.check_streams_max()?,
            body_timeout: values::duration("body-timeout", &self.body_timeout)?,
            drain_timeout: values::duration("drain-timeout", &self.drain_timeout)?,
            client_idle_timeout: values::duration("client-idle-timeout", &self.client_idle_timeout)?,
        })
    }

    fn check_streams_max(&self) -> Result<Option<usize>, WrongValue> {
        let given = self.streams_max.as_deref().filter(|text| !text.is_empty());
        given.map(|text| values::whole("streams-max", text, 1..=1_000_000)).transpose()
    }

    /// Balancers cut longer waits off.
    fn check_wait_max(&self) -> Result<Duration, WrongValue> {
        let time = values::duration("wait-max", &self.wait_max)?;
        if time > WAIT_MAX {
            return Err(WrongValue::new("wait-max", "a time from 1ms to 60s", &self.wait_max));
        }
        Ok(time)
    }

    fn check_metrics_listen(&self) -> Result<Option<String>, WrongValue> {
        let listen = self.metrics_listen.as_deref().filter(|listen| !listen.is_empty());
        listen.map(|listen| values::address("metrics-listen", listen)).transpose()
    }

    /// A certificate and its key, or neither.
    fn check_tls(&self) -> Result<Option<TlsFiles>, WrongValue> {
        match (file(self.tls_cert.as_deref()), file(self.tls_key.as_deref())) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(WrongValue::new("tls-key", "given together with --tls-cert", "")),
            (None, Some(_)) => Err(WrongValue::new("tls-cert", "given together with --tls-key", "")),
        }
    }

    /// A batch of the largest size must fit; otherwise it is refused as overload at every attempt.
    fn check_events_in_flight_max(&self, batch_events_max: usize) -> Result<usize, WrongValue> {
        let (flag, text) = ("events-in-flight-max", &self.events_in_flight_max);
        let events = values::whole(flag, text, 1..=10_000_000)?;
        if events < batch_events_max {
            let allowed = format!("at least --batch-events-max ({batch_events_max})");
            return Err(WrongValue::new(flag, allowed, text));
        }
        Ok(events)
    }

    /// A body of the largest size must fit, for the same reason.
    fn check_bytes_in_flight_max(&self, body_bytes_max: usize) -> Result<usize, WrongValue> {
        let (flag, text) = ("bytes-in-flight-max", &self.bytes_in_flight_max);
        let bytes = values::size(flag, text, KIB..=64 * GIB)?;
        if bytes < body_bytes_max {
            let allowed = format!("at least --body-bytes-max ({})", values::shown_size(body_bytes_max));
            return Err(WrongValue::new(flag, allowed, text));
        }
        Ok(bytes)
    }
}

/// The arguments of `serve` and `migrate` about the database.
#[derive(Args, Clone)]
pub struct DatabaseArgs {
    /// Where the events are stored: sqlite://FILE or postgres://USER:PASSWORD@HOST/NAME
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    #[arg(value_name = "URL", default_value = "sqlite://sekali.db")]
    database_url: String,

    /// What identifies an event of the namespace default: event-id (the id alone) or topic (topic and id)
    /// [default: as the database has it, event-id for a new one]
    #[arg(long, env = "SEKALI_DEDUP_SCOPE", hide_env_values = true, value_name = "SCOPE")]
    dedup_scope: Option<String>,
}

impl DatabaseArgs {
    /// The checked values, or the first one that is not allowed.
    pub fn check(&self) -> Result<DatabaseConfig, WrongValue> {
        let dedup_scope = self
            .dedup_scope
            .as_deref()
            .map(|name| name.parse().map_err(|_| WrongValue::new("dedup-scope", "event-id or topic", name)));
        Ok(DatabaseConfig {
            url: values::database_url("database-url", &self.database_url)?,
            dedup_scope: dedup_scope.transpose()?,
        })
    }
}

/// The arguments of `serve` and `migrate` about the log.
#[derive(Args, Clone)]
pub struct LogArgs {
    /// Format of the log lines: text or json
    #[arg(long, env = "SEKALI_LOG_FORMAT", hide_env_values = true)]
    #[arg(value_name = "FORMAT", default_value = "text")]
    log_format: String,

    /// What to log: error, warn, info, debug, trace or off, or directives such as info,sekali=debug
    #[arg(long, env = "SEKALI_LOG_LEVEL", hide_env_values = true)]
    #[arg(value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

impl LogArgs {
    /// The checked values; the directives are checked where the log starts.
    pub fn check(&self) -> Result<LogConfig, WrongValue> {
        let format = match self.log_format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => return Err(WrongValue::new("log-format", "text or json", other)),
        };
        Ok(LogConfig { format, level: self.log_level.clone() })
    }
}

/// The path of a file. An empty one is none: docker compose hands on settings without a value like that.
fn file(path: Option<&str>) -> Option<PathBuf> {
    path.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A number of threads or actors; the default is one per core.
fn whole_or_cores(flag: &'static str, text: Option<&str>) -> Result<usize, WrongValue> {
    const MAX: usize = 256;
    match text {
        Some(text) => values::whole(flag, text, 1..=MAX),
        None => Ok(thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX))),
    }
}
