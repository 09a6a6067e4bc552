//! The top floor: every route and every limit of the HTTP interface on one screen.

mod body;
mod error;
mod events;
mod gate;
mod health;
mod held_body;
mod publish;
mod query;
mod stats;
mod unread;

use std::time::{Duration, Instant};

use actix_web::{Handler, dev::HttpServiceFactory, middleware::from_fn, web};

pub use self::gate::Gate;
use self::{error::Problem, unread::leave_unread};

/// What the handlers hold requests to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Events in one request.
    pub batch_events_max: usize,
    /// Time for a body to come; a large one gets a second more for each 64 KiB that came.
    pub body_timeout: Duration,
    /// Time from the end of a publish's body to its answer.
    pub publish_timeout: Duration,
    /// When the service started.
    pub started: Instant,
}

/// All routes.
pub fn routes(service: &mut web::ServiceConfig) {
    service
        .service(
            web::resource("/publish").route(web::post().to(publish::publish)).default_service(
                web::to(|| async { Err::<String, _>(Problem::method_not_allowed("POST")) })
                    .wrap(from_fn(leave_unread)),
            ),
        )
        .service(reading("/events", events::page))
        .service(reading("/events/{event_id:.*}", events::event))
        .service(reading("/stats", stats::stats))
        .service(reading("/health", health::health))
        .service(reading("/livez", health::live))
        .service(reading("/readyz", health::ready))
        .default_service(
            web::to(|| async { Err::<String, _>(Problem::not_found("there is no such address")) })
                .wrap(from_fn(leave_unread)),
        );
}

/// An address to read from, with GET and HEAD.
fn reading<F, Args>(path: &'static str, handler: F) -> impl HttpServiceFactory + 'static
where
    F: Handler<Args> + Copy,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler))
        .route(web::head().to(handler))
        .default_service(web::to(|| async { Err::<String, _>(Problem::method_not_allowed("GET, HEAD")) }))
        .wrap(from_fn(leave_unread))
}
