//! The operations on the events of a namespace.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::operation::{Operation, json};
use crate::http::problem::Kind;

pub(super) fn operations() -> Vec<Operation> {
    let get = |path, id, summary| {
        Operation::new("events", Method::GET, path, id, summary).fails(&[Kind::Unreadable])
    };
    vec![
        publish(),
        get("/events", "listEvents", "Read a page of events")
            .says("Newest first; with `after`, oldest first. An unknown topic has no events. With `event_id` it is an array of one event or none, and of the other parameters only `topic` may stand beside it.")
            .takes(&[
                "Topics", "Limit", "Before", "After", "Since", "Until", "Where", "Wait", "EventIdOfPage", "PreferWait",
            ])
            .answers(
                200,
                "The page. An empty page without `Link` says that nothing up to `Sekali-Head` belongs on it.",
                &["Sekali-Head", "Link", "Preference-Applied", "Vary"],
                &json("Events"),
            )
            .fails(&[Kind::InvalidParameter]),
        get("/events/{event_id}", "readEvent", "Read one event")
            .says("Where the namespace's dedup scope is `topic`, an event is known by its topic and its id, and `topic` must be given. Ids that clients cannot put into a path, such as `..`, are found by `GET /events?event_id=`.")
            .takes(&["EventId", "TopicOfEvent"])
            .answers(200, "The event.", &[], &json("StoredEvent"))
            .fails(&[Kind::NotFound, Kind::InvalidParameter]),
        stream(),
        get("/topics", "listTopics", "List topics")
            .says("By name, in the order of their bytes.")
            .takes(&["Prefix", "LimitOfNames", "AfterTopic"])
            .answers(200, "A page of topics.", &["Link"], &json("Topics"))
            .fails(&[Kind::InvalidParameter]),
        get("/stats", "readStats", "Read the counts")
            .says("The counts are the database's: they commit with the events, and an answer includes everything that this node acknowledged before the request. `node` is this process.")
            .answers(200, "The counts.", &[], &json("Stats")),
    ]
}

fn publish() -> Operation {
    Operation::new("events", Method::POST, "/publish", "publish", "Publish events")
        .says("Each event is stored once, however often it is sent. A request is atomic: all of its events are stored, or none. After 408, any 5xx or no answer at all, send the same request again. The media type is `application/json`, any that ends in `+json`, or none; the text is UTF-8.")
        .takes(&["PreferMinimal"])
        .reads("Publish", true, bodies())
        .answers(
            200,
            "Every event of the request is stored durably. `results` is in the order of the request, and says which were new.",
            &["Preference-Applied"],
            &json("Published"),
        )
        .fails(&[Kind::Invalid, Kind::Refused, Kind::Quarantined])
}

fn stream() -> Operation {
    Operation::new("events", Method::GET, "/stream", "followEvents", "Follow the events live")
        .says("It does not end by itself. The place is `Last-Event-ID`, else `last_event_id`, else `after`. An event is `id: <seq>` and `data: <the event>`; blocks with an `event:` name are notices: `caught-up` (once, at the end of what is stored), `place` (a filtered reader was served so far), `restored` (the database was put back to an older copy), `unavailable` (come back after `retry`) and `damaged` (the event behind the place cannot be read, and coming back does not help). With `Accept: application/x-ndjson`, `application/jsonl` or `application/ndjson` each line is an event, and an empty line is a sign of life. Server-Sent Events that cannot be served now are 200 with the notice `unavailable`, since EventSource gives up on any other status; lines of JSON are 503.")
        .takes(&["Topics", "AfterOfStream", "LastEventIdQuery", "Where", "SubscriptionOfStream", "LastEventId"])
        .answers(
            200,
            "The stream.",
            &["X-Accel-Buffering", "Vary"],
            &[
                ("text/event-stream", "EventStream"),
                ("application/x-ndjson", "EventLines"),
                ("application/jsonl", "EventLines"),
                ("application/ndjson", "EventLines"),
            ],
        )
        .fails(&[Kind::InvalidParameter, Kind::NoSubscription, Kind::Unreadable])
}

/// The forms of a body.
fn bodies() -> Value {
    let event = |event_id: &str| {
        json!({
            "topic": "orders", "event_id": event_id, "timestamp": "2026-06-18T12:00:00Z", "source": "shop",
            "payload": {"total": 9.9},
        })
    };
    json!({
        "event": {"summary": "One event", "value": event("order-17")},
        "array": {"summary": "An array of events", "value": [event("order-17"), event("order-18")]},
        "events": {"summary": "An object with events", "value": {"events": [event("order-17")]}},
    })
}
