//! The five fields of an event, and what the key of a member says.

use bytestring::ByteString;

use crate::event::{Event, Timestamp, json::RawString};

/// What the key of a member says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Field(Field),
    Events,
    /// A condition, under which a request is to be stored.
    If,
    Other,
}

impl Key {
    /// The longest name has this many bytes.
    const BYTES_MAX: usize = "timestamp".len();

    pub(super) fn of(key: RawString<'_>) -> Self {
        match key.ascii(&mut [0; Self::BYTES_MAX]) {
            Some(b"topic") => Key::Field(Field::Topic),
            Some(b"event_id") => Key::Field(Field::EventId),
            Some(b"timestamp") => Key::Field(Field::Timestamp),
            Some(b"source") => Key::Field(Field::Source),
            Some(b"payload") => Key::Field(Field::Payload),
            Some(b"events") => Key::Events,
            Some(b"if") => Key::If,
            _ => Key::Other,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Topic,
    EventId,
    Timestamp,
    Source,
    Payload,
}

impl Field {
    pub(super) const ALL: [Field; 5] =
        [Field::Topic, Field::EventId, Field::Timestamp, Field::Source, Field::Payload];

    pub(super) fn pointer(self) -> &'static str {
        match self {
            Field::Topic => "/topic",
            Field::EventId => "/event_id",
            Field::Timestamp => "/timestamp",
            Field::Source => "/source",
            Field::Payload => "/payload",
        }
    }
}

/// The fields of one event that were found and valid.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) topic: Option<ByteString>,
    pub(super) event_id: Option<ByteString>,
    pub(super) source: Option<ByteString>,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) payload: Option<ByteString>,
}

impl Fields {
    pub(super) fn into_event(self) -> Option<Event> {
        Some(Event {
            topic: self.topic?,
            event_id: self.event_id?,
            source: self.source?,
            timestamp: self.timestamp?,
            payload: self.payload?,
        })
    }
}
