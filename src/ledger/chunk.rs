//! A piece of a ledger, as it was read for readers that follow it, and shared by all that are at its beginning.

use std::{ops::Range, sync::OnceLock};

use bytes::Bytes;

use super::BytesPermit;
use crate::store::StoredEvent;

/// Ways to write events that a chunk can keep.
pub const CHUNK_FORMATS: usize = 2;

/// The events of a range of `seq`, or those of them that its readers want.
pub struct Chunk {
    /// Up to here there is nothing else for its readers.
    pub through: u64,
    /// The newest `seq` when it was read.
    pub head: u64,
    pub events: Vec<StoredEvent>,
    /// Whether `events` are those alone that its readers want.
    pub is_selected: bool,
    frames: [OnceLock<Frames>; CHUNK_FORMATS],
    _permit: BytesPermit,
}

/// Events as they are sent, one behind the other.
pub struct Frames {
    pub bytes: Bytes,
    /// Where each event ends.
    ends: Vec<usize>,
}

impl Chunk {
    /// Holds what `permit` was taken for until the last reader has sent it.
    pub fn new(
        through: u64,
        head: u64,
        events: Vec<StoredEvent>,
        is_selected: bool,
        permit: BytesPermit,
    ) -> Self {
        Self { through, head, events, is_selected, frames: Default::default(), _permit: permit }
    }

    /// Bytes of memory that events take with the frames of one format, about.
    pub fn memory(events: &[StoredEvent]) -> usize {
        /// Beside what is stored: the structure, and the names in each frame.
        const EVENT_BYTES: usize = 448;
        events.iter().map(|event| EVENT_BYTES + 2 * event.bytes()).sum()
    }

    /// All of its events as they are sent in one format, which `write` knows. They are written once.
    pub fn frames(&self, format: usize, write: impl Fn(&mut Vec<u8>, &StoredEvent)) -> &Frames {
        self.frames[format].get_or_init(|| {
            let mut bytes = Vec::with_capacity(Self::memory(&self.events) / 2);
            let mut ends = Vec::with_capacity(self.events.len());
            for event in &self.events {
                write(&mut bytes, event);
                ends.push(bytes.len());
            }
            Frames { bytes: bytes.into(), ends }
        })
    }
}

impl Frames {
    /// The frames of the events at these places, which may not be empty. Nothing is copied.
    pub fn of(&self, places: Range<usize>) -> Bytes {
        let begin = places.start.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.slice(begin..self.ends[places.end - 1])
    }
}
