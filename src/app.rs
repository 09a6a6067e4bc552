//! Starts and stops the parts in order: the HTTP server first, so that probes are answered while the database is
//! unavailable; then the store, then the service. Stopping goes the other way.

mod descriptors;
mod files;
mod opening;
mod signals;
mod stops;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_rt::System;
use actix_web::web;
use futures::stream::BoxStream;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::signals::stop_signals;
use self::{files::Files, opening::open_store, stops::Stops};
use crate::{
    access::KeyFileError,
    actors::RestartPolicy,
    config::Config,
    event::DedupScope,
    http::{CertificateError, Gate, Limits, Server, ServerConfig, ServerError},
    redact::redacted,
    service::{LinesLost, Service, ServiceLimits},
    store::{DEFAULT_NAMESPACE, OpenError, Store},
};

/// How long the workers of the HTTP server may take to end without answering.
const SERVER_ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// What answers get at least to reach their clients, once nothing is in flight any more.
const ANSWERS_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// How long the service waits for the namespace `default` before it serves.
const DEFAULT_OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an attempt to open the database may go on after a stop was asked for.
const OPEN_STOP_TIMEOUT: Duration = Duration::from_secs(6);
/// How long the threads of the runtime may take to end, a look-up of a name for instance.
const RUNTIME_STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// A group is not tried for longer than this. The ledger keeps what a group became for longer.
const STORE_PATIENCE_MAX: Duration = Duration::from_secs(20);
/// Threads for everything beside the actors and the HTTP workers: reads of the store, polls, signals.
const RUNTIME_THREADS: usize = 2;

/// Why the service did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("cannot use the database {url}")]
    Database { url: String, source: OpenError },
    #[error(
        "{limit} open files are too few: the service needs {needed}; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
    )]
    Descriptors { limit: u64, needed: u64 },
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the system's clock shows a time before 1970: set it, and start again")]
    Clock,
    #[error("the actor {0} cannot be brought back")]
    ActorLost(String),
    #[error("not everything in flight could be answered within {0:?}")]
    DrainTimedOut(Duration),
    #[error("stopped at once by a second signal")]
    Aborted,
    #[error("the database did not finish opening within {0:?} of the stop")]
    StillOpening(Duration),
    #[error("stopped before the schema was up to date: run it again")]
    MigrationStopped,
    #[error(
        "everything in flight was answered and is stored, but the database could not be closed as it should be"
    )]
    NotClosed,
}

/// What those who run the service from inside, as tests and demonstrations do, want of it.
#[derive(Default)]
pub struct Hooks {
    /// How actors that crash are restarted.
    pub restarts: RestartPolicy,
    /// Stands between the actors and the store.
    pub decorate_store: Option<StoreDecorator>,
    /// Lines that the log could not write, for `/stats`.
    pub log_lines_lost: LinesLost,
    /// Told when the files that the settings name are to be read again.
    pub reload: Arc<Notify>,
    /// Receives the addresses as soon as the service listens.
    pub listening: Option<oneshot::Sender<Vec<SocketAddr>>>,
    /// Receives the service when its store is open.
    pub ready: Option<oneshot::Sender<Service>>,
}

/// Puts another store before the one that was opened.
pub type StoreDecorator = Box<dyn FnOnce(Store) -> Store + Send>;

/// Runs the service until SIGTERM, SIGINT or SIGQUIT, and drains it. A second signal ends it at once.
pub fn serve(config: Config, hooks: Hooks) -> Result<(), AppError> {
    let reload = Arc::clone(&hooks.reload);
    serve_with(config, hooks, || stop_signals(reload).map_err(AppError::Runtime))
}

/// Runs the service until `stops` has an item, and drains it; a second one, a second later or more, ends it at once.
/// `stops` is called on the runtime.
pub fn serve_with(
    config: Config,
    hooks: Hooks,
    stops: impl FnOnce() -> Result<BoxStream<'static, ()>, AppError>,
) -> Result<(), AppError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(RUNTIME_THREADS).thread_name("sekali").enable_all().build();
    let runtime = Arc::new(runtime.map_err(AppError::Runtime)?);
    let system = System::with_tokio_rt(|| Arc::clone(&runtime));
    let ended = system.block_on(async move { run(config, hooks, Stops::new(stops()?)).await });
    drop(system);
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_timeout(RUNTIME_STOP_TIMEOUT);
    }
    ended
}

