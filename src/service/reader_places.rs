//! Places for readers that stay: a full limit is an answer at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ledger::Overloaded;

/// A number of places for readers of one kind.
pub(super) struct ReaderPlaces {
    free: Arc<Semaphore>,
    max: usize,
    full: Overloaded,
}

impl ReaderPlaces {
    pub(super) fn new(max: usize, full: &'static str) -> Self {
        Self { free: Arc::new(Semaphore::new(max)), max, full: Overloaded(full) }
    }

    /// A place, until it is dropped.
    pub(super) fn take(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| self.full)
    }

    /// Places that are taken, and all that there are.
    pub(super) fn taken(&self) -> (usize, usize) {
        (self.max - self.free.available_permits(), self.max)
    }
}
