//! The HTTP server: its workers, and the way from an accepted connection to the routes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_server::ServerHandle;
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service, map_config,
};
use actix_web::{App, body::BoxBody, dev::AppConfig, web};
use ipnet::IpNet;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};

use super::{
    Gate, Limits,
    connections::{ClientStream, Connection, Connections, reserve},
    exchange::{self, Rules},
    listeners::listeners,
    routes,
};
use crate::origin::Origin;

/// How long a connection is read on behind an answer that ends it, so that its client gets to see the answer.
const CLIENT_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The server's own limit on stopping lies behind the drain's, so that one clock decides.
const SERVER_STOP_MARGIN: Duration = Duration::from_secs(5);
/// How long the idle connections may take to end before the workers are told to.
const IDLE_CLOSE_TIMEOUT: Duration = Duration::from_millis(200);
/// Connections that each worker may have beyond all limits, accepted and not yet closed.
const ACCEPTED_SLACK: usize = 16;

/// How to serve HTTP.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen, `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// Threads that serve HTTP.
    pub workers: usize,
    /// Client connections over all workers; one peer may have half of them.
    pub connections_max: usize,
    /// The addresses of proxies, which may have more than half of the connections.
    pub peer_share_exempt: Vec<IpNet>,
    /// Pages of these other origins may publish.
    pub cors_origins: Vec<Origin>,
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
    connections: Arc<Connections>,
    handle: ServerHandle,
    ended: oneshot::Receiver<io::Result<()>>,
    /// Without it no connection has a deadline.
    sweep: JoinHandle<()>,
}

/// The most sockets of clients that are open at any moment.
pub fn client_sockets_max(connections_max: usize, workers: usize) -> usize {
    connections_max + reserve(connections_max) + ACCEPTED_SLACK * workers
}

impl Server {
    /// Binds the addresses and starts the workers. To be called within an `actix::System`.
    pub fn start(config: ServerConfig, gate: web::Data<Gate>) -> Result<Self, ServerError> {
        let listeners = listeners(&config.listen)?;
        let connections =
            Connections::new(config.connections_max, config.peer_share_exempt, config.client_idle_timeout);
        let connections = Arc::new(connections);
        let sockets_max = client_sockets_max(config.connections_max, config.workers);
        let mut builder = actix_server::Server::build()
            .workers(config.workers)
            .max_concurrent_connections(sockets_max.div_ceil(config.workers))
            .shutdown_timeout((config.drain_timeout + SERVER_STOP_MARGIN).as_secs())
            .disable_signals();
        let routes = Routes {
            gate,
            limits: web::Data::new(config.limits),
            rules: Arc::new(Rules {
                cors_origins: config.cors_origins,
                connections: Arc::clone(&connections),
            }),
        };
        let mut addresses = Vec::new();
        for listener in listeners {
            addresses.push(listener.local_addr().map_err(ServerError::Failed)?);
            let routes = routes.clone();
            builder = builder
                .listen("http", listener, move || pipeline(routes.clone()))
                .map_err(ServerError::Failed)?;
        }
        let server = builder.run();
        let handle = server.handle();
        let (end, ended) = oneshot::channel();
        actix_web::rt::spawn(async move {
            // Nobody waits for it only when the process is ending.
            let _ = end.send(server.await);
        });
        let sweep = tokio::spawn(Arc::clone(&connections).sweep());
        Ok(Self { addresses, connections, handle, ended, sweep })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for the server to end by itself, which it does not while all is well.
    pub async fn failed(&mut self) -> ServerError {
        let ended = tokio::select! {
            ended = &mut self.ended => ended.ok().and_then(Result::err),
            _ = &mut self.sweep => Some(io::Error::other("the deadlines of its connections are not kept any more")),
        };
        ServerError::Failed(ended.unwrap_or_else(|| io::Error::other("it ended by itself")))
    }

    /// Closes the listeners and the idle connections. With `graceful`, requests in hand are answered first; who does
    /// not take an answer for a second does not get the rest of it.
    pub async fn stop(&self, graceful: bool) {
        if graceful {
            self.connections.drain();
            // The workers look only once a second whether they are idle.
            self.connections.emptied(IDLE_CLOSE_TIMEOUT).await;
        }
        self.handle.stop(graceful).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.sweep.abort();
    }
}

/// What each worker builds its routes from.
#[derive(Clone)]
struct Routes {
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
    rules: Arc<Rules>,
}

/// From an accepted connection to the routes: what the library's own `HttpServer` builds, with sockets of ours.
fn pipeline(
    Routes { gate, limits, rules }: Routes,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    let connections = Arc::clone(&rules.connections);
    let app = App::new().app_data(gate).app_data(limits).configure(routes).into_factory();
    let app = map_config(app, |()| AppConfig::default());
    let exchanges = apply_fn_factory(app, move |request: Request, app: &_| exchange(request, app, &rules));
    let http = HttpService::build()
        // Every deadline of a connection is kept by the sweep.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(CLIENT_DISCONNECT_TIMEOUT)
        .on_connect_ext(|stream: &ClientStream, data| {
            data.insert(Arc::clone(stream.connection()));
        })
        .h1(exchanges);
    fn_service(move |stream: TcpStream| {
        let peer = stream.peer_addr().ok();
        std::future::ready(connections.admit(stream).map(|stream| (stream, peer)).ok_or(()))
    })
    .and_then(http.map_err(|_| ()))
}

/// One request and its answer.
fn exchange<A>(
    mut request: Request,
    app: &A,
    rules: &Arc<Rules>,
) -> impl Future<Output = Result<Response<BoxBody>, actix_web::Error>> + use<A>
where
    A: Service<Request, Error = actix_web::Error>,
    A::Response: Into<Response<BoxBody>>,
{
    let connection = request.conn_data::<Arc<Connection>>().cloned();
    let rules = Arc::clone(rules);
    let handled = exchange::begin(&mut request, &rules).map(|()| app.call(request));
    async move {
        let response = match handled {
            Ok(handled) => match handled.await {
                Ok(response) => response.into(),
                Err(error) => error.error_response().into(),
            },
            Err(refusal) => refusal,
        };
        Ok(exchange::finish(response, connection, &rules))
    }
}
