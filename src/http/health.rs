//! The probes: /health for people and containers, /livez and /readyz for orchestrators.

use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::{gate::Gate, problem::probe};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    database: &'static str,
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether the database answers.
pub(super) async fn health(gate: web::Data<Gate>) -> HttpResponse {
    let connected = match gate.service() {
        Some(service) => service.ping().await.is_ok(),
        None => false,
    };
    probe(connected).json(match connected {
        true => Health { status: "healthy", database: "connected" },
        false => Health { status: "unhealthy", database: "disconnected" },
    })
}

/// Whether the process answers at all.
pub(super) async fn live() -> HttpResponse {
    probe(true).json(Status { status: "alive", reason: None })
}

/// Whether requests should be sent here.
pub(super) async fn ready(gate: web::Data<Gate>) -> HttpResponse {
    let obstacle = if gate.is_draining() {
        Some("the service is stopping".to_owned())
    } else if let Some(service) = gate.service() {
        service.ready().await.err().map(|obstacle| obstacle.to_string())
    } else {
        Some("the database is not there yet".to_owned())
    };
    probe(obstacle.is_none()).json(match obstacle {
        None => Status { status: "ready", reason: None },
        reason => Status { status: "not ready", reason },
    })
}
