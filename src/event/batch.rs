//! From the body of a publish to its events: one event object, an array of events, or an object with `events`.

mod fields;

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::value::RawValue;

use self::fields::{Field, Fields, Key};
use super::{
    Event, PAYLOAD_DEPTH_MAX, Timestamp, check_name,
    json::{BREACHES_MAX, Breach, Cursor, Kind, RawString, pointers_to},
};

/// Faults that one refusal names at most; what comes behind them is left out.
const FAULTS_MAX: usize = BREACHES_MAX;

/// One thing that is wrong with one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFault {
    /// Which event of the request, from 0.
    pub index: usize,
    /// JSON pointer (RFC 6901) to the place, starting at the event; empty for the event itself.
    pub pointer: String,
    /// A sentence without its subject: `must be a string, not null`.
    pub detail: String,
}

/// Why a body holds no events to store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("the body is not JSON: {reason} at line {line} column {column}")]
    NotJson { reason: String, line: usize, column: usize },
    #[error("the request holds {events} events; the limit is {events_max}")]
    TooMany { events: usize, events_max: usize },
    #[error("{0}")]
    WrongShape(String),
    #[error("the request holds no events")]
    Empty,
    #[error("{} of the request's events are not valid; nothing was stored", events_at_fault(.0))]
    Faults(Vec<EventFault>),
}

fn events_at_fault(faults: &[EventFault]) -> String {
    let events = faults.chunk_by(|one, other| one.index == other.index).count();
    // Nothing behind the last named fault was checked.
    if faults.len() < FAULTS_MAX { events.to_string() } else { format!("at least {events}") }
}

/// Reads the events of a publish in request order: all of them are valid, or the error names every fault, in
/// index order, up to 100.
///
/// The events share the memory of `body`.
pub fn parse_batch(body: Bytes, events_max: usize) -> Result<Vec<Event>, BatchError> {
    let body = json_text(&body)?;
    let mut batch = Batch {
        body: &body,
        events_max,
        events_seen: 0,
        events: Vec::new(),
        faults: Vec::new(),
        breaches: Vec::new(),
    };
    let read = batch.read();
    if batch.events_seen > events_max {
        return Err(BatchError::TooMany { events: batch.events_seen, events_max });
    }
    read?;
    if !batch.faults.is_empty() {
        return Err(BatchError::Faults(batch.faults));
    }
    if batch.events_seen == 0 {
        return Err(BatchError::Empty);
    }
    Ok(batch.events)
}

/// A body as text that is JSON from its first byte to its last.
pub fn json_text(body: &Bytes) -> Result<ByteString, BatchError> {
    let text = ByteString::try_from(body.clone()).map_err(|_| not_utf8(body))?;
    serde_json::from_str::<&RawValue>(&text).map_err(|error| not_json(&text, &error))?;
    Ok(text)
}

fn not_utf8(body: &[u8]) -> BatchError {
    let valid = std::str::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len);
    let line = 1 + body[..valid].iter().filter(|byte| **byte == b'\n').count();
    let column = valid - body[..valid].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) + 1;
    BatchError::NotJson { reason: "a byte that is not UTF-8".to_owned(), line, column }
}

fn not_json(body: &str, error: &serde_json::Error) -> BatchError {
    let (line, column) = (error.line(), error.column());
    if body.trim().is_empty() {
        return BatchError::NotJson { reason: "it is empty".to_owned(), line: 1, column: 1 };
    }
    let shown = error.to_string();
    let reason = shown.split(" at line ").next().unwrap_or(&shown).to_owned();
    BatchError::NotJson { reason, line, column }
}

/// The walk over one body, and what it found.
struct Batch<'a> {
    body: &'a ByteString,
    events_max: usize,
    events_seen: usize,
    events: Vec<Event>,
    faults: Vec<EventFault>,
    /// Emptied after each event; kept for its memory.
    breaches: Vec<Breach>,
}

