//! A group as the writer gives it to the store, and its outcome.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Head, LedgerMark};
use crate::event::Event;

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
