//! The connections that append, shared by the writers.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::timeout};
use tracing::warn;

use crate::store::{AppendGroup, AppendStore, GroupResult, StoreError, StoreWriter};

/// After this long an append's connection is dropped and never used again; opening one counts, too. The store's own
/// time limits for a statement end before it.
const APPEND_DEADLINE: Duration = Duration::from_secs(8);

/// Connections that append, at most as many as there are places.
pub(in crate::actors) struct WriteConnections {
    store: Arc<dyn AppendStore>,
    /// Those that are open, in order, and not in use. The one used last is used next.
    idle: Mutex<Vec<Box<dyn StoreWriter>>>,
    places: Semaphore,
    /// Places for groups whose ledger was locked, or its node away, at the last attempt: half of all, so that such
    /// ledgers leave the others some.
    places_for_held_up: Semaphore,
}

impl WriteConnections {
    pub(in crate::actors) fn new(store: Arc<dyn AppendStore>, connections_max: usize) -> Arc<Self> {
        Arc::new(Self {
            store,
            idle: Mutex::default(),
            places: Semaphore::new(connections_max.max(1)),
            places_for_held_up: Semaphore::new((connections_max / 2).max(1)),
        })
    }

    /// Appends these groups in one transaction, once there is a connection for it. `was_held_up` tells that their ledger
    /// was locked, or its node away, at the last attempt.
    ///
    /// A connection that has met an error is dropped: nothing of an unfinished append may reach the next one.
    pub(in crate::actors) async fn append(
        &self,
        groups: &[AppendGroup<'_>],
        was_held_up: bool,
    ) -> Result<Vec<GroupResult>, StoreError> {
        // Neither semaphore is ever closed.
        let _place_for_held_up =
            if was_held_up { self.places_for_held_up.acquire().await.ok() } else { None };
        let _place = self.places.acquire().await.ok();
        let attempt = async {
            let open = self.idle.lock().pop();
            let mut open = match open {
                Some(open) => open,
                None => self.store.open_writer().await?,
            };
            let outcomes = open.append_all(groups).await?;
            self.idle.lock().push(open);
            Ok(outcomes)
        };
        timeout(APPEND_DEADLINE, attempt).await.unwrap_or(Err(StoreError::TimedOut(APPEND_DEADLINE)))
    }

    /// Closes the connections that are not in use.
    pub(in crate::actors) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            if let Err(error) = connection.close().await {
                warn!(error = &error as &dyn std::error::Error, "a writer's connection did not close well");
            }
        }
    }
}
