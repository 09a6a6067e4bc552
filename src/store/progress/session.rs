//! What an engine brings: transactions on the subscriptions of one ledger.

use async_trait::async_trait;

use super::{
    ParkedEvent, PartitionBy, Piece, Progress, SubscriptionQuery, SubscriptionSettings, TopicPatterns,
};
use crate::{
    event::Timestamp,
    store::{LedgerRecord, StoreError, StoredEvent},
};

/// Opens transactions.
#[async_trait]
pub trait ProgressEngine: Send + Sync {
    /// A transaction that writes.
    async fn write(&self, ledger: &LedgerRecord) -> Result<Box<dyn ProgressSession + '_>, StoreError>;

    /// A transaction that reads one snapshot.
    async fn read(&self, ledger: &LedgerRecord) -> Result<Box<dyn ProgressSession + '_>, StoreError>;

    /// The events with these `seq`, oldest first.
    async fn events(&self, ledger: &LedgerRecord, seqs: &[u64]) -> Result<Vec<StoredEvent>, StoreError>;
}

/// A subscription as it is kept.
#[derive(Clone, Debug)]
pub struct Record {
    pub number: i64,
    pub name: String,
    pub settings: SubscriptionSettings,
    pub created_at: Timestamp,
    pub progress: Progress,
}

/// A subscription to be created.
pub struct NewSubscription<'a> {
    pub number: i64,
    pub name: &'a str,
    pub settings: &'a SubscriptionSettings,
    /// For each partition, behind which `seq` it begins.
    pub handed_out: Vec<u64>,
}

/// Which events to look for: those with `after` < `seq` ≤ `through`, up to `limit`.
pub struct Search<'a> {
    pub topics: &'a TopicPatterns,
    pub after: u64,
    pub through: u64,
    pub limit: usize,
    /// The field that is to be told of each.
    pub key: Option<PartitionBy>,
}

/// An event that was found.
pub struct Found {
    pub seq: u64,
    /// Bytes of what is stored of it.
    pub bytes: u64,
    /// The field that was asked for.
    pub key: Option<String>,
}

/// What a change leaves of a subscription's state.
#[derive(Default)]
pub struct StateChange<'a> {
    /// For each partition, where it is not as before.
    pub handed_out: Option<Vec<u64>>,
    /// How many events are parked, where it is not as before.
    pub parked: Option<u64>,
    /// Pieces that are gone: the partition and the first `seq`.
    pub removed: Vec<(usize, u64)>,
    /// Pieces that are new or changed, with their partition.
    pub kept: Vec<(usize, &'a Piece)>,
    /// Events that are parked now.
    pub newly_parked: &'a [ParkedEvent],
}

/// A parked event as it is kept.
pub struct ParkedRow {
    pub event: ParkedEvent,
    pub parked_at: Timestamp,
    /// Bytes of what is stored of the event; none where it is missing.
    pub bytes: u64,
}

/// A transaction on the subscriptions of one ledger. Dropped before its end, it changes nothing.
#[async_trait]
pub trait ProgressSession: Send {
    /// The subscription of this name, whose row is locked in a transaction that writes.
    async fn load(&mut self, name: &str) -> Result<Option<Record>, StoreError>;

    /// One page of subscriptions, by name.
    async fn list(&mut self, query: &SubscriptionQuery) -> Result<Vec<Record>, StoreError>;

    /// The newest `seq`, and the time in microseconds since 1970; to be asked for once rows are locked. [`StoreError::Gone`]
    /// where the ledger is gone.
    async fn head_and_now(&mut self) -> Result<(u64, i64), StoreError>;

    /// Subscriptions of the ledger, as far as `max`.
    async fn count(&mut self, max: usize) -> Result<usize, StoreError>;

    /// False if there is one of that name by now.
    async fn insert(&mut self, new: &NewSubscription<'_>) -> Result<bool, StoreError>;

    async fn set(&mut self, number: i64, settings: &SubscriptionSettings) -> Result<(), StoreError>;

    /// Removes a subscription with all its rows.
    async fn delete(&mut self, number: i64) -> Result<(), StoreError>;

    /// The first events that match, oldest first.
    async fn search(&mut self, search: &Search<'_>) -> Result<Vec<Found>, StoreError>;

    async fn save(&mut self, number: i64, change: &StateChange<'_>, now: i64) -> Result<(), StoreError>;

    /// Up to `limit` parked events with a `seq` above `after`, of these where some are given.
    async fn parked(
        &mut self,
        number: i64,
        after: u64,
        seqs: Option<&[u64]>,
        limit: usize,
    ) -> Result<Vec<ParkedRow>, StoreError>;

    /// Forgets these parked events.
    async fn forget_parked(&mut self, number: i64, seqs: &[u64]) -> Result<(), StoreError>;

    /// Forgets the parked events with a `seq` above this; returns how many.
    async fn forget_parked_after(&mut self, number: i64, seq: u64) -> Result<u64, StoreError>;

    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// The first of these `seq` whose event is not among those that were read, which are in the same order.
pub fn missing_event(events: &[StoredEvent], seqs: &[u64]) -> Option<u64> {
    let read = events.iter().map(|event| Some(event.seq)).chain(std::iter::repeat(None));
    seqs.iter().zip(read).find(|(seq, read)| Some(**seq) != *read).map(|(seq, _)| *seq)
}
