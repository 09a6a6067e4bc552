//! Events as JSON text.

use std::mem;

use crate::store::StoredEvent;

/// Bytes of an event's JSON beside its names and its payload.
const EVENT_BYTES: usize = 192;

/// About as many bytes as the JSON of these events has.
pub(in crate::http) fn json_bytes(events: &[StoredEvent]) -> usize {
    2 + events.iter().map(event_bytes).sum::<usize>()
}

pub(in crate::http) fn event_bytes(event: &StoredEvent) -> usize {
    let names = event.topic.len() + event.event_id.len() + event.source.len();
    EVENT_BYTES + names + event.payload.len()
}

pub(in crate::http) fn page_json(events: &[StoredEvent]) -> Vec<u8> {
    let mut json = Vec::with_capacity(json_bytes(events));
    json.push(b'[');
    for (place, event) in events.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        write_event(&mut json, event);
    }
    json.push(b']');
    json
}

/// One event between `open` and `close`. Its payload may be large: the text becomes the answer without a copy.
pub(in crate::http) fn event_json(open: &str, mut event: StoredEvent, close: &str) -> Vec<u8> {
    let mut begin = open.as_bytes().to_vec();
    write_to_payload(&mut begin, &event);
    let mut json = mem::take(&mut event.payload).into_bytes();
    json.reserve_exact(begin.len() + EVENT_BYTES);
    json.splice(..0, begin);
    write_behind_payload(&mut json, &event);
    json.extend_from_slice(close.as_bytes());
    json
}

/// Written by hand, since a payload is JSON text already and goes out to the letter.
pub(in crate::http) fn write_event(json: &mut Vec<u8>, event: &StoredEvent) {
    write_to_payload(json, event);
    json.extend_from_slice(event.payload.as_bytes());
    write_behind_payload(json, event);
}

fn write_to_payload(json: &mut Vec<u8>, event: &StoredEvent) {
    json.extend_from_slice(format!("{{\"seq\":{},\"topic\":", event.seq).as_bytes());
    write_string(json, &event.topic);
    json.extend_from_slice(b",\"event_id\":");
    write_string(json, &event.event_id);
    json.extend_from_slice(format!(",\"timestamp\":\"{}\",\"source\":", event.timestamp).as_bytes());
    write_string(json, &event.source);
    json.extend_from_slice(b",\"payload\":");
}

fn write_behind_payload(json: &mut Vec<u8>, event: &StoredEvent) {
    json.extend_from_slice(format!(",\"received_at\":\"{}\"}}", event.received_at).as_bytes());
}

fn write_string(json: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(json, text).expect("a string is written to memory");
}
