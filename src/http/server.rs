//! The HTTP server: its workers, and the way from an accepted connection to the routes.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_server::{ServerBuilder, ServerHandle};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service, map_config,
};
use actix_web::{App, body::BoxBody, dev::AppConfig, web};
use ipnet::IpNet;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};

use super::{
    Certificates, Gate, Keys, Limits,
    at_hand::{self, AtHand},
    connections::{ClientStream, Connection, Connections, reserve},
    cors::allowed_origin,
    exchange::{self, Rules},
    listeners::listeners,
    metrics::{MetricsBudget, Traffic},
    request_log::RequestLine,
    routes::{metrics_routes, routes},
};
use crate::{
    access::KeyRing,
    origin::{Origin, Scheme},
};

/// How long a connection is read on behind an answer that ends it, so that its client gets to see the answer.
const CLIENT_DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The server's own limit on stopping lies behind the drain's, so that one clock decides.
const SERVER_STOP_MARGIN: Duration = Duration::from_secs(5);
/// How long the idle connections may take to end before the workers are told to.
const IDLE_CLOSE_TIMEOUT: Duration = Duration::from_millis(200);
/// Connections that each worker may have beyond all limits, accepted and not yet closed.
const ACCEPTED_SLACK: usize = 16;

/// How to serve HTTP.
#[derive(Clone)]
pub struct ServerConfig {
    /// Where to listen, `host:port`; port 0 lets the system choose.
    pub listen: String,
    /// Where to answer metrics alone, without keys and TLS.
    pub metrics_listen: Option<String>,
    /// Threads that serve HTTP.
    pub workers: usize,
    /// Client connections over all workers; one peer may have half of them.
    pub connections_max: usize,
    /// The addresses of proxies, which may have more than half of the connections.
    pub peer_share_exempt: Vec<IpNet>,
    /// Pages of these other origins may publish.
    pub cors_origins: Vec<Origin>,
    /// Whether each request is a line of the log.
    pub log_requests: bool,
    /// The keys that are asked for; without them everybody may do everything.
    pub keys: Option<Arc<KeyRing>>,
    /// What to serve HTTPS with.
    pub certificates: Option<Arc<Certificates>>,
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
    metrics_addresses: Vec<SocketAddr>,
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
        let metrics_listeners = match &config.metrics_listen {
            Some(metrics_listen) => listeners(metrics_listen)?,
            None => Vec::new(),
        };
        let listeners = listeners(&config.listen)?;
        let exempt = config.peer_share_exempt.clone();
        let connections =
            Connections::new(config.connections_max, exempt.clone(), config.client_idle_timeout);
        let connections = Arc::new(connections);
        let sockets_max = client_sockets_max(config.connections_max, config.workers);
        let builder = actix_server::Server::build()
            .workers(config.workers)
            .max_concurrent_connections(sockets_max.div_ceil(config.workers))
            .shutdown_timeout((config.drain_timeout + SERVER_STOP_MARGIN).as_secs())
            .disable_signals();
        let service = gate.clone();
        let are_streams_scarce =
            move || service.service().is_some_and(|service| service.are_stream_pieces_scarce());
        let routes = Routes::new(config, gate, Arc::clone(&connections));
        let (builder, addresses) = listen(builder, "http", listeners, &routes)?;
        let metrics_budget = web::Data::new(MetricsBudget::new(&exempt));
        let metrics = Routes { configure: metrics_routes, certificates: None, metrics_budget, ..routes };
        let (builder, metrics_addresses) = listen(builder, "metrics", metrics_listeners, &metrics)?;
        let server = builder.run();
        let handle = server.handle();
        let (end, ended) = oneshot::channel();
        actix_web::rt::spawn(async move {
            // Nobody waits for it only when the process is ending.
            let _ = end.send(server.await);
        });
        let sweep = tokio::spawn(Arc::clone(&connections).sweep(are_streams_scarce));
        Ok(Self { addresses, metrics_addresses, connections, handle, ended, sweep })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it answers metrics alone.
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        &self.metrics_addresses
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
    configure: fn(&mut web::ServiceConfig),
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
    keys: web::Data<Keys>,
    traffic: web::Data<Traffic>,
    /// Each kind of listener has its own.
    metrics_budget: web::Data<MetricsBudget>,
    connections: web::Data<Connections>,
    certificates: Option<Arc<Certificates>>,
    rules: Arc<Rules>,
}

impl Routes {
    /// All routes.
    fn new(config: ServerConfig, gate: web::Data<Gate>, connections: Arc<Connections>) -> Self {
        let (keys, traffic) = (Keys(config.keys), Traffic::default());
        Self {
            configure: routes,
            gate,
            limits: web::Data::new(config.limits),
            keys: web::Data::new(keys.clone()),
            traffic: web::Data::new(traffic.clone()),
            metrics_budget: web::Data::new(MetricsBudget::new(&config.peer_share_exempt)),
            connections: web::Data::from(Arc::clone(&connections)),
            rules: Arc::new(Rules {
                cors_origins: config.cors_origins,
                scheme: if config.certificates.is_some() { Scheme::Https } else { Scheme::Http },
                keys,
                traffic,
                connections,
                log_requests: config.log_requests,
            }),
            certificates: config.certificates,
        }
    }
}

/// Has these listeners served; returns their addresses.
fn listen(
    mut builder: ServerBuilder,
    name: &str,
    listeners: Vec<TcpListener>,
    routes: &Routes,
) -> Result<(ServerBuilder, Vec<SocketAddr>), ServerError> {
    let mut addresses = Vec::new();
    for listener in listeners {
        addresses.push(listener.local_addr().map_err(ServerError::Failed)?);
        let routes = routes.clone();
        builder =
            builder.listen(name, listener, move || pipeline(routes.clone())).map_err(ServerError::Failed)?;
    }
    Ok((builder, addresses))
}

/// From an accepted connection to the routes: what the library's own `HttpServer` builds, with sockets of ours.
fn pipeline(
    routes: Routes,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    let Routes { configure, gate, limits, keys, traffic, metrics_budget, connections, certificates, rules } =
        routes;
    let app = App::new().app_data(gate).app_data(limits).app_data(keys).app_data(traffic);
    let app = app.app_data(metrics_budget).app_data(connections).configure(configure).into_factory();
    let connections = Arc::clone(&rules.connections);
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
        std::future::ready(
            connections.admit(stream, certificates.as_deref()).map(|stream| (stream, peer)).ok_or(()),
        )
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
    let request_at_hand = AtHand::new(request.head());
    let method = request.head().method.clone();
    let page = allowed_origin(request.head(), &rules.cors_origins);
    let line = rules.log_requests.then(|| RequestLine::new(request.head()));
    let handled = request_at_hand.sync(|| exchange::begin(&mut request, &rules).map(|()| app.call(request)));
    request_at_hand.within(async move {
        let response = match handled {
            Ok(handled) => match handled.await {
                Ok(response) => response.into(),
                Err(error) => error.error_response().into(),
            },
            Err(refusal) => refusal,
        };
        let status = response.status().as_u16();
        rules.traffic.count(at_hand::route(), &method, status, at_hand::problem());
        if let Some(line) = line {
            at_hand::request_span().in_scope(|| line.log(response.head()));
        }
        Ok(exchange::finish(response, connection, page, &rules))
    })
}
