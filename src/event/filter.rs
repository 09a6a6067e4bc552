//! Which events a reader wants, by what is in them: `/payload/level=error`.

use std::fmt;

use super::{
    Timestamp,
    json::{Cursor, Kind, RawString},
};

/// Conditions that one reader may set.
pub const CONDITIONS_MAX: usize = 3;

/// An event as readers get it, for a filter to look at.
#[derive(Clone, Copy, Debug)]
pub struct ShownEvent<'a> {
    pub seq: u64,
    pub topic: &'a str,
    pub event_id: &'a str,
    pub timestamp: Timestamp,
    pub source: &'a str,
    /// JSON text of an object, which must be valid.
    pub payload: &'a str,
    pub received_at: Timestamp,
}

/// Conditions that all must hold; without any, every event passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter(Vec<Condition>);

/// A JSON pointer (RFC 6901) into the event, and the text that the value there must read as: a string by its content,
/// a number, a boolean or null by its JSON text. An object or an array never does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// As it was given.
    text: String,
    field: Field,
    /// The rest of the pointer, below the field.
    path: Vec<String>,
    value: String,
}

/// Why a text is no [`Condition`]; shown as the sentence that a reader gets to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionFault {
    #[error("must be a JSON pointer into the event, then = and a value, such as /payload/level=error")]
    Form,
    #[error("must have 0 or 1 behind each ~ of its pointer (RFC 6901)")]
    Escape,
    #[error(
        "must begin with a field of the event: /seq, /topic, /event_id, /timestamp, /source, /payload/… or /received_at"
    )]
    NoSuchField,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Field {
    Seq,
    Topic,
    EventId,
    Timestamp,
    Source,
    Payload,
    ReceivedAt,
}

impl Filter {
    /// All of these must hold.
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self(conditions)
    }

    /// Whether every event passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn conditions(&self) -> &[Condition] {
        &self.0
    }

    /// Whether the event passes.
    pub fn passes(&self, event: &ShownEvent<'_>) -> bool {
        self.0.iter().all(|condition| condition.holds(event))
    }
}

impl Condition {
    /// Reads `/pointer=value`. The value begins behind the first `=`, and may be empty.
    pub fn parse(text: &str) -> Result<Self, ConditionFault> {
        let (pointer, value) = text.split_once('=').ok_or(ConditionFault::Form)?;
        let mut tokens = pointer.strip_prefix('/').ok_or(ConditionFault::Form)?.split('/').map(unescaped);
        let field = match tokens.next().ok_or(ConditionFault::Form)??.as_str() {
            "seq" => Field::Seq,
            "topic" => Field::Topic,
            "event_id" => Field::EventId,
            "timestamp" => Field::Timestamp,
            "source" => Field::Source,
            "payload" => Field::Payload,
            "received_at" => Field::ReceivedAt,
            _ => return Err(ConditionFault::NoSuchField),
        };
        let path = tokens.collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), field, path, value: value.to_owned() })
    }

    fn holds(&self, event: &ShownEvent<'_>) -> bool {
        let is_whole = self.path.is_empty();
        match self.field {
            Field::Seq => is_whole && event.seq.to_string() == self.value,
            Field::Topic => is_whole && event.topic == self.value,
            Field::EventId => is_whole && event.event_id == self.value,
            Field::Timestamp => is_whole && event.timestamp.to_string() == self.value,
            Field::Source => is_whole && event.source == self.value,
            Field::ReceivedAt => is_whole && event.received_at.to_string() == self.value,
            Field::Payload => {
                reads_as(event.payload, &mut Cursor::new(event.payload), &self.path, &self.value)
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A part of a pointer as the name that it stands for.
fn unescaped(token: &str) -> Result<String, ConditionFault> {
    let mut parts = token.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => return Err(ConditionFault::Escape),
        };
        name.push(escaped);
        name.push_str(rest);
    }
    Ok(name)
}

/// Whether the value at `path` below the value here reads as `value`. Moves behind the value here.
///
/// Of members with the same name the last one counts, as for most readers of JSON.
fn reads_as(text: &str, cursor: &mut Cursor<'_>, path: &[String], value: &str) -> bool {
    let kind = cursor.kind();
    let Some((token, rest)) = path.split_first() else { return is_scalar(text, cursor, kind, value) };
    let mut found = false;
    match kind {
        Kind::Object => cursor.members(&mut Vec::new(), |cursor, name, breaches| {
            if is_text(name, token) {
                found = reads_as(text, cursor, rest, value);
            } else {
                cursor.skip(None, breaches);
            }
            true
        }),
        Kind::Array => {
            let (wanted, mut index) = (index_of(token), 0);
            cursor.elements(|cursor| {
                if wanted == Some(index) {
                    found = reads_as(text, cursor, rest, value);
                } else {
                    cursor.skip(None, &mut Vec::new());
                }
                index += 1;
            });
        }
        _ => cursor.skip(None, &mut Vec::new()),
    }
    found
}

fn is_scalar(text: &str, cursor: &mut Cursor<'_>, kind: Kind, value: &str) -> bool {
    let begin = cursor.at();
    match kind {
        Kind::String => is_text(cursor.string(&mut Vec::new()), value),
        Kind::Object | Kind::Array => {
            cursor.skip(None, &mut Vec::new());
            false
        }
        Kind::Number | Kind::Boolean | Kind::Null => {
            cursor.skip(None, &mut Vec::new());
            text[begin..cursor.at()] == *value
        }
    }
}

fn is_text(string: RawString<'_>, text: &str) -> bool {
    if string.escaped { string.unescaped().as_deref() == Some(text) } else { string.raw == text }
}

/// The place in an array that a part of a pointer names: digits without a zero before them.
fn index_of(token: &str) -> Option<usize> {
    let is_plain =
        token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    token.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests;