impl<'a> Batch<'a> {
    fn read(&mut self) -> Result<(), BatchError> {
        let mut cursor = Cursor::new(self.body);
        match cursor.kind() {
            Kind::Array => self.read_array(&mut cursor),
            Kind::Object => return self.read_object(cursor),
            kind => {
                return Err(BatchError::WrongShape(format!(
                    "the body must be an event, an array of events or an object with `events`, not {}",
                    kind.with_article()
                )));
            }
        }
        Ok(())
    }

    /// Reads `{"events":[…]}`, or the object itself as an event.
    ///
    /// An object with `event_id` is an event, whatever else it has. So what was read from an array is dropped
    /// again where `event_id` stands behind it.
    fn read_object(&mut self, mut cursor: Cursor<'a>) -> Result<(), BatchError> {
        let mut envelope = Envelope::default();
        self.read_members(cursor.clone(), &mut envelope);
        if envelope.is_one()? {
            return envelope.check(self.body);
        }
        self.events_seen = 0;
        self.events.clear();
        self.faults.clear();
        self.read_event(&mut cursor);
        Ok(())
    }

    /// Reads the members of an object as those of an envelope, up to an `event_id`.
    fn read_members(&mut self, mut cursor: Cursor<'a>, envelope: &mut Envelope) {
        let mut ignored = Vec::new();
        cursor.members(&mut ignored, |cursor, key, breaches| {
            match Key::of(key) {
                Key::Field(Field::EventId) => {
                    envelope.event_id = true;
                    return false;
                }
                Key::Events => {
                    envelope.events_members += 1;
                    let first = *envelope.events.get_or_insert(cursor.kind());
                    if first == Kind::Array && envelope.events_members == 1 {
                        self.read_array(cursor);
                        return true;
                    }
                }
                Key::Field(_) => envelope.other_fields = true,
                Key::If => envelope.condition = true,
                Key::Other => {}
            }
            cursor.skip(None, breaches);
            true
        });
        envelope.breach = ignored.first().copied();
    }

    fn read_array(&mut self, cursor: &mut Cursor<'a>) {
        cursor.elements(|cursor| self.read_event(cursor));
    }

    fn read_event(&mut self, cursor: &mut Cursor<'a>) {
        let index = self.events_seen;
        self.events_seen += 1;
        if index >= self.events_max || self.faults.len() >= FAULTS_MAX {
            cursor.skip(None, &mut self.breaches);
            self.breaches.clear();
            return;
        }
        let kind = cursor.kind();
        let start = cursor.at();
        if kind == Kind::Object {
            let fields = self.read_fields(cursor, index);
            self.note_breaches(index, start..cursor.at());
            self.events.extend(fields.into_event());
        } else {
            cursor.skip(None, &mut self.breaches);
            self.breaches.clear();
            self.fault(index, "", format!("must be an object, not {}", kind.with_article()));
        }
    }

    fn read_fields(&mut self, cursor: &mut Cursor<'a>, index: usize) -> Fields {
        let mut fields = Fields::default();
        let mut seen = [false; Field::ALL.len()];
        let mut breaches = std::mem::take(&mut self.breaches);
        cursor.members(&mut breaches, |cursor, key, breaches| {
            match Key::of(key) {
                Key::Field(field) if !std::mem::replace(&mut seen[field as usize], true) => {
                    if let Err(detail) = self.read_field(cursor, field, &mut fields, breaches) {
                        self.fault(index, field.pointer(), detail);
                    }
                }
                Key::Field(field) => {
                    cursor.skip(None, breaches);
                    self.fault(index, field.pointer(), "must not stand twice in one event".to_owned());
                }
                Key::Events | Key::If | Key::Other => cursor.skip(None, breaches),
            }
            true
        });
        self.breaches = breaches;
        for field in Field::ALL {
            if !seen[field as usize] {
                self.fault(index, field.pointer(), "is missing".to_owned());
            }
        }
        fields
    }

