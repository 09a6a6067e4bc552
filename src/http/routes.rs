//! Every route of the HTTP interface on one screen.

use actix_web::{Handler, Route, dev::HttpServiceFactory, middleware::from_fn, web};

use super::{
    events, health, namespaces, page, problem::Problem, publish, stats, subscriptions, topics,
    unread_guard::leave_unread,
};

/// What orchestrators and balancers ask, and is answered whatever else is going on.
pub(super) const PROBES: [&str; 3] = ["/livez", "/readyz", "/health"];

/// All routes.
pub(super) fn routes(service: &mut web::ServiceConfig) {
    service
        .configure(ledger)
        .service(reading("/namespaces", namespaces::list))
        .service(
            web::resource("/namespaces/{namespace}")
                .route(unread(web::get().to(namespaces::show)))
                .route(unread(web::head().to(namespaces::show)))
                .route(web::put().to(namespaces::create))
                .route(unread(web::delete().to(namespaces::delete)))
                .default_service(other_methods("GET, HEAD, PUT, DELETE")),
        )
        .service(web::scope("/namespaces/{namespace}").configure(ledger))
        .service(reading("/health", health::health))
        .service(reading("/livez", health::live))
        .service(reading("/readyz", health::ready))
        .service(reading("/", page::index))
        .service(reading("/ui/{file}", page::file))
        .default_service(unread(web::to(|| async {
            Err::<String, _>(Problem::not_found("there is no such address"))
        })));
}

/// What every namespace has: `default` at the root, any by its name.
fn ledger(service: &mut web::ServiceConfig) {
    service
        .service(
            web::resource("/publish")
                .route(web::post().to(publish::publish))
                .default_service(other_methods("POST")),
        )
        .service(reading("/events", events::page))
        .service(reading("/events/{event_id:.*}", events::event))
        .service(reading("/topics", topics::list))
        .service(reading("/stats", stats::stats))
        .configure(of_subscriptions);
}

/// The subscriptions of a namespace.
fn of_subscriptions(service: &mut web::ServiceConfig) {
    service
        .service(reading("/subscriptions", subscriptions::list))
        .service(
            web::resource("/subscriptions/{subscription}")
                .route(unread(web::get().to(subscriptions::show)))
                .route(unread(web::head().to(subscriptions::show)))
                .route(web::put().to(subscriptions::create))
                .route(web::patch().to(subscriptions::change))
                .route(unread(web::delete().to(subscriptions::delete)))
                .default_service(other_methods("GET, HEAD, PUT, PATCH, DELETE")),
        )
        .service(
            web::resource("/subscriptions/{subscription}/lease")
                .route(unread(web::post().to(subscriptions::lease)))
                .default_service(other_methods("POST")),
        )
        .service(posting("/subscriptions/{subscription}/ack", subscriptions::ack))
        .service(posting("/subscriptions/{subscription}/seek", subscriptions::seek))
        .service(reading("/subscriptions/{subscription}/parked", subscriptions::parked))
        .service(posting("/subscriptions/{subscription}/parked/retry", subscriptions::retry));
}

/// An address to post a body to.
fn posting<F, Args>(path: &'static str, handler: F) -> impl HttpServiceFactory + 'static
where
    F: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    web::resource(path).route(web::post().to(handler)).default_service(other_methods("POST"))
}

/// An address to read from, with GET and HEAD.
fn reading<F, Args>(path: &'static str, handler: F) -> impl HttpServiceFactory + 'static
where
    F: Handler<Args> + Copy,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    web::resource(path)
        .route(unread(web::get().to(handler)))
        .route(unread(web::head().to(handler)))
        .default_service(other_methods("GET, HEAD"))
}

/// The answer to every method but those that are allowed.
fn other_methods(allow: &'static str) -> Route {
    unread(web::to(move || async move { Err::<String, _>(Problem::method_not_allowed(allow)) }))
}

/// A route that expects no body.
fn unread(route: Route) -> Route {
    route.wrap(from_fn(leave_unread))
}
