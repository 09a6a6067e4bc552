//! The queries of readers beside pages. Each is one statement, and so one snapshot.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use super::{json::to_json, ledger::place};
use crate::store::{
    Head, LedgerKey, LedgerRecord, StoredEvent, StoredId, TOPICS_SHOWN_MAX, Totals,
    rows::{self, HEAD_COLUMNS, joined, to_sql},
};

pub(super) async fn event(
    pool: &SqlitePool,
    ledger: &LedgerRecord,
    event_id: &str,
    topic: Option<&str>,
) -> sqlx::Result<Option<Option<StoredEvent>>> {
    let row = sqlx::query(
        "SELECT events.*, topics.topic FROM ledgers
         LEFT JOIN stored_events AS events ON events.event_id = $4
             AND events.place = $6 + (SELECT seq FROM identities WHERE namespace_no = $1 AND digest = $3)
             AND ($5 IS NULL
                 OR events.topic_no = (SELECT topic_no FROM topics WHERE namespace_no = $1 AND topic = $5))
         LEFT JOIN topics ON topics.namespace_no = $1 AND topics.topic_no = events.topic_no
         WHERE ledgers.namespace_no = $1 AND ledgers.ledger_id = $2",
    )
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(ledger.digester.digest(topic.unwrap_or_default(), event_id).to_uuid())
    .bind(event_id)
    .bind(topic)
    .bind(place(ledger.key.namespace_no, 0))
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(joined).transpose()
}

pub(super) async fn head(pool: &SqlitePool, ledger: &LedgerRecord) -> sqlx::Result<Option<Head>> {
    sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {HEAD_COLUMNS} FROM ledgers WHERE namespace_no = $1 AND ledger_id = $2"
    )))
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .fetch_optional(pool)
    .await
}

pub(super) async fn last_seqs(
    pool: &SqlitePool,
    ledgers: &[LedgerKey],
) -> sqlx::Result<HashMap<LedgerKey, Option<u64>>> {
    let numbers: Vec<i32> = ledgers.iter().map(|key| key.namespace_no).collect();
    let rows = sqlx::query_as(
        "SELECT namespace_no, ledger_id, last_seq FROM ledgers
         WHERE namespace_no IN (SELECT value FROM json_each($1))",
    )
    .bind(to_json(&numbers)?)
    .fetch_all(pool)
    .await?;
    rows::last_seqs(ledgers, rows)
}

/// The newest `received_at`, in microseconds since 1970; 0 in an empty ledger.
pub(super) async fn received_at(
    connection: &mut SqliteConnection,
    ledger: &LedgerRecord,
) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT received_at FROM ledgers WHERE namespace_no = $1")
        .bind(ledger.key.namespace_no)
        .fetch_one(connection)
        .await
}

pub(super) async fn totals(pool: &SqlitePool, ledger: &LedgerRecord) -> sqlx::Result<Option<Totals>> {
    let rows = sqlx::query(
        "SELECT ledgers.*, topic, unique_events, duplicate_events FROM ledgers
         LEFT JOIN (SELECT * FROM topics WHERE namespace_no = $1 ORDER BY topic_no DESC LIMIT $3) AS shown ON true
         WHERE ledgers.namespace_no = $1 AND ledgers.ledger_id = $2
         ORDER BY topic_no",
    )
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(TOPICS_SHOWN_MAX as i64)
    .fetch_all(pool)
    .await?;
    rows::totals(&rows)
}

pub(super) async fn newest_ids(
    pool: &SqlitePool,
    ledger: &LedgerRecord,
    before: u64,
    limit: usize,
) -> sqlx::Result<Vec<StoredId>> {
    let namespace_no = ledger.key.namespace_no;
    sqlx::query_as(
        "SELECT seq, topic, event_id
         FROM (SELECT place, seq, topic_no, event_id FROM stored_events WHERE place > $3 AND place < $4 ORDER BY place DESC LIMIT $5) AS newest
         CROSS JOIN topics ON topics.namespace_no = $1 AND topics.topic_no = newest.topic_no
         WHERE EXISTS (SELECT 1 FROM ledgers WHERE namespace_no = $1 AND ledger_id = $2)
         ORDER BY newest.place DESC",
    )
    .bind(namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(place(namespace_no, 0))
    .bind(place(namespace_no, to_sql(before)))
    .bind(limit as i64)
    .fetch_all(pool)
    .await
}
