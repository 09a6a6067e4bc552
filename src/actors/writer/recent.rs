//! Ids of a ledger that were committed while requests were under way that had asked the shards before.

use std::collections::VecDeque;

use crate::{
    event::{Digest, DigestMap},
    ledger::OpenLedger,
};

/// The ids of the last groups, for requests that the shards looked through before they learned those ids.
///
/// A group's ids stay until as many requests are finished as had been admitted at its commit, so that admission bounds
/// them. They are looked for at each commit, so that the last one of a ledger that becomes idle leaves none. An id that is missed here costs the store a look-up, and nothing else.
#[derive(Default)]
pub(in crate::actors) struct RecentIds(VecDeque<RecentGroup>);

struct RecentGroup {
    ids: DigestMap<u64>,
    /// The ids are not needed any more once so many requests of the ledger are finished.
    until_finished: u64,
}

impl RecentIds {
    /// Remembers a group that was just committed, of so many requests that are not answered yet. They have asked the
    /// shards before, and so count as finished.
    pub(in crate::actors) fn learn(&mut self, ids: &[(Digest, u64)], requests: usize, ledger: &OpenLedger) {
        let (admitted, finished) = (ledger.admitted(), ledger.finished() + requests as u64);
        while self.0.front().is_some_and(|group| group.until_finished <= finished) {
            self.0.pop_front();
        }
        if admitted > finished && !ids.is_empty() {
            self.0.push_back(RecentGroup { ids: ids.iter().copied().collect(), until_finished: admitted });
        }
    }

    /// The `seq` of this id, if it is remembered.
    pub(in crate::actors) fn seq(&self, digest: Digest) -> Option<u64> {
        self.0.iter().rev().find_map(|group| group.ids.get(&digest).copied())
    }

    /// Forgets everything.
    pub(in crate::actors) fn forget(&mut self) {
        self.0.clear();
    }
}
