//! The connection that appends: the steps of Postgres' `sekali.append`, one statement each.
//!
//! Rows are passed as JSON in one parameter a statement: SQLite runs on a thread of its own, and each statement and
//! each returned row costs a switch of threads.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tracing::warn;

use super::{
    clock::ClockCheck,
    connect::BUSY_TIMEOUT,
    error::store_error,
    file::DatabaseFile,
    insert::{insert_events, insert_identities, try_insert, without},
    ledger::{Ledger, keep_ledger},
    topics::{count_events, number_topics},
};
use crate::store::{AppendGroup, AppendOutcome, StoreError, StoreWriter};

/// A log above this is copied into the file and cut, which waits for the readers that use it. SQLite's own
/// checkpoints do not wait, so overlapping readers keep a log growing.
const LOG_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// How long cutting the log waits for readers, and how long after a vain attempt it is tried again.
const CUT_PATIENCE: Duration = Duration::from_millis(250);
const CUT_INTERVAL: Duration = Duration::from_secs(2);

pub(super) struct SqliteWriter {
    connection: SqliteConnection,
    file: Arc<DatabaseFile>,
    clock_check: Arc<ClockCheck>,
    /// When the log could not be cut, at the last attempt.
    cut_failed_at: Option<Instant>,
}

impl SqliteWriter {
    pub(super) fn new(
        connection: SqliteConnection,
        file: Arc<DatabaseFile>,
        clock_check: Arc<ClockCheck>,
    ) -> Self {
        Self { connection, file, clock_check, cut_failed_at: None }
    }

    /// Copies a log that has grown too long into the file, and cuts it. An append does not fail where that does.
    async fn cut_log(&mut self, bytes: u64) -> sqlx::Result<()> {
        if bytes <= LOG_BYTES_MAX || self.cut_failed_at.is_some_and(|at| at.elapsed() < CUT_INTERVAL) {
            return Ok(());
        }
        self.set_busy_timeout(CUT_PATIENCE).await?;
        // The first column says whether readers were in the way.
        let cut: sqlx::Result<(i64, i64, i64)> =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut self.connection).await;
        if let Err(error) = &cut {
            warn!(error = error as &dyn std::error::Error, bytes, "the log cannot be cut");
        }
        self.cut_failed_at = (!matches!(cut, Ok((0, ..)))).then(Instant::now);
        self.set_busy_timeout(BUSY_TIMEOUT).await
    }

    async fn set_busy_timeout(&mut self, timeout: Duration) -> sqlx::Result<()> {
        let set = format!("PRAGMA busy_timeout = {}", timeout.as_millis());
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut self.connection).await?;
        Ok(())
    }
}

#[async_trait]
impl StoreWriter for SqliteWriter {
    /// What was committed to a file that its name no longer leads to is not acknowledged.
    async fn append(&mut self, group: &AppendGroup<'_>) -> Result<AppendOutcome, StoreError> {
        let log_bytes = self.file.check()?;
        self.cut_log(log_bytes).await.map_err(store_error)?;
        let outcome = append(&mut self.connection, group, &self.clock_check).await;
        let outcome = outcome.map_err(store_error)?;
        self.file.check()?;
        Ok(outcome)
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.connection.close().await.map_err(store_error)
    }
}

async fn append(
    connection: &mut SqliteConnection,
    group: &AppendGroup<'_>,
    clock_check: &ClockCheck,
) -> sqlx::Result<AppendOutcome> {
    // A transaction that starts with a read fails at its first write if another program is writing.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let Some(ledger) = Ledger::read(&mut transaction, group.ledger).await? else {
        return Ok(AppendOutcome::Gone);
    };
    if let Some(append) = ledger.answer_already_given(group)? {
        return Ok(append);
    }
    ledger.check_events_are_there()?;
    clock_check.note(ledger.received_at());
    if group.is_probe() {
        try_insert(&mut transaction, &ledger).await?;
    }
    let topic_nos = number_topics(&mut transaction, group, &ledger).await?;
    let topic_places = group.topic_places();
    let repeats = insert_identities(&mut transaction, group.digests, &ledger).await?;
    let events: Vec<_> =
        group.events.iter().zip(&topic_places).map(|(event, place)| (topic_nos[*place], *event)).collect();
    insert_events(&mut transaction, &without(&events, &repeats), &ledger).await?;
    count_events(&mut transaction, group, &topic_nos, &topic_places, &repeats, &ledger).await?;
    let topics_total = topic_nos.iter().copied().fold(ledger.topics_total(), i64::max);
    let committed = ledger.after(group, topics_total, repeats)?;
    keep_ledger(&mut transaction, group, &ledger, &committed).await?;
    transaction.commit().await?;
    Ok(AppendOutcome::Committed(committed))
}
