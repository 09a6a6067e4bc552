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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Written by the ledger's writer alone; read by whoever admits requests.
pub struct LedgerPosition {
    seen: Mutex<(Head, Epoch)>,
    /// For readers that wait.
    pub news: LedgerNews,
}

impl LedgerPosition {
    /// The position of a ledger that is opened, and ends here.
    pub fn new(head: Head) -> Self {
        Self { seen: Mutex::new((head, Epoch::new())), news: LedgerNews::default() }
    }

    /// The newest commit that this node has seen, and the epoch in which it saw it.
    pub fn seen(&self) -> (LedgerMark, Epoch) {
        let (head, epoch) = *self.seen.lock();
        (head.mark, epoch)
    }

    /// The same with its totals.
    pub fn head(&self) -> Head {
        self.seen.lock().0
    }

    /// What was known in an earlier epoch does not count.
    pub fn epoch(&self) -> Epoch {
        self.seen.lock().1
    }

    /// Moves on to a commit that is known to follow on the one that was seen.
    pub fn move_on(&self, head: Head) {
        let before = std::mem::replace(&mut self.seen.lock().0, head);
        // A commit of duplicates alone is no news.
        if before.last_seq != head.last_seq {
            self.news.tell(head.last_seq);
        }
    }

    /// Starts over with another ledger, which ends here.
    pub fn start_over(&self, found: Head) {
        *self.seen.lock() = (found, Epoch::new());
        self.news.tell(found.last_seq);
    }
}
