//! What this node has seen of the ledger: the measure by which a restored database is noticed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::{Head, LedgerMark, LedgerRecord, ReadStore, StoreError};

/// Written by the writer alone; read by the watch, the warm-up and the handle.
///
/// All that the actors know of stored ids is of commits up to the one that was seen. Each append makes sure that
/// the ledger still holds that one; so the writer moves on only from it to a commit that is known to follow.
#[derive(Default)]
pub struct LedgerPosition {
    /// `None` until the first look or commit.
    head: watch::Sender<Option<Head>>,
    epoch: AtomicU64,
    restored: AtomicU64,
    /// When the store last answered a look.
    polled_at: Mutex<Option<Instant>>,
}

/// Where the ledger ended, when it was looked at by one that had seen some of it.
pub enum PolledHead {
    /// It went on from `seen`.
    GoesOn { seen: LedgerMark, head: Head },
    /// It lacked what had been seen in this epoch.
    Restored { found: Head, epoch: u64 },
}

impl LedgerPosition {
    /// The newest commit that this node has seen.
    pub fn seen(&self) -> LedgerMark {
        self.head.borrow().map(|head| head.mark).unwrap_or_default()
    }

    /// The same with its totals, as soon as there is one.
    pub async fn head(&self) -> Head {
        let mut heads = self.head.subscribe();
        let head = heads.wait_for(Option::is_some).await.map(|head| *head);
        // The sender is this struct's own.
        head.ok().flatten().unwrap_or_default()
    }

    /// Moves on to a commit that is known to follow on the one that was seen.
    pub fn move_on(&self, head: Head) {
        self.head.send_replace(Some(head));
    }

    /// Looks where the ledger ends now.
    pub async fn look(&self, store: &dyn ReadStore, ledger: &LedgerRecord) -> Result<PolledHead, StoreError> {
        let epoch = self.epoch();
        let seen = self.seen();
        // What was seen before the question must be in the answer.
        let head = store.head(ledger).await?;
        *self.polled_at.lock() = Some(Instant::now());
        let goes_on =
            head.mark == seen || (!head.mark.rules_out(&seen) && store.holds(ledger, &seen).await?);
        Ok(if goes_on {
            PolledHead::GoesOn { seen, head }
        } else {
            PolledHead::Restored { found: head, epoch }
        })
    }

    /// Whether the store answered a look within this time.
    pub fn was_polled_within(&self, age: Duration) -> bool {
        self.polled_at.lock().is_some_and(|polled_at| polled_at.elapsed() < age)
    }

    /// How often the shards forgot what they knew; what they knew in an earlier epoch does not count.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Starts over with another ledger. The shards must have been told to forget before.
    pub fn start_over(&self, epoch: u64, found: Head) {
        self.move_on(found);
        self.restored.fetch_add(1, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Times that the database proved to be restored to an older copy.
    pub fn restored(&self) -> u64 {
        self.restored.load(Ordering::Relaxed)
    }
}
