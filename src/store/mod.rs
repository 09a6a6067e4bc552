//! The bottom floor: two engines behind one trait, and the judge of what is new.
//!
//! A store appends whole groups in serial transactions: events, counters and `seq` commit together or not at
//! all, and its unique key alone decides what is a duplicate.

mod crashing;
mod error;
mod postgres;
mod rows;
mod sqlite;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use uuid::Uuid;

pub use self::{
    crashing::{CRASHED_IN_APPEND, CrashTrigger, CrashingStore},
    error::{OpenError, StoreError},
};
use crate::event::{DedupScope, Event, Timestamp};

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

    /// Whether the commit `seen` is still a part of the ledger. One that is older than a minute may be pruned,
    /// and then counts as missing.
    async fn holds(&self, seen: &LedgerMark) -> Result<bool, StoreError>;

    /// All counters in one snapshot.
    async fn totals(&self) -> Result<Totals, StoreError>;

    /// The identities of up to `limit` events with a `seq` below `before`, newest first.
    async fn newest_ids(&self, before: u64, limit: usize) -> Result<Vec<StoredId>, StoreError>;

    /// Ends every connection of the readers, and leaves the database to whoever opens it next.
    async fn close(&self);
}

/// The connection that appends. After an error it is of no further use; open another.
#[async_trait]
pub trait StoreWriter: Send {
    /// Stores a group in one transaction: durable when this answers [`AppendOutcome::Committed`].
    ///
    /// The same group (writer, number and contents) may be sent again after an error or a lost answer: it is
    /// stored and counted once, and answered alike.
    async fn append(&mut self, group: &AppendGroup<'_>) -> Result<AppendOutcome, StoreError>;
}

/// Whole requests, stored together.
pub struct AppendGroup<'a> {
    /// The writer; new with each start of a service.
    pub writer_id: Uuid,
    /// Its number for this group, higher than all before.
    pub group_no: u64,
    /// The newest commit that the caller has seen: a ledger without it is another one.
    pub seen: LedgerMark,
    /// The events that may be new, in the order in which they get their `seq`. No two are the same one.
    pub events: &'a [&'a Event],
    /// The counts of all events of the group, `events` and known duplicates, one entry a topic.
    pub counts: &'a [TopicCount<'a>],
}

/// How many events of a group name a topic.
#[derive(Clone, Copy, Debug)]
pub struct TopicCount<'a> {
    pub topic: &'a str,
    /// Those among the group's `events`.
    pub new_events: u64,
    /// Those that are known to be duplicates already.
    pub duplicates: u64,
}

impl<'a> AppendGroup<'a> {
    /// The counts as they are once `repeats` (places in `events`) proved to be duplicates.
    pub fn counts_after(&self, repeats: &[(usize, u64)]) -> Vec<TopicCount<'a>> {
        let mut counts = self.counts.to_vec();
        if repeats.is_empty() {
            return counts;
        }
        let places: HashMap<&str, usize> =
            counts.iter().enumerate().map(|(place, count)| (count.topic, place)).collect();
        for (event, _) in repeats {
            if let Some(place) = places.get(&**self.events[*event].topic()) {
                counts[*place].new_events -= 1;
                counts[*place].duplicates += 1;
            }
        }
        counts
    }

    /// What the ledger knows this group by, as its commit of this number.
    pub fn mark(&self, commit_no: u64) -> LedgerMark {
        LedgerMark { commit_no, writer_id: self.writer_id, group_no: self.group_no }
    }

    /// All events that the group counts.
    fn received(&self) -> u64 {
        self.counts.iter().map(|count| count.new_events + count.duplicates).sum()
    }
}

/// What became of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It is stored durably.
    Committed(Committed),
    /// A later group of this writer is stored; this call came too late and did nothing.
    Overtaken,
    /// The ledger, which ends here, lacks the commit that the caller has seen: the database was restored to an
    /// older copy. Nothing was stored.
    Restored(Head),
}

/// A stored group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The ledger with this group as its newest.
    pub head: Head,
    /// The `seq` of the first of its events that was new; the others follow without gap, in order.
    pub first_seq: u64,
    /// Topics that this group was the first to use, in order.
    pub new_topics: Vec<String>,
    /// The events that had been stored before: their place in the group, from 0, rising, and their `seq`.
    pub repeats: Vec<(usize, u64)>,
}

