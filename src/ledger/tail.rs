//! Where readers that follow a ledger and have everything are.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::LedgerNews;

/// What those that follow a ledger have in common.
#[derive(Default)]
pub struct LedgerTail {
    /// Tells them of what was committed, once it has been read for them.
    pub news: LedgerNews,
    /// Whether somebody reads for them.
    pub is_running: Mutex<bool>,
    place: AtomicU64,
    waiting: AtomicUsize,
}

/// A reader that has everything, and waits for more. Dropped when it goes on.
pub struct Waiting<'a>(&'a LedgerTail);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LedgerTail {
    /// Counts a reader that has everything, and waits for more.
    pub fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// Whether a reader has everything: those that lag find nothing of use at the end.
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whoever has everything has it up to this `seq`. Another value costs a read for each reader, and nothing else.
    pub fn place(&self) -> u64 {
        self.place.load(Ordering::Relaxed)
    }

    /// Somebody has everything up to here.
    pub fn note_place(&self, seq: u64) {
        self.place.fetch_max(seq, Ordering::Relaxed);
    }

    /// The ledger ends here, and may have ended later before.
    pub fn go_back_to(&self, seq: u64) {
        self.place.store(seq, Ordering::Relaxed);
    }
}
