//! Whoever writes to the file takes turns: SQLite has one writer at a time, and lets the others ask again and again.

use std::{
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};
use tracing::warn;

use super::{connect::BUSY_TIMEOUT, error::store_error, file::DatabaseFile};
use crate::store::StoreError;

/// A log above this is copied into the file and cut, which waits for the readers that use it. SQLite's own
/// checkpoints do not wait, so overlapping readers keep a log growing.
const LOG_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// How long cutting the log waits for readers, and how long after a vain attempt it is tried again.
const CUT_PATIENCE: Duration = Duration::from_millis(250);
const CUT_INTERVAL: Duration = Duration::from_secs(2);

/// Gives turns in the order in which they are asked for.
pub(super) struct WriteTurn {
    file: Arc<DatabaseFile>,
    log: Mutex<Log>,
}

/// SQLite's log, as whoever has the turn knows it.
#[derive(Default)]
struct Log {
    /// When it could not be cut, at the last attempt.
    cut_failed_at: Option<Instant>,
}

impl WriteTurn {
    pub(super) fn new(file: Arc<DatabaseFile>) -> Self {
        Self { file, log: Mutex::default() }
    }

    /// Waits for the turn to write on `connection`, as long as SQLite would wait for a lock. Only in a turn, and before
    /// its transaction, can a log that has grown too long be cut.
    pub(super) async fn take(&self, connection: &mut SqliteConnection) -> Result<Turn<'_>, StoreError> {
        let too_late = |_| StoreError::Unavailable(sqlx::Error::Io(ErrorKind::TimedOut.into()));
        let mut log = tokio::time::timeout(BUSY_TIMEOUT, self.log.lock()).await.map_err(too_late)?;
        let bytes = self.file.check()?;
        log.cut_above_max(bytes, connection).await.map_err(store_error)?;
        Ok(Turn { file: &self.file, _log: log })
    }
}

/// The right to write one transaction; it must be ended before what was written is acknowledged.
#[must_use]
pub(super) struct Turn<'a> {
    file: &'a DatabaseFile,
    _log: MutexGuard<'a, Log>,
}

impl Turn<'_> {
    /// Fails where the file's name no longer leads to the file that was written.
    pub(super) fn end(self) -> Result<(), StoreError> {
        self.file.check().map(drop)
    }
}

impl Log {
    /// Copies a log that has grown too long into the file, and cuts it. A write does not fail where that does.
    async fn cut_above_max(&mut self, bytes: u64, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        if bytes <= LOG_BYTES_MAX || self.cut_failed_at.is_some_and(|at| at.elapsed() < CUT_INTERVAL) {
            return Ok(());
        }
        set_busy_timeout(connection, CUT_PATIENCE).await?;
        // The first column says whether readers were in the way.
        let cut: sqlx::Result<(i64, i64, i64)> =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
        if let Err(error) = &cut {
            warn!(error = error as &dyn std::error::Error, bytes, "the log cannot be cut");
        }
        self.cut_failed_at = (!matches!(cut, Ok((0, ..)))).then(Instant::now);
        set_busy_timeout(connection, BUSY_TIMEOUT).await
    }
}

async fn set_busy_timeout(connection: &mut SqliteConnection, timeout: Duration) -> sqlx::Result<()> {
    let set = format!("PRAGMA busy_timeout = {}", timeout.as_millis());
    sqlx::raw_sql(AssertSqlSafe(set)).execute(connection).await?;
    Ok(())
}
