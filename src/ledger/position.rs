//! What this node has seen of a ledger, and what it does when the database turns out to be an older copy.
//!
//! All that the actors know of stored ids comes from commits up to the one that was seen last. Each append names that
//! commit, and the store refuses the append where the ledger lacks it. Then a new epoch begins: what was known in an
//! earlier one counts no more. Nobody has to be told, since the windows' keys are mixed with the epoch.

use parking_lot::Mutex;

use super::LedgerNews;
use crate::store::{Head, LedgerMark};

/// Tells apart what was learned before a ledger was opened or found to be restored, and after. Random, so that no two
/// are the same, of whatever ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    fn new() -> Self {
        Self(fastrand::u64(..))
    }

    /// What a window's keys are mixed with.
    pub fn salt(self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy)]
struct Seen {
    head: Head,
    epoch: Epoch,
    /// Where the ledger ended when the epoch began.
    begun_at: u64,
    /// The newest `seq` that this node knows of, which another node may have given.
    newest: u64,
}

/// Written by the ledger's writer alone, but for [`note_newest`](Self::note_newest); read by whoever admits requests.
pub struct LedgerPosition {
    seen: Mutex<Seen>,
    /// For readers that wait.
    pub news: LedgerNews,
}

impl LedgerPosition {
    /// The position of a ledger that is opened, and ends here.
    pub fn new(head: Head) -> Self {
        Self { seen: Mutex::new(Seen::first(head)), news: LedgerNews::default() }
    }

    /// The newest commit that this node has seen, and the epoch in which it saw it.
    pub fn seen(&self) -> (LedgerMark, Epoch) {
        let seen = *self.seen.lock();
        (seen.head.mark, seen.epoch)
    }

    /// The same with its totals.
    pub fn head(&self) -> Head {
        self.seen.lock().head
    }

    /// The newest `seq` that this node knows of, which another node may have given.
    pub fn newest(&self) -> u64 {
        self.seen.lock().newest
    }

    /// Notes where a look found the end of the ledger. `before` is what was seen when the look began: the writer, if it has
    /// moved on since, knows better.
    pub fn note_newest(&self, before: LedgerMark, last_seq: u64) {
        let mut seen = self.seen.lock();
        if seen.head.mark == before {
            seen.newest = last_seq;
        }
    }

    /// What was known in an earlier epoch does not count.
    pub fn epoch(&self) -> Epoch {
        self.seen.lock().epoch
    }

    /// The epoch, and the newest `seq` that the ledger had when it began: after a database was restored, the events
    /// behind it are other ones than before.
    pub fn epoch_begun_at(&self) -> (Epoch, u64) {
        let seen = *self.seen.lock();
        (seen.epoch, seen.begun_at)
    }

    /// Moves on to a commit that is known to follow on the one that was seen.
    pub fn move_on(&self, head: Head) {
        let before = {
            let mut seen = self.seen.lock();
            seen.newest = head.last_seq;
            std::mem::replace(&mut seen.head, head)
        };
        // A commit of duplicates alone is no news.
        if before.last_seq != head.last_seq {
            self.news.tell(head.last_seq);
        }
    }

    /// Starts over with another ledger, which ends here.
    pub fn start_over(&self, found: Head) {
        *self.seen.lock() = Seen::first(found);
        self.news.tell(found.last_seq);
    }
}

impl Seen {
    /// What is seen when an epoch begins.
    fn first(head: Head) -> Self {
        Self { head, epoch: Epoch::new(), begun_at: head.last_seq, newest: head.last_seq }
    }
}
