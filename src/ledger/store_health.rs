//! The writer's link to the store. It is lost with the first write that fails for the store's sake, and back with
//! the first that the store takes again.
//!
//! Losing it is no ending of an actor: the writer drops its connection, keeps the group in hand and its queue, and
//! tries on. So it is counted beside the actors, and once however many writes fail meanwhile.

use std::{
    error::Error,
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{debug, error, info, warn};

use crate::store::StoreError;

/// How the store is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreLoss {
    /// It does not answer, or not in time; it may come back by itself.
    Unavailable,
    /// It answers and cannot be written; an operator has to mend it.
    Unwritable,
}

impl fmt::Display for StoreLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreLoss::Unavailable => "store lost: it is unavailable",
            StoreLoss::Unwritable => "store lost: it cannot be written",
        })
    }
}

/// What is known of the link.
#[derive(Clone, Debug, Default)]
pub struct StoreReport {
    /// Whether the store is lost now.
    pub lost: bool,
    /// Times that it was lost.
    pub losses: u64,
    pub last_loss: Option<StoreLoss>,
    /// How long the store was lost, from the first write that failed, when it last took one again.
    pub last_recovery: Option<Duration>,
    /// Times that a ledger proved to be restored to an older copy.
    pub restored: u64,
}

/// Shared by the writer and the handle.
#[derive(Default)]
pub struct StoreHealth {
    lost: AtomicBool,
    /// When the store last answered anything.
    answered_at: Mutex<Option<Instant>>,
    restored: AtomicU64,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    losses: u64,
    last_loss: Option<StoreLoss>,
    lost_at: Option<Instant>,
    last_recovery: Option<Duration>,
}

impl StoreHealth {
    /// Whether the last write failed for the store's sake.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes that the store answered.
    pub fn note_answered(&self) {
        *self.answered_at.lock() = Some(Instant::now());
    }

    /// Whether the store answered within this time.
    pub fn has_answered_within(&self, age: Duration) -> bool {
        self.answered_at.lock().is_some_and(|answered_at| answered_at.elapsed() < age)
    }

    /// Notes that a write failed for the store's sake. What is known already is not logged again.
    pub fn note_lost(&self, loss: StoreLoss, cause: &StoreError) {
        let cause = cause as &dyn Error;
        let mut history = self.history.lock();
        let was_lost = history.lost_at.is_some();
        if was_lost && history.last_loss == Some(loss) {
            drop(history);
            debug!(error = cause, "the store still cannot be written");
            return;
        }
        history.last_loss = Some(loss);
        if !was_lost {
            history.losses += 1;
            history.lost_at = Some(Instant::now());
        }
        self.lost.store(true, Ordering::Relaxed);
        drop(history);
        match loss {
            StoreLoss::Unavailable => {
                warn!(ending = %loss, error = cause, "the store is unavailable; the writer tries again")
            }
            StoreLoss::Unwritable => error!(ending = %loss, error = cause, "the store cannot be written"),
        }
    }

    /// Notes that the store took a write.
    pub fn note_taken(&self) {
        self.note_answered();
        if !self.is_lost() {
            return;
        }
        let mut history = self.history.lock();
        let Some(lost_at) = history.lost_at.take() else { return };
        let recovery = lost_at.elapsed();
        history.last_recovery = Some(recovery);
        self.lost.store(false, Ordering::Relaxed);
        drop(history);
        info!(recovery_ms = recovery.as_millis() as u64, "the store takes writes again");
    }

    /// Notes that a ledger proved to be restored to an older copy.
    pub fn note_restored(&self) {
        self.restored.fetch_add(1, Ordering::Relaxed);
    }

    pub fn report(&self) -> StoreReport {
        let history = self.history.lock();
        StoreReport {
            lost: history.lost_at.is_some(),
            losses: history.losses,
            last_loss: history.last_loss,
            last_recovery: history.last_recovery,
            restored: self.restored.load(Ordering::Relaxed),
        }
    }
}
