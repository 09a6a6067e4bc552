//! The domain: what an event is, which two are the same, and what becomes of one that is published.
//!
//! Parsing is validating: an [`Event`] that exists obeys every rule, so nothing below asks again.

mod batch;
mod filter;
mod identity;
mod json;
mod timestamp;

pub use batch::{BatchError, EventFault, json_text, parse_batch};
pub use filter::{CONDITIONS_MAX, Condition, ConditionFault, Filter, ShownEvent};
pub use identity::{DedupScope, Digest, DigestMap, Digester, IDENTITY_KEY_BYTES};
pub use timestamp::{Timestamp, TimestampFault};

use bytestring::ByteString;

/// Longest `topic`, `source` and `event_id`, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;
/// Deepest payload, itself the first level.
pub const PAYLOAD_DEPTH_MAX: usize = 64;

/// One valid event, as its producer sent it.
///
/// The strings are slices of the request's body, so that a clone copies nothing and an event keeps its body
/// alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    topic: ByteString,
    event_id: ByteString,
    source: ByteString,
    timestamp: Timestamp,
    payload: ByteString,
}

impl Event {
    /// The topic: 1 to 255 bytes.
    pub fn topic(&self) -> &ByteString {
        &self.topic
    }

    /// The producer's idempotency key: 1 to 255 bytes, opaque and case-sensitive.
    pub fn event_id(&self) -> &ByteString {
        &self.event_id
    }

    /// Who published it: 1 to 255 bytes.
    pub fn source(&self) -> &ByteString {
        &self.source
    }

    /// When it happened, as the producer says.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The payload's JSON text just as it came: an object that every store can keep.
    pub fn payload(&self) -> &ByteString {
        &self.payload
    }

    /// Its share of a group's size: the bytes of all that is stored of it.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.event_id.len() + self.source.len() + self.payload.len()
    }
}

/// What became of one published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was new, and is stored under this `seq`.
    Stored(u64),
    /// It was there already, under this `seq`.
    Duplicate(u64),
}

impl Outcome {
    /// The `seq` of the copy that is stored.
    pub fn seq(self) -> u64 {
        match self {
            Outcome::Stored(seq) | Outcome::Duplicate(seq) => seq,
        }
    }

    /// Whether this copy is the one that is stored.
    pub fn is_stored(self) -> bool {
        matches!(self, Outcome::Stored(_))
    }
}

/// Whether `name` may be a `topic`, `source` or `event_id`; else the sentence that says why not.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("must not be empty".to_owned())
    } else if name.len() > NAME_BYTES_MAX {
        Err(format!("must have at most {NAME_BYTES_MAX} bytes, not {}", name.len()))
    } else if name.chars().any(char::is_control) {
        Err("must not contain a control character".to_owned())
    } else if name.chars().all(char::is_whitespace) {
        Err("must not be only white space".to_owned())
    } else {
        Ok(())
    }
}
