//! GET /metrics: what monitoring systems read.
//!
//! - [`traffic`]: what the server counts of its own: requests, problems, the time of publishes.
//! - [`snapshot`]: what the parts of the service tell when they are asked.
//! - [`process`]: what the system tells of the process.

mod lines;
mod process;
mod snapshot;
mod traffic;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

pub(super) use self::traffic::Traffic;
use self::{process::Process, snapshot::Snapshot};
use super::{Limits, connections::Connections, gate::Gate};

const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const PREFIX: &str = "sekali";

/// The metrics of this process, in the format that is asked for. The store is not asked.
pub(super) async fn metrics(
    request: HttpRequest,
    gate: web::Data<Gate>,
    limits: web::Data<Limits>,
    traffic: web::Data<Traffic>,
    connections: web::Data<Connections>,
) -> HttpResponse {
    let service = match gate.service() {
        Some(service) => Some(service.metrics(limits.metrics_namespaces_max).await),
        None => None,
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Process));
    let own = registry.sub_registry_with_prefix(PREFIX);
    traffic.register(own);
    own.register_collector(Box::new(Snapshot {
        service,
        connections: connections.report(),
        uptime: limits.started.elapsed(),
    }));
    let mut written = String::new();
    let mut accepts = request.headers().get_all(header::ACCEPT).filter_map(|accept| accept.to_str().ok());
    let (encoded, content_type) = match accepts.any(|accept| accept.contains(OPEN_METRICS)) {
        true => (text::encode(&mut written, &registry), OPEN_METRICS_TYPE),
        false => (prometheus_text::encode(&mut written, &registry), TEXT_TYPE),
    };
    encoded.expect("writing to a String never fails");
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, content_type)).body(written)
}
