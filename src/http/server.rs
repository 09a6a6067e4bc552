//! The HTTP server: listeners, workers, and how each client connection is set up.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    time::Duration,
};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::oneshot;
use tracing::warn;

use super::{Gate, Limits, routes};

/// Connections that may wait to be accepted.
const LISTEN_BACKLOG: i32 = 2_048;
/// A client that acknowledges nothing for this long loses its connection.
const CLIENT_TCP_TIMEOUT: Duration = Duration::from_secs(30);
const CLIENT_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CLIENT_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The server's own limit on stopping lies behind the drain's, so that one clock decides.
const SERVER_STOP_MARGIN: Duration = Duration::from_secs(5);

/// How to serve HTTP.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen, `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// Threads that serve HTTP.
    pub workers: usize,
    /// Client connections over all workers.
    pub connections_max: usize,
    /// How long an idle client connection is kept.
    pub client_idle_timeout: Duration,
    /// Longest wait for the requests in hand when stopping.
    pub drain_timeout: Duration,
    /// What the handlers hold requests to.
    pub limits: Limits,
}

/// Why the HTTP server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}")]
    Listen { address: String, source: io::Error },
    #[error("the HTTP server failed")]
    Failed(#[source] io::Error),
}

/// A running HTTP server.
pub struct Server {
    addresses: Vec<SocketAddr>,
    handle: ServerHandle,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Server {
    /// Binds the addresses and starts the workers. To be called within an `actix::System`.
    pub fn start(config: ServerConfig, gate: web::Data<Gate>) -> Result<Self, ServerError> {
        let limits = web::Data::new(config.limits);
        let mut server = HttpServer::new(move || {
            App::new().app_data(gate.clone()).app_data(limits.clone()).configure(routes)
        })
        .workers(config.workers)
        .max_connections(config.connections_max.div_ceil(config.workers))
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
            addresses.push(listener.local_addr().map_err(ServerError::Failed)?);
            server = server.listen(listener).map_err(ServerError::Failed)?;
        }
        let server = server.run();
        let handle = server.handle();
        let (end, ended) = oneshot::channel();
        actix_web::rt::spawn(async move {
            // Nobody waits for it only when the process is ending.
            let _ = end.send(server.await);
        });
        Ok(Self { addresses, handle, ended })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for the server to end by itself, which it does not while all is well.
    pub async fn failed(&mut self) -> ServerError {
        let ended = (&mut self.ended).await;
        let error = ended.ok().and_then(Result::err);
        ServerError::Failed(error.unwrap_or_else(|| io::Error::other("it ended by itself")))
    }

    /// Closes the listeners and the idle connections. With `graceful`, requests in hand are answered first.
    pub async fn stop(&self, graceful: bool) {
        self.handle.stop(graceful).await;
    }
}

/// One listener for each address that the name stands for.
fn listeners(listen: &str) -> Result<Vec<TcpListener>, ServerError> {
    let failed = |source: io::Error| ServerError::Listen { address: listen.to_owned(), source };
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

/// Answers are small and must not be delayed; and a client that is gone must not hold one for ever.
fn set_up_client(stream: &actix_web::rt::net::TcpStream) {
    let socket = SockRef::from(stream);
    let done =
        socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_user_timeout(Some(CLIENT_TCP_TIMEOUT)));
    if let Err(error) = done {
        warn!(%error, "a client's connection could not be set up");
    }
}
