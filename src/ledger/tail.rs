//! Where readers that follow a ledger and have everything are.

use std::sync::atomic::{AtomicU64, Ordering};

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
}

impl LedgerTail {
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
