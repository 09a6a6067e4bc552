//! How connections to the file are made.

use std::{path::Path, str::FromStr, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    error::{first_error, open_error, store_error},
    file::DatabaseFile,
};
use crate::store::{OpenError, StoreError};

/// How long a connection waits for another one's lock on the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(3);
/// The writer's page cache. Each random id touches another page of the unique index; with SQLite's default of 2 MiB
/// these pages are read from the file again and again.
const WRITER_CACHE_KIB: u32 = 32 * 1024;
/// Pages of 4 KiB in the log at which SQLite copies them into the file. More would make the commits that do the
/// copying slower.
const CHECKPOINT_PAGES: u32 = 2_000;
/// What the log is cut to when it starts over.
const LOG_BYTES_KEPT: u64 = 16 * 1024 * 1024;
/// How long a reader, or who changes namespaces, waits for a connection of a pool.
const READ_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// One for the poller and one for the probes.
const HEAD_CONNECTIONS: u32 = 2;

/// Makes the connections to one file.
pub(super) struct Connector {
    file: Arc<DatabaseFile>,
    options: SqliteConnectOptions,
}

impl Connector {
    /// Locks the file that `url` names; creates it where `create` says so and none is there.
    pub(super) fn new(url: &str, create: bool) -> Result<Self, OpenError> {
        let options = parse(url)?;
        check_place(options.get_filename())?;
        let file = Arc::new(DatabaseFile::lock(options.get_filename(), create)?);
        let options = options
            .filename(file.path())
            .create_if_missing(false)
            .immutable(false)
            .shared_cache(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("journal_size_limit", LOG_BYTES_KEPT.to_string())
            // There may be no folder for temporary files that can be written.
            .pragma("temp_store", "memory");
        Ok(Self { file, options })
    }

    pub(super) fn file(&self) -> &Arc<DatabaseFile> {
        &self.file
    }

    /// The first connection. It shows at once what can never work.
    pub(super) async fn first(&self) -> Result<SqliteConnection, OpenError> {
        let failed = |error| first_error(error, self.file.path());
        let mut connection = self.options.connect().await.map_err(failed)?;
        let mode: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.map_err(failed)?;
        if mode != "wal" {
            return Err(OpenError::Unsuitable(format!(
                "SQLite cannot keep a write-ahead log for {} on this file system",
                self.file.path().display()
            )));
        }
        Ok(connection)
    }

    pub(super) async fn writer(&self) -> Result<SqliteConnection, StoreError> {
        self.file.check()?;
        let options = self.writing().pragma("cache_size", format!("-{WRITER_CACHE_KIB}"));
        options.connect().await.map_err(store_error)
    }

    fn writing(&self) -> SqliteConnectOptions {
        self.options.clone().pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
    }

    /// Connections for reading, made when they are needed.
    pub(super) fn readers(&self, connections: u32) -> SqlitePool {
        self.pool(connections, self.options.clone().pragma("query_only", "true"))
    }

    /// The connection that changes namespaces, or subscriptions, made when it is needed.
    pub(super) fn control(&self) -> SqlitePool {
        self.pool(1, self.writing())
    }

    fn pool(&self, connections: u32, options: SqliteConnectOptions) -> SqlitePool {
        let file = Arc::clone(&self.file);
        let only_this_file =
            move || file.check().map(|_| ()).map_err(|error| sqlx::Error::Io(std::io::Error::other(error)));
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(READ_ACQUIRE_TIMEOUT)
            .after_connect(move |_, _| Box::pin(std::future::ready(only_this_file())))
            .connect_lazy_with(options)
    }

    /// Connections for the ledger's head alone: whether the database answers must not depend on how long others
    /// read. One stays open as long as the pool, and so does the log.
    pub(super) async fn head_readers(&self) -> Result<SqlitePool, OpenError> {
        let pool = SqlitePoolOptions::new()
            .max_connections(HEAD_CONNECTIONS)
            .min_connections(1)
            .acquire_timeout(READ_ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(self.options.clone().pragma("query_only", "true"))
            .await
            .map_err(open_error)?;
        self.file.note_log().map_err(|error| open_error(sqlx::Error::Io(error)))?;
        Ok(pool)
    }

    /// Copies the log into the file, if other connections let it within `patience`. Removes it if none is open.
    pub(super) async fn remove_log(&self, patience: Duration) -> sqlx::Result<()> {
        let mut connection = self.options.clone().busy_timeout(patience).connect().await?;
        sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
        sqlx::Connection::close(connection).await
    }
}

fn parse(url: &str) -> Result<SqliteConnectOptions, OpenError> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(OpenError::Url(
            "sekali keeps every event: give a file, not memory, as in sqlite://sekali.db".to_owned(),
        ));
    }
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    if path.split(['/', '?']).next().is_some_and(|name| name.contains('@')) {
        return Err(OpenError::Url(
            "a file has no user and no password, as in sqlite://sekali.db; put ./ before a name with an @"
                .to_owned(),
        ));
    }
    // The error would tell the value of a parameter.
    SqliteConnectOptions::from_str(url).map_err(|_| {
        OpenError::Url("its parameters cannot be used; none is needed, as in sqlite://sekali.db".to_owned())
    })
}

fn check_place(file: &Path) -> Result<(), OpenError> {
    if file.as_os_str().is_empty() || (file.exists() && !file.is_file()) {
        return Err(OpenError::Url("it names no file, as sqlite://sekali.db does".to_owned()));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => Err(OpenError::Url(format!("the folder {} does not exist", folder.display()))),
        None => Ok(()),
    }
}
