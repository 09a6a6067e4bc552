//! What readers ask of a ledger.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{
    Head, LedgerKey, LedgerMark, LedgerRecord, Page, PageQuery, StoreError, StoredEvent, StoredId, TopicInfo,
    TopicQuery, Totals,
};

/// Topics that [`Totals`] holds at most: those that were first used last.
pub const TOPICS_SHOWN_MAX: usize = 1_000;
/// Largest page of [`ReadStore::page`], in bytes of what is stored; it holds at least one event all the same.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads one ledger of a database; shared by all who read. Each method is one snapshot.
///
/// Each but [`newest_ids`](ReadStore::newest_ids) and [`last_seqs`](ReadStore::last_seqs) returns [`StoreError::Gone`] where the number belongs to another ledger by now, or to none.
#[async_trait]
pub trait ReadStore: Send + Sync {
    /// One page of events.
    async fn page(&self, ledger: &LedgerRecord, query: &PageQuery) -> Result<Page, StoreError>;

    /// The event with this id; `topic` tells which, in scope `topic`, and narrows in scope `event-id`.
    async fn event(
        &self,
        ledger: &LedgerRecord,
        event_id: &str,
        topic: Option<&str>,
    ) -> Result<Option<StoredEvent>, StoreError>;

    /// Some topics, ordered by name, with their exact counts.
    async fn topics(&self, ledger: &LedgerRecord, query: &TopicQuery) -> Result<Vec<TopicInfo>, StoreError>;

    /// The newest commit.
    async fn head(&self, ledger: &LedgerRecord) -> Result<Head, StoreError>;

    /// The newest `seq` of each of these ledgers, without those that are gone; `None` where the node that has it is away.
    async fn last_seqs(&self, ledgers: &[LedgerKey]) -> Result<HashMap<LedgerKey, Option<u64>>, StoreError>;

    /// Whether the commit `seen` is still a part of the ledger. One that is far from the newest may be pruned,
    /// and then counts as missing.
    async fn holds(&self, ledger: &LedgerRecord, seen: &LedgerMark) -> Result<bool, StoreError>;

    /// All counters in one snapshot.
    async fn totals(&self, ledger: &LedgerRecord) -> Result<Totals, StoreError>;

    /// The identities of up to `limit` events with a `seq` below `before`, newest first; none where the ledger is gone.
    async fn newest_ids(
        &self,
        ledger: &LedgerRecord,
        before: u64,
        limit: usize,
    ) -> Result<Vec<StoredId>, StoreError>;
}