    fn read_field(
        &self,
        cursor: &mut Cursor<'a>,
        field: Field,
        fields: &mut Fields,
        breaches: &mut Vec<Breach>,
    ) -> Result<(), String> {
        let kind = cursor.kind();
        let start = cursor.at();
        let wanted = if field == Field::Payload { Kind::Object } else { Kind::String };
        if kind != wanted {
            cursor.skip(None, breaches);
            return Err(format!("must be {}, not {}", wanted.with_article(), kind.with_article()));
        }
        if field == Field::Payload {
            cursor.skip(Some(PAYLOAD_DEPTH_MAX), breaches);
            fields.payload = Some(self.slice(start..cursor.at()));
            return Ok(());
        }
        let breaches_before = breaches.len();
        let string = cursor.string(breaches);
        if breaches.len() > breaches_before {
            return Ok(()); // the breach is the fault
        }
        if field == Field::Timestamp {
            let parsed = match string.escaped {
                true => Timestamp::parse(&string.unescaped().unwrap_or_default()),
                false => Timestamp::parse(string.raw),
            };
            fields.timestamp = Some(parsed.map_err(|fault| fault.to_string())?);
            return Ok(());
        }
        let name = self.text(string);
        check_name(&name)?;
        *match field {
            Field::Topic => &mut fields.topic,
            Field::EventId => &mut fields.event_id,
            _ => &mut fields.source,
        } = Some(name);
        Ok(())
    }

    fn text(&self, string: RawString<'a>) -> ByteString {
        match string.escaped.then(|| string.unescaped()).flatten() {
            Some(unescaped) => unescaped.into(),
            None => self.slice(string.start..string.end()),
        }
    }

    fn slice(&self, range: Range<usize>) -> ByteString {
        let bytes = self.body.as_bytes().slice(range);
        bytes.try_into().expect("a slice between two ASCII characters of UTF-8 is UTF-8")
    }

    fn note_breaches(&mut self, index: usize, event: Range<usize>) {
        let breaches = std::mem::take(&mut self.breaches);
        let targets: Vec<usize> = breaches.iter().map(|breach| breach.at - event.start).collect();
        if targets.is_empty() {
            return;
        }
        for (pointer, breach) in pointers_to(&self.body[event], &targets).iter().zip(breaches) {
            self.fault(index, pointer, breach.rule.to_string());
        }
    }

    fn fault(&mut self, index: usize, pointer: &str, detail: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(EventFault { index, pointer: pointer.to_owned(), detail });
        }
    }
}

/// What is known of an object in the place of a batch.
#[derive(Default)]
struct Envelope {
    event_id: bool,
    /// Whether it has another field of an event.
    other_fields: bool,
    /// What its first member `events` is.
    events: Option<Kind>,
    events_members: usize,
    /// Whether it says under which condition the events are to be stored.
    condition: bool,
    /// The first broken rule in a member that is ignored.
    breach: Option<Breach>,
}

impl Envelope {
    /// Whether the object is an envelope, or else an event.
    fn is_one(&self) -> Result<bool, BatchError> {
        match self.events {
            Some(Kind::Array) => Ok(!self.event_id),
            Some(kind) if !self.event_id && !self.other_fields => {
                let kind = kind.with_article();
                Err(BatchError::WrongShape(format!("`events` must be an array, not {kind}")))
            }
            _ => Ok(false),
        }
    }

    /// What would be lost or could not be kept by any store is refused. Further members are ignored.
    fn check(&self, body: &str) -> Result<(), BatchError> {
        if let Some(breach) = self.breach {
            let pointer = pointers_to(body, &[breach.at]).concat();
            return Err(BatchError::WrongShape(format!("{pointer} {}", breach.rule)));
        }
        if self.condition {
            // Ignored, the events would be stored whatever it says.
            return Err(BatchError::WrongShape("/if is refused: conditions are not known yet".to_owned()));
        }
        match self.events_members {
            1 => Ok(()),
            _ => Err(BatchError::WrongShape("`events` must not stand twice in the body".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
