//! The ledgers that are open on this node, by the name of their namespace.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use tokio::sync::OnceCell;

use crate::ledger::OpenLedger;

/// A ledger that is open, or about to be: whoever asks for one that is being opened waits for the first to open it.
type Entry = Arc<OnceCell<Arc<OpenLedger>>>;

/// The only map that several threads write. No entry of it is held across an await: what is taken out is a clone.
#[derive(Default)]
pub(super) struct Directory {
    ledgers: DashMap<String, Entry>,
}

impl Directory {
    /// The ledger of this namespace, opened by `open` where it is not open yet. A failure is not remembered.
    pub(super) async fn get_or_open<E>(
        &self,
        namespace: &str,
        open: impl Future<Output = Result<Arc<OpenLedger>, E>>,
    ) -> Result<Arc<OpenLedger>, E> {
        let entry = match self.get(namespace) {
            Some(entry) => entry,
            None => Arc::clone(&self.ledgers.entry(namespace.to_owned()).or_default()),
        };
        let opened = entry.get_or_try_init(|| open).await;
        if opened.is_err() {
            self.ledgers.remove_if(namespace, |_, entry| !entry.initialized());
        }
        opened.cloned()
    }

    fn get(&self, namespace: &str) -> Option<Entry> {
        self.ledgers.get(namespace).map(|entry| Arc::clone(&entry))
    }

    /// Forgets a ledger that is gone. Another one of that name stays.
    pub(super) fn remove(&self, ledger: &Arc<OpenLedger>) {
        self.ledgers.remove_if(&ledger.record.namespace, |_, entry| {
            entry.get().is_some_and(|open| Arc::ptr_eq(open, ledger))
        });
    }

    /// Forgets the ledgers that nobody uses, and has not for so long.
    pub(super) fn close_idle(&self, age: Duration) {
        self.ledgers.retain(|_, entry| match entry.get() {
            Some(open) => Arc::strong_count(open) > 1 || !open.is_idle(age),
            None => true,
        });
    }

    /// Ledgers that are open.
    pub(super) fn len(&self) -> usize {
        self.ledgers.len()
    }
}
