//! Where a ledger ends, and its counters up to there.

use uuid::Uuid;

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

/// Identifies a commit, and with it the ledger up to there. A number alone does not: a ledger that was restored to
/// an older copy gives the numbers of the lost commits to new ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerMark {
    /// Groups committed so far; rises by one with each, over all nodes. 0 stands for the empty ledger.
    pub commit_no: u64,
    /// Who committed it, and as which of its groups; no two commits have both in common.
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
    /// The topics first used last, at most [`TOPICS_SHOWN_MAX`](super::TOPICS_SHOWN_MAX), in the order of their first use.
    pub topics: Vec<TopicTotal>,
}

/// The counters of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTotal {
    pub topic: String,
    pub unique: u64,
    pub duplicates: u64,
}
