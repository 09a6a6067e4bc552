//! SQLite, for one service on one machine: one file (with its write-ahead log beside it) and no server.

mod error;
mod reads;
mod writer;

use std::{
    fs::File,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tracing::{info, warn};

use self::{
    error::{open_error, store_error},
    writer::SqliteWriter,
};
use super::{
    EventStore, Head, LedgerMark, OpenError, OpenOptions, Page, PageQuery, StoreError, StoreWriter,
    StoredEvent, StoredId, Totals,
    open::{Applied, check_scope, check_version, version_of},
};
use crate::event::DedupScope;

/// How long a connection waits for another one's lock on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// What the writer keeps of the file in memory: random ids touch a page each of the index that judges them. SQLite's
/// own 2 MiB had the pages read from the file again and again.
const WRITER_CACHE_KIB: u32 = 32 * 1024;
/// Pages of 4 KiB that the log may hold before they are copied into the file, each once however often it was
/// written. More would have the few single events that meet the copying wait longer.
const CHECKPOINT_PAGES: u32 = 2_000;
/// How long a reader waits for a connection of the pool.
const READ_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) struct SqliteStore {
    scope: DedupScope,
    options: SqliteConnectOptions,
    pool: SqlitePool,
    /// Held until the store is closed or gone: a second service on this file is refused.
    lock: File,
}

impl SqliteStore {
    pub(super) async fn open(url: &str, options: &OpenOptions) -> Result<Self, OpenError> {
        let connect_options = parse(url)?;
        let lock = take_lock(connect_options.get_filename())?;
        let mut connection = connect_options.connect().await.map_err(open_error)?;
        bring_schema_up_to_date(&mut connection, options.migrate).await?;
        let scope = keep_scope(&mut connection, options.scope).await?;
        connection.close().await.map_err(open_error)?;

        let pool = SqlitePoolOptions::new()
            .max_connections(options.read_connections)
            .acquire_timeout(READ_ACQUIRE_TIMEOUT)
            .connect_lazy_with(connect_options.clone().pragma("query_only", "true"));
        Ok(Self { scope, options: connect_options, pool, lock })
    }
}

/// Brings the schema up to date; answers its version. Refused while a service has the file.
pub(super) async fn migrate(url: &str, scope: Option<DedupScope>) -> Result<i64, OpenError> {
    let options = parse(url)?;
    let _lock = take_lock(options.get_filename())?;
    let mut connection = options.connect().await.map_err(open_error)?;
    bring_schema_up_to_date(&mut connection, true).await?;
    if scope.is_some() {
        keep_scope(&mut connection, scope).await?;
    }
    Ok(version_of(&applied(&mut connection).await?))
}

#[async_trait]
impl EventStore for SqliteStore {
    fn scope(&self) -> DedupScope {
        self.scope
    }

    async fn open_writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let options = self.options.clone().pragma("cache_size", format!("-{WRITER_CACHE_KIB}"));
        let options = options.pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string());
        let connection = options.connect().await.map_err(store_error)?;
        Ok(Box::new(SqliteWriter::new(connection, self.scope)))
    }

    async fn page(&self, query: &PageQuery) -> Result<Page, StoreError> {
        reads::page(&self.pool, query).await.map_err(store_error)
    }

    async fn event(&self, event_id: &str, topic: Option<&str>) -> Result<Option<StoredEvent>, StoreError> {
        reads::event(&self.pool, self.scope, event_id, topic).await.map_err(store_error)
    }

    async fn head(&self) -> Result<Head, StoreError> {
        reads::head(&self.pool).await.map_err(store_error)
    }

    /// The ledger tells its newest commit alone. What was seen can only be missing where that rules it out: beside
    /// the lock there is no other service that could have grown a restored file.
    async fn holds(&self, seen: &LedgerMark) -> Result<bool, StoreError> {
        Ok(!self.head().await?.mark.rules_out(seen))
    }

    async fn totals(&self) -> Result<Totals, StoreError> {
        reads::totals(&self.pool).await.map_err(store_error)
    }

    async fn newest_ids(&self, before: u64, limit: usize) -> Result<Vec<StoredId>, StoreError> {
        reads::newest_ids(&self.pool, before, limit).await.map_err(store_error)
    }

    async fn close(&self) {
        self.pool.close().await;
        // Actors and readers may hold the store for a moment longer; the next service need not wait for them.
        if let Err(error) = self.lock.unlock() {
            warn!(error = &error as &dyn std::error::Error, "the lock file cannot be unlocked");
        }
    }
}

fn parse(url: &str) -> Result<SqliteConnectOptions, OpenError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(OpenError::Url(
            "sekali keeps every event: give a file, not memory, as in sqlite://sekali.db".to_owned(),
        ));
    }
    let options = SqliteConnectOptions::from_str(url).map_err(|error| OpenError::Url(error.to_string()))?;
    let file = options.get_filename();
    if file.as_os_str().is_empty() || file.is_dir() {
        return Err(OpenError::Url(format!("{} names no file, as sqlite://sekali.db does", url)));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(OpenError::Url(format!("the folder {} does not exist", folder.display())));
    }
    Ok(options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT))
}

/// The lock is of the file beside the database, since SQLite's own come and go with each transaction. Beside the
/// database itself, that is: whoever comes by a symbolic link must meet the same lock.
fn take_lock(database: &Path) -> Result<File, OpenError> {
    let mut lock_path = database.canonicalize().unwrap_or_else(|_| database.to_owned()).into_os_string();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let failed = |error: std::io::Error| {
        OpenError::Unsuitable(format!("the lock file {} cannot be made: {error}", lock_path.display()))
    };
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse {
            database: database.display().to_string(),
            lock: lock_path.display().to_string(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("migrations/sqlite");
    migrator.dangerous_set_table_name("schema_versions");
    migrator
}

/// The migrations that the database has had, oldest first.
async fn applied(connection: &mut SqliteConnection) -> Result<Vec<Applied>, OpenError> {
    let exists: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_versions'")
            .fetch_optional(&mut *connection)
            .await
            .map_err(open_error)?;
    if exists.is_none() {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT version, checksum FROM schema_versions ORDER BY version")
        .fetch_all(connection)
        .await
        .map_err(open_error)
}

async fn bring_schema_up_to_date(connection: &mut SqliteConnection, migrate: bool) -> Result<(), OpenError> {
    let migrator = migrator();
    let found = applied(connection).await?;
    if !check_version(&found, &migrator, migrate)? {
        migrator.run_direct(None, connection, false).await.map_err(OpenError::Migration)?;
        info!(version = version_of(&applied(connection).await?), "migrated the schema");
    }
    Ok(())
}

/// Creates the ledger with the scope asked for, where there is none; else checks that it is the ledger's.
async fn keep_scope(
    connection: &mut SqliteConnection,
    asked: Option<DedupScope>,
) -> Result<DedupScope, OpenError> {
    sqlx::query("INSERT INTO ledger (id, dedup_scope) VALUES (1, $1) ON CONFLICT DO NOTHING")
        .bind(asked.unwrap_or(DedupScope::EventId).name())
        .execute(&mut *connection)
        .await
        .map_err(open_error)?;
    let (kept,): (String,) =
        sqlx::query_as("SELECT dedup_scope FROM ledger").fetch_one(connection).await.map_err(open_error)?;
    check_scope(&kept, asked)
}
