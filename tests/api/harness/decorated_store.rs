//! A store that does something before each append, and passes everything on to another store.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use sekali::store::{AppendGroup, AppendStore, GroupResult, StoreError, StoreWriter};

/// What is done before an append of events with these ids; it may panic.
pub type BeforeAppend = Arc<dyn Fn(&[&str]) -> BoxFuture<'static, ()> + Send + Sync>;

pub struct DecoratedAppends {
    pub appends: Arc<dyn AppendStore>,
    pub before_append: BeforeAppend,
}

struct DecoratedWriter {
    writer: Box<dyn StoreWriter>,
    before_append: BeforeAppend,
}

#[async_trait]
impl StoreWriter for DecoratedWriter {
    async fn append_all(&mut self, groups: &[AppendGroup<'_>]) -> Result<Vec<GroupResult>, StoreError> {
        let events = groups.iter().flat_map(|group| group.events);
        let ids: Vec<&str> = events.map(|event| &**event.event_id()).collect();
        let before = (self.before_append)(&ids);
        before.await;
        self.writer.append_all(groups).await
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.writer.close().await
    }
}

#[async_trait]
impl AppendStore for DecoratedAppends {
    fn groups_max(&self) -> usize {
        self.appends.groups_max()
    }

    fn connections_max(&self) -> Option<usize> {
        self.appends.connections_max()
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let (writer, before_append) = (self.appends.open_writer().await?, Arc::clone(&self.before_append));
        Ok(Box::new(DecoratedWriter { writer, before_append }))
    }
}
