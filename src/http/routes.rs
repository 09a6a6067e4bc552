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
/// The address of a namespace, below which are the addresses of its ledger.
pub(super) const NAMESPACE: &str = "/namespaces/{namespace}";

/// All routes: those of the service, and those of a ledger twice, `default`'s at the root and any by its name.
pub(super) fn routes(service: &mut web::ServiceConfig) {
    put(of_ledger(), service);
    put(of_service(), service);
    service
        .service(web::scope(NAMESPACE).configure(|named| put(of_ledger(), named)))
        .default_service(nowhere());
}

/// What the port for metrics alone has.
pub(super) fn metrics_routes(service: &mut web::ServiceConfig) {
    service.service(Place::at("/metrics").get(NoKey, metrics::metrics)).default_service(nowhere());
}

fn put(places: Vec<Place>, service: &mut web::ServiceConfig) {
    for place in places {
        service.service(place);
    }
}

/// What there is once.
pub(super) fn of_service() -> Vec<Place> {
    vec![
        Place::at("/namespaces").get(ReadService, namespaces::list),
        Place::at(NAMESPACE)
            .get(Read, namespaces::show)
            .put(Admin, namespaces::create)
            .delete(Admin, namespaces::delete),
        Place::at("/metrics").get(ReadService, metrics::metrics),
        Place::at("/health").get(NoKey, health::health),
        Place::at("/livez").get(NoKey, health::live),
        Place::at("/readyz").get(NoKey, health::ready),
        Place::at("/").get(NoKey, page::index),
        Place::at("/docs").get(NoKey, page::docs),
        Place::at("/openapi.json").get(NoKey, page::description),
        Place::at("/ui/{file}").get(NoKey, page::file),
    ]
}

/// What every namespace has. Who works on a subscription needs no more than to read; to make, change or end one is for
/// administrators, since it decides what its workers get.
pub(super) fn of_ledger() -> Vec<Place> {
    vec![
        Place::at("/publish").post(Publish, publish::publish),
        Place::at("/events").get(ReadTopics, events::page),
        Place::at("/events/{event_id:.*}").get(ReadTopics, events::event),
        Place::at("/stream").get(ReadTopics, stream::stream),
        Place::at("/topics").get(Read, topics::list),
        Place::at("/stats").get(Read, stats::stats),
        Place::at("/subscriptions").get(Read, subscriptions::list),
        Place::at("/subscriptions/{subscription}")
            .get(Read, subscriptions::show)
            .put(Admin, subscriptions::create)
            .with_body(Method::PATCH, Admin, subscriptions::change)
            .delete(Admin, subscriptions::delete),
        Place::at("/subscriptions/{subscription}/lease").post_without_body(Read, subscriptions::lease),
        Place::at("/subscriptions/{subscription}/ack").post(Read, subscriptions::ack),
        Place::at("/subscriptions/{subscription}/seek").post(Admin, subscriptions::seek),
        Place::at("/subscriptions/{subscription}/parked").get(Read, subscriptions::parked),
        Place::at("/subscriptions/{subscription}/parked/retry").post(Admin, subscriptions::retry),
    ]
}
