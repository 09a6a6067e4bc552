//! The connection that appends: the steps of Postgres' `sekali.append`, one statement each.
//!
//! Rows are passed as JSON in one parameter a statement: SQLite runs on a thread of its own, and each statement and
//! each returned row costs a switch of threads.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{Connection, Sqlite, SqliteConnection, Transaction};

use super::{
    clock::ClockCheck,
    error::store_error,
    insert::{insert_events, insert_identities, try_insert, without},
    ledger::{Ledger, keep_ledger},
    topics::{count_events, number_topics},
    turn::WriteTurn,
};
use crate::store::{AppendGroup, AppendOutcome, GroupResult, StoreError, StoreWriter};

pub(super) struct SqliteWriter {
    connection: SqliteConnection,
    turn: Arc<WriteTurn>,
    clock_check: Arc<ClockCheck>,
}

impl SqliteWriter {
    pub(super) fn new(
        connection: SqliteConnection,
        turn: Arc<WriteTurn>,
        clock_check: Arc<ClockCheck>,
    ) -> Self {
        Self { connection, turn, clock_check }
    }
}

#[async_trait]
impl StoreWriter for SqliteWriter {
    /// What was committed to a file that its name no longer leads to is not acknowledged.
    async fn append_all(&mut self, groups: &[AppendGroup<'_>]) -> Result<Vec<GroupResult>, StoreError> {
        let turn = self.turn.take(&mut self.connection).await?;
        let results = append_all(&mut self.connection, groups, &self.clock_check).await;
        let results = results.map_err(store_error)?;
        turn.end()?;
        Ok(results)
    }

    async fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.connection.close().await.map_err(store_error)
    }
}

async fn append_all(
    connection: &mut SqliteConnection,
    groups: &[AppendGroup<'_>],
    clock_check: &ClockCheck,
) -> sqlx::Result<Vec<GroupResult>> {
    // A transaction that starts with a read fails at its first write if another program is writing.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if let [group] = groups {
        let outcome = append(&mut transaction, group, clock_check).await?;
        if let AppendOutcome::Committed(_) = outcome {
            transaction.commit().await?;
        }
        return Ok(vec![Ok(outcome)]);
    }
    let mut results = Vec::with_capacity(groups.len());
    for group in groups {
        let mut savepoint = transaction.begin().await?;
        let outcome = append(&mut savepoint, group, clock_check).await;
        match &outcome {
            Ok(AppendOutcome::Committed(_)) => savepoint.commit().await?,
            // This fails where the error has undone the whole transaction.
            _ => savepoint.rollback().await?,
        }
        results.push(outcome.map_err(store_error));
    }
    transaction.commit().await?;
    Ok(results)
}

/// Appends one group, as a part of the transaction.
async fn append(
    transaction: &mut Transaction<'_, Sqlite>,
    group: &AppendGroup<'_>,
    clock_check: &ClockCheck,
) -> sqlx::Result<AppendOutcome> {
    let Some(ledger) = Ledger::read(transaction, group.ledger).await? else {
        return Ok(AppendOutcome::Gone);
    };
    if let Some(append) = ledger.answer_already_given(group)? {
        return Ok(append);
    }
    ledger.check_events_are_there()?;
    clock_check.note(ledger.received_at());
    if group.is_probe() {
        try_insert(transaction, &ledger).await?;
    }
    let Some(topic_nos) = number_topics(transaction, group, &ledger).await? else {
        return Ok(AppendOutcome::TooManyTopics);
    };
    let topic_places = group.topic_places();
    let repeats = insert_identities(transaction, group.digests, &ledger).await?;
    let events: Vec<_> =
        group.events.iter().zip(&topic_places).map(|(event, place)| (topic_nos[*place], *event)).collect();
    insert_events(transaction, &without(&events, &repeats), &ledger).await?;
    count_events(transaction, group, &topic_nos, &topic_places, &repeats, &ledger).await?;
    let topics_total = topic_nos.iter().copied().fold(ledger.topics_total(), i64::max);
    let committed = ledger.after(group, topics_total, repeats)?;
    keep_ledger(transaction, group, &ledger, &committed).await?;
    Ok(AppendOutcome::Committed(committed))
}
