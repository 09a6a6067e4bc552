//! The JSON of planned events.

use std::fmt::Write as _;

use bytes::Bytes;

use super::plan::Plan;

/// The smallest payload: its frame with the largest number.
pub const PAYLOAD_BYTES_MIN: usize = 26;
/// Most bytes of an event's JSON beside its payload.
pub const EVENT_FRAME_BYTES_MAX: usize = 300;

/// The body of one request, an array of events.
pub fn request_body(plan: &Plan, place: usize) -> Bytes {
    let numbers = plan.request(place);
    let mut body = String::with_capacity(numbers.len() * (plan.payload_bytes + EVENT_FRAME_BYTES_MAX) + 2);
    for number in numbers {
        let (topic, id) = (&plan.topics[plan.topic_of(*number)], plan.ids.id(*number));
        let (timestamp, source, payload) = (&plan.timestamp, &plan.source, payload(plan, *number));
        body.push(if body.is_empty() { '[' } else { ',' });
        write!(
            body,
            r#"{{"topic":"{topic}","event_id":"{id}","timestamp":"{timestamp}","source":"{source}","payload":{payload}}}"#
        )
        .expect("writing to a String never fails");
    }
    body.push(']');
    body.into()
}

/// The payload of the event with this number, as many bytes long as planned.
pub fn payload(plan: &Plan, number: u32) -> String {
    const END: &str = r#""}"#;
    let mut payload = String::with_capacity(plan.payload_bytes);
    write!(payload, r#"{{"n":{number},"fill":""#).expect("writing to a String never fails");
    let letters = plan.noise(number).to_be_bytes().map(|byte| char::from(b'a' + byte % 16));
    let fill_bytes = plan.payload_bytes - payload.len() - END.len();
    payload.extend(letters.iter().cycle().take(fill_bytes));
    payload.push_str(END);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::simulate::tests::plan, event::parse_batch};

    #[test]
    fn a_body_holds_the_planned_events() {
        let plan = plan(&["--events=120", "--payload-bytes=64", "--topics=3"]);
        let mut numbers = Vec::new();
        for place in 0..plan.requests() {
            for event in parse_batch(request_body(&plan, place), 50).unwrap() {
                let number = plan.number(event.event_id()).unwrap();
                assert_eq!(event.topic(), plan.topics[plan.topic_of(number)].as_str());
                assert_eq!(event.payload().len(), 64);
                numbers.push(number);
            }
        }
        let planned: Vec<u32> = (0..plan.requests()).flat_map(|place| plan.request(place)).copied().collect();
        assert_eq!(numbers, planned);
    }

    #[test]
    fn the_smallest_payload_holds_the_largest_number() {
        let payload = payload(&plan(&["--payload-bytes=26"]), u32::MAX);
        assert_eq!(payload.len(), PAYLOAD_BYTES_MIN);
        assert!(serde_json::from_str::<serde_json::Value>(&payload).is_ok());
    }
}
