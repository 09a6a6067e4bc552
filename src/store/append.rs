//! Appending: a group as the writer gives it to the store, and its outcome.

use std::collections::HashMap;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Head, LedgerKey, LedgerMark, StoreError};
use crate::event::{Digest, Event};

/// A database that is appended to.
#[async_trait]
pub trait AppendStore: Send + Sync {
    /// How many groups, each of another ledger, one transaction takes.
    fn groups_max(&self) -> usize;

    /// How many connections may append at once; `None` leaves it to the caller.
    fn connections_max(&self) -> Option<usize>;

    /// A new connection for appending.
    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError>;
}

/// A connection that appends. After an error it is of no further use; open another.
#[async_trait]
pub trait StoreWriter: Send {
    /// Stores groups of different ledgers in one transaction, at most [`AppendStore::groups_max`]: durable where this
    /// returns [`AppendOutcome::Committed`]. Each group has a result; one that the store refuses leaves the others. An
    /// error of the whole call leaves open whether anything was stored.
    ///
    /// The same group (writer, number and contents) may be sent again after an error or a lost answer: it is
    /// stored and counted once, and the outcome is the same.
    async fn append_all(&mut self, groups: &[AppendGroup<'_>]) -> Result<Vec<GroupResult>, StoreError>;

    /// Ends the connection. When this returns, its files and its socket are closed. Dropping a connection closes
    /// them as well, but at a later time that nobody can wait for.
    async fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// What became of one group of a call.
pub type GroupResult = Result<AppendOutcome, StoreError>;

/// Whole requests, stored together.
#[derive(Clone, Copy)]
pub struct AppendGroup<'a> {
    pub ledger: LedgerKey,
    /// The writer; new with each start of a service.
    pub writer_id: Uuid,
    /// Its number for this group, higher than all before.
    pub group_no: u64,
    /// Topics that the ledger may have.
    pub topics_max: u32,
    /// The newest commit that the caller has seen: a ledger without it is another one.
    pub seen: LedgerMark,
    /// The events that may be new, in the order in which they get their `seq`. No two are the same one.
    pub events: &'a [&'a Event],
    /// The identity of each of them, as the ledger's digester makes it.
    pub digests: &'a [Digest],
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
    /// The place in `counts` of the topic of each of `events`.
    pub(super) fn topic_places(&self) -> Vec<usize> {
        if self.counts.len() == 1 {
            return vec![0; self.events.len()];
        }
        let places: HashMap<&str, usize> =
            self.counts.iter().enumerate().map(|(place, count)| (count.topic, place)).collect();
        self.events.iter().map(|event| places[&**event.topic()]).collect()
    }

    /// How the ledger identifies this group once it is its commit of this number.
    pub fn mark(&self, commit_no: u64) -> LedgerMark {
        LedgerMark { commit_no, writer_id: self.writer_id, group_no: self.group_no }
    }

    /// Whether the group is empty, and is committed only to learn whether the store takes writes.
    pub(super) fn is_probe(&self) -> bool {
        self.counts.is_empty()
    }

    /// All events that the group counts.
    pub(super) fn received(&self) -> u64 {
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
    /// The number belongs to another ledger by now, or to none. Nothing was stored.
    Gone,
    /// The ledger would have more topics than `topics_max`. Nothing was stored.
    TooManyTopics,
}

/// A stored group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The ledger with this group as its newest.
    pub head: Head,
    /// The `seq` of the first of its events that was new; the others follow without gap, in order.
    pub first_seq: u64,
    /// The events that had been stored before: their place in the group, from 0, rising, and their `seq`.
    pub repeats: Vec<(usize, u64)>,
}