/// The newest commit, with the totals up to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub mark: LedgerMark,
    /// The highest `seq`, which is also the count of stored events.
    pub last_seq: u64,
    /// Events in all committed requests: unique and duplicate.
    pub received: u64,
    /// Topics ever used.
    pub topics_total: u64,
}

/// A commit, and with it the ledger up to there. The number alone would not do: a ledger that was restored to an
/// older copy grows on, and uses the numbers of what it lost again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerMark {
    /// Groups committed so far; rises by one with each, over all nodes. 0 stands for the empty ledger.
    pub commit_no: u64,
    /// Who committed it, and as which of its groups; no two commits are alike in this.
    pub writer_id: Uuid,
    pub group_no: u64,
}

impl LedgerMark {
    /// Whether a ledger that ends here is too short for `seen`, or has another commit in its place.
    pub fn rules_out(&self, seen: &LedgerMark) -> bool {
        self.commit_no < seen.commit_no || (self.commit_no == seen.commit_no && self != seen)
    }
}

/// All counters, as they were after the commit `head`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub head: Head,
    /// The topics first used last, at most [`TOPICS_SHOWN_MAX`], in the order of their first use.
    pub topics: Vec<TopicTotal>,
}

/// The counters of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTotal {
    pub topic: String,
    pub unique: u64,
    pub duplicates: u64,
}

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

/// How to open a database.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Bring the schema up to date first; else refuse one that is not.
    pub migrate: bool,
    /// The scope to create a new database with, and to insist on; `None` takes the database's own,
    /// `event-id` for a new one.
    pub scope: Option<DedupScope>,
    /// Connections for reading; the writer's own comes on top.
    pub read_connections: u32,
}

/// Opens the database that `url` names, with its schema brought up to date or checked.
pub async fn open(url: &str, options: &OpenOptions) -> Result<Arc<dyn EventStore>, OpenError> {
    match Engine::of(url)? {
        Engine::Postgres => Ok(Arc::new(postgres::PostgresStore::open(url, options).await?)),
        Engine::Sqlite => Ok(Arc::new(sqlite::SqliteStore::open(url, options).await?)),
    }
}

/// Brings the schema of the database that `url` names up to date, and fixes its scope where one is given.
/// Answers the schema's version.
pub async fn migrate(url: &str, scope: Option<DedupScope>) -> Result<i64, OpenError> {
    match Engine::of(url)? {
        Engine::Postgres => postgres::migrate(url, scope).await,
        Engine::Sqlite => sqlite::migrate(url, scope).await,
    }
}

enum Engine {
    Postgres,
    Sqlite,
}

impl Engine {
    fn of(url: &str) -> Result<Self, OpenError> {
        match url.split(':').next() {
            Some("postgres" | "postgresql") => Ok(Engine::Postgres),
            Some("sqlite") => Ok(Engine::Sqlite),
            _ => Err(OpenError::Url("it must start with postgres://, postgresql:// or sqlite://".to_owned())),
        }
    }
}

/// A migration that a database has had: its version, and the checksum of its text.
type Applied = (i64, Vec<u8>);

/// The schema's version: that of its last migration.
fn version_of(applied: &[Applied]) -> i64 {
    applied.iter().map(|(version, _)| *version).max().unwrap_or(0)
}

/// Whether a schema serves as it is (`Ok(true)`), or only after migrating (`Ok(false)`).
fn check_version(
    applied: &[Applied],
    migrator: &sqlx::migrate::Migrator,
    migrate: bool,
) -> Result<bool, OpenError> {
    let known = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
    let found = version_of(applied);
    let differs = |(version, checksum): &&Applied| {
        migrator.iter().any(|known| known.version == *version && *known.checksum != **checksum)
    };
    if let Some((version, _)) = applied.iter().find(differs) {
        Err(OpenError::OtherSchema { version: *version })
    } else if found > known {
        Err(OpenError::TooNew { found, known })
    } else if found < known && !migrate {
        Err(OpenError::TooOld { found, known })
    } else {
        Ok(found == known)
    }
}

/// The scope that a database keeps, if it is the one asked for.
fn check_scope(kept: &str, asked: Option<DedupScope>) -> Result<DedupScope, OpenError> {
    let kept: DedupScope = kept.parse().map_err(OpenError::Unsuitable)?;
    match asked {
        Some(asked) if asked != kept => Err(OpenError::OtherScope { kept, asked }),
        _ => Ok(kept),
    }
}

/// A `seq` or count as the engines keep it.
fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A `seq` or count as it stands in the database, where none is negative.
fn from_sql(number: i64) -> u64 {
    number.unsigned_abs()
}
