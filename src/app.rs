//! Joins the floors and takes them apart: the listeners first, so that a probe gets its answer while the database
//! is awaited; then store and rooms, from the bottom up. Stopping goes the other way.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_rt::System;
use actix_web::{App, HttpServer, dev::ServerHandle, web};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{timeout, timeout_at},
};
use tracing::{error, info, warn};

use crate::{
    actors::{self, Aggregator, RestartPolicy, RoomLimits},
    config::Config,
    event::DedupScope,
    http::{self, Gate, Limits},
    redact::redacted,
    store::{self, EventStore, OpenError, OpenOptions},
};

/// Connections that may wait to be accepted.
const LISTEN_BACKLOG: i32 = 2_048;
/// A client that acknowledges nothing for this long, or takes nothing of its answer, loses its connection.
const CLIENT_TCP_TIMEOUT: Duration = Duration::from_secs(30);
const CLIENT_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CLIENT_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// For closing the connections to the database, when nothing is in flight any more.
const ROOMS_STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// The server's own limit on stopping lies behind ours, so that one clock decides.
const SERVER_STOP_MARGIN: Duration = Duration::from_secs(5);
const STORE_RETRY_MIN: Duration = Duration::from_millis(250);
const STORE_RETRY_MAX: Duration = Duration::from_secs(5);
/// The ledger keeps what a group became for a minute at least; a group is not tried for longer than this.
const STORE_PATIENCE_MAX: Duration = Duration::from_secs(20);
/// Threads for everything beside the rooms and the HTTP workers: reads of the store, watches, signals.
const RUNTIME_THREADS: usize = 2;

/// Why the service did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("cannot listen on {address}")]
    Listen { address: String, source: io::Error },
    #[error("cannot use the database {url}")]
    Database { url: String, source: OpenError },
    #[error("the HTTP server failed")]
    Http(#[source] io::Error),
    #[error("the room {0} cannot be brought back")]
    RoomLost(String),
    #[error("not everything in flight could be answered within {0:?}")]
    DrainTimedOut(Duration),
    #[error("stopped at once by a second signal")]
    Aborted,
}

/// What those who run the service from inside, as tests and demonstrations do, want of it.
#[derive(Default)]
pub struct Hooks {
    /// How rooms that die are restarted.
    pub restarts: RestartPolicy,
    /// Told where the service listens, at once.
    pub listening: Option<oneshot::Sender<Vec<SocketAddr>>>,
    /// Given the rooms when they are there.
    pub ready: Option<oneshot::Sender<Aggregator>>,
}

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
    let (server, addresses) = start_http(&config, gate.clone())?;
    addresses.iter().for_each(|address| info!("listening on http://{address}"));
    if let Some(listening) = hooks.listening {
        let _ = listening.send(addresses.clone());
    }
    let store = tokio::select! {
        store = open_store(&config) => store?,
        _ = stops.recv() => {
            server.stop(false).await;
            return Ok(());
        }
    };
    let rooms = actors::start(Arc::clone(&store), room_limits(&config, hooks.restarts));
    gate.open(rooms.clone());
    welcome(&config, &addresses, store.scope());
    if let Some(ready) = hooks.ready {
        let _ = ready.send(rooms.clone());
    }
    tokio::select! {
        _ = stops.recv() => {}
        room = rooms.lost() => {
            server.stop(false).await;
            stop_rooms(&rooms).await;
            return Err(AppError::RoomLost(room));
        }
    }
    tokio::select! {
        drained = drain(&config, &gate, &rooms, &server) => drained?,
        _ = stops.recv() => return Err(AppError::Aborted),
    }
    stop_rooms(&rooms).await;
    info!("stopped; everything in flight was answered");
    Ok(())
}

/// Readers of a store that hangs must not keep the process from ending.
async fn stop_rooms(rooms: &Aggregator) {
    if timeout(ROOMS_STOP_TIMEOUT, rooms.stop()).await.is_err() {
        warn!("the database's connections could not be closed in time");
    }
}

/// New requests are turned away; what was accepted is committed and answered; then the listeners close.
async fn drain(
    config: &Config,
    gate: &Gate,
    rooms: &Aggregator,
    server: &ServerHandle,
) -> Result<(), AppError> {
    let deadline = tokio::time::Instant::now() + config.drain_timeout;
    info!("stopping: answering what is in flight");
    gate.drain();
    let drained = async {
        rooms.idle().await;
        server.stop(true).await;
    };
    timeout_at(deadline, drained).await.map_err(|_| AppError::DrainTimedOut(config.drain_timeout))
}

fn start_http(config: &Config, gate: web::Data<Gate>) -> Result<(ServerHandle, Vec<SocketAddr>), AppError> {
    let limits = web::Data::new(Limits {
        body_bytes_max: config.body_bytes_max,
        batch_events_max: config.batch_events_max,
        body_timeout: config.body_timeout,
        publish_timeout: config.publish_timeout,
        started: Instant::now(),
    });
    let mut server = HttpServer::new(move || {
        App::new().app_data(gate.clone()).app_data(limits.clone()).configure(http::routes)
    })
    .workers(config.http_workers)
    .max_connections(config.connections_max.div_ceil(config.http_workers))
    .keep_alive(config.client_idle_timeout)
    .client_request_timeout(CLIENT_HEAD_TIMEOUT)
    .client_disconnect_timeout(CLIENT_DISCONNECT_TIMEOUT)
    .shutdown_timeout((config.drain_timeout + SERVER_STOP_MARGIN).as_secs())
    .on_connect(|connection, _| {
        if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
            set_up_client(stream);
        }
    })
    .disable_signals();

    let mut addresses = Vec::new();
    for listener in listeners(&config.listen)? {
        addresses.push(listener.local_addr().map_err(AppError::Http)?);
        server = server.listen(listener).map_err(AppError::Http)?;
    }
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            error!(error = &error as &dyn std::error::Error, "the HTTP server failed");
        }
    });
    Ok((handle, addresses))
}

/// One listener for each address that the name stands for.
fn listeners(listen: &str) -> Result<Vec<TcpListener>, AppError> {
    let failed = |source: io::Error| AppError::Listen { address: listen.to_owned(), source };
    let addresses: Vec<SocketAddr> = listen.to_socket_addrs().map_err(failed)?.collect();
    if addresses.is_empty() {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "the name stands for no address")));
    }
    addresses.into_iter().map(|address| bind(address).map_err(failed)).collect()
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// Answers are small and wait for nothing; and a client that is gone or reads nothing must not hold one forever.
fn set_up_client(stream: &actix_web::rt::net::TcpStream) {
    let socket = SockRef::from(stream);
    let done =
        socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(CLIENT_TCP_TIMEOUT)));
    if let Err(error) = done {
        warn!(%error, "a client's connection could not be set up");
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

fn room_limits(config: &Config, restarts: RestartPolicy) -> RoomLimits {
    RoomLimits {
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
