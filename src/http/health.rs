//! The probes: /health for people and containers, /livez and /readyz for orchestrators.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::{error::probe, gate::Gate};

/// Whether the database answers.
pub(super) async fn health(gate: web::Data<Gate>) -> HttpResponse {
    let connected = match gate.rooms() {
        Some(rooms) => rooms.ping().await.is_ok(),
        None => false,
    };
    let (status, database) = if connected { ("healthy", "connected") } else { ("unhealthy", "disconnected") };
    probe(connected).json(json!({"status": status, "database": database}))
}

/// Whether the process answers at all.
pub(super) async fn live() -> HttpResponse {
    probe(true).json(json!({"status": "alive"}))
}

/// Whether requests should be sent here.
pub(super) async fn ready(gate: web::Data<Gate>) -> HttpResponse {
    let obstacle = if gate.is_draining() {
        Some("the service is stopping".to_owned())
    } else if let Some(rooms) = gate.rooms() {
        rooms.ready().await.err().map(|obstacle| obstacle.to_string())
    } else {
        Some("the database is not there yet".to_owned())
    };
    match obstacle {
        None => probe(true).json(json!({"status": "ready"})),
        Some(reason) => probe(false).json(json!({"status": "not ready", "reason": reason})),
    }
}
