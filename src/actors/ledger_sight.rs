//! What this node has seen of the ledger: the measure by which a restored database is noticed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::LedgerMark;

/// Shared by the writer, the watch and the handle.
#[derive(Default)]
pub(super) struct LedgerSight {
    commit_no: AtomicU64,
    last_seq: AtomicU64,
    epoch: AtomicU64,
    restored: AtomicU64,
    store_failing: AtomicBool,
}

impl LedgerSight {
    /// How far this node has seen the ledger go.
    pub(super) fn seen(&self) -> LedgerMark {
        LedgerMark {
            commit_no: self.commit_no.load(Ordering::Acquire),
            last_seq: self.last_seq.load(Ordering::Acquire),
        }
    }

    /// Notes that the ledger goes as far as this.
    pub(super) fn note(&self, mark: LedgerMark) {
        self.commit_no.fetch_max(mark.commit_no, Ordering::AcqRel);
        self.last_seq.fetch_max(mark.last_seq, Ordering::AcqRel);
    }

    /// How often what the shards knew was thrown away; what they knew in an earlier epoch does not count.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Starts over with a ledger that ends at `mark`. The shards must have been told to forget before.
    pub(super) fn start_over(&self, epoch: u64, mark: LedgerMark) {
        self.commit_no.store(mark.commit_no, Ordering::Release);
        self.last_seq.store(mark.last_seq, Ordering::Release);
        self.restored.fetch_add(1, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Times that the database proved to be restored to an older copy.
    pub(super) fn restored(&self) -> u64 {
        self.restored.load(Ordering::Relaxed)
    }

    /// Notes whether the last append failed for the store's sake.
    pub(super) fn note_store(&self, failing: bool) {
        self.store_failing.store(failing, Ordering::Relaxed);
    }

    /// Whether the last append failed for the store's sake.
    pub(super) fn store_failing(&self) -> bool {
        self.store_failing.load(Ordering::Relaxed)
    }
}
