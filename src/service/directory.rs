//! The ledgers that are open on this node, by the name of their namespace.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use tokio::sync::OnceCell;

use crate::{ledger::OpenLedger, store::LedgerRecord};

/// A ledger that is open, or about to be: whoever asks for one that is being opened waits for the first to open it.
type Entry = Arc<OnceCell<Arc<OpenLedger>>>;

/// The only map that several threads write. No entry of it is held across an await: what is taken out is a clone.
#[derive(Default)]
pub(super) struct Directory {
    ledgers: DashMap<String, Entry>,
}

/// Who waits for a ledger to be opened, and may be gone before it is.
struct Asking<'a> {
    directory: &'a Directory,
    namespace: &'a str,
    entry: Entry,
}

impl Drop for Asking<'_> {
    /// The last one takes away what was not opened: names that clients make up leave nothing behind.
    fn drop(&mut self) {
        if !self.entry.initialized() {
            self.directory.ledgers.remove_if(self.namespace, |_, entry| {
                Arc::ptr_eq(entry, &self.entry) && !entry.initialized() && Arc::strong_count(entry) == 2
            });
        }
    }
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
        let asking = Asking { directory: self, namespace, entry };
        asking.entry.get_or_try_init(|| open).await.cloned()
    }

    /// The ledger of this namespace, if it is open.
    pub(super) fn opened(&self, namespace: &str) -> Option<Arc<OpenLedger>> {
        self.get(namespace)?.get().cloned()
    }

    /// The ledgers that are open, up to so many.
    pub(super) fn some(&self, ledgers_max: usize) -> Vec<Arc<OpenLedger>> {
        self.ledgers.iter().filter_map(|entry| entry.get().cloned()).take(ledgers_max).collect()
    }

    fn get(&self, namespace: &str) -> Option<Entry> {
        self.ledgers.get(namespace).map(|entry| Arc::clone(&entry))
    }

    /// The ledgers that readers wait for.
    pub(super) fn with_readers(&self) -> Vec<Arc<OpenLedger>> {
        let opened = self.ledgers.iter().filter_map(|entry| entry.get().cloned());
        opened.filter(|open| open.position.news.has_readers()).collect()
    }

    /// Forgets a ledger that is gone. Another one of that name stays.
    pub(super) fn remove(&self, ledger: &Arc<OpenLedger>) {
        self.ledgers.remove_if(&ledger.record.namespace, |_, entry| {
            entry.get().is_some_and(|open| Arc::ptr_eq(open, ledger))
        });
    }

    /// Forgets the ledger that has the name of this one and is another.
    pub(super) fn remove_others(&self, ledger: &LedgerRecord) {
        self.ledgers.remove_if(&ledger.namespace, |_, entry| {
            entry.get().is_some_and(|open| open.key() != ledger.key)
        });
    }

    /// Forgets the ledgers that nobody uses, and has not for so long.
    pub(super) fn close_idle(&self, age: Duration) {
        self.ledgers.retain(|_, entry| match entry.get() {
            Some(open) => Arc::strong_count(open) > 1 || !open.is_idle(age),
            None => Arc::strong_count(entry) > 1,
        });
    }

    /// Ledgers that are open.
    pub(super) fn len(&self) -> usize {
        self.ledgers.len()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn what_was_not_opened_leaves_nothing_behind() {
        type Opened = Result<Arc<OpenLedger>, &'static str>;
        let directory = Directory::default();
        let refused = async || -> Opened { Err("there is none") };
        assert_eq!(directory.get_or_open("a", refused()).await.err(), Some("there is none"));
        assert_eq!(directory.len(), 0);

        let mut hangs_up = Box::pin(directory.get_or_open("b", pending::<Opened>()));
        assert!(poll!(&mut hangs_up).is_pending());
        let mut waits_behind = Box::pin(directory.get_or_open("b", refused()));
        assert!(poll!(&mut waits_behind).is_pending());
        drop(hangs_up);
        assert_eq!(directory.len(), 1, "somebody still waits");
        assert!(waits_behind.await.is_err());
        assert_eq!(directory.len(), 0);

        let mut hangs_up = Box::pin(directory.get_or_open("c", pending::<Opened>()));
        assert!(poll!(&mut hangs_up).is_pending());
        drop(hangs_up);
        assert_eq!(directory.len(), 0);
    }
}
