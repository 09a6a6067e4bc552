//! What readers ask beside pages: each is one statement, and so one snapshot.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, FromRow, PgPool};

use super::{
    clock::{AHEAD_COLUMN, ClockCheck},
    lease::Lease,
};
use crate::store::{
    Head, LedgerKey, LedgerMark, LedgerRecord, StoredEvent, StoredId, TOPICS_SHOWN_MAX, Totals,
    rows::{self, HEAD_COLUMNS, joined, to_sql},
};

/// What a [`StoredEvent`] is read from.
pub(super) const EVENT_COLUMNS: &str = "seq, topic, event_id, source, payload,
    (extract(epoch FROM \"timestamp\") * 1000000)::bigint AS \"timestamp\",
    (extract(epoch FROM received_at) * 1000000)::bigint AS received_at";

/// The newest commit of a ledger, or what stands for none.
pub(super) const NEWEST: &str = "
    SELECT coalesce(commit_no, 0) AS commit_no, coalesce(writer_id, '00000000-0000-0000-0000-000000000000') AS writer_id,
        coalesce(group_no, 0) AS group_no, coalesce(last_seq, 0) AS last_seq, coalesce(received, 0) AS received,
        coalesce(topics_total, 0)::bigint AS topics_total, coalesce(folded_to, 0) AS folded_to, received_at
    FROM sekali.ledgers l
    LEFT JOIN (
        SELECT * FROM sekali.commits WHERE namespace_no = $1 ORDER BY commit_no DESC LIMIT 1
    ) newest ON true
    WHERE l.namespace_no = $1 AND l.ledger_id = $2";

/// What the commits after the last fold add to the counts of topics; `newest` is [`NEWEST`].
pub(super) const UNFOLDED: &str = "
    SELECT d.topic_no, sum(d.unique_count)::bigint AS unique_events, sum(d.duplicate_count)::bigint AS duplicate_events
    FROM newest, sekali.commits c,
        unnest(c.topic_nos, c.unique_counts, c.duplicate_counts) AS d (topic_no, unique_count, duplicate_count)
    WHERE c.namespace_no = $1 AND c.commit_no > newest.folded_to
    GROUP BY d.topic_no";

pub(super) async fn event(
    pool: &PgPool,
    ledger: &LedgerRecord,
    event_id: &str,
    topic: Option<&str>,
) -> sqlx::Result<Option<Option<StoredEvent>>> {
    let mut lease = Lease::take(pool).await?;
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT {EVENT_COLUMNS} FROM sekali.ledgers l
         LEFT JOIN (
             SELECT e.*, named.topic
             FROM sekali.identities i
             JOIN sekali.stored_events e ON e.namespace_no = $1 AND e.seq = i.seq
             CROSS JOIN LATERAL (
                 SELECT topic FROM sekali.topics WHERE namespace_no = $1 AND topic_no = e.topic_no LIMIT 1
             ) named
             WHERE i.namespace_no = $1 AND i.digest = $3 AND e.event_id = $4 AND ($5::text IS NULL OR topic = $5)
         ) found ON true
         WHERE l.namespace_no = $1 AND l.ledger_id = $2"
    )))
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(ledger.digester.digest(topic.unwrap_or_default(), event_id).to_uuid())
    .bind(event_id)
    .bind(topic)
    .fetch_optional(lease.connection())
    .await?;
    lease.give_back();
    row.as_ref().map(joined).transpose()
}

pub(super) async fn head(
    pool: &PgPool,
    ledger: &LedgerRecord,
    clock_check: &ClockCheck,
) -> sqlx::Result<Option<Head>> {
    let mut lease = Lease::take(pool).await?;
    let newest =
        sqlx::query(AssertSqlSafe(format!("SELECT {HEAD_COLUMNS}, {AHEAD_COLUMN} FROM ({NEWEST}) newest")))
            .bind(ledger.key.namespace_no)
            .bind(ledger.key.ledger_id)
            .fetch_optional(lease.connection())
            .await?;
    lease.give_back();
    let Some(newest) = newest else { return Ok(None) };
    clock_check.note(&newest)?;
    Head::from_row(&newest).map(Some)
}

