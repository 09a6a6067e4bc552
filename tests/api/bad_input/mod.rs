//! Every rule for events and bodies, broken on purpose: the refusal names the place, and leaves no trace.

mod bodies;
mod events;

use serde_json::{Value, json};

use crate::harness::{Answer, RunningService, event};

const NOTHING: (u64, u64, u64) = (0, 0, 0);

/// What a refusal must look like.
struct Refusal {
    body: Vec<u8>,
    status: u16,
    /// The index and pointer of each of its `errors`.
    places: Vec<(u64, String)>,
    /// What its text must contain.
    says: String,
}

impl Refusal {
    /// A single event refused for one place in it.
    fn at(pointer: &str, says: &str, event: String) -> Self {
        let places = vec![(0, pointer.to_owned())];
        Self { body: event.into(), status: 422, places, says: says.to_owned() }
    }

    fn whole(status: u16, says: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), status, places: Vec::new(), says: says.to_owned() }
    }
}

/// The fields of a valid event, as JSON text.
const FIELDS: [(&str, &str); 5] = [
    ("topic", r#""t""#),
    ("event_id", r#""a""#),
    ("timestamp", r#""2026-06-18T12:00:00Z""#),
    ("source", r#""s""#),
    ("payload", "{}"),
];

/// A valid event, but for `field`, which is this JSON text, be it one of the five or a further one.
fn with(field: &str, value: &str) -> String {
    let others = FIELDS.iter().filter(|(name, _)| *name != field);
    let members: Vec<String> =
        others.chain([&(field, value)]).map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

fn without(field: &str) -> String {
    let others = FIELDS.iter().filter(|(name, _)| *name != field);
    let members: Vec<String> = others.map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

/// `a` with this id, and otherwise as it is.
fn named(event_id: &str, event: &str) -> String {
    event.replacen(r#""event_id":"a""#, &format!(r#""event_id":"{event_id}""#), 1)
}

fn good() -> String {
    with("payload", "{}")
}

fn nested(levels: usize) -> String {
    format!("{}{}", r#"{"a":"#.repeat(levels - 1) + "{}", "}".repeat(levels - 1))
}

/// Sends each body, alone and between good events; then nothing must have happened, and the service be well.
async fn are_refused(service: &RunningService, refusals: &[Refusal]) {
    for refusal in refusals {
        let answer = service.client.try_publish(refusal.body.clone()).await.unwrap();
        check(refusal, &answer, 0);
        if !refusal.places.is_empty() {
            let event = String::from_utf8(refusal.body.clone()).unwrap();
            let (first, last) = (named("first", &good()), named("last", &good()));
            for body in [format!("[{first},{event},{last}]"), format!(r#"{{"events":[{first},{event}]}}"#)] {
                let answer = service.client.try_publish(body).await.unwrap();
                check(refusal, &answer, 1);
            }
        }
    }
    nothing_happened(service).await;
}

fn check(refusal: &Refusal, answer: &Answer, index: u64) {
    let shown = String::from_utf8_lossy(&refusal.body[..refusal.body.len().min(300)]).into_owned();
    let problem = answer.problem(refusal.status);
    let places: Vec<(u64, String)> =
        refusal.places.iter().map(|(_, pointer)| (index, pointer.clone())).collect();
    assert_eq!(answer.faults(), places, "{shown}: {problem}");
    let said = match problem["errors"].as_array() {
        Some(errors) => errors.iter().map(|error| error["detail"].as_str().unwrap()).collect(),
        None => problem["detail"].as_str().unwrap().to_owned(),
    };
    assert!(said.contains(&refusal.says), "{shown}: {said:?} says {:?}", refusal.says);
}

/// Nothing is stored or counted, and a good publish works; it is the only thing that the service then holds.
async fn nothing_happened(service: &RunningService) {
    let client = &service.client;
    assert_eq!(client.counts().await, NOTHING);
    assert_eq!(client.stats().await["topics"], json!([]));
    assert_eq!(client.all_events().await, [] as [Value; 0]);
    let results = client.publish_ok(event("good", "good")).await;
    assert_eq!(results[0]["seq"], 1);
    assert_eq!(client.counts().await, (1, 1, 0));
    let in_flight = &client.stats().await["node"]["in_flight"];
    assert_eq!((&in_flight["events"], &in_flight["bytes"]), (&json!(0), &json!(0)));
    service.database().assert_sound().await;
}

/// Publishes an event that must be stored, and answers how it reads back, as text and as a value.
async fn stored(service: &RunningService, event: &str) -> (String, Value) {
    let results = service.client.publish_ok(event).await;
    assert_eq!(results[0]["status"], "stored", "{event}");
    let before = results[0]["seq"].as_u64().unwrap() + 1;
    let answer = service.client.get(&format!("/events?limit=1&before={before}")).await;
    let value = answer.json()[0].clone();
    assert_eq!(value["event_id"], results[0]["event_id"]);
    (answer.text, value)
}
