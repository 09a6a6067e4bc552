//! A ledger that is open on this node: what its handle, its requests and the actors share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{LedgerHealth, LedgerNews, LedgerPosition, LedgerTail};
use crate::store::{Head, LedgerKey, LedgerRecord, StoreError};

/// Transactions on the subscriptions of one ledger at a time: half of the connections for them.
const LEASE_TURNS: usize = 2;

/// A ledger that is open on this node.
pub struct OpenLedger {
    pub record: LedgerRecord,
    pub position: LedgerPosition,
    /// Whether this ledger takes writes, where the database as a whole does.
    pub health: LedgerHealth,
    pub tail: LedgerTail,
    /// Tells workers that wait of leases that ended on this node.
    pub lease_news: LedgerNews,
    /// Turns for transactions on its subscriptions.
    pub lease_turns: Arc<Semaphore>,
    /// Events admitted and not yet answered.
    pub(super) events_in_flight: AtomicUsize,
    /// Bytes of the bodies of those events.
    pub(super) bytes_in_flight: AtomicUsize,
    gone: AtomicBool,
    admitted: AtomicU64,
    finished: AtomicU64,
    last_used: Mutex<Instant>,
}

impl OpenLedger {
    /// A ledger that is opened, and ends here.
    pub fn new(record: LedgerRecord, head: Head) -> Self {
        Self {
            record,
            position: LedgerPosition::new(head),
            health: LedgerHealth::default(),
            tail: LedgerTail::default(),
            lease_news: LedgerNews::default(),
            lease_turns: Arc::new(Semaphore::new(LEASE_TURNS)),
            events_in_flight: AtomicUsize::new(0),
            bytes_in_flight: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            admitted: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            last_used: Mutex::new(Instant::now()),
        }
    }

    /// What tells it from every other ledger.
    pub fn key(&self) -> LedgerKey {
        self.record.key
    }

    /// Notes that a write failed for this ledger's sake.
    pub fn note_trouble(&self, cause: &StoreError) {
        self.health.note_trouble(&self.record.namespace, cause);
    }

    /// Counts a request that is admitted; it counts as finished when what is returned is dropped.
    pub fn admit(self: &Arc<Self>) -> Admitted {
        self.admitted.fetch_add(1, Ordering::Relaxed);
        Admitted(Arc::clone(self))
    }

    /// Requests admitted so far.
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Those of them that are answered and gone.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// The store has no such ledger any more.
    pub fn note_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.position.news.tell(0);
    }

    /// Whether the store said that it has no such ledger any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Notes that someone asked for it.
    pub fn note_used(&self) {
        *self.last_used.lock() = Instant::now();
    }

    /// Whether nobody has asked for it for so long.
    pub fn is_idle(&self, age: Duration) -> bool {
        self.last_used.lock().elapsed() >= age
    }
}

/// A request that its ledger counts.
pub struct Admitted(Arc<OpenLedger>);

impl std::ops::Deref for Admitted {
    type Target = Arc<OpenLedger>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl OpenLedger {
    /// An empty ledger that no store has.
    pub(crate) fn example(namespace_no: i32) -> Arc<Self> {
        use crate::event::{DedupScope, Digester};

        let record = LedgerRecord {
            key: LedgerKey { namespace_no, ledger_id: uuid::Uuid::new_v4() },
            namespace: format!("example-{namespace_no}"),
            scope: DedupScope::EventId,
            digester: Digester::new(DedupScope::EventId, &[7; 16]),
        };
        Arc::new(Self::new(record, Head::default()))
    }

    /// The same ledger, closed and opened again.
    pub(crate) fn opened_again(&self) -> Arc<Self> {
        Arc::new(Self::new(self.record.clone(), self.position.head()))
    }
}
