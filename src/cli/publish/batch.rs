//! Checks lines and gathers them to requests. Each line is checked by itself, so that a bad line does not
//! affect others.

use bytes::Bytes;
use bytestring::ByteString;

use super::lines::{LINE_BYTES_MAX, Line};
use crate::event::{BatchError, parse_batch};

/// Largest body of several events: half of the longest line, which has a request of its own.
const BATCH_BYTES_MAX: usize = LINE_BYTES_MAX / 2;

/// A line that holds one valid event.
#[derive(Clone)]
pub struct EventLine {
    pub number: u64,
    pub event_id: ByteString,
    pub json: Bytes,
}

/// The event of a line, or what is wrong with the line.
pub fn check(line: Line) -> Result<EventLine, String> {
    let Some(in_brackets) = line.in_brackets else {
        return Err(format!("is longer than the limit of {LINE_BYTES_MAX} bytes"));
    };
    // As an array of one, so that the line must be an event itself, and not an envelope of events.
    let events = parse_batch(in_brackets.clone(), 1).map_err(in_words)?;
    let event_id = events.first().ok_or("holds no event")?.event_id().clone();
    Ok(EventLine { number: line.number, event_id, json: in_brackets.slice(1..in_brackets.len() - 1) })
}

fn in_words(error: BatchError) -> String {
    match error {
        // The bracket in front is not part of the line.
        BatchError::NotJson { reason, column, .. } => {
            format!("is not JSON: {reason} at column {}", column.saturating_sub(1))
        }
        BatchError::TooMany { events, .. } => format!("holds {events} values, and not one event"),
        BatchError::WrongShape(detail) => detail,
        BatchError::Empty => "holds no event".to_owned(),
        BatchError::Faults(faults) => {
            let fault = |pointer: &str, detail: &str| match pointer {
                "" => detail.to_owned(),
                pointer => format!("`{pointer}` {detail}"),
            };
            let faults: Vec<String> = faults.iter().map(|it| fault(&it.pointer, &it.detail)).collect();
            faults.join("; ")
        }
    }
}

/// Gathers lines for one request.
pub struct Batch {
    pub events_max: usize,
    lines: Vec<EventLine>,
    bytes: usize,
}

impl Batch {
    pub fn new(events_max: usize) -> Self {
        Self { events_max, lines: Vec::new(), bytes: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether this line must go into the next request.
    pub fn is_full_for(&self, line: &EventLine) -> bool {
        let bytes = self.bytes + line.json.len() + 1;
        !self.is_empty() && (self.lines.len() >= self.events_max || bytes > BATCH_BYTES_MAX)
    }

    pub fn push(&mut self, line: EventLine) {
        self.bytes += line.json.len() + 1;
        self.lines.push(line);
    }

    pub fn take(&mut self) -> Vec<EventLine> {
        self.bytes = 0;
        std::mem::take(&mut self.lines)
    }
}

/// The body of a request: an array, or for one line the event alone, which may be as large as a body can be.
pub fn body(lines: &[EventLine]) -> Bytes {
    if let [line] = lines {
        return line.json.clone();
    }
    let mut body = Vec::with_capacity(lines.iter().map(|line| line.json.len() + 1).sum::<usize>() + 1);
    for (index, line) in lines.iter().enumerate() {
        body.push(if index == 0 { b'[' } else { b',' });
        body.extend_from_slice(&line.json);
    }
    body.push(b']');
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"seq":7,"topic":"t","event_id":"a","timestamp":"2026-06-18T12:00:00Z","source":"s","payload":{"n":1.10}}"#;

    fn checked(text: &str) -> Result<EventLine, String> {
        check(Line { number: 1, in_brackets: Some(format!("[{text}]").into()) })
    }

    fn line(text: &str) -> EventLine {
        EventLine { number: 1, event_id: "a".into(), json: Bytes::from(text.to_owned()) }
    }

    #[test]
    fn an_event_with_further_fields_is_taken_as_it_is() {
        assert_eq!(checked(GOOD).ok().unwrap().json, GOOD);
    }

    #[test]
    fn a_line_that_is_no_event_is_named() {
        for (text, fault) in [
            (format!("{GOOD},{GOOD}"), "holds 2 values, and not one event"),
            (format!("[{GOOD}]"), "must be an object, not an array"),
            (format!(r#"{{"events":[{GOOD}]}}"#), "`/topic` is missing; `/event_id` is missing; "),
            ("{\"a\" 1}".to_owned(), "is not JSON: expected `:` at column 6"),
            ("{}]oops[".to_owned(), "is not JSON: trailing characters at column 4"),
            ("5".to_owned(), "must be an object, not a number"),
        ] {
            let found = checked(&text).err().unwrap();
            assert!(found.starts_with(fault), "{text}: {found}");
        }
        let too_long = check(Line { number: 1, in_brackets: None });
        assert!(too_long.err().unwrap().contains("longer than the limit"));
    }

    #[test]
    fn a_batch_is_bounded_by_events_and_bytes() {
        let mut batch = Batch::new(2);
        let large = line(&"x".repeat(LINE_BYTES_MAX));
        assert!(!batch.is_full_for(&large), "a large line goes alone");
        batch.push(line("a"));
        assert!(batch.is_full_for(&large) && !batch.is_full_for(&line("b")));
        batch.push(line("b"));
        assert!(batch.is_full_for(&line("c")));
        assert_eq!(body(&batch.take()), "[a,b]");
        assert!(batch.is_empty());
        assert_eq!(body(&[line("a")]), "a");
    }
}
