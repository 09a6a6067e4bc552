//! The store: Postgres or SQLite behind one trait.
//!
//! A store appends whole groups in serial transactions: events, counters and `seq` commit together or not at
//! all. Its unique key alone decides what is a duplicate.

mod append;
mod crashing;
mod error;
mod open;
mod page;
mod position;
mod postgres;
mod rows;
mod sqlite;

use async_trait::async_trait;

pub use self::{
    append::{AppendGroup, AppendOutcome, Committed, TopicCount},
    crashing::{CRASHED_IN_APPEND, CrashTrigger, CrashingStore},
    error::{Damage, OpenError, StoreError},
    open::{OpenOptions, migrate, open},
    page::{Page, PageQuery, StoredEvent, StoredId},
    position::{Head, LedgerMark, TopicTotal, Totals},
};
use crate::event::DedupScope;

/// Topics that [`Totals`] holds at most: those that were first used last.
pub const TOPICS_SHOWN_MAX: usize = 1_000;
/// Largest page of [`EventStore::page`], in bytes of what is stored; it holds at least one event all the same.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A database that holds events, counters and the ledger; shared by all who read.
#[async_trait]
pub trait EventStore: Send + Sync {
    /// Which events are the same one, as this database was created.
    fn scope(&self) -> DedupScope;

    /// A new connection for appending. One service uses one at a time.
    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError>;

    /// One page of events.
    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError>;

    /// The event with this id; `topic` tells which, in scope `topic`, and narrows in scope `event-id`.
    async fn event(&self, event_id: &str, topic: Option<&str>) -> Result<Option<StoredEvent>, StoreError>;

    /// The newest commit; also the cheapest proof that the database answers.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Whether the commit `seen` is still a part of the ledger. One that is far from the newest may be pruned,
    /// and then counts as missing.
    async fn holds(&self, seen: &LedgerMark) -> Result<bool, StoreError>;

    /// All counters in one snapshot.
    async fn totals(&self) -> Result<Totals, StoreError>;

    /// The identities of up to `limit` events with a `seq` below `before`, newest first.
    async fn newest_ids(&self, before: u64, limit: usize) -> Result<Vec<StoredId>, StoreError>;

    /// Ends every connection of the readers, and releases the database for the next service. To be called after
    /// the writer's connection is closed; when this returns, no file and no socket of the store is open.
    async fn close(&self);
}

/// The connection that appends. After an error it is of no further use; open another.
#[async_trait]
pub trait StoreWriter: Send {
    /// Stores a group in one transaction: durable when this returns [`AppendOutcome::Committed`].
    ///
    /// The same group (writer, number and contents) may be sent again after an error or a lost answer: it is
    /// stored and counted once, and the outcome is the same.
    async fn append(&mut self, group: &AppendGroup<'_>) -> Result<AppendOutcome, StoreError>;

    /// Ends the connection. When this returns, its files and its socket are closed. Dropping a connection closes
    /// them as well, but at a later time that nobody can wait for.
    async fn close(self: Box<Self>) -> Result<(), StoreError>;
}
