//! HTTP: handlers that parse, call and reply; limits, problem documents and all status codes.

mod server;
mod listeners;
mod certificates;
mod connections;
mod exchange;
mod request_id;
mod at_hand;
mod request_log;
mod foreign_origin;
mod cors;
mod routes;
mod place;
mod rights;
mod gate;
mod namespace;
mod namespaces;
mod query;
mod preferences;
mod body;
mod publish;
mod events;
mod topics;
mod stream;
mod fields;
mod subscriptions;
mod stats;
mod health;
mod metrics;
mod page;
mod openapi;
mod metered_body;
mod peer;
mod unread_guard;
mod problem;

use std::time::{Duration, Instant};

use self::rights::Keys;
pub use self::{
    at_hand::request_span,
    certificates::{CertificateError, Certificates},
    gate::Gate,
    server::{Server, ServerConfig, ServerError, client_sockets_max},
};

/// What the handlers hold requests to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Events in one request.
    pub batch_events_max: usize,
    /// How far a body may be behind its pace of 64 KiB a second.
    pub body_timeout: Duration,
    /// Time from the end of a publish's body to its answer.
    pub publish_timeout: Duration,
    /// The longest wait of a reader for an event.
    pub wait_max: Duration,
    /// Namespaces that metrics show by name.
    pub metrics_namespaces_max: usize,
    /// When the service started.
    pub started: Instant,
}
