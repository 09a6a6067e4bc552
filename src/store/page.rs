//! What readers ask for, and what they get.

use crate::event::Timestamp;

/// Which events to read: those with `after` < `seq` < `before`, of one topic or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    pub topic: Option<String>,
    pub before: Option<u64>,
    /// Where it is given, the page is oldest first; else newest first.
    pub after: Option<u64>,
    pub limit: usize,
}

/// Some events in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub events: Vec<StoredEvent>,
    /// Whether the query matches events behind the last one here.
    pub more: bool,
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

/// The identity of a stored event, and its `seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredId {
    pub seq: u64,
    pub topic: String,
    pub event_id: String,
}
