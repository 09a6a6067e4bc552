//! GET /metrics: what monitoring systems read.
//!
//! - [`traffic`]: what the server counts of its own: requests, problems, the time of publishes.
//! - [`snapshot`]: what the parts of the service tell when they are asked.
//! - [`process`]: what the system tells of the process.

mod lines;
mod process;
mod snapshot;
mod traffic;

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use ipnet::IpNet;
use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

pub(super) use self::traffic::Traffic;
use self::{process::Process, snapshot::Snapshot};
use super::{
    Limits, connections::Connections, gate::Gate, metered_body::MeteredBody, peer::peer, problem::Problem,
};
use crate::ledger::{Budget, BudgetLimits, Overloaded};

const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const PREFIX: &str = "sekali";
/// Bytes of answers that clients of one listener have asked for and not yet read.
const ANSWERS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Capacity for the answers of one listener. They have their own, so that others which nobody reads do not keep a service
/// from being watched.
pub(super) struct MetricsBudget(Arc<Budget>);

impl MetricsBudget {
    /// One peer has half of it, but for those that are exempt.
    pub(super) fn new(exempt: &[IpNet]) -> Self {
        Self(Budget::new(BudgetLimits {
            bytes_max: ANSWERS_BYTES_MAX,
            peer_bytes_max: ANSWERS_BYTES_MAX / 2,
            exempt: exempt.into(),
            full: Overloaded("too many bytes of metrics wait for their clients"),
            peer_full: Overloaded("too many bytes of metrics wait for this client's address"),
        }))
    }
}

/// The metrics of this process, in the format that is asked for. The store is not asked.
pub(super) async fn metrics(
    request: HttpRequest,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
    traffic: web::Data<Traffic>,
    connections: web::Data<Connections>,
    budget: web::Data<MetricsBudget>,
) -> Result<HttpResponse, Problem> {
    let service = gate.service();
    let snapshot = Snapshot {
        service: match service {
            Some(service) => Some(service.metrics(limits.metrics_namespaces_max).await),
            None => None,
        },
        connections: connections.report(),
        uptime: limits.started.elapsed(),
    };
    let permit = budget.0.admit_answer(peer(&request), snapshot.bytes())?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    let own = registry.sub_registry_with_prefix(PREFIX);
    traffic.register(own);
    own.register_collector(Box::new(snapshot));
    let mut accepts = request.headers().get_all(header::ACCEPT).filter_map(|accept| accept.to_str().ok());
    let is_open_metrics = accepts.any(|accept| accept.contains(OPEN_METRICS));
    let write = move || {
        let mut written = String::new();
        let encoded = match is_open_metrics {
            true => text::encode(&mut written, &registry),
            false => prometheus_text::encode(&mut written, &registry),
        };
        encoded.expect("writing to a String never fails");
        written.into_bytes()
    };
    let body = match service {
        Some(service) => MeteredBody::build(service, permit, write).await?,
        // There is nothing yet of which there may be much.
        None => MeteredBody::new(write().into(), permit),
    };
    let content_type = if is_open_metrics { OPEN_METRICS_TYPE } else { TEXT_TYPE };
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, content_type)).body(body))
}
