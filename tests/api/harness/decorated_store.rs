//! A store that does something before each append, and passes everything on to another store.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use sekali::{
    event::DedupScope,
    store::{
        AppendGroup, AppendOutcome, EventStore, Head, LedgerMark, Page, PageQuery, StoreError, StoreWriter,
        StoredEvent, StoredId, Totals,
    },
};

/// What is done before an append of events with these ids; it may panic.
pub type BeforeAppend = Arc<dyn Fn(&[&str]) -> BoxFuture<'static, ()> + Send + Sync>;

pub struct DecoratedStore {
    pub store: Arc<dyn EventStore>,
    pub before_append: BeforeAppend,
}

struct DecoratedWriter {
    writer: Box<dyn StoreWriter>,
    before_append: BeforeAppend,
}

#[async_trait]
impl StoreWriter for DecoratedWriter {
    async fn append(&mut self, group: &AppendGroup<'_>) -> Result<AppendOutcome, StoreError> {
        let ids: Vec<&str> = group.events.iter().map(|event| &**event.event_id()).collect();
        let before = (self.before_append)(&ids);
        before.await;
        self.writer.append(group).await
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.writer.close().await
    }
}

#[async_trait]
impl EventStore for DecoratedStore {
    fn scope(&self) -> DedupScope {
        self.store.scope()
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let (writer, before_append) = (self.store.open_writer().await?, Arc::clone(&self.before_append));
        Ok(Box::new(DecoratedWriter { writer, before_append }))
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
