//! The queries of readers. Each is one statement, and so one snapshot.

use sqlx::{AssertSqlSafe, SqliteConnection, SqlitePool};

use crate::{
    event::DedupScope,
    store::{
        Head, PAGE_BYTES_MAX, Page, PageQuery, StoredEvent, StoredId, TOPICS_SHOWN_MAX, Totals,
        rows::{self, HEAD_COLUMNS, to_sql},
    },
};

/// Sums up the sizes before it reads any payload: a page ends where it would exceed its limit.
pub(super) async fn page(pool: &SqlitePool, query: &PageQuery) -> sqlx::Result<Page> {
    let direction = if query.after.is_some() { "ASC" } else { "DESC" };
    let topic_filter = if query.topic.is_some() { "AND topic = $5" } else { "" };
    let sql = format!(
        "SELECT events.*, found FROM (
             SELECT seq, count(*) OVER () AS found, row_number() OVER running AS place,
                 sum(bytes) OVER running AS bytes_so_far
             FROM (
                 SELECT seq, octet_length(payload) + octet_length(topic || event_id || source) AS bytes
                 FROM events WHERE seq < $1 AND seq > $2 {topic_filter}
                 ORDER BY seq {direction} LIMIT $3 + 1
             )
             WINDOW running AS (ORDER BY seq {direction} ROWS UNBOUNDED PRECEDING)
         ) AS sized CROSS JOIN events USING (seq)
         WHERE place <= $3 AND (place = 1 OR bytes_so_far <= $4)
         ORDER BY place"
    );
    let mut statement = sqlx::query(AssertSqlSafe(sql))
        .bind(query.before.map_or(i64::MAX, to_sql))
        .bind(query.after.map_or(0, to_sql))
        .bind(query.limit as i64)
        .bind(PAGE_BYTES_MAX as i64);
    if let Some(topic) = &query.topic {
        statement = statement.bind(topic);
    }
    let rows = statement.fetch_all(pool).await?;
    rows::page(&rows)
}

pub(super) async fn event(
    pool: &SqlitePool,
    scope: DedupScope,
    event_id: &str,
    topic: Option<&str>,
) -> sqlx::Result<Option<StoredEvent>> {
    sqlx::query_as(
        "SELECT * FROM events WHERE event_id = $1 AND scope_topic = $2 AND ($3 IS NULL OR topic = $3)",
    )
    .bind(event_id)
    .bind(scope.key_topic(topic.unwrap_or_default()))
    .bind(topic)
    .fetch_optional(pool)
    .await
}

pub(super) async fn head(pool: &SqlitePool) -> sqlx::Result<Head> {
    sqlx::query_as(AssertSqlSafe(format!("SELECT {HEAD_COLUMNS} FROM ledger"))).fetch_one(pool).await
}

/// The newest `received_at`, in microseconds since 1970; 0 in an empty ledger.
pub(super) async fn received_at(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT received_at FROM ledger").fetch_one(connection).await
}

pub(super) async fn totals(pool: &SqlitePool) -> sqlx::Result<Totals> {
    let rows = sqlx::query(
        "SELECT ledger.*, topic, unique_events, duplicate_events FROM ledger
         LEFT JOIN (SELECT * FROM topics ORDER BY topic_no DESC LIMIT $1) ON true
         ORDER BY topic_no",
    )
    .bind(TOPICS_SHOWN_MAX as i64)
    .fetch_all(pool)
    .await?;
    rows::totals(&rows)
}

pub(super) async fn newest_ids(pool: &SqlitePool, before: u64, limit: usize) -> sqlx::Result<Vec<StoredId>> {
    sqlx::query_as("SELECT seq, topic, event_id FROM events WHERE seq < $1 ORDER BY seq DESC LIMIT $2")
        .bind(to_sql(before))
        .bind(limit as i64)
        .fetch_all(pool)
        .await
}