/// Brings a database's schema up to date. A signal to stop ends it before that.
pub fn migrate(database_url: &str, scope: Option<DedupScope>) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AppError::Runtime)?;
    let migrated = runtime.block_on(async {
        let mut stops = Stops::new(stop_signals(Arc::default()).map_err(AppError::Runtime)?);
        tokio::select! {
            migrated = opening::migrate(database_url, scope) => migrated,
            () = stops.first() => Err(AppError::MigrationStopped),
        }
    });
    runtime.shutdown_timeout(RUNTIME_STOP_TIMEOUT);
    migrated
}

async fn run(config: Config, hooks: Hooks, mut stops: Stops) -> Result<(), AppError> {
    // The HTTP server's own threads panic on such a time, which each answer names.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|_| AppError::Clock)?;
    let gate = web::Data::new(Gate::default());
    let connections_max = descriptors::connections_that_fit(&config)?;
    let files = Files::read(&config)?;
    tokio::spawn(files.clone().reload(hooks.reload));
    let server_config = server_config(&config, connections_max, files);
    let scheme = if server_config.certificates.is_some() { "https" } else { "http" };
    let mut server = Server::start(server_config, gate.clone())?;
    let addresses = server.addresses().to_vec();
    addresses.iter().for_each(|address| info!("listening on {scheme}://{address}"));
    for address in server.metrics_addresses() {
        info!("metrics are at http://{address}/metrics");
    }
    if config.api_keys.is_none() && addresses.iter().any(|address| !address.ip().is_loopback()) {
        warn!("whoever reaches this service may do everything: no keys are asked for (--api-keys)");
    }
    if let Some(listening) = hooks.listening {
        let _ = listening.send(addresses.clone());
    }
    let Some(store) = open(&config, &mut server, &mut stops).await? else { return Ok(()) };
    let store = match hooks.decorate_store {
        Some(decorate) => decorate(store),
        None => store,
    };
    let limits = service_limits(&config, connections_max, hooks.restarts);
    let service = Service::start(store, limits, hooks.log_lines_lost).map_err(AppError::Runtime)?;
    // The first request to `default` then finds it open, with warm windows. One that cannot be opened yet is asked for
    // again by whoever needs it.
    let _ = timeout(DEFAULT_OPEN_TIMEOUT, service.ledger(DEFAULT_NAMESPACE)).await;
    gate.open(service.clone());
    welcome(&config, &addresses);
    if let Some(ready) = hooks.ready {
        let _ = ready.send(service.clone());
    }
    serve_until_stopped(&config, &gate, &service, &mut server, &mut stops).await
}

async fn serve_until_stopped(
    config: &Config,
    gate: &Gate,
    service: &Service,
    server: &mut Server,
    stops: &mut Stops,
) -> Result<(), AppError> {
    let failed = tokio::select! {
        () = stops.first() => None,
        error = server.failed() => Some(error.into()),
        part = service.lost() => Some(AppError::ActorLost(part)),
    };
    if let Some(error) = failed {
        abort(server).await;
        // What failed says more than what could not be closed after it.
        let _ = service.stop().await;
        return Err(error);
    }
    tokio::select! {
        drained = drain(config, gate, service, server) => drained?,
        () = stops.second() => return Err(AppError::Aborted),
    }
    if !service.stop().await {
        return Err(AppError::NotClosed);
    }
    info!("stopped; everything in flight was answered");
    Ok(())
}

