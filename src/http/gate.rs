//! Whether requests may pass: not before the store is open, and no more once the service stops.

use std::sync::OnceLock;

use tokio::sync::watch;

use super::error::Problem;
use crate::actors::Aggregator;

/// The way from the HTTP floor down to the rooms, which are built after it and taken apart before it.
pub struct Gate {
    rooms: OnceLock<Aggregator>,
    draining: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { rooms: OnceLock::new(), draining: watch::Sender::new(false) }
    }
}

impl Gate {
    /// Lets requests pass to these rooms; the first call counts.
    pub fn open(&self, rooms: Aggregator) {
        let _ = self.rooms.set(rooms);
    }

    /// Lets no further request pass.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// The rooms, for a request that may pass.
    pub(super) fn pass(&self) -> Result<&Aggregator, Problem> {
        if self.is_draining() {
            return Err(Problem::draining());
        }
        self.rooms()
            .ok_or_else(|| Problem::unavailable("the service is starting: its database is not there yet"))
    }

    /// The rooms, if they are there, stopping or not.
    pub(super) fn rooms(&self) -> Option<&Aggregator> {
        self.rooms.get()
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until the service stops.
    pub(super) async fn draining(&self) {
        // The sender lives as long as this borrow of it.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }
}
