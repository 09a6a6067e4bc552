//! A store that makes its writer panic on demand: for demonstrations and tests of the supervision.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{
    AppendGroup, AppendOutcome, EventStore, Head, LedgerMark, Page, PageQuery, StoreError, StoreWriter,
    StoredEvent, StoredId, Totals,
};
use crate::event::DedupScope;

/// How long after its start an append is interrupted: it has reached the store by then, and few have ended.
const CRASH_AFTER: Duration = Duration::from_micros(200);

/// The message of the panic.
pub const CRASHED_IN_APPEND: &str = "crash injected";

/// Passes each call on to another store. Once armed, it panics in the middle of one append.
pub struct CrashingStore {
    store: Arc<dyn EventStore>,
    trigger: CrashTrigger,
}

/// Arms a [`CrashingStore`]; a clone arms the same one.
#[derive(Clone, Default)]
pub struct CrashTrigger(Arc<AtomicBool>);

impl CrashTrigger {
    /// The next append that is under way for a moment panics.
    pub fn arm(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_armed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl CrashingStore {
    /// Passes on to `store`; `trigger` arms it.
    pub fn new(store: Arc<dyn EventStore>, trigger: CrashTrigger) -> Self {
        Self { store, trigger }
    }
}

struct CrashingWriter {
    writer: Box<dyn StoreWriter>,
    trigger: CrashTrigger,
}

#[async_trait]
impl StoreWriter for CrashingWriter {
    async fn append(&mut self, group: &AppendGroup<'_>) -> Result<AppendOutcome, StoreError> {
        let append = self.writer.append(group);
        if !self.trigger.is_armed() || group.counts.is_empty() {
            return append.await;
        }
        let begun = Instant::now();
        // tokio's timers have a resolution of a millisecond, and most appends end before that.
        let moment = async {
            while begun.elapsed() < CRASH_AFTER {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            outcome = append => outcome,
            () = moment => {
                self.trigger.0.store(false, Ordering::Release);
                panic!("{CRASHED_IN_APPEND}");
            }
        }
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.writer.close().await
    }
}

#[async_trait]
impl EventStore for CrashingStore {
    fn scope(&self) -> DedupScope {
        self.store.scope()
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let writer = self.store.open_writer().await?;
        Ok(Box::new(CrashingWriter { writer, trigger: self.trigger.clone() }))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        self.store.page(query).await
    }

    async fn event(&self, event_id: &str, topic: Option<&str>) -> Result<Option<StoredEvent>, StoreError> {
        self.store.event(event_id, topic).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.store.head().await
    }

    async fn holds(&self, seen: &LedgerMark) -> Result<bool, StoreError> {
        self.store.holds(seen).await
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        self.store.totals().await
    }

    async fn newest_ids(&self, before: u64, limit: usize) -> Result<Vec<StoredId>, StoreError> {
        self.store.newest_ids(before, limit).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
