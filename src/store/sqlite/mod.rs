//! SQLite: one service on one machine, with one file and SQLite's write-ahead log beside it.

mod clock;
mod connect;
mod error;
mod file;
mod insert;
mod json;
mod ledger;
mod reads;
mod schema;
mod topics;
mod writer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sqlx::{Connection, SqlitePool};
use tracing::warn;

use self::{
    clock::ClockCheck,
    connect::Connector,
    error::{open_error, store_error},
    writer::SqliteWriter,
};
use super::{
    EventStore, Head, LedgerMark, OpenError, OpenOptions, Page, PageQuery, StoreError, StoreWriter,
    StoredEvent, StoredId, Totals,
};
use crate::event::DedupScope;

/// How long closing waits for readers, and then for connections that are still open, so that the log can be removed.
const READERS_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const LOG_REMOVAL_TIMEOUT: Duration = Duration::from_millis(1_500);
const CLOSE_POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct SqliteStore {
    scope: DedupScope,
    pool: SqlitePool,
    /// For the ledger's head alone.
    head_pool: SqlitePool,
    clock_check: Arc<ClockCheck>,
    /// Holds the lock on the file, and so is dropped last.
    connector: Connector,
}

impl SqliteStore {
    pub(super) async fn open(url: &str, options: &OpenOptions) -> Result<Self, OpenError> {
        let connector = Connector::new(url, options.migrate)?;
        let mut connection = connector.first().await?;
        schema::bring_up_to_date(&mut connection, options.migrate).await?;
        let scope = schema::keep_scope(&mut connection, options.scope).await?;
        let clock_check = ClockCheck::default();
        clock_check.note(reads::received_at(&mut connection).await.map_err(open_error)?);
        let head_pool = connector.head_readers().await?;
        connection.close().await.map_err(open_error)?;
        let pool = connector.readers(options.read_connections);
        Ok(Self { scope, connector, pool, head_pool, clock_check: Arc::new(clock_check) })
    }

    /// The readers' pool, unless the file was removed or replaced.
    fn pool(&self) -> Result<&SqlitePool, StoreError> {
        self.connector.file().check()?;
        Ok(&self.pool)
    }

    /// Removes the log. Connections that were dropped in the middle of a statement may take a moment to close.
    async fn remove_log(&self) {
        let begun = Instant::now();
        loop {
            let removed = self.connector.remove_log().await;
            match removed {
                Ok(()) if !self.connector.file().has_log() => return,
                _ if begun.elapsed() < LOG_REMOVAL_TIMEOUT => tokio::time::sleep(CLOSE_POLL_INTERVAL).await,
                Ok(()) => {
                    return warn!("the log stays beside the file: another program has the database open");
                }
                Err(error) => {
                    return warn!(error = &error as &dyn std::error::Error, "the log stays beside the file");
                }
            }
        }
    }
}

/// Brings the schema up to date; returns its version. Refused while a service has the file.
pub(super) async fn migrate(url: &str, scope: Option<DedupScope>) -> Result<i64, OpenError> {
    let connector = Connector::new(url, true)?;
    let mut connection = connector.first().await?;
    schema::bring_up_to_date(&mut connection, true).await?;
    if scope.is_some() {
        schema::keep_scope(&mut connection, scope).await?;
    }
    let version = schema::version(&mut connection).await?;
    connection.close().await.map_err(open_error)?;
    Ok(version)
}

#[async_trait]
impl EventStore for SqliteStore {
    fn scope(&self) -> DedupScope {
        self.scope
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let connection = self.connector.writer().await?;
        let (file, clock_check) = (Arc::clone(self.connector.file()), Arc::clone(&self.clock_check));
        Ok(Box::new(SqliteWriter::new(connection, self.scope, file, clock_check)))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        reads::page(self.pool()?, query).await.map_err(store_error)
    }

    async fn event(&self, event_id: &str, topic: Option<&str>) -> Result<Option<StoredEvent>, StoreError> {
        reads::event(self.pool()?, self.scope, event_id, topic).await.map_err(store_error)
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.connector.file().check()?;
        reads::head(&self.head_pool).await.map_err(store_error)
    }

    /// The ledger keeps only its newest commit, which is enough: the file is locked, so no other service can have
    /// appended to a restored copy.
    async fn holds(&self, seen: &LedgerMark) -> Result<bool, StoreError> {
        Ok(!self.head().await?.mark.rules_out(seen))
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        reads::totals(self.pool()?).await.map_err(store_error)
    }

    async fn newest_ids(&self, before: u64, limit: usize) -> Result<Vec<StoredId>, StoreError> {
        reads::newest_ids(self.pool()?, before, limit).await.map_err(store_error)
    }

    /// After this the one file holds all events, without a log beside it.
    async fn close(&self) {
        let readers = async { tokio::join!(self.pool.close(), self.head_pool.close()) };
        if tokio::time::timeout(READERS_CLOSE_TIMEOUT, readers).await.is_err() {
            warn!("readers of the database could not be ended in time");
        }
        if self.connector.file().check().is_ok() {
            self.remove_log().await;
        }
        // Actors and readers may keep the store for a moment; the next service does not wait for them.
        if let Err(error) = self.connector.file().unlock() {
            warn!(error = &error as &dyn std::error::Error, "the database file cannot be unlocked");
        }
    }
}
