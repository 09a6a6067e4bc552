//! Starts and stops the parts in order: the HTTP server first, so that a probe gets its answer while the database
//! is awaited; then the store, then the service. Stopping goes the other way.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_rt::System;
use actix_web::web;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{timeout, timeout_at},
};
use tracing::{info, warn};

use crate::{
    actors::RestartPolicy,
    config::Config,
    event::DedupScope,
    http::{Gate, Limits, Server, ServerConfig, ServerError},
    redact::redacted,
    service::{Service, ServiceLimits},
    store::{self, EventStore, OpenError, OpenOptions},
};

/// For closing the connections to the database, when nothing is in flight any more.
const STORE_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
const STORE_RETRY_MIN: Duration = Duration::from_millis(250);
const STORE_RETRY_MAX: Duration = Duration::from_secs(5);
/// The ledger keeps what a group became for a minute at least; a group is not tried for longer than this.
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
    #[error("the actor {0} cannot be brought back")]
    ActorLost(String),
    #[error("not everything in flight could be answered within {0:?}")]
    DrainTimedOut(Duration),
    #[error("stopped at once by a second signal")]
    Aborted,
}

/// What those who run the service from inside, as tests and demonstrations do, want of it.
#[derive(Default)]
pub struct Hooks {
    /// How actors that crash are restarted.
    pub restarts: RestartPolicy,
    /// Stands between the actors and the store.
    pub decorate_store: Option<StoreDecorator>,
    /// Receives the addresses as soon as the service listens.
    pub listening: Option<oneshot::Sender<Vec<SocketAddr>>>,
    /// Receives the service when its store is open.
    pub ready: Option<oneshot::Sender<Service>>,
}

/// Puts another store before the one that was opened.
pub type StoreDecorator = Box<dyn FnOnce(Arc<dyn EventStore>) -> Arc<dyn EventStore> + Send>;

/// Runs the service until SIGTERM or SIGINT, and drains it. A second signal ends it at once.
pub fn serve(config: Config) -> Result<(), AppError> {
    serve_with(config, Hooks::default(), || {
        let (stop, stops) = mpsc::unbounded_channel();
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signals = signal(kind).map_err(AppError::Runtime)?;
            let stop = stop.clone();
            tokio::spawn(async move { while signals.recv().await.is_some() && stop.send(()).is_ok() {} });
        }
        Ok(stops)
    })
}

/// Runs the service until `stops` says so: once to drain, twice to end at once. `stops` is called on the runtime.
pub fn serve_with(
    config: Config,
    hooks: Hooks,
    stops: impl FnOnce() -> Result<mpsc::UnboundedReceiver<()>, AppError>,
) -> Result<(), AppError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(RUNTIME_THREADS).thread_name("sekali").enable_all().build();
    let runtime = runtime.map_err(AppError::Runtime)?;
    let system = System::with_tokio_rt(|| runtime);
    system.block_on(async move { run(config, hooks, stops()?).await })
}

/// Brings a database's schema up to date.
pub fn migrate(database_url: &str, scope: Option<DedupScope>) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let version = runtime
        .map_err(AppError::Runtime)?
        .block_on(store::migrate(database_url, scope))
        .map_err(|source| AppError::Database { url: redacted(database_url), source })?;
    info!(version, "the schema is up to date");
    Ok(())
}

