//! SQLite: one service on one machine, with one file and SQLite's write-ahead log beside it.

mod connect;
mod file;
mod schema;
mod control;
mod sweep;
mod turn;
mod writer;
mod ledger;
mod topics;
mod insert;
mod reads;
mod pages;
mod listing;
mod search;
mod progress;
mod json;
mod clock;
mod error;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::future::join_all;
use sqlx::{Connection, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection};
use tracing::warn;

use self::{
    clock::ClockCheck,
    connect::Connector,
    error::{open_error, store_error},
    turn::{Turn, WriteTurn},
    writer::SqliteWriter,
};
use super::{
    AppendStore, ControlStore, CreateOutcome, DEFAULT_NAMESPACE, Head, LedgerKey, LedgerMark, LedgerRecord,
    NamespaceInfo, NamespaceQuery, OpenError, OpenOptions, Page, PageQuery, ReadStore, StoreError,
    StoreWriter, StoredEvent, StoredId, Swept, TopicInfo, TopicQuery, Totals,
    open::{check_scope, default_of},
    rows::or_gone,
};
use crate::event::DedupScope;

/// How long closing waits for the readers, and then for connections that are still open, so that the log can be removed.
const READERS_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const LOG_REMOVAL_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Groups in one transaction, which share one flush of the disk.
const GROUPS_MAX: usize = 256;
const CLOSE_POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct SqliteStore {
    pool: SqlitePool,
    /// For the ledger's head alone.
    head_pool: SqlitePool,
    /// For creating, deleting and sweeping namespaces.
    control_pool: SqlitePool,
    /// For subscriptions.
    progress_pool: SqlitePool,
    /// Shared by the writer, `control_pool` and `progress_pool`.
    turn: Arc<WriteTurn>,
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
        Ok(Self {
            pool: connector.readers(options.read_connections),
            head_pool,
            control_pool: connector.control(),
            progress_pool: connector.control(),
            turn: Arc::new(WriteTurn::new(Arc::clone(connector.file()))),
            clock_check: Arc::new(clock_check),
            connector,
        })
    }

    /// The readers' pool, unless the file was removed or replaced.
    fn pool(&self) -> Result<&SqlitePool, StoreError> {
        self.connector.file().check()?;
        Ok(&self.pool)
    }

    /// The connection that changes namespaces, and its turn.
    async fn control(&self) -> Result<(PoolConnection<Sqlite>, Turn<'_>), StoreError> {
        self.connector.file().check()?;
        let mut connection = self.control_pool.acquire().await.map_err(store_error)?;
        let turn = self.turn.take(&mut connection).await?;
        Ok((connection, turn))
    }

    /// Removes the log, or returns false. Connections that were dropped in the middle of a statement may take a moment to close.
    async fn remove_log(&self) -> bool {
        let begun = Instant::now();
        loop {
            let removed = self.connector.remove_log(CLOSE_POLL_INTERVAL).await;
            match removed {
                Ok(()) if !self.connector.file().has_log() => return true,
                _ if begun.elapsed() < LOG_REMOVAL_TIMEOUT => tokio::time::sleep(CLOSE_POLL_INTERVAL).await,
                Ok(()) => {
                    warn!("the log stays beside the file: another program has the database open");
                    return false;
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "the log stays beside the file");
                    return false;
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
    if let Some(default) = control::find(&mut *connection, DEFAULT_NAMESPACE).await.map_err(open_error)? {
        check_scope(default.scope, asked)?;
        return Ok(default);
    }
    let created = control::create(connection, DEFAULT_NAMESPACE, scope, usize::MAX).await;
    let default = default_of(created.map_err(open_error)?);
    check_scope(default.scope, asked)?;
    Ok(default)
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
    fn groups_max(&self) -> usize {
        GROUPS_MAX
    }

    /// A file has one writer at a time.
    fn connections_max(&self) -> Option<usize> {
        Some(1)
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let connection = self.connector.writer().await?;
        let (turn, clock_check) = (Arc::clone(&self.turn), Arc::clone(&self.clock_check));
        Ok(Box::new(SqliteWriter::new(connection, turn, clock_check)))
    }
}

#[async_trait]
impl ReadStore for SqliteStore {
    async fn page(&self, ledger: &LedgerRecord, query: &PageQuery) -> Result<Page, StoreError> {
        or_gone(pages::page(self.pool()?, ledger, query).await.map_err(store_error))
    }

    async fn event(
        &self,
        ledger: &LedgerRecord,
        event_id: &str,
        topic: Option<&str>,
    ) -> Result<Option<StoredEvent>, StoreError> {
        or_gone(reads::event(self.pool()?, ledger, event_id, topic).await.map_err(store_error))
    }

    async fn topics(&self, ledger: &LedgerRecord, query: &TopicQuery) -> Result<Vec<TopicInfo>, StoreError> {
        or_gone(listing::topics(self.pool()?, ledger, query).await.map_err(store_error))
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

    async fn last_seqs(&self, ledgers: &[LedgerKey]) -> Result<HashMap<LedgerKey, Option<u64>>, StoreError> {
        self.connector.file().check()?;
        reads::last_seqs(&self.head_pool, ledgers).await.map_err(store_error)
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

    async fn namespace(&self, namespace: &str) -> Result<Option<NamespaceInfo>, StoreError> {
        control::show(self.pool()?, namespace).await.map_err(store_error)
    }

    async fn namespaces(&self, query: &NamespaceQuery) -> Result<Vec<NamespaceInfo>, StoreError> {
        control::list(self.pool()?, query).await.map_err(store_error)
    }

    async fn create(
        &self,
        namespace: &str,
        scope: DedupScope,
        namespaces_max: usize,
    ) -> Result<CreateOutcome, StoreError> {
        // Looking first spares the turn for what is there already.
        if let Some(there) = self.namespace(namespace).await? {
            return Ok(CreateOutcome::There(there));
        }
        let (mut connection, turn) = self.control().await?;
        let created = control::create(&mut connection, namespace, scope, namespaces_max).await;
        let created = created.map_err(store_error)?;
        turn.end()?;
        Ok(created)
    }

    async fn delete(&self, namespace: &str) -> Result<bool, StoreError> {
        if namespace == DEFAULT_NAMESPACE {
            return Ok(false);
        }
        let (mut connection, turn) = self.control().await?;
        let deleted = control::delete(&mut connection, namespace).await.map_err(store_error)?;
        turn.end()?;
        Ok(deleted)
    }

    async fn sweep(&self, rows_max: usize) -> Result<Swept, StoreError> {
        // There is rarely something to do.
        if !sweep::is_any_deleted(self.pool()?).await.map_err(store_error)? {
            return Ok(Swept::default());
        }
        let (mut connection, turn) = self.control().await?;
        let swept = sweep::sweep(&mut connection, rows_max).await.map_err(store_error)?;
        turn.end()?;
        Ok(swept)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.connector.file().check()?;
        control::ping(&self.head_pool).await.map_err(store_error)
    }

    /// After this the one file holds all events, without a log beside it.
    async fn close(&self) -> bool {
        let pools = [&self.control_pool, &self.progress_pool, &self.pool, &self.head_pool];
        let pools = join_all(pools.map(SqlitePool::close));
        let all_closed = tokio::time::timeout(READERS_CLOSE_TIMEOUT, pools).await.is_ok();
        if !all_closed {
            warn!("readers of the database could not be ended in time");
        }
        // The last connection has removed the log. Where somebody else did, or replaced a file, that was told of when it was
        // noticed, and nothing was acknowledged since. A log that another program keeps there is no fault of this stop.
        let is_whole = self.connector.file().check().is_err() || self.remove_log().await || all_closed;
        // Actors and readers may keep the store for a moment; the next service does not wait for them.
        if let Err(error) = self.connector.file().unlock() {
            warn!(error = &error as &dyn std::error::Error, "the database file cannot be unlocked");
        }
        is_whole
    }
}
