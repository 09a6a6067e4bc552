//! SQLite: one service on one machine, with one file and SQLite's write-ahead log beside it.

mod connect;
mod file;
mod schema;
mod control;
mod writer;
mod ledger;
mod topics;
mod insert;
mod reads;
mod json;
mod clock;
mod error;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sqlx::{Connection, SqliteConnection, SqlitePool};
use tracing::warn;

use self::{
    clock::ClockCheck,
    connect::Connector,
    error::{open_error, store_error},
    writer::SqliteWriter,
};
use super::{
    AppendStore, ControlStore, DEFAULT_NAMESPACE, Head, LedgerMark, LedgerRecord, OpenError, OpenOptions,
    Page, PageQuery, ReadStore, StoreError, StoreWriter, StoredEvent, StoredId, Totals, open::check_scope,
    rows::or_gone,
};
use crate::event::DedupScope;

/// How long closing waits for readers, and then for connections that are still open, so that the log can be removed.
const READERS_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const LOG_REMOVAL_TIMEOUT: Duration = Duration::from_millis(1_500);
const CLOSE_POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct SqliteStore {
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
        let default = keep_default(&mut connection, options.scope).await?;
        let clock_check = ClockCheck::default();
        clock_check.note(reads::received_at(&mut connection, &default).await.map_err(open_error)?);
        let head_pool = connector.head_readers().await?;
        connection.close().await.map_err(open_error)?;
        let pool = connector.readers(options.read_connections);
        Ok(Self { connector, pool, head_pool, clock_check: Arc::new(clock_check) })
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

/// Creates the namespace `default` with the scope asked for, where there is none; else checks that it has it.
async fn keep_default(
    connection: &mut SqliteConnection,
    asked: Option<DedupScope>,
) -> Result<LedgerRecord, OpenError> {
    let scope = asked.unwrap_or(DedupScope::EventId);
    let default = match control::find(&mut *connection, DEFAULT_NAMESPACE).await.map_err(open_error)? {
        Some(default) => default,
        None => control::create(connection, DEFAULT_NAMESPACE, scope).await.map_err(open_error)?,
    };
    check_scope(default, asked)
}

/// Brings the schema up to date; returns its version. Refused while a service has the file.
pub(super) async fn migrate(url: &str, scope: Option<DedupScope>) -> Result<i64, OpenError> {
    let connector = Connector::new(url, true)?;
    let mut connection = connector.first().await?;
    schema::bring_up_to_date(&mut connection, true).await?;
    if scope.is_some() {
        keep_default(&mut connection, scope).await?;
    }
    let version = schema::version(&mut connection).await?;
    connection.close().await.map_err(open_error)?;
    Ok(version)
}

#[async_trait]
impl AppendStore for SqliteStore {
    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let connection = self.connector.writer().await?;
        let (file, clock_check) = (Arc::clone(self.connector.file()), Arc::clone(&self.clock_check));
        Ok(Box::new(SqliteWriter::new(connection, file, clock_check)))
    }
}

#[async_trait]
impl ReadStore for SqliteStore {
    async fn page(&self, ledger: &LedgerRecord, query: &PageQuery) -> Result<Page, StoreError> {
        or_gone(reads::page(self.pool()?, ledger, query).await.map_err(store_error))
    }

    async fn event(
        &self,
        ledger: &LedgerRecord,
        event_id: &str,
        topic: Option<&str>,
    ) -> Result<Option<StoredEvent>, StoreError> {
        or_gone(reads::event(self.pool()?, ledger, event_id, topic).await.map_err(store_error))
    }

    async fn head(&self, ledger: &LedgerRecord) -> Result<Head, StoreError> {
        self.connector.file().check()?;
        or_gone(reads::head(&self.head_pool, ledger).await.map_err(store_error))
    }

    /// The ledger keeps only its newest commit, which is enough: the file is locked, so no other service can have
    /// appended to a restored copy.
    async fn holds(&self, ledger: &LedgerRecord, seen: &LedgerMark) -> Result<bool, StoreError> {
        Ok(!self.head(ledger).await?.mark.rules_out(seen))
    }

    async fn totals(&self, ledger: &LedgerRecord) -> Result<Totals, StoreError> {
        or_gone(reads::totals(self.pool()?, ledger).await.map_err(store_error))
    }

    async fn newest_ids(
        &self,
        ledger: &LedgerRecord,
        before: u64,
        limit: usize,
    ) -> Result<Vec<StoredId>, StoreError> {
        reads::newest_ids(self.pool()?, ledger, before, limit).await.map_err(store_error)
    }
}

#[async_trait]
impl ControlStore for SqliteStore {
    async fn ledger(&self, namespace: &str) -> Result<Option<LedgerRecord>, StoreError> {
        control::find(self.pool()?, namespace).await.map_err(store_error)
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
