//! The operations on subscriptions.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::operation::{Operation, json};
use crate::http::problem::Kind;

const ONE: &str = "/subscriptions/{subscription}";

fn operation(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new("subscriptions", method, path, id, summary)
        .fails(&[Kind::InvalidParameter, Kind::Unreadable])
}

/// An operation on one subscription, which has to be there.
fn on_one(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    operation(method, path, id, summary).fails(&[Kind::NoSubscription])
}

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = of_settings();
    operations.extend(of_workers());
    operations
}

fn of_settings() -> Vec<Operation> {
    let settings = || example(json!({"topics": ["orders"], "after": "earliest", "lease_seconds": 60}));
    vec![
        operation(Method::GET, "/subscriptions", "listSubscriptions", "List subscriptions")
            .says("By name. A page may end early: `Link` leads on while there are more.")
            .takes(&["PrefixOfName", "LimitOfNames", "AfterName"])
            .answers(200, "A page of subscriptions.", &["Link"], &json("Subscriptions")),
        on_one(Method::GET, ONE, "readSubscription", "Read a subscription")
            .takes(&["SubscriptionName"])
            .answers(200, "The subscription.", &[], &json("Subscription")),
        operation(Method::PUT, ONE, "createSubscription", "Create a subscription")
            .takes(&["SubscriptionName"])
            .reads("SubscriptionSettings", false, settings())
            .answers(201, "It was created.", &[], &json("Subscription"))
            .answers(200, "It was there already with these settings.", &[], &json("Subscription"))
            .fails(&[Kind::InvalidBody, Kind::OtherSettings, Kind::TooManySubscriptions]),
        on_one(Method::PATCH, ONE, "changeSubscription", "Change settings of a subscription")
            .says("Settings that are not given stay. Where it begins and its partitions cannot be changed.")
            .takes(&["SubscriptionName"])
            .reads("SubscriptionChange", false, example(json!({"max_leases": 4})))
            .answers(200, "The subscription.", &[], &json("Subscription"))
            .fails(&[Kind::InvalidBody]),
        on_one(Method::DELETE, ONE, "deleteSubscription", "Delete a subscription")
            .says("Its places, leases and parked events go with it; the events themselves stay.")
            .takes(&["SubscriptionName"])
            .answers(204, "It is deleted.", &[], &[]),
    ]
}

fn of_workers() -> Vec<Operation> {
    vec![
        on_one(Method::POST, "/subscriptions/{subscription}/lease", "leaseEvents", "Lease events")
            .says("Work that was given back or has expired comes first. The events are the worker's until `expires_at`; acknowledge them with the lease's id. The body is not read.")
            .takes(&["SubscriptionName", "Limit", "Wait", "Worker"])
            .answers(200, "A lease with its events, oldest first.", &[], &json("Lease"))
            .answers(204, "There is nothing to do.", &[], &[])
            .fails(&[Kind::FullyLeased]),
        on_one(Method::POST, "/subscriptions/{subscription}/ack", "acknowledge", "Acknowledge a lease")
            .says("`accept` (also without `result`) says that the events are done, up to `through` where it is given; `release` gives them back, `reject` counts a failure, `renew` takes more time. Without a lease, `through` moves a reader on where none is held.")
            .takes(&["SubscriptionName"])
            .reads("Acknowledgement", true, example(json!({"lease": "9b2f6c1e-4c55-4d0a-8c26-6d1b7f0a5e33", "result": "accept"})))
            .answers(200, "It is done.", &[], &json("Acknowledged"))
            .fails(&[Kind::InvalidBody, Kind::Fenced, Kind::FullyLeased]),
        on_one(Method::POST, "/subscriptions/{subscription}/seek", "seek", "Send a subscription to another place")
            .says("Leases that are held are fenced. Parked events with a higher `seq` are forgotten, since they are handed out again.")
            .takes(&["SubscriptionName"])
            .reads("Seek", true, example(json!({"after": "earliest"})))
            .answers(200, "It is there.", &[], &json("Acknowledged"))
            .fails(&[Kind::InvalidBody]),
        on_one(Method::GET, "/subscriptions/{subscription}/parked", "listParked", "List parked events")
            .says("Events that failed `max_deliveries` times, by `seq`. A page also ends at 8 MiB, but holds at least one event. In place of an event that is damaged, `event` has its `seq` and says what is wrong as `damage`.")
            .takes(&["SubscriptionName", "Limit", "AfterParked"])
            .answers(200, "A page of parked events.", &["Link"], &json("ParkedEvents")),
        on_one(Method::POST, "/subscriptions/{subscription}/parked/retry", "retryParked", "Try parked events again")
            .says("Those that `seqs` names, else the oldest, up to 100; `parked` says how many are left.")
            .takes(&["SubscriptionName"])
            .reads("RetryParked", false, example(json!({"seqs": [41]})))
            .answers(200, "They are tried again.", &[], &json("Retried"))
            .fails(&[Kind::InvalidBody]),
    ]
}

fn example(value: Value) -> Value {
    json!({"example": {"value": value}})
}