/// Opens the database; `None` if a stop is asked for meanwhile. What was opened by then is closed again.
async fn open(config: &Config, server: &mut Server, stops: &mut Stops) -> Result<Option<Store>, AppError> {
    let stopping = CancellationToken::new();
    let opening = open_store(config, &stopping);
    tokio::pin!(opening);
    tokio::select! {
        store = &mut opening => return store,
        error = server.failed() => return Err(error.into()),
        () = stops.first() => {}
    }
    stopping.cancel();
    abort(server).await;
    let opened = tokio::select! {
        opened = timeout(OPEN_STOP_TIMEOUT, opening) => opened,
        () = stops.second() => return Err(AppError::Aborted),
    };
    match opened {
        Err(_elapsed) => Err(AppError::StillOpening(OPEN_STOP_TIMEOUT)),
        Ok(Ok(Some(store))) => {
            let closed = timeout(OPEN_STOP_TIMEOUT, store.control.close()).await;
            if closed.unwrap_or(false) { Ok(None) } else { Err(AppError::NotClosed) }
        }
        Ok(Ok(None) | Err(_)) => Ok(None),
    }
}

/// Ends the HTTP server without answers. One of its threads that does not end must not keep the process.
async fn abort(server: &Server) {
    let _ = timeout(SERVER_ABORT_TIMEOUT, server.stop(false)).await;
}

/// New requests are refused; what was accepted is committed and answered; then the listeners close.
async fn drain(config: &Config, gate: &Gate, service: &Service, server: &Server) -> Result<(), AppError> {
    let deadline = Instant::now() + config.drain_timeout;
    info!("stopping: answering what is in flight");
    gate.drain();
    let idle = timeout_at(deadline, service.idle()).await;
    idle.map_err(|_| AppError::DrainTimedOut(config.drain_timeout))?;
    // Everything accepted is committed. Who does not take the answer cannot make the end a failure.
    let answers_deadline = deadline.max(Instant::now() + ANSWERS_TIMEOUT_MIN);
    if timeout_at(answers_deadline, server.stop(true)).await.is_err() {
        warn!("some clients did not take their answers before the end");
    }
    Ok(())
}

fn server_config(config: &Config, connections_max: usize, files: Files) -> ServerConfig {
    ServerConfig {
        listen: config.listen.clone(),
        metrics_listen: config.metrics_listen.clone(),
        workers: config.http_workers,
        connections_max,
        peer_share_exempt: config.peer_share_exempt.clone(),
        cors_origins: config.cors_origins.clone(),
        log_requests: config.log_requests,
        keys: files.keys,
        certificates: files.certificates,
        client_idle_timeout: config.client_idle_timeout,
        drain_timeout: config.drain_timeout,
        limits: Limits {
            body_bytes_max: config.body_bytes_max,
            batch_events_max: config.batch_events_max,
            body_timeout: config.body_timeout,
            publish_timeout: config.publish_timeout,
            wait_max: config.wait_max,
            metrics_namespaces_max: config.metrics_namespaces_max,
            started: std::time::Instant::now(),
        },
    }
}

fn service_limits(config: &Config, connections_max: usize, restarts: RestartPolicy) -> ServiceLimits {
    ServiceLimits {
        shards: config.shards,
        window_ids: config.window_ids,
        write_connections: config.write_connections,
        batch_events_max: config.batch_events_max,
        events_in_flight_max: config.events_in_flight_max,
        bytes_in_flight_max: config.bytes_in_flight_max,
        body_bytes_max: config.body_bytes_max,
        peer_share_exempt: config.peer_share_exempt.clone(),
        group_events_max: config.group_events_max,
        group_bytes_max: config.group_bytes_max,
        namespaces_max: config.namespaces_max,
        topics_max: config.topics_max,
        metrics_namespaces_max: config.metrics_namespaces_max,
        // Who waits holds a connection, and one peer has half of them: the others still find a place.
        waits_max: (connections_max - connections_max / 4).max(1),
        streams_max: config.streams_max.unwrap_or((connections_max - connections_max / 4).max(1)),
        // Who waits for an unavailable store is told so before its own timeout.
        store_patience: (config.publish_timeout / 2).min(STORE_PATIENCE_MAX),
        restarts,
    }
}

fn welcome(config: &Config, addresses: &[SocketAddr]) {
    let address = addresses.first().map(ToString::to_string).unwrap_or_default();
    info!("ready; data lies in {}", redacted(&config.database_url));
    info!(
        "try: curl -sS http://{address}/publish -H 'content-type: application/json' -d '{{\"topic\":\"demo\",\"event_id\":\"1\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"source\":\"me\",\"payload\":{{}}}}'"
    );
}
