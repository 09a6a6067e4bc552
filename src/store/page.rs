//! What readers ask for, and what they get.

use super::PAGE_BYTES_MAX;
use crate::event::{ShownEvent, Timestamp};

/// Which events to read: those with `after` < `seq` < `before`, received from `since` on and before `until`, of these
/// topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// None for all. No topic stands here twice.
    pub topics: Vec<String>,
    pub before: Option<u64>,
    /// Where it is given, the page is oldest first; else newest first.
    pub after: Option<u64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub limit: usize,
    /// The page ends before it would have more bytes of what is stored, but holds at least one event.
    pub bytes_max: usize,
}

/// All events, newest first; `limit` is to be set.
impl Default for PageQuery {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            before: None,
            after: None,
            since: None,
            until: None,
            limit: 0,
            bytes_max: PAGE_BYTES_MAX,
        }
    }
}

impl PageQuery {
    /// Whether the ledger has to be surveyed before the page can be planned.
    pub(super) fn needs_survey(&self) -> bool {
        self.topics.len() > 1 || self.times().next().is_some()
    }

    /// The same question from where a page of it ended.
    pub fn goes_on_at(&self, seq: u64) -> Self {
        let (before, after) = match self.after {
            Some(_) => (self.before, Some(seq)),
            None => (Some(seq), None),
        };
        Self { before, after, ..self.clone() }
    }

    /// The times that bound the page.
    pub(super) fn times(&self) -> impl Iterator<Item = Timestamp> {
        [self.since, self.until].into_iter().flatten()
    }
}

/// Some events in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<StoredEvent>,
    /// Where to go on: the last `seq` that was looked at, if the query may match events behind it. A page may end
    /// before it is full, and without an event.
    pub next: Option<u64>,
    /// The newest `seq` in the snapshot that the page is of.
    pub head: u64,
}

/// An event with what the store gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub seq: u64,
    pub topic: String,
    pub event_id: String,
    pub timestamp: Timestamp,
    pub source: String,
    /// JSON text of an object.
    pub payload: String,
    /// The store's clock when it was appended; it never runs backwards against `seq`.
    pub received_at: Timestamp,
}

impl StoredEvent {
    /// The event, for a filter.
    pub fn shown(&self) -> ShownEvent<'_> {
        ShownEvent {
            seq: self.seq,
            topic: &self.topic,
            event_id: &self.event_id,
            timestamp: self.timestamp,
            source: &self.source,
            payload: &self.payload,
            received_at: self.received_at,
        }
    }

    /// Bytes of all that is stored of it.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.event_id.len() + self.source.len() + self.payload.len()
    }
}

/// The identity of a stored event, and its `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredId {
    pub seq: u64,
    pub topic: String,
    pub event_id: String,
}