async fn run(config: Config, hooks: Hooks, mut stops: mpsc::UnboundedReceiver<()>) -> Result<(), AppError> {
    let gate = web::Data::new(Gate::default());
    let mut server = Server::start(server_config(&config), gate.clone())?;
    let addresses = server.addresses().to_vec();
    addresses.iter().for_each(|address| info!("listening on http://{address}"));
    if let Some(listening) = hooks.listening {
        let _ = listening.send(addresses.clone());
    }
    let store = tokio::select! {
        store = open_store(&config) => store?,
        error = server.failed() => return Err(error.into()),
        _ = stops.recv() => {
            server.stop(false).await;
            return Ok(());
        }
    };
    let store = match hooks.decorate_store {
        Some(decorate) => decorate(store),
        None => store,
    };
    let service = Service::start(Arc::clone(&store), service_limits(&config, hooks.restarts));
    gate.open(service.clone());
    welcome(&config, &addresses, store.scope());
    if let Some(ready) = hooks.ready {
        let _ = ready.send(service.clone());
    }
    tokio::select! {
        _ = stops.recv() => {}
        error = server.failed() => {
            stop_service(&service).await;
            return Err(error.into());
        }
        actor = service.lost() => {
            server.stop(false).await;
            stop_service(&service).await;
            return Err(AppError::ActorLost(actor));
        }
    }
    tokio::select! {
        drained = drain(&config, &gate, &service, &server) => drained?,
        _ = stops.recv() => return Err(AppError::Aborted),
    }
    stop_service(&service).await;
    info!("stopped; everything in flight was answered");
    Ok(())
}

/// Readers of a store that hangs must not keep the process from ending.
async fn stop_service(service: &Service) {
    if timeout(STORE_CLOSE_TIMEOUT, service.stop()).await.is_err() {
        warn!("the database's connections could not be closed in time");
    }
}

/// New requests are turned away; what was accepted is committed and answered; then the listeners close.
async fn drain(config: &Config, gate: &Gate, service: &Service, server: &Server) -> Result<(), AppError> {
    let deadline = tokio::time::Instant::now() + config.drain_timeout;
    info!("stopping: answering what is in flight");
    gate.drain();
    let drained = async {
        service.idle().await;
        server.stop(true).await;
    };
    timeout_at(deadline, drained).await.map_err(|_| AppError::DrainTimedOut(config.drain_timeout))
}

fn server_config(config: &Config) -> ServerConfig {
    ServerConfig {
        listen: config.listen.clone(),
        workers: config.http_workers,
        connections_max: config.connections_max,
        client_idle_timeout: config.client_idle_timeout,
        drain_timeout: config.drain_timeout,
        limits: Limits {
            body_bytes_max: config.body_bytes_max,
            batch_events_max: config.batch_events_max,
            body_timeout: config.body_timeout,
            publish_timeout: config.publish_timeout,
            started: Instant::now(),
        },
    }
}

/// Opens the database; waits for one that is away, and says so.
async fn open_store(config: &Config) -> Result<Arc<dyn EventStore>, AppError> {
    let options = OpenOptions {
        migrate: config.migrate,
        scope: config.dedup_scope,
        read_connections: config.read_connections as u32,
    };
    let url = redacted(&config.database_url);
    let mut pause = STORE_RETRY_MIN;
    loop {
        match store::open(&config.database_url, &options).await {
            Ok(store) => return Ok(store),
            Err(error) if error.is_transient() => {
                warn!(url, error = &error as &dyn std::error::Error, "waiting for the database");
            }
            Err(source) => return Err(AppError::Database { url, source }),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(STORE_RETRY_MAX);
    }
}

fn service_limits(config: &Config, restarts: RestartPolicy) -> ServiceLimits {
    ServiceLimits {
        shards: config.shards,
        window_ids: config.window_ids,
        events_in_flight_max: config.events_in_flight_max,
        bytes_in_flight_max: config.bytes_in_flight_max,
        group_events_max: config.group_events_max,
        group_bytes_max: config.group_bytes_max,
        // Whoever waits for a store that is away is told so while it still listens.
        store_patience: (config.publish_timeout / 2).min(STORE_PATIENCE_MAX),
        restarts,
    }
}

fn welcome(config: &Config, addresses: &[SocketAddr], scope: DedupScope) {
    let address = addresses.first().map(ToString::to_string).unwrap_or_default();
    info!("ready; data lies in {} (dedup scope: {scope})", redacted(&config.database_url));
    info!(
        "try: curl -sS http://{address}/publish -H 'content-type: application/json' -d '{{\"topic\":\"demo\",\"event_id\":\"1\",\"timestamp\":\"2026-01-01T00:00:00Z\",\"source\":\"me\",\"payload\":{{}}}}'"
    );
}
