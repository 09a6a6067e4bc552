//! The JSON of planned events, written straight into a request's body.

use bytes::Bytes;
use uuid::Uuid;

use super::plan::Plan;

/// The smallest payload: the frame, and the largest number.
pub const PAYLOAD_BYTES_MIN: usize = 26;
/// What an event's JSON is larger than its payload, at most.
pub const EVENT_FRAME_BYTES_MAX: usize = 300;

/// The body of one request: a bare event, or an array.
pub fn request_body(plan: &Plan, place: usize) -> Bytes {
    let numbers = plan.request(place);
    let mut body = Vec::with_capacity(numbers.len() * (plan.payload_bytes + EVENT_FRAME_BYTES_MAX) + 2);
    if let [number] = numbers {
        write_event(plan, *number, &mut body);
        return body.into();
    }
    for (index, number) in numbers.iter().enumerate() {
        body.push(if index == 0 { b'[' } else { b',' });
        write_event(plan, *number, &mut body);
    }
    body.push(b']');
    body.into()
}

fn write_event(plan: &Plan, number: u32, body: &mut Vec<u8>) {
    let mut id = Uuid::encode_buffer();
    body.extend_from_slice(b"{\"topic\":\"");
    body.extend_from_slice(plan.topics[plan.topic_of(number)].as_bytes());
    body.extend_from_slice(b"\",\"event_id\":\"");
    body.extend_from_slice(plan.ids.id(number).hyphenated().encode_lower(&mut id).as_bytes());
    body.extend_from_slice(b"\",\"timestamp\":\"");
    body.extend_from_slice(plan.timestamp.as_bytes());
    body.extend_from_slice(b"\",\"source\":\"simulate\",\"payload\":");
    write_payload(plan, number, body);
    body.push(b'}');
}

/// The payload of the event with this number, just as long as planned.
pub fn write_payload(plan: &Plan, number: u32, body: &mut Vec<u8>) {
    let end = body.len() + plan.payload_bytes - "\"}".len();
    body.extend_from_slice(b"{\"n\":");
    write_digits(number, body);
    body.extend_from_slice(b",\"fill\":\"");
    let noise = plan.ids.noise(number).to_be_bytes();
    let letters = noise.map(|byte| b'a' + byte % 16);
    while body.len() + letters.len() <= end {
        body.extend_from_slice(&letters);
    }
    body.extend_from_slice(&letters[..end - body.len()]);
    body.extend_from_slice(b"\"}");
}

fn write_digits(mut number: u32, body: &mut Vec<u8>) {
    let mut digits = [0; 10];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    body.extend_from_slice(&digits[from..]);
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
        let plan = plan(&["--payload-bytes=26"]);
        let mut payload = Vec::new();
        write_payload(&plan, u32::MAX, &mut payload);
        assert_eq!(payload.len(), 26);
        assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
    }
}