pub(super) async fn last_seqs(
    pool: &PgPool,
    ledgers: &[LedgerKey],
) -> sqlx::Result<HashMap<LedgerKey, Option<u64>>> {
    let mut lease = Lease::take(pool).await?;
    let numbers: Vec<i32> = ledgers.iter().map(|key| key.namespace_no).collect();
    let rows = sqlx::query_as(
        "SELECT l.namespace_no, l.ledger_id, coalesce(newest.last_seq, 0)
         FROM sekali.ledgers l
         LEFT JOIN LATERAL (
             SELECT last_seq FROM sekali.commits c
             WHERE c.namespace_no = l.namespace_no ORDER BY commit_no DESC LIMIT 1
         ) newest ON true
         WHERE l.namespace_no = ANY ($1)",
    )
    .bind(numbers)
    .fetch_all(lease.connection())
    .await?;
    lease.give_back();
    rows::last_seqs(ledgers, rows)
}

pub(super) async fn holds(
    pool: &PgPool,
    ledger: &LedgerRecord,
    seen: &LedgerMark,
) -> sqlx::Result<Option<bool>> {
    let mut lease = Lease::take(pool).await?;
    let holds = sqlx::query_scalar(
        "SELECT $3 = 0 OR EXISTS (
             SELECT FROM sekali.commits
             WHERE namespace_no = $1 AND commit_no = $3 AND writer_id = $4 AND group_no = $5
         )
         FROM sekali.ledgers WHERE namespace_no = $1 AND ledger_id = $2",
    )
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(to_sql(seen.commit_no))
    .bind(seen.writer_id)
    .bind(to_sql(seen.group_no))
    .fetch_optional(lease.connection())
    .await?;
    lease.give_back();
    Ok(holds)
}

pub(super) async fn totals(pool: &PgPool, ledger: &LedgerRecord) -> sqlx::Result<Option<Totals>> {
    let mut lease = Lease::take(pool).await?;
    let rows = sqlx::query(AssertSqlSafe(format!(
        "WITH newest AS ({NEWEST}),
         unfolded AS ({UNFOLDED}),
         shown AS (SELECT * FROM sekali.topics WHERE namespace_no = $1 ORDER BY topic_no DESC LIMIT $3)
         SELECT {HEAD_COLUMNS}, s.topic,
             s.unique_events + coalesce(u.unique_events, 0) AS unique_events,
             s.duplicate_events + coalesce(u.duplicate_events, 0) AS duplicate_events
         FROM newest n LEFT JOIN shown s ON true LEFT JOIN unfolded u ON u.topic_no = s.topic_no
         ORDER BY s.topic_no"
    )))
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(TOPICS_SHOWN_MAX as i64)
    .fetch_all(lease.connection())
    .await?;
    lease.give_back();
    rows::totals(&rows)
}

pub(super) async fn newest_ids(
    pool: &PgPool,
    ledger: &LedgerRecord,
    before: u64,
    limit: usize,
) -> sqlx::Result<Vec<StoredId>> {
    let mut lease = Lease::take(pool).await?;
    let ids = sqlx::query_as(
        "SELECT e.seq, t.topic, e.event_id
         FROM (SELECT * FROM sekali.stored_events WHERE namespace_no = $1 AND seq < $3 ORDER BY seq DESC LIMIT $4) e
         JOIN sekali.topics t ON t.namespace_no = $1 AND t.topic_no = e.topic_no
         WHERE EXISTS (SELECT FROM sekali.ledgers WHERE namespace_no = $1 AND ledger_id = $2)
         ORDER BY e.seq DESC",
    )
    .bind(ledger.key.namespace_no)
    .bind(ledger.key.ledger_id)
    .bind(to_sql(before))
    .bind(limit as i64)
    .fetch_all(lease.connection())
    .await?;
    lease.give_back();
    Ok(ids)
}
