//! Every route of the HTTP interface on one screen, with what each needs where keys are in force.

use actix_web::{http::Method, web};

use super::{
    events, health, metrics, namespaces, page,
    place::{Place, nowhere},
    publish,
    rights::Needs::{Admin, NoKey, Publish, Read, ReadService, ReadTopics},
    stats, stream, subscriptions, topics,
};

/// What orchestrators and balancers ask, and is answered whatever else is going on.
pub(super) const PROBES: [&str; 3] = ["/livez", "/readyz", "/health"];

/// All routes.
pub(super) fn routes(service: &mut web::ServiceConfig) {
    service
        .configure(ledger)
        .service(Place::at("/namespaces").get(ReadService, namespaces::list))
        .service(
            Place::at("/namespaces/{namespace}")
                .get(Read, namespaces::show)
                .put(Admin, namespaces::create)
                .delete(Admin, namespaces::delete),
        )
        .service(web::scope("/namespaces/{namespace}").configure(ledger))
        .service(Place::at("/metrics").get(ReadService, metrics::metrics))
        .service(Place::at("/health").get(NoKey, health::health))
        .service(Place::at("/livez").get(NoKey, health::live))
        .service(Place::at("/readyz").get(NoKey, health::ready))
        .service(Place::at("/").get(NoKey, page::index))
        .service(Place::at("/ui/{file}").get(NoKey, page::file))
        .default_service(nowhere());
}

/// What the port for metrics alone has.
pub(super) fn metrics_routes(service: &mut web::ServiceConfig) {
    service.service(Place::at("/metrics").get(NoKey, metrics::metrics)).default_service(nowhere());
}

/// What every namespace has: `default` at the root, any by its name.
fn ledger(service: &mut web::ServiceConfig) {
    service
        .service(Place::at("/publish").post(Publish, publish::publish))
        .service(Place::at("/events").get(ReadTopics, events::page))
        .service(Place::at("/events/{event_id:.*}").get(ReadTopics, events::event))
        .service(Place::at("/stream").get(ReadTopics, stream::stream))
        .service(Place::at("/topics").get(Read, topics::list))
        .service(Place::at("/stats").get(Read, stats::stats))
        .configure(of_subscriptions);
}

/// The subscriptions of a namespace. Who works on one needs no more than to read; to make, change or end one is for
/// administrators, since it decides what its workers get.
fn of_subscriptions(service: &mut web::ServiceConfig) {
    service
        .service(Place::at("/subscriptions").get(Read, subscriptions::list))
        .service(
            Place::at("/subscriptions/{subscription}")
                .get(Read, subscriptions::show)
                .put(Admin, subscriptions::create)
                .with_body(Method::PATCH, Admin, subscriptions::change)
                .delete(Admin, subscriptions::delete),
        )
        .service(
            Place::at("/subscriptions/{subscription}/lease").post_without_body(Read, subscriptions::lease),
        )
        .service(Place::at("/subscriptions/{subscription}/ack").post(Read, subscriptions::ack))
        .service(Place::at("/subscriptions/{subscription}/seek").post(Admin, subscriptions::seek))
        .service(Place::at("/subscriptions/{subscription}/parked").get(Read, subscriptions::parked))
        .service(Place::at("/subscriptions/{subscription}/parked/retry").post(Admin, subscriptions::retry));
}
